"""The devices of this machine that tests run on, found once; the CPU is not among them.

`apart` is always there: the CPU behind memory of its own, so that what the engine owes to a device
that shares no memory is tested everywhere. Where there is no NVIDIA driver, `cuda` stands on the
double of one (tests/cuda_double): all of lamina's own code runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import nvidia_double
from lamina import _core

SCHEMA = {row["name"]: row["id"] for row in _core._event_schema()}


def has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def put_double() -> ctypes.CDLL | None:
    """Gives lamina the double where there is no driver and a compiler to make it: on Linux, whose
    loader and signals it knows."""
    if sys.platform != "linux" or has_driver() or not shutil.which(os.environ.get("CXX", "c++")):
        return None
    folder = nvidia_double.folder()
    os.environ["LAMINA_CUDA_DOUBLE"] = str(nvidia_double.HERE)
    os.environ["LAMINA_CACHE_DIR"] = str(folder / "kernels")
    _core._library_folders([str(folder)])
    return ctypes.CDLL(str(folder / nvidia_double.NAMES[0]))


DOUBLE = put_double()


def opens(name: str) -> bool:
    try:
        _core._device_named(name)
    except _core.DeviceError:
        return False
    return True


PRESENT = [name for name in _core._device_names() if name != "cpu" and opens(name)]
TEXT = [name for name in PRESENT if name != "apart"]  # that compile kernels from text
LACKS = {name: set(_core._device_info(_core._device_named(name))["lacks"]) for name in PRESENT}
UNIFIED = {name for name in PRESENT if _core._device_info(_core._device_named(name))["unified"]}


class Recorded:
    """Events of a stretch, by kind, as tuples (a, b, c, d)."""

    def __init__(self) -> None:
        self.events: list[tuple[int, ...]] = []
        self.spans: list[tuple[int, int, int]] = []  # kind, start, end in ns

    def of(self, kind: str) -> list[tuple[int, ...]]:
        return [e[1:] for e in self.events if e[0] == SCHEMA[kind]]

    def times(self, kind: str) -> list[tuple[int, int]]:
        return [s[1:] for s in self.spans if s[0] == SCHEMA[kind]]

    def copies(self) -> list[tuple[int, int, int]]:
        """(bytes, from, to) of every copy between devices."""
        return [(a, c, d) for a, _, c, d in self.of("copy")]

    def plans(self) -> list[dict[str, Any]]:
        return [json.loads(_core._plan_describe(e[0])) for e in self.of("eval")]


@contextlib.contextmanager
def recorded() -> Iterator[Recorded]:
    out = Recorded()
    _core._trace_start(1 << 14)
    try:
        yield out
    finally:
        raw, dropped = _core._trace_drain()
        _core._trace_stop()
        assert dropped == 0
        rows = np.frombuffer(raw, dtype=DTYPE)
        out.events = [tuple(int(r[f]) for f in ("kind", "a", "b", "c", "d")) for r in rows]
        out.spans = [(int(r["kind"]), int(r["t0"]), int(r["t1"])) for r in rows]


DTYPE = np.dtype(
    [("kind", "<u4"), ("thread", "<u4"), ("run", "<u8")]
    + [(name, "<i8") for name in ("t0", "t1", "a", "b", "c", "d")]
)

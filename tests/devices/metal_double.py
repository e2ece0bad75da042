"""The double of Metal's protocols, as tests in Python reach it: what it saw, and what to get wrong.

`DOUBLE` is None where this module was built without it.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator

import pytest
from lamina import _core
from present import PRESENT

HERE = "metal" in PRESENT
POINTS = ("buffer", "adopt", "library", "pipeline", "queue", "commands", "encoder", "fence")
RUN = 9  # metal_double::Point::run
PRODUCT, SUMS, TILES = 11, 12, 13


def _load() -> ctypes.CDLL | None:
    library = ctypes.CDLL(_core.__file__)
    return library if hasattr(library, "lamina_double_violations") else None


DOUBLE = _load()
needs_metal = pytest.mark.skipif(not HERE, reason="not applicable: this module has no Metal")
needs_double = pytest.mark.skipif(DOUBLE is None, reason="not applicable: Metal itself is here")


def violations() -> list[str]:
    """What broke a rule of Metal's since the last call."""
    assert DOUBLE is not None
    text = ctypes.create_string_buffer(1 << 16)
    DOUBLE.lamina_double_violations(text, ctypes.c_int64(len(text)))
    return text.value.decode().splitlines()


def seen(name: str) -> int:
    assert DOUBLE is not None
    DOUBLE.lamina_double_seen.restype = ctypes.c_int64
    return int(DOUBLE.lamina_double_seen(name.encode()))


def inject(point: int, code: int = 0, after: int = 0, times: int = 1) -> None:
    """The `after`-th use of `point` from now fails, for `times` uses."""
    assert DOUBLE is not None
    DOUBLE.lamina_double_inject(point, *map(ctypes.c_int64, (after, times, code)))


def limit_memory(total: int) -> None:
    assert DOUBLE is not None
    DOUBLE.lamina_double_memory(ctypes.c_int64(total))


def let_go() -> None:
    assert DOUBLE is not None
    DOUBLE.lamina_double_hold(0, ctypes.c_int64(0))


@contextlib.contextmanager
def held(through: int = 0) -> Iterator[None]:
    """Command buffers committed inside begin at the end, or when let_go() says so; the first
    `through` of them at once."""
    assert DOUBLE is not None
    DOUBLE.lamina_double_hold(1, ctypes.c_int64(through))
    try:
        yield
    finally:
        let_go()


@contextlib.contextmanager
def let_go_soon(seconds: float = 0.2) -> Iterator[None]:
    """For a body that waits: lets go of what is held while it does."""
    timer = threading.Timer(seconds, let_go)
    timer.start()
    try:
        yield
    finally:
        timer.join()

"""One recording, one file: a zip of a JSON manifest, JSON plans and little-endian .npy columns.

Nothing is ever unpickled, so a file from a stranger is safe to open.  The format, field by field,
and the rules for changing it stand in docs/recording-format.md.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .plan import Plan
from .recording import (
    EVENT_DTYPE,
    Ceilings,
    Column,
    CompiledFunction,
    EventKind,
    Failure,
    KernelLaunch,
    Lap,
    Machine,
    MemoryState,
    Origin,
    Overhead,
    Recording,
    SourceCell,
)

FORMAT = "lamina-recording"
VERSION = 1
T = TypeVar("T")


def save(recording: Recording, path: str | os.PathLike[str]) -> None:
    """Write ``recording`` to ``path``.  The file appears whole or not at all."""
    target = os.path.abspath(os.fspath(path))
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(target), suffix=".part")
    try:
        with (
            os.fdopen(handle, "wb") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
        ):
            _write(recording, archive)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def load(path: str | os.PathLike[str]) -> Recording:
    """Read a recording.

    ValueError: the file is foreign, cut short, damaged or of a newer format; the message names
    the file and the trouble.  OSError: the file cannot be read at all.
    """
    name = os.fspath(path)
    with open(name, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _read(archive)
        except zipfile.BadZipFile as error:
            file.seek(0)
            whole = "cut short or damaged" if file.read(2) == b"PK" else "not a lamina recording"
            raise ValueError(f"load: {name}: {whole} ({error})") from error
        except ForeignFileError as error:
            raise ValueError(f"load: {name}: {error}") from error
        except KeyError as error:
            raise ValueError(f"load: {name}: damaged: {_part(error)} is missing") from error
        except Exception as error:  # zip, zlib, JSON and NumPy each fail in their own way
            raise ValueError(f"load: {name}: damaged: {error}") from error


class ForeignFileError(Exception):
    """The file is sound but not for this reader."""


def _part(error: KeyError) -> str:
    text = str(error.args[0]) if error.args else "a part"
    return text.split("'")[1] if text.startswith("There is no item named") else f"'{text}'"


def _write(recording: Recording, archive: zipfile.ZipFile) -> None:
    for plan in recording.plans.values():
        archive.writestr(f"plans/{plan.id}.json", json.dumps(plan.raw))
    for column in EVENT_DTYPE.names or ():
        _write_column(archive, f"events/{column}.npy", recording.events[column])
    lists = recording.origin_lists
    flat = [np.asarray(v, np.int64) for v in lists.values()]
    _write_column(archive, "origin_lists/id.npy", np.array(list(lists), np.int64))
    _write_column(archive, "origin_lists/length.npy", np.array([len(v) for v in flat], np.int64))
    joined = np.concatenate(flat) if flat else np.zeros(0, np.int64)
    _write_column(archive, "origin_lists/origin.npy", joined)
    archive.writestr("manifest.json", json.dumps(manifest(recording), indent=1))


def manifest(recording: Recording) -> dict[str, Any]:
    """Everything but plans and columns, as JSON data."""
    r = recording
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": r.title,
        "created": r.created,
        "window": [int(r.window[0]), int(r.window[1])],
        "events": len(r.events),
        "plans": list(r.plans),
        "missing_plans": list(r.missing_plans),
        "dropped": int(r.dropped),
        "machine": asdict(r.machine),
        "memory_start": asdict(r.memory_start),
        "memory_end": asdict(r.memory_end),
        "overhead": asdict(r.overhead),
        "failure": asdict(r.failure) if r.failure else None,
        "laps": [asdict(lap) for lap in r.laps],
        "kernel_launches": [asdict(launch) for launch in r.kernel_launches],
        "compiled": [asdict(function) for function in r.compiled],
        "cells": [asdict(cell) for cell in r.cells],
        "origins": [asdict(origin) for origin in r.origins.values()],
        "schema": [{**asdict(kind), "fields": dict(kind.fields)} for kind in r.schema],
        "reasons": dict(r.reasons),
    }


def _write_column(archive: zipfile.ZipFile, name: str, values: npt.NDArray[Any]) -> None:
    buffer = io.BytesIO()
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    np.lib.format.write_array(buffer, little, version=(1, 0), allow_pickle=False)
    archive.writestr(name, buffer.getvalue())


def _read(archive: zipfile.ZipFile) -> Recording:
    if "manifest.json" not in archive.namelist():
        raise ForeignFileError("not a lamina recording: a zip archive without manifest.json")
    data = json.loads(archive.read("manifest.json"))
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ForeignFileError(
            f"not a lamina recording: manifest.json does not say format {FORMAT!r}"
        )
    version = data.get("version")
    if not isinstance(version, int) or version < 1:
        raise ForeignFileError(f"no such format version: {version!r}")
    if version > VERSION:
        raise ForeignFileError(
            f"format version {version} is newer than this lamina reads ({VERSION})\n"
            "upgrade lamina to open it"
        )
    return _build(archive, data)


def _build(archive: zipfile.ZipFile, data: Mapping[str, Any]) -> Recording:
    plans = {}
    for plan_id in data["plans"]:
        plans[int(plan_id)] = Plan.from_json(json.loads(archive.read(f"plans/{plan_id}.json")))
    machine = dict(data["machine"])
    ceilings = machine.pop("ceilings", None)
    machine["devices"] = tuple(machine.get("devices", ()))
    failure = data["failure"]
    t0, t1 = data["window"]
    origins = [_make(Origin, row) for row in data["origins"]]
    return Recording(
        events=_events(archive, int(data["events"])),
        window=(int(t0), int(t1)),
        plans=plans,
        origins={origin.id: origin for origin in origins},
        origin_lists=_origin_lists(archive),
        schema=tuple(_make(EventKind, row) for row in data["schema"]),
        reasons=dict(data["reasons"]),
        machine=_make(Machine, machine | {"ceilings": ceilings and _make(Ceilings, ceilings)}),
        memory_start=_make(MemoryState, data["memory_start"]),
        memory_end=_make(MemoryState, data["memory_end"]),
        overhead=_make(Overhead, data["overhead"]),
        cells=tuple(_make(SourceCell, row) for row in data["cells"]),
        failure=_make(Failure, failure) if failure else None,
        laps=tuple(_make(Lap, row) for row in data["laps"]),
        kernel_launches=tuple(_make(KernelLaunch, row) for row in data.get("kernel_launches", ())),
        compiled=tuple(_make(CompiledFunction, row) for row in data.get("compiled", ())),
        dropped=int(data["dropped"]),
        missing_plans=tuple(int(i) for i in data["missing_plans"]),
        title=str(data["title"]),
        created=str(data["created"]),
    )


def _make(cls: type[T], row: Mapping[str, Any]) -> T:
    """A dataclass from a JSON object; fields that a later writer added are skipped."""
    known = cls.__dataclass_fields__  # type: ignore[attr-defined]
    return cls(**{name: value for name, value in row.items() if name in known})


def _events(archive: zipfile.ZipFile, count: int) -> npt.NDArray[np.void]:
    events = np.zeros(count, EVENT_DTYPE)
    for column in EVENT_DTYPE.names or ():
        name = f"events/{column}.npy"
        events[column] = _column(archive, name, EVENT_DTYPE[column], count)
    return events


def _origin_lists(archive: zipfile.ZipFile) -> dict[int, Column]:
    int64 = np.dtype("<i8")
    ids = _column(archive, "origin_lists/id.npy", int64)
    lengths = _column(archive, "origin_lists/length.npy", int64, len(ids))
    flat = _column(archive, "origin_lists/origin.npy", int64, int(lengths.sum()))
    parts = np.split(flat, np.cumsum(lengths)[:-1])
    return {int(i): part for i, part in zip(ids, parts, strict=False)}


def _column(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], count: int | None = None
) -> npt.NDArray[Any]:
    stream = io.BytesIO(archive.read(name))
    values = np.lib.format.read_array(stream, allow_pickle=False)
    if values.dtype != dtype or values.ndim != 1:
        raise ValueError(f"{name}: expected a column of {dtype}, got {values.dtype} {values.shape}")
    if count is not None and len(values) != count:
        raise ValueError(f"{name}: expected {count} values, got {len(values)}")
    return values

"""One recording, one file: round trips, and every way a file can be wrong."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builder import columns, recording
from lamina.workbench import Recording
from lamina.workbench.recording import (
    Ceilings,
    Failure,
    Lap,
    Machine,
    MemoryState,
    Overhead,
    SourceCell,
)
from lamina.workbench.recording import (
    Recording as FullRecording,
)


@pytest.fixture
def full() -> FullRecording:
    return recording(
        machine=Machine(
            "avx2",
            2,
            "a processor",
            "Linux",
            "3.11",
            "0.1",
            Ceilings(40, 100, 300),
            ("cpu", "cuda"),
        ),
        overhead=Overhead(20, 30),
        cells=(SourceCell("<cell-1>", "Cell In[1]", "x = 1\n"),),
        failure=Failure("ValueError", "naïve", "Traceback ..."),
        laps=(Lap("warmup", 0, 2000), Lap("timed", 2000, 4000, 10)),
        dropped=3,
        missing_plans=(9,),
        created="2026-01-01T00:00:00Z",
    )


@pytest.fixture
def path(full: FullRecording, tmp_path: Path) -> Path:
    target = tmp_path / "run.lamina"
    full.save(target)
    return target


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def edit_manifest(path: Path, **changes: object) -> None:
    def change(parts: dict[str, bytes]) -> None:
        parts["manifest.json"] = json.dumps(
            {**json.loads(parts["manifest.json"]), **changes}
        ).encode()

    rewrite(path, change)


def npy(values: object, dtype: object, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array(values, dtype), allow_pickle=allow_pickle)
    return buffer.getvalue()


def test_round_trip_is_exact(full: FullRecording, path: Path) -> None:
    again = Recording.load(path)
    assert again.to_json() == full.to_json()
    assert again.summary() == full.summary()
    assert again.events.tobytes() == full.events.tobytes()
    assert again.runs == full.runs
    assert again.machine == full.machine
    assert again.plans[7].raw == full.plans[7].raw


def test_empty_recording_round_trips(tmp_path: Path) -> None:
    empty = FullRecording(columns([]), (0, 1))
    empty.save(tmp_path / "e")
    again = Recording.load(tmp_path / "e")
    assert again.to_json() == empty.to_json()
    assert "nothing was evaluated" in again.summary()


def test_columns_are_little_endian_npy_without_pickle(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                values = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
                assert values.dtype.str[0] == "<"
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["format"] == "lamina-recording"
    assert manifest["version"] == 1


def test_unknown_fields_of_a_later_writer_are_skipped(path: Path) -> None:
    edit_manifest(path, colour="blue", machine={"isa": "neon", "smell": "fresh"})
    assert Recording.load(path).machine.isa == "neon"


def test_events_of_an_unknown_kind_are_kept_and_ignored(tmp_path: Path) -> None:
    odd = recording([(99, 1, 1, 5, 5, 0, 0, 0, 0)])
    odd.save(tmp_path / "o")
    again = Recording.load(tmp_path / "o")
    assert len(again.events) == 1 and again.runs == ()


def test_save_replaces_whole_and_leaves_nothing_beside(full: FullRecording, path: Path) -> None:
    full.save(path)
    assert os.listdir(path.parent) == [path.name]


def test_failed_save_keeps_the_old_file(
    full: FullRecording, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = path.read_bytes()
    monkeypatch.setattr(
        "lamina.workbench.store.manifest", lambda r: (_ for _ in ()).throw(OSError("disk full"))
    )
    with pytest.raises(OSError, match="disk full"):
        full.save(path)
    assert path.read_bytes() == old
    assert os.listdir(path.parent) == [path.name]


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Recording.load(tmp_path / "none")


@pytest.mark.parametrize("part", range(0, 100, 7))
def test_every_truncation_says_so(path: Path, part: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * part // 100])
    with pytest.raises(ValueError, match=r"run\.lamina: (cut short|not a lamina recording)"):
        Recording.load(path)


def test_flipped_bytes_never_pass_unseen_or_crash(full: FullRecording, path: Path) -> None:
    data = path.read_bytes()
    whole = full.to_json()
    for position in range(0, len(data), 97):
        broken = bytearray(data)
        broken[position] ^= 0x5A
        path.write_bytes(bytes(broken))
        try:
            loaded = Recording.load(path)
        except ValueError as error:
            assert "run.lamina" in str(error)
        else:  # a byte that carries nothing, such as a time stamp
            assert loaded.to_json() == whole


def wrong(name: str, data: bytes | None) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        parts.pop(name)
        if data is not None:
            parts[name] = data

    return change


DAMAGE = {
    "no manifest": (wrong("manifest.json", None), "without manifest.json"),
    "manifest is not JSON": (wrong("manifest.json", b"{"), "damaged"),
    "manifest is a list": (wrong("manifest.json", b"[]"), "not a lamina recording"),
    "foreign format": (wrong("manifest.json", b'{"format": "x"}'), "not a lamina recording"),
    "fields missing": (
        wrong("manifest.json", b'{"format": "lamina-recording", "version": 1}'),
        "damaged: 'plans' is missing",
    ),
    "column missing": (wrong("events/t0.npy", None), r"events/t0\.npy is missing"),
    "plan missing": (wrong("plans/7.json", None), r"plans/7\.json is missing"),
    "plan is not JSON": (wrong("plans/7.json", b"nope"), "damaged"),
    "plan without id": (wrong("plans/7.json", b"{}"), "no 'plan' field"),
    "plan node incomplete": (
        wrong("plans/7.json", b'{"plan": 7, "nodes": [{"id": 0}]}'),
        r"nodes\[0\]: no 'op' field",
    ),
    "column too short": (wrong("events/t0.npy", npy([1], "<i8")), "expected 17 values, got 1"),
    "column of another type": (wrong("events/t0.npy", npy([1.5] * 17, "<f8")), "expected a column"),
    "column of two dimensions": (wrong("events/t0.npy", npy([[1]], "<i8")), "expected a column"),
    "column is no npy": (wrong("events/t0.npy", b"abc"), "damaged"),
    "negative lengths": (wrong("origin_lists/length.npy", npy([-4], "<i8")), "damaged"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(path: Path, name: str) -> None:
    change, message = DAMAGE[name]
    rewrite(path, change)
    with pytest.raises(ValueError, match=message) as caught:
        Recording.load(path)
    assert str(caught.value).startswith(f"load: {path}: ")


@pytest.mark.parametrize(
    ("version", "message"),
    [(2, "newer than this lamina reads"), (0, "no such format version"), ("1", "no such")],
)
def test_other_versions(path: Path, version: object, message: str) -> None:
    edit_manifest(path, version=version)
    with pytest.raises(ValueError, match=message):
        Recording.load(path)


class Explosive:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.abort, ())


def test_pickles_are_never_loaded(path: Path, tmp_path: Path) -> None:
    array = np.empty(17, object)
    array[:] = [Explosive()] * 17
    rewrite(path, wrong("events/t0.npy", npy(array, object, allow_pickle=True)))
    with pytest.raises(ValueError, match="damaged"):
        Recording.load(path)
    path.write_bytes(pickle.dumps(Explosive()))
    with pytest.raises(ValueError, match="not a lamina recording"):
        Recording.load(path)


def test_recording_cannot_be_changed(full: FullRecording) -> None:
    with pytest.raises(ValueError, match="read-only"):
        full.events["t0"][0] = 1
    with pytest.raises(AttributeError):
        full.title = "other"  # type: ignore[misc]


def test_memory_counters_are_kept(path: Path) -> None:
    assert Recording.load(path).memory_start == MemoryState(10_000, 10_000, 0, 1_000_000)


def test_analysis_needs_no_engine(path: Path) -> None:
    """Opening and explaining a recording works where the compiled core cannot be imported."""
    import subprocess
    import sys

    script = f"""
import importlib, sys
for name in ("lamina._core", "IPython", "lamina.core"):
    sys.modules[name] = None
import importlib.util, types
package = importlib.util.find_spec("lamina")
module = types.ModuleType("lamina")
module.__path__ = list(package.submodule_search_locations)
sys.modules["lamina"] = module
from lamina.workbench import Recording
print(Recording.load({str(path)!r}).summary())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "1 evaluations, 2 launches" in done.stdout

"""Random programs of all families: a share of tests/tools/fuzz.py, and that script itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import fuzz
import numpy as np
import pytest
from graphs import Generator, Line, Program, Value

SCRIPT = Path(fuzz.__file__)
SANITIZED = "LAMINA_SANITIZED" in os.environ


@pytest.mark.parametrize("block", range(8))
def test_programs_agree(block: int) -> None:
    count = 5 if SANITIZED else 40
    for seed in range(block * count, (block + 1) * count):
        text, source = fuzz.examine(seed, 10, 60)
        assert not text, f"seed {seed}: {text}\n{source}"


def test_long_programs_agree() -> None:
    for seed in range(100_000, 100_004 if SANITIZED else 100_016):
        text, source = fuzz.examine(seed, 150, 200)
        assert not text, f"seed {seed}: {text}\n{source}"


FAMILIES = (
    "reshape transpose broadcast_to [:: where sum( logsumexp cummax concatenate pad( roll take("
    " take_along_axis .at[ sort softmax matmul einsum @ // astype"
)


def test_every_family_is_drawn() -> None:
    names: Counter[str] = Counter()
    for seed in range(60):
        for line in Generator(seed).program.lines:
            names.update(word for word in FAMILIES.split() if word in line.text)
    assert names.keys() == set(FAMILIES.split())
    assert min(names.values()) > 3


def test_a_mismatch_is_cut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that takes sines for cosines is found, and the program is one line."""
    program = Program(
        [np.ones((2, 3), np.float32), np.arange(3, dtype=np.int32)],
        [
            Line("mx.tanh({0})", [0], Value((2, 3), "f")),
            Line("{0} * 3 + 1", [1], Value((3,), "i")),
            Line("mx.sin({0})", [2], Value((2, 3), "f")),
            Line("{0} * 0.5 + 1", [4], Value((2, 3), "f")),
        ],
        [5, 3],
    )
    check = lambda p: fuzz.compare(fuzz.variants(p))
    assert check(program) == ""
    monkeypatch.setattr(fuzz.mx, "sin", fuzz.mx.cos)
    assert "lamina, output 0: 6 of 6" in check(program)
    short = fuzz.smallest(program, check)
    assert [line.text for line in short.lines] == ["mx.sin({0})", "{0} * 0.5 + 1"]
    assert len(short.leaves) == 1
    assert "v1 = mx.sin(v0)" in short.source()


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    command = [sys.executable, str(SCRIPT), "--first", "7", "--most", "20", "--state", str(state)]
    for count in (2, 5):
        done = subprocess.run([*command, "--count", str(count)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(state.read_text()) == {"next": 7 + count, "mismatches": {}}
    assert "3 graphs" in done.stdout

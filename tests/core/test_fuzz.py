"""Random programs of all families: a share of tests/tools/fuzz.py, and that script itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import fuzz
import numpy as np
import oracles
import pytest
from graphs import Generator, Line, Program, Value
from scipy import special

SCRIPT = Path(fuzz.__file__)
AGREED = ("", fuzz.FLOAT32)
SANITIZED = "LAMINA_SANITIZED" in os.environ


@pytest.mark.parametrize("block", range(8))
def test_programs_agree(block: int) -> None:
    count = 5 if SANITIZED else 400
    for seed in range(block * count, (block + 1) * count):
        text, source = fuzz.examine(seed, 10, 60)
        assert text in AGREED, f"seed {seed}: {text}\n{source}"


def test_long_programs_agree() -> None:
    for seed in range(100_000, 100_004 if SANITIZED else 100_016):
        text, source = fuzz.examine(seed, 150, 200)
        assert text in AGREED, f"seed {seed}: {text}\n{source}"


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
    check = values
    assert check(program) == ""
    monkeypatch.setattr(fuzz.mx, "sin", fuzz.mx.cos)
    assert "lamina, output 0: 6 of 6" in check(program)
    short = fuzz.smallest(program, check)
    assert [line.text for line in short.lines] == ["mx.sin({0})", "{0} * 0.5 + 1"]
    assert len(short.leaves) == 1
    assert "v1 = mx.sin(v0)" in short.source()


def values(p: Program, cores: fuzz.Cores = fuzz.SINGLE) -> str:
    return fuzz.compare(fuzz.variants(p, None, cores))


def steep() -> Program:
    """Of whose last line float32 has few digits: a sine of thousands, a slope of tanh near one."""
    return Program(
        [np.array([3.1, 4.3], np.float32)],
        [
            Line("mx.square({0}) * 700 + mx.sin({0})", [0], Value((2,), "f")),
            Line("mx.sin({0})", [1], Value((2,), "f")),
            Line("mx.sin({0} * 3)", [2], Value((2,), "f")),
        ],
        [3],
    )


def test_float32_explains_what_it_explains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off by as much as last bits make of it; not by more, and not in float64 too."""
    program, sin = steep(), fuzz.mx.sin
    monkeypatch.setattr(fuzz, "ABSOLUTE", 1e-6)
    monkeypatch.setattr(fuzz, "RELATIVE", 1e-6)
    off = lambda by: lambda x: sin(x) + (by if x.dtype == fuzz.mx.float32 else 0)
    monkeypatch.setattr(fuzz.mx, "sin", off(0.0005))
    assert values(program)
    assert fuzz.of_float32(values, program)
    monkeypatch.setattr(fuzz.mx, "sin", off(0.125))
    assert not fuzz.of_float32(values, program)
    monkeypatch.setattr(fuzz.mx, "sin", fuzz.mx.cos)
    assert not fuzz.of_float32(values, program)


def test_a_slope_near_nothing_is_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(
        [np.linspace(5, 7, 9).astype(np.float32)],
        [
            Line("mx.tanh({0})", [0], Value((9,), "f")),
            Line("{0} * 1000", [1], Value((9,), "f")),
        ],
        [2],
    )
    monkeypatch.setattr(fuzz, "RELATIVE", 1e-7)
    monkeypatch.setattr(fuzz, "ABSOLUTE", 1e-7)
    assert fuzz.by_grad(program) == "" or fuzz.of_float32(fuzz.by_grad, program)


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    command = [sys.executable, str(SCRIPT), "--first", "7", "--most", "20", "--state", str(state)]
    for count in (2, 5):
        done = subprocess.run([*command, "--count", str(count)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        kept = {"next": 7 + count, "mismatches": {}, "float32": [], "without MLX": {}}
        assert json.loads(state.read_text()) == kept
    assert "3 graphs" in done.stdout


def hopeless(pipe, least: int, most: int) -> None:
    """A worker for which MLX hangs on seed 3 and dies on seed 5, and lamina dies on seed 5."""
    while True:
        first, end, alone = pipe.recv()
        for seed in range(first, end):
            if seed == 5:
                os._exit(1)
            if seed == 3 and not alone:
                time.sleep(1000)
            pipe.send((seed, "", ""))


def test_a_seed_without_an_answer_is_tried_without_mlx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "work", hopeless)
    monkeypatch.setattr(fuzz, "PATIENCE", 15.0)
    state = {"next": 0, "mismatches": {}, "float32": [], "without MLX": {}}
    done = list(fuzz.Campaign(state, 8, 2, (10, 20)).run())
    assert done[-1] == state["next"] == 8
    assert state["without MLX"] == {"3": "no answer in 15 s", "5": "its process died"}
    assert list(state["mismatches"]) == ["5"]
    assert state["mismatches"]["5"][0] == "without MLX: its process died"


def test_what_mlx_computes_in_float32_is_exact_in_the_check_in_float64() -> None:
    """Its float64 has the digits of float32 there, which once looked like a fault of lamina's."""
    core = oracles.DOUBLE.other
    narrow = np.random.default_rng(0).uniform(-2, 2, (2, 3, 40)).astype(np.float32)
    a, b = narrow.astype(np.float64)
    sigmoid = special.expit
    slopes = {
        "exp": (np.exp, np.exp(a)),
        "sin": (np.sin, np.cos(a)),
        "cos": (np.cos, -np.sin(a)),
        "erf": (special.erf, 2 / np.sqrt(np.pi) * np.exp(-(a**2))),
        "sigmoid": (sigmoid, sigmoid(a) * (1 - sigmoid(a))),
    }
    for name, (f, slope) in slopes.items():
        value, grad = core.value_and_grad(lambda x, f=name: core.sum(getattr(core, f)(x)))(
            core.array(narrow[0])
        )
        np.testing.assert_allclose(value, f(a).sum(), rtol=1e-13, err_msg=name)
        np.testing.assert_allclose(grad, slope, rtol=1e-12, atol=1e-13, err_msg=name)
    wide = [core.array(x) for x in narrow]
    ones = [core.array(np.ones((3, 40), np.float32))]
    both = core.vjp(lambda x, y: [core.logaddexp(x, y)], wide, ones)
    np.testing.assert_allclose(both[0][0], np.logaddexp(a, b), rtol=1e-13)
    np.testing.assert_allclose(both[1][0], sigmoid(a - b), rtol=1e-12)
    np.testing.assert_allclose(both[1][1], sigmoid(b - a), rtol=1e-12)
    for keep in (True, False):
        got = core.logsumexp(wide[0], axis=1, keepdims=keep)
        np.testing.assert_allclose(got, special.logsumexp(a, 1, keepdims=keep), rtol=1e-13)
    np.testing.assert_allclose(core.softmax(wide[0], axis=0), special.softmax(a, 0), rtol=1e-13)


def test_gradients_of_thousands_of_millions_are_put_down_to_float32() -> None:
    """One percent off in float32, as MLX is, and equal to eleven digits in float64."""
    assert fuzz.examine(219_320, 10, 200) == (fuzz.FLOAT32, "")


def test_terms_that_cancel_are_put_down_to_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and reverse add 1e18 in other orders; a wrong rule is wrong in float64, too."""
    assert fuzz.examine(614_321, 10, 200) == (fuzz.FLOAT32, "")
    program = Program(
        [np.ones((2, 3), np.float32)], [Line("mx.sin({0})", [0], Value((2, 3), "f"))], [1]
    )
    assert fuzz.by_jvp(program) == ""
    jvp = fuzz.mx.jvp
    off = lambda f, xs, ts: (None, [2 * jvp(f, xs, ts)[1][0]])
    monkeypatch.setattr(fuzz.mx, "jvp", off)
    assert fuzz.by_jvp(program)
    assert not fuzz.of_float32(fuzz.by_jvp, program)

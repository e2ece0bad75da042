"""No wrong argument may kill or hang the process: each gets an answer that was meant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lamina.core as mx
import pytest

TOOL = Path(__file__).parents[1] / "tools" / "misuse.py"


@pytest.mark.parametrize("seed", range(3))
def test_random_arguments(seed, tmp_path):
    log = tmp_path / "call"
    command = [sys.executable, str(TOOL), "--seed", str(seed), "--calls", "2500"]
    run = subprocess.run([*command, "--log", str(log)], capture_output=True, text=True)
    assert run.returncode == 0, f"at {log.read_text()}\n{run.stdout}\n{run.stderr[-2000:]}"


ONE = mx.array([1.0])
WRONG = {
    "inner: a must be an array, got 1 (int)": lambda: mx.inner(1, 2),
    "conv2d: weight must be an array, got 3 (int)": lambda: mx.conv2d(mx.zeros((1, 2, 2, 1)), 3),
    "pad: pad_width must be an int or a list of values, got 'x' (str)": lambda: mx.pad(ONE, "x"),
    "einsum: subscripts must be a str, got 3 (int)": lambda: mx.einsum(3),
    "normal: shape must be a list of ints, got 'a' (str)": lambda: mx.random.normal("a"),
    "norm: a must be an array, got 3 (int)": lambda: mx.linalg.norm(3),
    "roll: shift must be an int or a list of ints, got 1.5 (float)": lambda: mx.roll(ONE, 1.5),
    "matrix_transpose: a must be an array, got 2 (int)": lambda: mx.matrix_transpose(2),
    "from_dlpack: x must have __dlpack__, got 3 (int)": lambda: mx.from_dlpack(3),
    "axes and sizes are ints, got 1.5": lambda: ONE.mean(1.5),
    "axes and sizes are ints, got 'a'": lambda: mx.zeros((2, "a")),
    "rms_norm: weight must be an array or None, got 2": lambda: mx.fast.rms_norm(ONE, 2, 0),
    "sum: a must be an array, got [1, 2] (list)\nmx.array makes one": lambda: mx.sum([1, 2]),
    "item: too many positional arguments; it takes ()": lambda: ONE.item(3),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_kind(message):
    with pytest.raises(TypeError) as caught:
        WRONG[message]()
    assert str(caught.value) == message


def test_too_large_numbers():
    with pytest.raises(ValueError, match=r"axes and sizes have 64 bits, got 1000"):
        mx.mean(ONE, 10**30)
    with pytest.raises(ValueError, match="decimals must lie between -308 and 308, got 400"):
        mx.round(ONE, 400)


def test_error_of_the_users_own_is_kept():
    class Broken:
        def __index__(self):
            raise ZeroDivisionError("mine")

    with pytest.raises(TypeError, match="axes and sizes are ints"):
        mx.sum(ONE, Broken())


def callables():
    """Every function and class of the interface and every method of array, by name."""
    for space in (mx, mx.linalg, mx.fft, mx.fast, mx.random, mx.metal, mx.cuda):
        for name in dir(space):
            # These take anything, or change the process.
            if name[0] != "_" and name not in ("disable_compile", "start_capture"):
                yield f"{space.__name__}.{name}", getattr(space, name)
    for name in dir(mx.array):
        if name != "__class__":
            yield f"array.{name}", getattr(mx.array, name)


def test_refusals_are_our_own(tmp_path, monkeypatch):
    """No wrong argument is answered by the binding library's list of signatures."""
    monkeypatch.chdir(tmp_path)
    told = 0
    a = mx.ones(3)
    lists = [(), ("x",), (object(),), (object(), object()), (a, object()), (a, "x", "y")]
    lists += [(a,) * k + (object(),) for k in (2, 3, 4)]
    for name, function in callables():
        for args in lists if callable(function) else ():
            try:
                function(*args)
            except Exception as error:
                told += 1
                assert "incompatible" not in str(error), f"{name}{args}: {error}"
    assert told > 2000

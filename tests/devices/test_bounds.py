"""Indices out of bounds on devices that compile text: nothing is touched, and with
`lamina.debug(bounds=True)` the evaluation raises what the CPU raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import lamina
import lamina.core as mx
import numpy as np
import pytest
from lamina import _core
from present import PRESENT

TEXT = [name for name in PRESENT if name != "apart"]


@pytest.fixture(params=TEXT)
def on_text(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("LAMINA_GPU", request.param)
    with mx.stream(mx.gpu):
        yield request.param


def x() -> mx.array:
    return mx.array(np.arange(12, dtype="f4").reshape(3, 4))


def i(*values: int, dtype: mx.Dtype = mx.int32) -> mx.array:
    return mx.array(list(values), dtype=dtype)


def added(index: object) -> mx.array:
    return x().at[index].add(1.0)


def put(index: mx.array, axis: int) -> mx.array:
    return mx.put_along_axis(x(), index, mx.array(9.0), axis)


# A program, what it raises, and what it gives where nobody looks.
PROGRAMS: dict[str, tuple[Callable[[], mx.array], str, Callable[[], np.ndarray]]] = {
    "take": (
        lambda: mx.take(x(), i(0, 7, 2), axis=0),
        "take: index 7 is out of bounds for axis 0 with size 3",
        lambda: np.array([[0, 1, 2, 3], [0, 0, 0, 0], [8, 9, 10, 11]], "f4"),
    ),
    "take from the end": (
        lambda: mx.take(x(), i(0, -5), axis=1),
        "take: index -5 is out of bounds for axis 1 with size 4",
        lambda: np.array([[0, 0], [4, 0], [8, 0]], "f4"),
    ),
    "two indices": (
        lambda: x()[i(0, 1), i(3, 4)],
        "take: index 4 is out of bounds for axis 1 with size 4",
        lambda: np.array([3, 0], "f4"),
    ),
    "unsigned": (
        lambda: mx.take(x(), i(2**64 - 1, 1, dtype=mx.uint64), axis=0),
        "take: index 18446744073709551615 is out of bounds for axis 0 with size 3",
        lambda: np.array([[0, 0, 0, 0], [4, 5, 6, 7]], "f4"),
    ),
    "wide": (
        lambda: mx.take(x(), i(-(2**40), 1, dtype=mx.int64), axis=0),
        "take: index -1099511627776 is out of bounds for axis 0 with size 3",
        lambda: np.array([[0, 0, 0, 0], [4, 5, 6, 7]], "f4"),
    ),
    "a slice without elements": (
        lambda: x()[:, :0, None][i(0, 3)],
        "take: index 3 is out of bounds for axis 0 with size 3",
        lambda: np.zeros((2, 0, 1), "f4"),
    ),
    "along an axis": (
        lambda: mx.take_along_axis(x(), mx.array([[1], [4], [-4]]), axis=1),
        "take_along_axis: index 4 is out of bounds for axis 1 with size 4",
        lambda: np.array([[1], [0], [8]], "f4"),
    ),
    "scatter": (
        lambda: added(i(0, 3, 0)),
        "scatter: index 3 is out of bounds for axis 0 with size 3",
        lambda: np.arange(12, dtype="f4").reshape(3, 4) + np.array([[2], [0], [0]], "f4"),
    ),
    "put along an axis": (
        lambda: put(mx.array([[0], [-9], [3]]), 1),
        "put_along_axis: index -9 is out of bounds for axis 1 with size 4",
        lambda: np.array([[9, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 9]], "f4"),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_on_request_it_is_an_error(name: str, on_text: str) -> None:
    program, message, quiet = PROGRAMS[name]
    np.testing.assert_array_equal(np.array(program()), quiet())
    with lamina.debug(bounds=True):
        y = program()
        with pytest.raises(mx.BoundsError) as raised:
            mx.eval(y + 1)
        assert str(raised.value) == message
        with pytest.raises(mx.BoundsError, match="out of bounds"):
            np.array(y)
    np.testing.assert_array_equal(np.array(program()), quiet())
    with mx.stream(mx.cpu), pytest.raises(mx.BoundsError) as raised:
        mx.eval(program())
    assert str(raised.value) == message


def test_the_first_of_many_stays(on_text: str) -> None:
    """Thousands of threads meet an index out of bounds; one whole index is told."""
    bad = np.arange(5000, 9000, dtype=np.int64) + (1 << 35)
    with lamina.debug(bounds=True), pytest.raises(mx.BoundsError) as raised:
        mx.eval(mx.take(mx.zeros(100), mx.array(bad)))
    assert int(str(raised.value).split()[2]) in set(bad.tolist())


def test_what_is_inside_gives_the_same(on_text: str) -> None:
    rng = np.random.default_rng(3)
    table, at = rng.standard_normal((50, 6)).astype("f4"), rng.integers(-50, 50, (7, 9))
    with lamina.debug(bounds=True):
        for _ in range(3):  # from the second run on, plans are graphs on some devices
            got = mx.take(mx.array(table), mx.array(at), axis=0) * 2
            np.testing.assert_array_equal(np.array(got), table[at] * 2)
            done = mx.zeros((50,)).at[mx.array(at)].add(1.0)
            want = np.zeros(50, "f4")
            np.add.at(want, at, 1)
            np.testing.assert_array_equal(np.array(done), want)
            kept = mx.array(table)
            kept[mx.array([3, -1])] = 0
            want = table.copy()
            want[[3, -1]] = 0
            np.testing.assert_array_equal(np.array(kept), want)


def test_the_rest_of_the_program_goes_on(on_text: str) -> None:
    with lamina.debug(bounds=True):
        good = x() * 2
        bad = mx.take(x(), i(9), axis=0)
        with pytest.raises(mx.BoundsError):
            mx.eval(bad)
        np.testing.assert_array_equal(np.array(good), np.arange(12).reshape(3, 4) * 2)


def test_the_switch() -> None:
    assert _core._check_bounds() is False
    with lamina.debug(bounds=True):
        assert _core._check_bounds() is True
        with lamina.debug():
            assert _core._check_bounds() is True
        with lamina.debug(bounds=False):
            assert _core._check_bounds() is False
        assert _core._check_bounds() is True
    assert _core._check_bounds() is False
    assert repr(lamina.debug(bounds=True)) == "lamina.debug(bounds=True)"
    lamina.debug(bounds=False)
    with pytest.raises(TypeError, match="bounds must be True, False or None, got 1"):
        lamina.debug(bounds=1)

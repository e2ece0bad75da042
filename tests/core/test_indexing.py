"""Index expressions against NumPy: reading, assigning, and x.at[...]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lamina
import lamina.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module", autouse=True)
def bounds() -> Iterator[None]:
    """Devices that do not look at indices are asked to."""
    with lamina.debug(bounds=True):
        yield


def ours(index: Any) -> Any:
    """The index with some NumPy arrays turned into arrays."""
    if isinstance(index, tuple):
        return tuple(ours(i) for i in index)
    return mx.array(index) if isinstance(index, np.ndarray) else index


@st.composite
def integer_array(draw: Any, size: int, shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape))
    kind = draw(st.sampled_from([np.int32, np.int64, np.uint8, np.int8]))
    low = 0 if kind == np.uint8 else -size
    values = draw(st.lists(st.integers(low, size - 1), min_size=count, max_size=count))
    return np.array(values, dtype=kind).reshape(shape)


@st.composite
def slices(draw: Any, size: int) -> slice:
    end = st.none() | st.integers(-size - 2, size + 2)
    step = draw(st.none() | st.integers(-3, 3).filter(bool))
    return slice(draw(end), draw(end), step)


@st.composite
def cases(draw: Any, distinct: bool = False) -> tuple[np.ndarray, Any]:
    """An array and an index that NumPy accepts."""
    shape = tuple(draw(st.lists(st.integers(1, 4), max_size=4)))
    x = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
    points = draw(st.sampled_from([(), (1,), (3,), (2, 3), (2, 1), (0,)]))
    items: list[Any] = []
    axis = 0
    while axis < len(shape) and draw(st.integers(0, 5)):
        size = shape[axis]
        kind = draw(st.sampled_from(["int", "slice", "array", "list", "mask", "none"]))
        if kind == "none":
            items.append(None)
            continue
        if kind == "int":
            items.append(draw(st.integers(-size, size - 1)))
        elif kind == "slice":
            items.append(draw(slices(size)))
        elif kind == "mask":
            rank = draw(st.integers(1, len(shape) - axis))
            part = shape[axis : axis + rank]
            count = int(np.prod(part))
            flags = draw(st.lists(st.booleans(), min_size=count, max_size=count))
            items.append(np.array(flags).reshape(part))
            axis += rank - 1
        else:
            a = draw(integer_array(size, points))
            items.append(a.tolist() if kind == "list" and a.ndim == 1 and a.size else a)
        axis += 1
    if draw(st.booleans()):
        items.insert(draw(st.integers(0, len(items))), Ellipsis)
    index = tuple(items)
    if len(index) == 1 and draw(st.booleans()):
        index = index[0]
    return x, index


@pytest.mark.parametrize("index", [np.s_[::-1], np.s_[:, ::-1], np.s_[::-1, ::-1], np.s_[:], ...])
def test_joining_all_of_what_is_not_computed_yet(index: Any) -> None:
    """The copy that the joined elements go into is made of the array that they are read from."""
    a = np.exp(np.arange(12, dtype=np.float32).reshape(3, 4) / 12)
    for scale in (1.0, 2.0):
        x = mx.exp(mx.arange(12.0).reshape(3, 4) / 12) * scale
        want = a * scale
        want[index] += np.flip(want, 0)[index]
        np.testing.assert_allclose(np.array(x.at[index].add(x[::-1][index])), want, rtol=1e-6)


@pytest.mark.parametrize("make", [mx.exp, lambda x: mx.sum(x, axis=0, keepdims=True), mx.cumsum])
def test_joining_nothing_to_one_element(make: Any) -> None:
    """What is read as a whole elsewhere is not computed in the kernel of the empty part."""
    x = make(mx.array([2.0]))
    want = np.array(make(mx.array([2.0])))
    y = x.at[1:1].add(mx.zeros((0,)))
    z = x[1:2] + 1
    mx.eval([mx.full((k,), 7.0) + 0 for k in (1, 2, 4, 16)])
    mx.eval(y * 2, z)
    np.testing.assert_allclose(np.array(y * 2), 2 * want)
    assert z.shape == (0,)


def valid(x: np.ndarray, index: Any) -> bool:
    try:
        x[index]
    except IndexError:
        return False
    return True


@given(cases())
def test_reads_as_numpy(case: Any) -> None:
    x, index = case
    a = mx.array(x)
    if not valid(x, index):
        with pytest.raises((IndexError, ValueError)):
            mx.eval(a[ours(index)])
        return
    expected = x[index]
    for form in (ours(index), index):
        got = a[form]
        assert tuple(got.shape) == expected.shape
        np.testing.assert_array_equal(np.array(got), expected)


@given(cases(), st.sampled_from(["scalar", "full", "row", "ones"]))
def test_assigns_as_numpy(case: Any, form: str) -> None:
    x, index = case
    if not valid(x, index):
        return
    target = np.shape(x[index])
    value: Any = np.arange(1, 1 + int(np.prod(target)), dtype=np.float32).reshape(target) * -1
    if form == "scalar":
        value = -5.0
    elif form == "row" and value.ndim and value.size:
        value = value[(0,) * (value.ndim - 1)]
    elif form == "ones":
        value = value.reshape((1, 1, *target))
    expected = x.copy()
    expected[index] = value.reshape(target) if form == "ones" else value
    a = mx.array(x)
    before = a + 0
    a[ours(index)] = mx.array(value) if form != "scalar" else value
    np.testing.assert_array_equal(np.array(a), expected)
    np.testing.assert_array_equal(np.array(before), x)


UFUNCS = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


@given(cases(), st.sampled_from(sorted(UFUNCS)), st.booleans())
def test_joins_as_numpy(case: Any, op: str, scalar: bool) -> None:
    x, index = case
    if not valid(x, index):
        return
    target = np.shape(x[index])
    value: Any = 2.0 if scalar else np.full(target, 4.0, dtype=np.float32)
    expected = x.copy()
    UFUNCS[op].at(expected, index, value)
    at = mx.array(x).at[ours(index)]
    got = getattr(at, op)(value if scalar else mx.array(value))
    np.testing.assert_allclose(np.array(got), expected, rtol=1e-6)


def test_slices_are_views() -> None:
    x = mx.arange(12).reshape(3, 4)
    assert x[1:, ::-1].tolist() == [[7, 6, 5, 4], [11, 10, 9, 8]]
    assert x[-1, -1].item() == 11
    assert x[...].shape == x.shape == x[()].shape
    assert mx.array(3)[None].shape == (1,)
    assert mx.array(3)[...].item() == 3
    assert x[True].shape == (1, 3, 4)
    assert x[False].shape == (0, 3, 4)
    assert x[np.int64(1), np.array(2)].item() == 6
    assert x[mx.array(1) : mx.array(3)].shape == (2, 4)


def test_masks() -> None:
    x = mx.arange(6).reshape(2, 3)
    assert x[x > 2].tolist() == [3, 4, 5]
    assert x[[True, False]].tolist() == [[0, 1, 2]]
    x[x > 2] = 0
    assert x.tolist() == [[0, 1, 2], [0, 0, 0]]
    x[[False, True]] = mx.array([7, 8, 9])
    assert x.tolist() == [[0, 1, 2], [7, 8, 9]]
    x[x == 7] = mx.array([1])
    assert x.tolist() == [[0, 1, 2], [1, 8, 9]]


def test_assigned_values_take_the_dtype() -> None:
    x = mx.zeros((2, 2), dtype=mx.int32)
    x[0] = 1.7
    x[1] = mx.array([2.5, 3.5])
    assert x.tolist() == [[1, 1], [2, 3]]
    assert x.at[0].add(1.5).tolist() == [[2, 2], [2, 3]]


def test_repeated_indices_accumulate() -> None:
    x = mx.zeros((3,))
    assert x.at[mx.array([0, 0, 2])].add(1).tolist() == [2, 0, 1]
    assert (x + 8).at[mx.array([0, 0])].divide(2).tolist() == [2, 8, 8]


def test_gradients_reach_source_and_value() -> None:
    x = mx.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    index = mx.array([1, 0, 1])
    by_slice = mx.grad(lambda a: (a[:, ::2] * a[0, 1]).sum())(x)
    np.testing.assert_array_equal(np.array(by_slice), [[2, 14, 2], [2, 0, 2]])
    by_array = mx.grad(lambda a: a[index].sum())(x)
    np.testing.assert_array_equal(np.array(by_array), [[1, 1, 1], [2, 2, 2]])

    def assigned(a: mx.array, v: mx.array) -> mx.array:
        b = a * 2
        b[0, 1:] = v
        return (b * b).sum()

    source, value = mx.grad(assigned, argnums=(0, 1))(x, mx.array([1.0, 2.0]))
    np.testing.assert_array_equal(np.array(source), [[8, 0, 0], [32, 40, 48]])
    np.testing.assert_array_equal(np.array(value), [2, 4])


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (10, "index 10 is out of bounds for axis 0 with size 3"),
        ((0, -5), "index -5 is out of bounds for axis 1 with size 4"),
        ((0, 0, 0), "too many indices: 3 for an array with shape"),
        ((..., ...), "ellipsis"),
        ("a", "cannot index with str"),
        (1.0, "cannot index with float"),
        ([0.5], "must hold integers or booleans"),
        (([0, 1], [0, 1, 2]), "do not broadcast"),
        ([True, False], "mask"),
    ],
)
def test_errors(index: Any, message: str) -> None:
    x = mx.zeros((3, 4))
    with pytest.raises(IndexError, match=message):
        mx.eval(x[index])


def test_computed_indices_are_checked_on_the_cpu() -> None:
    """What devices with kernel text do instead is in tests/devices/test_soft_metal_device.py."""
    with mx.stream(mx.cpu):
        y = mx.zeros((3, 4))[[7]]
        with pytest.raises(IndexError, match="index 7 is out of bounds for axis 0 with size 3"):
            mx.eval(y)


def test_values_must_fit() -> None:
    x = mx.zeros((3, 4))
    for index in (0, mx.array([0, 1])):
        with pytest.raises(ValueError, match=r"\(3,\) does not broadcast"):
            x[index] = mx.zeros((3,))
    with pytest.raises(ValueError, match="step"):
        x[::0]

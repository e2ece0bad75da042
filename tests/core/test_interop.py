"""NumPy, DLPack, buffers, pickles, copies and what an array shows of itself."""

from __future__ import annotations

import copy
import gc
import pickle
from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest
from arrays import DTYPES, FLOATS, INTEGERS, check, name_of, sample, to_numpy
from lamina import _core

NUMPY = ["bool_", *INTEGERS, "float16", "float32", "complex64"]


def numpy_name(d: str) -> str:
    return "bool" if d == "bool_" else d


def address(a: Any) -> int:
    return np.asarray(a).__array_interface__["data"][0]


# --- in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", NUMPY)
def test_from_numpy(dtype: str) -> None:
    a = to_numpy(sample(dtype, (3, 4), 1))
    for b in (
        a,
        a[::2],
        a.T,
        a[:, ::-1],
        a[:0],
        a[1, 2],
        np.asfortranarray(a),
        a.byteswap().view(a.dtype.newbyteorder()),
    ):
        x = mx.array(b)
        assert name_of(x) == dtype
        assert x.shape == b.shape
        np.testing.assert_array_equal(np.array(x), b)


def test_numpy_dtypes_follow_mlx() -> None:
    for d in (
        "bool",
        "int8",
        "uint16",
        "int64",
        "uint64",
        "float16",
        "float32",
        "float64",
        "complex64",
        "complex128",
    ):
        a = np.ones((2,), d)
        assert name_of(mx.array(a)) == name_of(omx.array(a)), d
    assert mx.array(np.float64(1.5)).dtype == mx.float32
    assert mx.array(np.zeros(2), dtype=mx.float64).dtype == mx.float64


def test_python_values_follow_mlx() -> None:
    for value in (
        1,
        1.5,
        True,
        1j,
        [1, 2],
        [1, 2.5],
        [True, 1],
        [True, 2.5],
        [[1], [2]],
        [],
        [[]],
        [1, 2j],
        (1, 2),
        [(1, 2), (3, 4)],
        2**31 - 1,
        2**31,
        -(2**31) - 1,
        [2**40],
        [1.5, True],
    ):
        ours, theirs = mx.array(value), omx.array(value)
        assert name_of(ours) == name_of(theirs), value
        assert ours.shape == theirs.shape, value
        assert ours.tolist() == theirs.tolist(), value


def test_nested_arrays() -> None:
    x = mx.array([mx.array([1, 2]), mx.array([3, 4])])
    assert x.tolist() == [[1, 2], [3, 4]]
    assert mx.array([[mx.array(1), mx.array(2.5)], [np.float32(3), 4.0]]).tolist() == [
        [1, 2.5],
        [3, 4],
    ]
    assert mx.array([np.arange(2), np.arange(2)]).shape == (2, 2)


def test_array_is_a_copy() -> None:
    a = np.arange(100, dtype=np.float32)
    x = mx.array(a)
    a[:] = -1
    check(x, np.arange(100))


def test_asarray_is_not() -> None:
    a = np.arange(1000, dtype=np.float32)
    x = mx.asarray(a)
    assert address(x) == address(a)
    a[3] = 50
    assert x[3].item() == 50
    assert mx.asarray(a, copy=True)[3].item() == 50
    assert address(mx.asarray(a, copy=True)) != address(a)
    with pytest.raises(ValueError, match="without a copy"):
        mx.asarray([1, 2], copy=False)
    assert mx.asarray(x) is x
    del a
    gc.collect()
    assert x[999].item() == 999


def test_adopted_memory_outlives_its_owner() -> None:
    xs = []
    for i in range(20):
        a = np.full(5000, i, np.float32)
        xs.append(mx.asarray(a)[::2])
        del a
    gc.collect()
    for i, x in enumerate(xs):
        assert x[0].item() == i
        assert x[-1].item() == i


def test_read_only_numpy() -> None:
    a = np.arange(10)
    a.flags.writeable = False
    check(mx.asarray(a), np.arange(10))
    check(mx.array(np.broadcast_to(np.arange(3), (4, 3))), np.broadcast_to(np.arange(3), (4, 3)))


def test_dlpack_in() -> None:
    for a in (
        np.arange(12.0, dtype=np.float32).reshape(3, 4),
        np.arange(12).reshape(3, 4)[::2, ::-1],
        np.full((), 3, np.float32),
    ):
        x = mx.from_dlpack(a)
        np.testing.assert_array_equal(np.array(x), a)
    a = np.arange(1000, dtype=np.int32)
    assert address(mx.from_dlpack(a)) == address(a)
    assert address(mx.from_dlpack(a, copy=True)) != address(a)


def test_dlpack_with_mlx() -> None:
    o = omx.arange(10).astype(omx.float32)
    omx.eval(o)
    check(mx.from_dlpack(o), np.arange(10.0))
    half = omx.array([1.5, -2.0], omx.bfloat16)
    x = mx.from_dlpack(half)
    assert x.dtype == mx.bfloat16
    assert x.tolist() == [1.5, -2]


def test_other_producers() -> None:
    assert mx.array(memoryview(np.arange(3, dtype=np.int16))).tolist() == [0, 1, 2]
    assert mx.array(omx.array([1.5, 2.5])).tolist() == [1.5, 2.5]

    class Wrapped:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return np.arange(3.0)

    assert mx.array(Wrapped()).tolist() == [0, 1, 2]


# --- out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*NUMPY, "float64"])
def test_to_numpy(dtype: str) -> None:
    x = sample(dtype, (3, 4), 1)
    a = np.array(x)
    assert a.dtype == numpy_name(dtype)
    assert a.flags.writeable
    np.testing.assert_array_equal(a, np.array(x.tolist(), a.dtype))
    for y, b in (
        (x.T, a.T),
        (x[::-1, ::2], a[::-1, ::2]),
        (x[:0], a[:0]),
        (x[1, 2], a[1, 2]),
        (mx.broadcast_to(x[:1], (5, 4)), np.broadcast_to(a[:1], (5, 4))),
    ):
        np.testing.assert_array_equal(np.array(y), b)
        np.testing.assert_array_equal(np.asarray(y), b)


def test_zero_copy_out() -> None:
    x = mx.arange(1000) + 1
    assert address(x) == address(x)
    assert address(np.asarray(x)) == address(np.from_dlpack(x)) == address(memoryview(x))
    assert np.array(x).flags.owndata
    a = np.asarray(x)
    del x
    gc.collect()
    np.testing.assert_array_equal(a, np.arange(1000) + 1)


def test_numpy_dtype_argument() -> None:
    x = mx.array([1.7, 2.2])
    assert np.array(x, dtype=np.int32).tolist() == [1, 2]
    assert np.asarray(x, np.float64).dtype == np.float64


def test_bfloat16() -> None:
    x = mx.array([1.0, 3.14159, -2.5e38, np.inf, np.nan], mx.bfloat16)
    assert x.itemsize == 2
    assert x.tolist()[:2] == [1.0, 3.140625]
    bits = np.array(x.view(mx.uint16))
    assert bits[:2].tolist() == [0x3F80, 0x4049]
    check(mx.array(bits).view(mx.bfloat16)[:3], to_numpy(x)[:3])
    other = omx.array([1.0, 3.14159, -2.5e38, np.inf, np.nan], omx.bfloat16)
    assert np.array(other.view(omx.uint16)).tolist() == bits.tolist()


def test_dlpack_out() -> None:
    for dtype in NUMPY:
        x = sample(dtype, (3, 4), 1)
        np.testing.assert_array_equal(np.from_dlpack(x), np.array(x))
        np.testing.assert_array_equal(np.from_dlpack(x.T[::2]), np.array(x).T[::2])
    assert mx.ones((2,)).__dlpack_device__() == (1, 0)


def test_buffer_protocol() -> None:
    x = mx.array([[1, 2, 3], [4, 5, 6]], mx.int16)
    m = memoryview(x)
    assert m.shape == (2, 3)
    assert m.itemsize == 2
    assert m.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert memoryview(x.T).tolist() == [[1, 4], [2, 5], [3, 6]]
    assert bytes(x) == np.array([[1, 2, 3], [4, 5, 6]], np.int16).tobytes()


def test_numpy_functions_and_operators() -> None:
    x, a = mx.array([1.0, 4.0]), np.array([1.0, 2.0], np.float32)
    np.testing.assert_array_equal(np.sqrt(x), [1, 2])
    for y in (x + mx.array(a), mx.array(a) * x):
        assert isinstance(y, mx.array)
    assert isinstance(x + a, mx.array)
    assert isinstance(a + x, mx.array)
    check(a - x, [0, -2])
    assert x[np.int64(1)].item() == 4
    assert (x * np.float32(2)).dtype == mx.float32
    assert np.array_equal(x, [1, 4])


# --- Python -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_scalars_out(dtype: str) -> None:
    x = mx.array([[3]]).astype(getattr(mx, dtype))
    kind = (
        bool
        if dtype == "bool_"
        else float
        if dtype in FLOATS
        else complex
        if dtype == "complex64"
        else int
    )
    assert type(x.item()) is kind
    assert type(x.tolist()[0][0]) is kind
    assert x.item() == (True if dtype == "bool_" else 3)
    if kind in (int, float):
        assert int(x) == 3
        assert float(x) == 3.0
    assert bool(x) is True
    if kind is int:
        at = x.reshape(())
        assert [10, 20, 30, 40][at] == 40
        assert list(range(at)) == [0, 1, 2]
        with pytest.raises(TypeError, match="an integer array with no axes is an index"):
            range(x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pickle(dtype: str) -> None:
    for x in (
        sample(dtype, (3, 4), 1),
        sample(dtype, (3, 4), 1).T[::2],
        sample(dtype, (), 2),
        sample(dtype, (0, 3), 1),
    ):
        for y in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x), copy.copy(x)):
            assert y.dtype == x.dtype
            assert y.shape == x.shape
            np.testing.assert_array_equal(to_numpy(y), to_numpy(x))
    assert pickle.loads(pickle.dumps(getattr(mx, dtype))) == getattr(mx, dtype)


def test_copies_are_independent() -> None:
    x = mx.array([1.0, 2.0])
    for y in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x)), mx.array(x)):
        y[0] = 9
        check(x, [1, 2])
        check(y, [9, 2])


def test_iteration_and_containers() -> None:
    x = mx.array([[1, 2], [3, 4]])
    assert [r.tolist() for r in x] == [[1, 2], [3, 4]]
    assert len(x) == 2
    _first, second = x
    assert second.tolist() == [3, 4]
    assert {x: 1}[x] == 1
    assert mx.array(7) in [mx.array(7)]


def test_in_place_operators_rebind() -> None:
    x = mx.array([1.0, 2.0])
    y = x
    y += 1
    check(y, [2, 3])
    for op in ("-=", "*=", "/=", "//=", "%=", "**="):
        scope = {"x": mx.array([4.0, 9.0]), "a": np.array([4.0, 9.0])}
        exec(f"x {op} 2\na {op} 2", scope)
        check(scope["x"], scope["a"])


# --- what it shows ------------------------------------------------------------------------------


def test_repr() -> None:
    for text, x in {
        "array([1, 2, 3], dtype=int32)": mx.array([1, 2, 3]),
        "array(1.5, dtype=float32)": mx.array(1.5),
        "array([], dtype=float32)": mx.array([]),
        "array([True, False], dtype=bool)": mx.array([True, False]),
    }.items():
        assert repr(x) == text
        assert str(x) == text
    assert len(repr(mx.zeros((1000, 1000)))) < 1000
    assert f"{mx.array(1.23456):.2f}" == "1.23"
    assert repr(mx.float32) == repr(omx.float32).replace("mlx", "lamina")


def test_html_does_not_evaluate() -> None:
    x = mx.ones((1000, 1000))
    y = mx.exp(x) + x * 2
    before = mx.get_active_memory()
    html = y._repr_html_()
    assert not _core._is_evaluated(y)
    assert mx.get_active_memory() == before
    assert "(1000, 1000)" in html
    assert "float32" in html
    assert "4.0 MB" in html
    assert "lazy" in html
    mx.eval(y)
    assert "lazy" not in y._repr_html_()
    huge = mx.zeros((10**7, 10**7)) + 1
    assert "400.0 TB" in huge._repr_html_()


def test_attributes() -> None:
    x = mx.zeros((2, 3, 4), mx.float16)
    assert (x.ndim, x.size, x.itemsize, x.nbytes, x.shape) == (3, 24, 2, 48, (2, 3, 4))
    assert x.T.shape == (4, 3, 2)
    assert mx.float16.size == 2
    assert not _core._is_evaluated(x + 1)

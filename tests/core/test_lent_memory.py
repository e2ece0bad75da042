"""Views that NumPy and others have of an array: where they may write, and who sees it."""

from __future__ import annotations

import copy
import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest
from arrays import DTYPES, name_of, sample

BIG = 1 << 16


def base(m: Any = mx) -> Any:
    x = m.arange(6).astype(m.float32) + 0
    m.eval(x)
    return x


# --- as in MLX ------------------------------------------------------------------------------------

VIEWS: dict[str, Callable[[Any], Any]] = {
    "np.array": lambda x: np.array(x, copy=False),
    "np.asarray": np.asarray,
    "memoryview": memoryview,
    "ravel": lambda x: np.asarray(x).ravel(),
}


@pytest.mark.parametrize("m", [mx, omx], ids=["lamina", "mlx"])
@pytest.mark.parametrize("view", VIEWS)
def test_what_is_written_is_in_the_array(m: Any, view: str) -> None:
    x = base(m)
    lazy = x * 2
    v = VIEWS[view](x)
    v[0] = 10
    assert x[0].item() == 10
    assert x.tolist() == [10, 1, 2, 3, 4, 5]
    assert (x + 1).tolist() == [11, 2, 3, 4, 5, 6]
    assert lazy.tolist() == [20, 2, 4, 6, 8, 10]  # it reads what is there when it is evaluated
    v[5] = 7
    assert (x + 1).tolist() == [11, 2, 3, 4, 5, 8]  # the same plan


SHARING: dict[str, Callable[[Any, Any], Any]] = {
    "reshape": lambda _m, x: x.reshape(2, 3),
    "transpose": lambda _m, x: x.reshape(2, 3).T,
    "slice": lambda _m, x: x[1:4],
    "whole": lambda _m, x: x[:],
    "stop_gradient": lambda m, x: m.stop_gradient(x),
    "contiguous": lambda m, x: m.contiguous(x),
    "astype": lambda m, x: x.astype(m.float32),
}


@pytest.mark.parametrize("m", [mx, omx], ids=["lamina", "mlx"])
@pytest.mark.parametrize("make", SHARING)
def test_views_share(m: Any, make: str) -> None:
    x = base(m)
    y = SHARING[make](m, x)
    m.eval(y)
    np.asarray(y)[(0,) * y.ndim] = 9
    at = 1 if make == "slice" else 0
    assert x[at].item() == 9
    np.asarray(x)[at] = 8
    assert np.asarray(y)[(0,) * y.ndim] == 8


def test_a_number_is_written() -> None:
    for m in (mx, omx):
        x = m.array(3.0)
        v = np.asarray(x)
        v[...] = 5
        assert x.item() == 5
        assert (x + 1).item() == 6


def test_the_transform_of_the_documentation() -> None:
    """What NumPy does to the memory is none of the transform's business."""
    for m in (mx, omx):

        def f(x: Any) -> Any:
            v = np.array(x, copy=False)
            v[:] *= v
            return x.sum()

        y, d = m.value_and_grad(f)(m.array([3.0]))
        assert y.item() == 9
        assert d.tolist() == [1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(dtype: str) -> None:
    if dtype == "bfloat16":
        return
    x, new = sample(dtype, (3, 4), 1), sample(dtype, (3, 4), 2)
    for v in (np.asarray(x), np.from_dlpack(x)):
        assert v.flags.writeable
        assert not v.flags.owndata
        v[1] = np.array(new)[1]
        assert x[1].tolist() == new[1].tolist()
        v[2] = 0


def test_what_numpy_cannot_see_is_copied() -> None:
    x = mx.array([1.0, 2.0], mx.bfloat16)
    with pytest.raises(
        ValueError, match=r"bfloat16 is not seen as float32 without a copy\nUse x\.v"
    ):
        np.array(x, copy=False)
    assert np.asarray(x).tolist() == [1, 2]
    with pytest.raises(TypeError, match=r"bfloat16 has no buffer format\nUse x\.view"):
        memoryview(x)
    with pytest.raises(ValueError, match="float32 is not seen as int8 without a copy"):
        x.astype(mx.float32).__array__(np.int8, copy=False)


# --- where nobody writes --------------------------------------------------------------------------


def ask_to_write(x: mx.array) -> None:
    """As a consumer in C that wants nothing else."""
    writable = 1
    room = ctypes.create_string_buffer(256)
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(x), room, writable)
    ctypes.pythonapi.PyBuffer_Release(room)


def loaded(folder: Path) -> mx.array:
    np.save(folder / "x.npy", np.zeros(BIG, np.float32))
    return mx.load(folder / "x.npy")


def of_read_only(_folder: Path) -> mx.array:
    a = np.zeros(4, np.float32)
    a.flags.writeable = False
    return mx.asarray(a)


READ_ONLY: dict[str, tuple[Callable[[Path], mx.array], str]] = {
    "a file": (loaded, "belongs to a file"),
    "slice of a file": (lambda f: loaded(f)[2:], "belongs to a file"),
    "read-only NumPy": (of_read_only, "lets nobody write"),
    "broadcast": (lambda _: mx.broadcast_to(base(), (2, 6)), "lie in one place"),
    "windows": (lambda _: mx.as_strided(base(), (4, 3), (1, 1)), "lie in one place"),
    "expanded": (lambda _: mx.broadcast_to(base()[:1], (6,)), "lie in one place"),
}


@pytest.mark.parametrize("case", READ_ONLY)
def test_memory_that_is_read_only(tmp_path: Path, case: str) -> None:
    make, reason = READ_ONLY[case]
    x = make(tmp_path)
    mx.eval(x)
    before = x.tolist()
    v = np.asarray(x)
    assert not v.flags.writeable
    assert memoryview(x).readonly
    assert np.from_dlpack(x).__array_interface__["data"] == (v.ctypes.data, True)
    with pytest.raises(ValueError, match="read-only"):
        v[0] = 1
    with pytest.raises(BufferError, match=rf"its memory is read-only: .*{reason}.*\nWrite to np"):
        ask_to_write(x)
    # Without a version DLPack cannot say so: that is a copy.
    old = np.from_dlpack(Version0(x))
    assert old.ctypes.data != v.ctypes.data
    assert old.tolist() == before
    with pytest.raises(BufferError, match=f"read-only: .*{reason}"):
        x.__dlpack__(copy=False)


class Version0:
    """What consumers made before DLPack 1 ask for."""

    def __init__(self, x: mx.array) -> None:
        self.x = x

    def __dlpack__(self, **_: Any) -> Any:
        return self.x.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.x.__dlpack_device__()


def test_adopted_memory_is_written_through() -> None:
    a = np.arange(4, dtype=np.float32)
    x = mx.asarray(a)
    np.asarray(x)[0] = 9
    assert a.tolist() == x.tolist() == [9, 1, 2, 3]
    a.flags.writeable = False
    y = mx.asarray(a)
    assert np.asarray(y).ctypes.data == a.ctypes.data
    assert not np.asarray(y).flags.writeable
    broadcast = np.broadcast_to(np.float32(2), (3, 2))
    assert mx.asarray(broadcast).tolist() == broadcast.tolist()
    with pytest.raises(ValueError, match=r"negative strides.*without a copy"):
        mx.from_dlpack(a[::-1], copy=False)


def test_views_between_strides_are_written() -> None:
    x = mx.arange(24).reshape(4, 6)
    mx.eval(x)
    np.asarray(x[::2, ::-3].T)[:] = -1
    want = np.arange(24).reshape(4, 6)
    want[::2, ::-3] = -1
    assert x.tolist() == want.tolist()
    assert not memoryview(mx.zeros((0, 3))).readonly


# --- who else sees it -----------------------------------------------------------------------------


@pytest.mark.parametrize("make", [mx.array, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("lent_first", [False, True])
def test_copies_are_copies(make: Callable[[mx.array], mx.array], lent_first: bool) -> None:
    x = base()
    v = np.asarray(x) if lent_first else None
    y = make(x)
    mx.eval(y)
    if v is None:
        v = np.asarray(x)
    v[0] = 9
    assert y.tolist() == [0, 1, 2, 3, 4, 5]
    np.asarray(y)[1] = 8
    assert x.tolist() == [9, 1, 2, 3, 4, 5]
    number = mx.array(2.0)
    same = make(number)
    np.asarray(number)[...] = 3
    assert (number.item(), same.item()) == (3, 2)


def test_equal_expressions_do_not_share() -> None:
    x = base()
    twins = [
        *(
            f(x)
            for f in (mx.exp, mx.array, mx.sort, lambda a: a @ a[:, None], mx.sum)
            for _ in "ab"
        ),
        *(mx.zeros((6,)), mx.zeros((6,))),
        *(mx.linalg.qr(mx.eye(2) + 1)[0].reshape(-1), mx.linalg.qr(mx.eye(2) + 1)[0].reshape(-1)),
    ]
    mx.eval(twins)
    for a, b in zip(twins[::2], twins[1::2], strict=True):
        assert a.tolist() == b.tolist()
    before = [t.reshape(-1).tolist()[1:] for t in twins]
    for i, t in enumerate(twins):
        np.asarray(t)[(0,) * t.ndim] = 100 + i
    assert [t.reshape(-1)[0].item() for t in twins] == [100 + i for i in range(14)]
    assert [t.reshape(-1).tolist()[1:] for t in twins] == before


def test_equal_views_share_what_they_are_views_of() -> None:
    first, second = mx.exp(base()), mx.exp(base())
    views = [p.reshape(2, 3) for p in (first, first, second)]
    mx.eval(first, second, views)
    np.asarray(views[0])[0, 0] = 9
    assert [float(a.reshape(-1)[0]) for a in (first, second, *views)] == [9, 1, 9, 9, 1]


def test_lent_memory_is_not_given_away() -> None:
    """Results go into memory that nobody holds; a view holds it."""
    for change in (lambda x: x * 3 + 1, lambda x: x.at[0].add(5), lambda x: mx.sort(-x)):
        x = mx.arange(BIG).astype(mx.float32)
        mx.eval(x)
        v = np.asarray(x)
        x = change(x)
        mx.eval(x)
        v[0] = -7
        assert v[1:4].tolist() == [1, 2, 3]
        assert not np.shares_memory(np.asarray(x), v)
    x = base()
    v = np.asarray(x)
    x[0] = 10  # x is a new value from here on
    mx.eval(x)
    v[1] = 20
    assert x.tolist() == [10, 1, 2, 3, 4, 5]
    assert v.tolist() == [0, 20, 2, 3, 4, 5]


def test_memory_outlives_the_array() -> None:
    views = []
    for i in range(20):
        x = mx.full((BIG,), i)
        views.append((np.asarray(x), np.from_dlpack(x), memoryview(x)))
        del x
    gc.collect()
    for i, (a, b, c) in enumerate(views):
        a[0] = -1
        assert (b[0], c[0], b[-1]) == (-1, -1, i)


def test_memory_is_given_away_again_when_the_views_are_gone() -> None:
    x = mx.arange(BIG).astype(mx.float32)
    mx.eval(x)
    place = np.asarray(x).ctypes.data
    x = x + 1
    mx.eval(x)
    assert np.asarray(x).ctypes.data == place


def test_compiled_functions_read_what_is_there() -> None:
    x, held = base(), base()
    f = mx.compile(lambda y: y + held)
    assert f(x)[1].item() == 2
    np.asarray(x)[1] = 10
    np.asarray(held)[1] = 20
    assert f(x)[1].item() == 30


# --- DLPack ---------------------------------------------------------------------------------------


def test_dlpack_says_what_it_gives() -> None:
    x = base()
    v = np.from_dlpack(x)
    assert v.flags.writeable
    v[0] = 5
    assert x[0].item() == 5
    c = np.from_dlpack(x, copy=True)
    c[1] = 50
    assert x[1].item() == 1
    assert "dltensor_versioned" in repr(x.__dlpack__(max_version=(1, 0)))
    assert "dltensor_versioned" not in repr(x.__dlpack__(max_version=(0, 8)))
    assert "dltensor_versioned" not in repr(x.__dlpack__())
    with pytest.raises(BufferError, match=r"dl_device is \(2, 0\), arrays are given in CPU memory"):
        x.__dlpack__(dl_device=(2, 0))
    for capsule in (x.__dlpack__(), x.__dlpack__(max_version=(1, 2))):
        y = mx.from_dlpack(Capsule(capsule))
        assert y.tolist() == x.tolist()
        assert np.asarray(y).ctypes.data == np.asarray(x).ctypes.data
        with pytest.raises(ValueError, match="already used"):
            mx.from_dlpack(Capsule(capsule))


class Capsule:
    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule


def test_dlpack_keeps_what_the_producer_allows() -> None:
    x = base()
    y = mx.from_dlpack(x)  # version 1: it may be written
    np.asarray(y)[0] = 4
    assert x[0].item() == 4
    z = mx.from_dlpack(Version0(x))  # version 0 does not tell
    assert not np.asarray(z).flags.writeable
    assert name_of(z) == "float32"
    np.asarray(x)[0] = 3
    assert z[0].item() == 3


def test_an_unused_capsule_lets_go() -> None:
    x = mx.zeros((BIG,))
    mx.eval(x)
    before = mx.get_active_memory()
    capsules = [x.__dlpack__(), x.__dlpack__(max_version=(1, 0))]
    del x
    gc.collect()
    assert mx.get_active_memory() == before
    del capsules
    assert mx.get_active_memory() <= before - 4 * BIG

"""Indexing, scattering and sorting."""

from __future__ import annotations

from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from arrays import (
    DTYPES,
    check,
    check_derivatives,
    check_vmap,
    normal64,
    rng,
    sample,
    to_numpy,
)

# --- indexing -----------------------------------------------------------------------------------

INDICES: list[Any] = [
    2,
    -1,
    np.s_[1:],
    np.s_[::-1],
    np.s_[..., 1],
    np.s_[:, None, 2],
    np.s_[1, ..., -1],
    None,
    (),
    ...,
    np.array([0, 3, 3]),
    np.array([[0, 1], [-1, 2]]),
    (np.s_[:], np.array([1, 0])),
    (np.array([0, 1, 2]), np.array([0, 1, 4])),
    (np.array([[0], [1]]), 2, np.array([0, 3])),
    (np.array([0, 2]), np.s_[:], np.array([1, 1])),
    (0, np.array([1, 2]), None),
    (np.s_[::2], np.array([0]), np.s_[1:]),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_index(index: Any) -> None:
    """Reading and writing with NumPy's rules."""
    x = sample("float32", (4, 5, 6), 1)
    a = to_numpy(x).copy()

    def convert(i: Any) -> Any:
        return mx.array(i) if isinstance(i, np.ndarray) else i

    at = tuple(convert(i) for i in index) if isinstance(index, tuple) else convert(index)
    check(x[at], a[index])
    y = mx.array(a)
    y[at] = 7.5
    b = a.copy()
    b[index] = 7.5
    check(y, b)
    update = sample("float32", a[index].shape, 2)
    unique = all(
        np.unique(i % 4).size == i.size
        for i in (index if isinstance(index, tuple) else (index,))
        if isinstance(i, np.ndarray)
    )
    if unique:
        y[at] = update
        b[index] = to_numpy(update)
        check(y, b)
    check(x.at[at].add(update), add_at(a, index, to_numpy(update)), 1e-5)
    check_derivatives(lambda v: v[at], normal64((4, 5, 6)), second=False)


def add_at(a: np.ndarray, index: Any, update: np.ndarray) -> np.ndarray:
    b = a.copy()
    np.add.at(b, index, update)
    return b


def test_boolean_mask() -> None:
    a = rng(1).standard_normal((4, 5)).astype(np.float32)
    x, m = mx.array(a), a > 0
    check(x[mx.array(m)], a[m])
    y = mx.array(a)
    y[mx.array(m)] = 0
    check(y, np.where(m, 0, a))
    check(x[mx.array(m[:, 0])], a[m[:, 0]])


@pytest.mark.parametrize("mode", ["add", "subtract", "multiply", "divide", "maximum", "minimum"])
def test_scatter_modes(mode: str) -> None:
    """Repeated indices join one after another."""
    for dtype in ("float32", "int32", "float16"):
        if mode == "divide" and dtype == "int32":
            continue
        x = sample(dtype, (5, 3), 1, 1, 4)
        u = sample(dtype, (4, 3), 2, 1, 3)
        at = np.array([0, 2, 0, -1])
        b = to_numpy(x).copy()
        for i, row in zip(at, to_numpy(u), strict=True):
            b[i] = getattr(np, mode)(b[i], row)
        check(getattr(x.at[mx.array(at)], mode)(u), b, 1e-2 if dtype == "float16" else 1e-5)


@pytest.mark.parametrize("mode", ["add", "subtract", "multiply", "maximum", "minimum"])
def test_scatter_derivatives(mode: str) -> None:
    at = mx.array([0, 2, 4])

    def f(x: mx.array, u: mx.array) -> mx.array:
        return getattr(x.at[at], mode)(u)

    check_derivatives(f, normal64((5, 2), 1), normal64((3, 2), 2), tolerance=1e-5)
    check_vmap(f, sample("float32", (3, 5, 2), 1), sample("float32", (3, 3, 2), 2), axes=(0, 0))
    check_vmap(f, sample("float32", (5, 2), 1), sample("float32", (3, 3, 2), 2), axes=(None, 0))


def test_assignment_derivatives() -> None:
    def f(x: mx.array, u: mx.array) -> mx.array:
        y = x * 1
        y[1:4:2, ::-1] = u
        y[0] = x[2] * u[0]
        return y * y

    check_derivatives(f, normal64((5, 3), 1), normal64((2, 3), 2), tolerance=1e-5)
    check_vmap(f, sample("float32", (4, 5, 3), 1), sample("float32", (2, 4, 3), 2), axes=(0, 1))
    check_vmap(f, sample("float32", (5, 3), 1), sample("float32", (2, 4, 3), 2), axes=(None, 1))


def test_scatter_add_repeated_derivatives() -> None:
    at = mx.array([1, 1, 0, 3])
    check_derivatives(lambda x, u: x.at[at].add(u), normal64((5,), 1), normal64((4,), 2))


@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_along_axis(axis: int | None) -> None:
    x = sample("float32", (4, 5, 3), 1)
    a = to_numpy(x)
    n = a.size if axis is None else a.shape[axis]
    shape = [2, 5, 3] if axis == 0 else [4, 2, 3] if axis == 1 else [4, 5, 2]
    at = rng(2).integers(-n, n, 7 if axis is None else shape)
    check(mx.take_along_axis(x, mx.array(at), axis=axis), np.take_along_axis(a, at, axis=axis))
    at = np.argsort(
        rng(3).random(a.size if axis is None else a.shape), axis=-1 if axis is None else axis
    )
    b = a.copy()
    values = rng(4).standard_normal(at.shape).astype(np.float32)
    np.put_along_axis(b, at, values, axis)
    check(mx.put_along_axis(x, mx.array(at), mx.array(values), axis=axis), b)


def test_put_along_axis_derivatives() -> None:
    at = mx.array([[2, 0], [1, 3]])

    def f(x: mx.array, v: mx.array) -> mx.array:
        return mx.put_along_axis(x, at, v, axis=1) ** 2

    check_derivatives(f, normal64((2, 4), 1), normal64((2, 2), 2), tolerance=1e-5)
    check_vmap(f, sample("float32", (3, 2, 4), 1), sample("float32", (3, 2, 2), 2), axes=(0, 0))


def test_vmap_over_indices() -> None:
    x, at = sample("float32", (6, 3), 1), mx.array([[0, 5], [2, 2], [-1, 1]])
    check_vmap(lambda i: mx.take(x, i, axis=0), at, axes=(0,))
    check_vmap(lambda v, i: v[i], mx.transpose(x), at, axes=(0, 0))
    check_vmap(lambda v, i: v.at[i].add(1.0), mx.transpose(x), at, axes=(0, 0))
    check_vmap(lambda v, i: mx.take_along_axis(v, i, axis=0), mx.transpose(x), at, axes=(0, 0))


# --- sorting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 17, 64, 65, 1000, 5000])
def test_sort(dtype: str, n: int) -> None:
    x = sample(dtype, (3, n), n, -100, 100)
    a = to_numpy(x)
    check(mx.sort(x), np.sort(a))
    at = mx.argsort(x)
    assert at.dtype == mx.uint32
    check(at, np.argsort(a, kind="stable"))
    if n > 2:
        k = n // 3
        p = to_numpy(mx.partition(x, k))
        np.testing.assert_array_equal(p[:, k], np.sort(a)[:, k])
        assert (p[:, :k] <= p[:, k : k + 1]).all()
        assert (p[:, k:] >= p[:, k : k + 1]).all()
        q = np.take_along_axis(a, to_numpy(mx.argpartition(x, k)).astype(int), 1)
        np.testing.assert_array_equal(np.sort(q), np.sort(a))
        np.testing.assert_array_equal(q[:, k], np.sort(a)[:, k])
        check(mx.sort(mx.topk(x, k)), np.sort(a)[:, n - k :])


def test_sort_special() -> None:
    a = np.array([3, np.nan, -np.inf, 0.0, -0.0, np.inf, np.nan, 1], np.float32)
    check(mx.sort(mx.array(a)), np.sort(a))
    assert to_numpy(mx.argsort(mx.array(a))).tolist() == np.argsort(a, kind="stable").tolist()
    parts = [np.nan, -np.inf, 0.0, 1.0, np.inf]
    c = np.array([complex(re, im) for re in parts for im in parts], np.complex64)
    c = np.random.default_rng(0).permutation(np.tile(c, 3))
    check(mx.sort(mx.array(c)), np.sort(c))
    assert to_numpy(mx.argsort(mx.array(c))).tolist() == np.argsort(c, kind="stable").tolist()
    for axis in (0, 1, None):
        x = sample("float32", (6, 7, 4), 1)
        check(mx.sort(x, axis=axis), np.sort(to_numpy(x), axis=axis))
        check(
            mx.argsort(x[::-1, ::2], axis=axis),
            np.argsort(to_numpy(x)[::-1, ::2], axis=axis, kind="stable"),
        )

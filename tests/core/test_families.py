"""Reductions, scans, views, joins, indexing, sorting, products, convolution and row functions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest
from arrays import (
    DTYPES,
    INTEGERS,
    TOLERANCE,
    check,
    check_derivatives,
    check_vmap,
    name_of,
    normal64,
    options,
    rng,
    sample,
    theirs,
    to_numpy,
    wide,
)

# --- reductions ---------------------------------------------------------------------------------

REDUCTIONS = ["sum", "prod", "min", "max", "all", "any", "mean", "var", "std", "logsumexp"]
AXES = [None, 0, 1, -1, (0, 2), (1, 2), (0, 1, 2), (-1, 0), ()]


def reduced(name: str, a: np.ndarray, axis: Any, keepdims: bool) -> np.ndarray:
    if name == "logsumexp":
        a = a if a.dtype.kind == "c" else a.astype(np.float64)
        top = np.max(a.real, axis=axis, keepdims=True, initial=-np.inf)
        top = np.where(np.isfinite(top), top, 0)
        with np.errstate(all="ignore"):
            return np.log(np.sum(np.exp(a - top), axis=axis, keepdims=keepdims)) + (
                top if keepdims else top.reshape(np.sum(a, axis=axis).shape)
            )
    return getattr(np, name)(a, axis=axis, keepdims=keepdims)


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduce_axes(name: str, axis: Any) -> None:
    x = sample("float32", (4, 5, 6), 1)
    for keepdims in (False, True):
        y = getattr(mx, name)(x, axis=axis, keepdims=keepdims)
        check(y, reduced(name, wide(x), axis, keepdims), 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduce_dtype(name: str, dtype: str) -> None:
    """dtype as in MLX; value against NumPy in that dtype."""
    if dtype == "complex64" and name in ("min", "max", "var", "std", "all", "any", "logsumexp"):
        return
    x = sample(dtype, (7, 33), 2, 0.5, 2)
    y = getattr(mx, name)(x, axis=1)
    oracle = getattr(omx, name)(omx.zeros((2, 2), getattr(omx, dtype)), axis=1)
    assert name_of(y) == name_of(oracle)
    a = wide(x)
    if a.dtype.kind in "iub" and name in ("sum", "prod"):
        a = a.astype(to_numpy(y).dtype)
        want = getattr(np, name)(a, axis=1, dtype=a.dtype)
    else:
        want = reduced(name, a, 1, False)
    check(y, want.astype(to_numpy(y).dtype), 20 * TOLERANCE.get(name_of(y), 0))


@pytest.mark.parametrize("name", ["sum", "prod", "all", "any"])
def test_reduce_empty(name: str) -> None:
    for shape, axis in itertools.product([(0,), (3, 0), (0, 3), (2, 0, 4)], (None, 0, -1)):
        got = getattr(mx, name)(mx.zeros(shape), axis=axis)
        check(got, getattr(np, name)(np.zeros(shape, np.float32), axis=axis))


@pytest.mark.parametrize("name", ["min", "max", "argmin", "argmax"])
def test_reduce_nothing_to_choose(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        getattr(mx, name)(mx.zeros((3, 0)), axis=1)
    assert getattr(mx, name)(mx.zeros((3, 0)), axis=0).shape == (0,)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 31, 33, 1000, 4097, 100_003])
def test_reduce_lengths(n: int) -> None:
    x = sample("float32", (3, n), n)
    for a, b in ((x, to_numpy(x)), (mx.transpose(x), to_numpy(x).T)):
        for axis in (0, 1, None):
            for name in ("sum", "max", "min"):
                check(
                    getattr(mx, name)(a, axis=axis),
                    getattr(np, name)(b.astype(np.float64), axis=axis),
                    1e-4,
                )
            for name in ("argmin", "argmax"):
                check(getattr(mx, name)(a, axis=axis), getattr(np, name)(b, axis=axis))


def test_sum_is_accurate() -> None:
    """Float sums do not lose what a running float32 total would."""
    x = mx.full((1 << 22,), 0.1)
    assert abs(mx.sum(x).item() / (np.float64(np.float32(0.1)) * (1 << 22)) - 1) < 1e-5
    half = mx.full((1 << 14,), 0.5, mx.float16)
    assert mx.sum(half).item() == 8192
    assert abs(mx.mean(mx.full((100_000,), 3.0, mx.float16)).item() - 3) < 1e-2


@pytest.mark.parametrize("name", ["min", "max"])
def test_extreme_special(name: str) -> None:
    x = np.array([[1, np.nan, 2], [np.inf, -np.inf, 0], [-0.0, 0.0, -0.0]], np.float32)
    check(getattr(mx, name)(mx.array(x), axis=1), getattr(np, name)(x, axis=1))
    check(getattr(mx, name)(mx.array(x), axis=0), getattr(np, name)(x, axis=0))
    for dtype in INTEGERS:
        info = np.iinfo(dtype)
        ends = np.array([[info.min, info.max], [info.max, info.min]], dtype)
        check(getattr(mx, name)(mx.array(ends), axis=0), getattr(np, name)(ends, axis=0))


@pytest.mark.parametrize("name", ["argmin", "argmax"])
def test_arg_reduce(name: str) -> None:
    g = rng(3)
    for dtype in DTYPES:
        if dtype == "complex64":
            continue
        x = sample(dtype, (5, 40), 4)  # ties: the first wins
        a = to_numpy(x)
        for axis in (0, 1, None):
            y = getattr(mx, name)(x, axis=axis)
            assert y.dtype == mx.uint32
            check(y, getattr(np, name)(a, axis=axis))
        assert getattr(mx, name)(x, axis=1, keepdims=True).shape == (5, 1)
    x = mx.array(g.standard_normal((4, 9, 5)).astype(np.float32))
    check(
        getattr(mx, name)(x[::-1, ::2, ::-2], axis=1),
        getattr(np, name)(to_numpy(x)[::-1, ::2, ::-2], axis=1),
    )
    check_vmap(lambda v: getattr(mx, name)(v, axis=0), x, axes=(1,))


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)], ids=str)
@pytest.mark.parametrize("name", ["sum", "prod", "min", "max", "mean", "var", "std", "logsumexp"])
def test_reduce_derivatives(name: str, axis: Any) -> None:
    f = getattr(mx, name)
    check_derivatives(lambda x: f(x, axis=axis), normal64((3, 2, 4), 5), tolerance=1e-5)
    check_vmap(
        lambda x: f(x, axis=axis if axis != (0, 2) else (0, 1)),
        sample("float32", (3, 4, 5), 1),
        axes=(1,),
        tolerance=2e-5,
    )


def test_prod_derivative_at_zeros() -> None:
    for zeros in ([1], [0, 2], []):
        a = np.array([2.0, 3.0, -1.5, 4.0])
        a[zeros] = 0
        x = mx.array(a, dtype=mx.float64)
        want = [np.prod(np.delete(a, i)) for i in range(4)]
        check(mx.grad(mx.prod)(x), want, 1e-12)


def test_var_ddof() -> None:
    x = sample("float32", (6, 5), 1)
    check(mx.var(x, axis=0, ddof=1), np.var(wide(x), axis=0, ddof=1), 1e-5)
    check(mx.std(x, ddof=1), np.std(wide(x), ddof=1), 1e-5)


def test_reduce_layouts() -> None:
    x = sample("float32", (12, 10, 8), 6)
    a = to_numpy(x)
    views = [
        (x[::-1], a[::-1]),
        (x[:, ::2, ::-1], a[:, ::2, ::-1]),
        (mx.transpose(x, (2, 0, 1)), a.transpose(2, 0, 1)),
        (mx.broadcast_to(x[:, :1], (12, 7, 8)), np.broadcast_to(a[:, :1], (12, 7, 8))),
        (mx.broadcast_to(x[3, 4, 5], (3, 4, 5)), np.broadcast_to(a[3, 4, 5], (3, 4, 5))),
        (
            mx.reshape(mx.transpose(x, (1, 0, 2)), (10, 6, 16)),
            a.transpose(1, 0, 2).reshape(10, 6, 16),
        ),
    ]
    for (v, b), axis in itertools.product(views, (None, 0, 1, 2, (0, 2))):
        check(mx.sum(v, axis=axis), np.sum(b.astype(np.float64), axis=axis), 1e-4)
        check(mx.max(v * 2 + 1, axis=axis), np.max(b * 2 + 1, axis=axis))


# --- past 2^31 ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> tuple[mx.array, np.ndarray]:
    """2^32 + 4096 bytes adopted from a sparse file; a few places are not zero."""
    size = (1 << 32) + 4096
    path = tmp_path_factory.mktemp("huge") / "bytes"
    path.touch()
    with path.open("r+b") as f:
        f.truncate(size)
    a = np.memmap(path, np.int8, "r+", shape=(size,))
    for i in range(0, size, 1 << 28):
        a[i : i + 4] = (1, 2, 3, i >> 28)
    a[-8:] = np.arange(8) + 20
    return mx.asarray(a), a


def test_reach_slices(huge: tuple[mx.array, np.ndarray]) -> None:
    x, a = huge
    for cut in (
        np.s_[:: 1 << 28],
        np.s_[3 :: 1 << 28],
        np.s_[:: -(1 << 28)],
        np.s_[-8:],
        np.s_[-1:-9:-1],
        np.s_[(1 << 32) - 4 : (1 << 32) + 4],
        np.s_[1 << 31 : (1 << 31) + 8],
        np.s_[-8 :: -(1 << 30)],
    ):
        check(x[cut] + 1, a[cut] + 1, context=cut)
        check(mx.sum(x[cut].astype(mx.int32)), a[cut].astype(np.int32).sum())
        check(x[cut], a[cut])


def test_reach_rows(huge: tuple[mx.array, np.ndarray]) -> None:
    """A (16, 2^28) view: rows 2^28 apart, columns cut."""
    x, a = huge
    m, b = mx.reshape(x[: 1 << 32], (16, 1 << 28)), a[: 1 << 32].reshape(16, 1 << 28)
    check(m[:, :4] * 2, b[:, :4] * 2)
    check(mx.sum(m[:, :4].astype(mx.int32), axis=0), b[:, :4].astype(np.int32).sum(0))
    check(mx.max(m[::-3, :4], axis=1), b[::-3, :4].max(1))
    check(mx.argmax(m[:, 3], axis=0), b[:, 3].argmax())
    check(mx.cumsum(m[:, 3].astype(mx.int32)), b[:, 3].astype(np.int32).cumsum())
    check(mx.sort(m[::-1, 3]), np.sort(b[:, 3]))
    f = m[:, :4].astype(mx.float32)
    check(
        mx.matmul(mx.transpose(f), f), b[:, :4].astype(np.float32).T @ b[:, :4].astype(np.float32)
    )
    check(
        mx.concatenate([m[14:, :2], m[:2, 2:4]], axis=1),
        np.concatenate([b[14:, :2], b[:2, 2:4]], 1),
    )


def test_reach_indices(huge: tuple[mx.array, np.ndarray]) -> None:
    x, a = huge
    at = np.array([0, 1 << 28, (1 << 31) + (1 << 28), 1 << 32, -1, -8])
    check(x[mx.array(at)], a[at])
    check(mx.take(x, mx.array(at % a.size)), a[at])
    w = mx.as_strided(x, (5, 4), (1 << 30, 1), 0)
    check(w + 0, np.stack([a[i << 30 : (i << 30) + 4] for i in range(5)]))


def test_reach_broadcast() -> None:
    """Shapes past 2^31 elements over a few bytes of memory."""
    x = mx.arange(4)
    n = (1 << 33) + 4
    rows = mx.broadcast_to(x, (n, 4))
    assert rows.shape == (n, 4)
    check(rows[1 << 32 : (1 << 32) + 3] + 1, np.tile(np.arange(4) + 1, (3, 1)))
    check(rows[-1, ::-1], np.arange(4)[::-1])
    columns = mx.broadcast_to(x[:, None], (4, n))
    check(columns[:, n - 2 :] * 2, np.repeat(np.arange(4)[:, None] * 2, 2, 1))
    check(columns[:, mx.array([n - 1, 0])], np.repeat(np.arange(4)[:, None], 2, 1))
    assert mx.arange(n)[-2:].tolist() == [n - 2, n - 1]


# --- scans --------------------------------------------------------------------------------------

SCANS = {
    "cumsum": np.cumsum,
    "cumprod": np.cumprod,
    "cummax": np.maximum.accumulate,
    "cummin": np.minimum.accumulate,
    "logcumsumexp": np.logaddexp.accumulate,
}
START = {
    "cumsum": 0.0,
    "cumprod": 1.0,
    "cummax": -np.inf,
    "cummin": np.inf,
    "logcumsumexp": -np.inf,
}


def scanned(name: str, a: np.ndarray, axis: int, reverse: bool, inclusive: bool) -> np.ndarray:
    b = np.flip(a, axis) if reverse else a
    b = SCANS[name](b, axis=axis)
    if not inclusive:
        b = np.roll(b, 1, axis)
        at = [slice(None)] * a.ndim
        at[axis] = slice(0, 1)
        b[tuple(at)] = START[name]
    return np.flip(b, axis) if reverse else b


@pytest.mark.parametrize("name", SCANS)
def test_scan(name: str) -> None:
    x = sample("float32", (5, 70, 3), 1, 0.5, 1.5)
    for axis, reverse, inclusive in itertools.product((0, 1, -1), (False, True), (False, True)):
        y = getattr(mx, name)(x, axis=axis, reverse=reverse, inclusive=inclusive)
        check(y, scanned(name, wide(x), axis, reverse, inclusive), 1e-4)
    check(getattr(mx, name)(x[::-1, ::3]), SCANS[name](wide(x)[::-1, ::3].reshape(-1)), 1e-4)
    assert getattr(mx, name)(mx.zeros((0, 3)), axis=0).shape == (0, 3)
    check(getattr(mx, name)(mx.array([3.0])), [3.0])


@pytest.mark.parametrize("name", SCANS)
def test_scan_dtype(name: str) -> None:
    for dtype in DTYPES:
        try:
            oracle = getattr(omx, name)(omx.zeros((3,), getattr(omx, dtype)))
        except (ValueError, TypeError, RuntimeError):
            continue
        if dtype == "complex64" and name in ("cummax", "cummin", "logcumsumexp"):
            with pytest.raises(mx.DtypeError, match=name):
                getattr(mx, name)(sample(dtype, (9,)))
            continue
        y = getattr(mx, name)(sample(dtype, (9,), 1, 0, 2))
        assert name_of(y) == name_of(oracle), dtype


@pytest.mark.parametrize(
    "reverse,inclusive", [(False, True), (True, True), (False, False), (True, False)]
)
@pytest.mark.parametrize("name", SCANS)
def test_scan_derivatives(name: str, reverse: bool, inclusive: bool) -> None:
    def f(x: mx.array) -> mx.array:
        y = getattr(mx, name)(x, axis=1, reverse=reverse, inclusive=inclusive)
        return y if inclusive else mx.where(mx.isfinite(y), y, 0)

    check_derivatives(f, normal64((2, 5), 3) + 0.3, tolerance=1e-5)
    check_vmap(lambda x: getattr(mx, name)(x, axis=0), sample("float32", (3, 4, 5), 2), axes=(2,))


def test_cumprod_derivative_at_zero() -> None:
    x = mx.array([2.0, 0.0, 3.0, 0.0, 5.0], dtype=mx.float64)
    check_derivatives(lambda v: mx.cumprod(v), x, tolerance=1e-5, second=False)


# --- views --------------------------------------------------------------------------------------


def random_view(g: np.random.Generator, x: mx.array, a: np.ndarray) -> tuple[mx.array, np.ndarray]:
    kind = g.integers(9)
    n = a.ndim
    if kind == 0 and n:
        order = [int(i) for i in g.permutation(n)]
        return mx.transpose(x, order), a.transpose(order)
    if kind == 1:
        sizes, left = [], a.size
        if left == 0:
            return mx.reshape(x, (0, 3)), a.reshape(0, 3)
        while left > 1 and len(sizes) < 4:
            d = int(g.choice([k for k in range(1, left + 1) if left % k == 0]))
            sizes.append(d)
            left //= d
        sizes.append(left)
        return mx.reshape(x, sizes), a.reshape(sizes)
    if kind == 2 and n:
        cut = []
        for d in a.shape:
            step = int(g.choice([1, 1, 2, 3, -1, -2]))
            lo, hi = sorted(int(v) for v in g.integers(0, d + 1, 2))
            cut.append(slice(lo, hi, step) if step > 0 else slice(hi, lo if lo else None, step))
        return x[tuple(cut)], a[tuple(cut)]
    if kind == 3 and n:
        axis = int(g.integers(n))
        return mx.flip(x, axis), np.flip(a, axis)
    if kind == 4 and n < 5:
        axis = int(g.integers(n + 1))
        y, b = mx.expand_dims(x, axis), np.expand_dims(a, axis)
        if a.size < 2000:
            shape = [int(g.integers(1, 4)) if i == axis else d for i, d in enumerate(b.shape)]
            return mx.broadcast_to(y, shape), np.broadcast_to(b, shape)
        return y, b
    if kind == 5 and n and a.size:
        flat = np.ascontiguousarray(a).reshape(-1)
        m = a.size
        k, step = int(g.integers(1, m + 1)), int(g.choice([0, 1, 2, -1]))
        k = k if step == 0 else min(k, (m - 1) // abs(step) + 1)
        off = (k - 1) * -step if step < 0 else 0
        s = flat.itemsize
        return (
            mx.as_strided(x, (k, 2), (step, 0), off),
            np.lib.stride_tricks.as_strided(flat[off:], (k, 2), (step * s, 0)),
        )
    if kind == 6:
        return mx.squeeze(x), np.squeeze(a)
    if kind == 7 and n >= 2:
        k = int(g.integers(-1, 2))
        return mx.diagonal(x, k), np.diagonal(a, k)
    if n:
        i = int(g.integers(n))
        return mx.moveaxis(x, i, 0), np.moveaxis(a, i, 0)
    return x, a


@pytest.mark.parametrize("seed", range(60))
def test_view_chains(seed: int) -> None:
    """Chains of views, alone, inside fused kernels and reduced, against NumPy."""
    g = rng(seed)
    a = g.integers(-50, 50, tuple(int(d) for d in g.integers(1, 9, g.integers(1, 4)))).astype(
        np.int32
    )
    x = mx.array(a)
    for _ in range(6):
        x, a = random_view(g, x, a)
        if g.integers(4) == 0:
            x, a = x * 3 - 1, a * 3 - 1
    check(mx.sum(x), a.sum(dtype=np.int32))
    check(x * x + 1, a * a + 1)
    check(x, a)
    check(mx.contiguous(x), a)


def test_diagonal() -> None:
    x = sample("float32", (4, 6, 5), 1)
    for k, (i, j) in itertools.product((-5, -2, 0, 1, 3, 6), ((0, 1), (1, 2), (2, 0), (-1, -2))):
        check(mx.diagonal(x, k, i, j), np.diagonal(to_numpy(x), k, i, j))
    check_derivatives(lambda v: mx.diagonal(v, 1), normal64((4, 5)), second=False)


VIEWS: dict[str, Callable[[mx.array], mx.array]] = {
    "transpose": lambda x: mx.transpose(x, (2, 0, 1)),
    "reshape": lambda x: mx.reshape(x, (6, -1)),
    "reshape of transpose": lambda x: mx.reshape(mx.transpose(x), (-1,)),
    "broadcast": lambda x: mx.broadcast_to(x[:, :1], (3, 5, 4)),
    "slice": lambda x: x[::-1, 1:, ::2],
    "int": lambda x: x[1, :, None],
    "flip": lambda x: mx.flip(x, (0, 2)),
    "squeeze": lambda x: mx.squeeze(x[:, :1], 1),
    "strided": lambda x: mx.as_strided(x, (5, 3), (2, 1), 1),
    "swap": lambda x: mx.swapaxes(x, 0, 2),
    "unflatten": lambda x: mx.unflatten(x, 2, (2, 2)),
    "concatenate": lambda x: mx.concatenate([x, x[:, :2] * 2], axis=1),
    "stack": lambda x: mx.stack([x, x * x], axis=1),
    "split": lambda x: mx.split(x, [1, 2], axis=2)[1] * 3,
    "pad": lambda x: mx.pad(x, ((1, 0), (0, 2), (1, 1)), constant_values=2),
    "pad edge": lambda x: mx.pad(x, ((1, 0), (0, 2), (1, 1)), mode="edge"),
    "repeat": lambda x: mx.repeat(x, 2, axis=1),
    "tile": lambda x: mx.tile(x, (2, 1, 2)),
    "roll": lambda x: mx.roll(x, 1, 1),
    "take": lambda x: mx.take(x, mx.array([2, 0, 0, -1]), axis=2),
    "gather": lambda x: x[mx.array([[0, 1], [2, 0]]), :, mx.array([1, 3])],
    "along": lambda x: mx.take_along_axis(x, mx.array(np.arange(12).reshape(3, 1, 4) % 2), axis=1),
    "sort": lambda x: mx.sort(x, axis=2),
    "partition": lambda x: mx.sort(mx.partition(x, 1, axis=2)[..., :1], axis=2),
    "topk": lambda x: mx.sort(mx.topk(x, 2, axis=2), axis=2),
    "softmax": lambda x: mx.softmax(x, axis=1),
    "softmax all": lambda x: mx.softmax(x),
    "tri": lambda x: mx.tril(x),
    "where": lambda x: mx.where(x > 0, x, 2 * x),
    "median": lambda x: mx.median(x, axis=2),
    "diff": lambda x: mx.diff(x, axis=2),
    "depends": lambda x: mx.depends(x, [x * 2]),
    "clip": lambda x: mx.clip(x, -0.5, 0.5) * x,
}


@pytest.mark.parametrize("name", VIEWS)
def test_linear_families(name: str) -> None:
    """Derivatives of both modes and orders, and vmap over each axis."""
    f = VIEWS[name]
    check_derivatives(f, normal64((3, 2, 4), 8), tolerance=1e-5)
    batch = sample("float32", (3, 5, 2, 4), 9)
    check_vmap(f, mx.moveaxis(batch, 1, 0), axes=(0,))
    check_vmap(f, mx.moveaxis(batch, 1, 3), axes=(-1,))


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool_", "complex64", "float16", "uint8"])
def test_joins(dtype: str) -> None:
    x, y = sample(dtype, (4, 5), 1), sample(dtype, (3, 5), 2)
    a, b = to_numpy(x), to_numpy(y)
    check(mx.concatenate([x, y, x[:0], x]), np.concatenate([a, b, a[:0], a]))
    check(mx.concatenate([x.T, y.T], axis=1), np.concatenate([a.T, b.T], axis=1))
    check(mx.concatenate([x[:, ::-1], y], axis=None), np.concatenate([a[:, ::-1], b], axis=None))
    check(mx.stack([x, x[::-1]], axis=-1), np.stack([a, a[::-1]], axis=-1))
    for got, want in zip(mx.split(x, [1, 1, 3], axis=1), np.split(a, [1, 1, 3], axis=1), strict=False):
        check(got, want)
    check(mx.pad(x, ((2, 1), (0, 3))), np.pad(a, ((2, 1), (0, 3))))
    for mode in ("edge", "reflect", "symmetric"):
        check(mx.pad(x, 3, mode=mode), np.pad(a, 3, mode=mode))
    check(mx.roll(x, (1, -2), (0, 1)), np.roll(a, (1, -2), (0, 1)))
    check(mx.tile(x, (2, 1, 3)), np.tile(a, (2, 1, 3)))
    check(mx.repeat(x, 3, axis=0), np.repeat(a, 3, axis=0))


def test_concatenate_promotes() -> None:
    y = mx.concatenate([mx.array([1, 2]), mx.array([0.5])])
    assert y.dtype == mx.float32
    check(y, [1, 2, 0.5])


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
        for i, row in zip(at, to_numpy(u), strict=False):
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


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "complex64"])
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
    x = sample("float32", (6, 7, 4), 1)
    for axis in (0, 1, None):
        check(mx.sort(x, axis=axis), np.sort(to_numpy(x), axis=axis))
        check(
            mx.argsort(x[::-1, ::2], axis=axis),
            np.argsort(to_numpy(x)[::-1, ::2], axis=axis, kind="stable"),
        )


# --- products -----------------------------------------------------------------------------------

PRODUCTS = [
    ((3, 4), (4, 5)),
    ((4,), (4,)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((1, 1), (1, 1)),
    ((0, 4), (4, 5)),
    ((3, 0), (0, 5)),
    ((3, 4), (4, 0)),
    ((65, 130), (130, 67)),
    ((1, 300), (300, 40)),
    ((2, 2, 1, 7), (2, 2, 7, 1)),
]


@pytest.mark.parametrize("shapes", PRODUCTS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "complex64"])
def test_matmul(dtype: str, shapes: Any) -> None:
    x, y = (sample(dtype, s, i) for i, s in enumerate(shapes))
    check(x @ y, np.matmul(wide(x), wide(y)), 30 * TOLERANCE[dtype])


def test_matmul_layouts() -> None:
    x, y = sample("float32", (8, 20, 30), 1), sample("float32", (8, 30, 20), 2)
    a, b = to_numpy(x), to_numpy(y)
    t = (0, 2, 1)
    check(mx.transpose(x, t) @ mx.transpose(y, t), a.transpose(t) @ b.transpose(t), 1e-4)
    check(x[:, ::2, ::-1] @ y[:, ::-1], a[:, ::2, ::-1] @ b[:, ::-1], 1e-4)
    check(mx.broadcast_to(x[:1], (8, 20, 30)) @ y, np.broadcast_to(a[:1], (8, 20, 30)) @ b, 1e-4)
    check(
        mx.broadcast_to(x[0, :1], (20, 30)) @ y[0], np.broadcast_to(a[0, :1], (20, 30)) @ b[0], 1e-4
    )
    check(x[1] @ y[0], a[1] @ b[0], 1e-4)


@pytest.mark.parametrize("shapes", PRODUCTS[:9], ids=str)
def test_matmul_derivatives(shapes: Any) -> None:
    x, y = (normal64(s, i) for i, s in enumerate(shapes))
    check_derivatives(mx.matmul, x, y)


def test_matmul_vmap() -> None:
    x, y = sample("float32", (3, 4, 3), 1), sample("float32", (3, 3, 5), 2)
    check_vmap(mx.matmul, x, y[0], axes=(0, None))
    check_vmap(mx.matmul, x[0], y, axes=(None, 0))
    check_vmap(mx.matmul, x, y, axes=(0, 0))
    check_vmap(mx.matmul, mx.moveaxis(x, 0, 2), mx.moveaxis(y, 0, 1), axes=(2, 1))
    check_vmap(lambda u: u @ mx.ones((4,)), sample("float32", (3, 2, 4), 1), axes=(0,))
    check_vmap(lambda u: mx.ones((4,)) @ u, sample("float32", (4, 3, 2), 1), axes=(1,))


def test_addmm() -> None:
    for c_shape in ((3, 5), (5,), (1, 5), (3, 1), ()):
        c, x, y = normal64(c_shape, 1), normal64((3, 4), 2), normal64((4, 5), 3)
        got = mx.addmm(c, x, y, alpha=0.5, beta=-2.0)
        check(got, 0.5 * (wide(x) @ wide(y)) - 2 * wide(c), 1e-12)
        check_derivatives(lambda c, x, y: mx.addmm(c, x, y, 0.5, 2.0), c, x, y)
    with options(fuse=False):
        x = sample("float32", (17, 19), 1)
        apart = mx.addmm(x[:, :17], x, mx.transpose(x))
        mx.eval(apart)
    check(mx.addmm(x[:, :17], x, mx.transpose(x)), to_numpy(apart), 1e-5)


def test_epilogues() -> None:
    """What follows a product is computed with it, whatever its size."""
    for m, k, n in ((1, 8, 8), (64, 64, 64), (130, 70, 33), (257, 16, 5)):
        x, y, b = (
            sample("float32", (m, k), 1),
            sample("float32", (k, n), 2),
            sample("float32", (n,), 3),
        )
        z = mx.tanh(x @ y + b) * 2
        check(z, np.tanh(wide(x) @ wide(y) + wide(b)) * 2, 2e-5)
        s = mx.sum(mx.maximum(x @ y, 0), axis=1)
        check(s, np.maximum(wide(x) @ wide(y), 0).sum(1), 1e-4)


# --- convolution --------------------------------------------------------------------------------

CONVOLUTIONS = [
    ("conv1d", (2, 9, 4), (6, 3, 4), {}),
    ("conv1d", (2, 9, 4), (6, 3, 2), {"stride": 2, "padding": 2, "groups": 2}),
    ("conv2d", (2, 8, 7, 3), (4, 3, 3, 3), {}),
    ("conv2d", (1, 8, 7, 3), (4, 3, 2, 3), {"stride": (2, 1), "padding": (1, 2)}),
    ("conv2d", (2, 9, 9, 4), (4, 3, 3, 4), {"dilation": 2, "padding": 2}),
    ("conv2d", (2, 8, 8, 4), (6, 3, 3, 2), {"groups": 2, "padding": 1}),
    ("conv2d", (2, 8, 8, 4), (4, 3, 3, 1), {"groups": 4, "padding": 1}),
    ("conv2d", (2, 5, 5, 8), (16, 1, 1, 8), {}),
    ("conv3d", (1, 5, 4, 6, 2), (3, 2, 2, 3, 2), {"padding": 1}),
    (
        "conv_general",
        (1, 6, 6, 2),
        (3, 3, 3, 2),
        {"input_dilation": 2, "padding": ([1, 0], [2, 1])},
    ),
    ("conv_general", (1, 6, 6, 2), (3, 2, 3, 2), {"flip": True, "stride": 2}),
]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(case: Any) -> None:
    name, xs, ws, options_ = case
    x, w = sample("float32", xs, 1), sample("float32", ws, 2)
    f = lambda u, v: getattr(mx, name)(u, v, **options_)
    want = getattr(omx, name)(theirs(to_numpy(x)), theirs(to_numpy(w)), **options_)
    check(f(x, w), np.array(want), 2e-5)
    reverse = lambda d: mx.flip(mx.transpose(d), tuple(range(d.ndim)))
    check(f(reverse(reverse(x)), w), np.array(want), 2e-5)


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution_derivatives(case: Any) -> None:
    name, xs, ws, options_ = case
    x, w = normal64(xs, 1), normal64(ws, 2)
    check_derivatives(lambda u, v: getattr(mx, name)(u, v, **options_), x, w, tolerance=1e-5)


def test_convolution_vmap() -> None:
    x, w = sample("float32", (3, 2, 6, 6, 4), 1), sample("float32", (3, 4, 3, 3, 4), 2)
    f = lambda u, v: mx.conv2d(u, v, padding=1)
    check_vmap(f, x, w[0], axes=(0, None), tolerance=1e-4)
    check_vmap(f, x[0], w, axes=(None, 0), tolerance=1e-4)
    check_vmap(f, x, w, axes=(0, 0), tolerance=1e-4)
    check_vmap(lambda u: mx.grad(lambda v: f(u, v).sum())(w[0]), x, axes=(0,), tolerance=1e-3)


def test_convolution_16_bit() -> None:
    for dtype in ("float16", "bfloat16"):
        x, w = sample(dtype, (2, 8, 8, 4), 1), sample(dtype, (8, 3, 3, 4), 2)
        want = omx.conv2d(
            omx.array(to_numpy(x).astype(np.float32)),
            omx.array(to_numpy(w).astype(np.float32)),
            padding=1,
        )
        y = mx.conv2d(x, w, padding=1)
        assert name_of(y) == dtype
        check(y, np.array(want), 5e-2 if dtype == "float16" else 3e-1)


# --- row functions ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize(
    "shape,axis",
    [((5, 33), -1), ((5, 33), 0), ((4, 3, 5), (0, 2)), ((2, 20_001), -1), ((3, 1), -1)],
)
def test_softmax(dtype: str, shape: Any, axis: Any) -> None:
    x = sample(dtype, shape, 1, -4, 4)
    a = wide(x)
    e = np.exp(a - a.max(axis=axis, keepdims=True))
    y = mx.softmax(x, axis=axis)
    assert name_of(y) == dtype
    check(y, e / e.sum(axis=axis, keepdims=True), 5 * TOLERANCE[dtype])
    check(mx.logsumexp(x, axis=axis), reduced("logsumexp", a, axis, False), 5 * TOLERANCE[dtype])


def test_softmax_special() -> None:
    x = mx.array([[0, -np.inf, 0], [1e4, 0, 1e4], [-np.inf, -np.inf, 1]])
    check(mx.softmax(x, axis=-1), [[0.5, 0, 0.5], [0.5, 0, 0.5], [0, 0, 1]])
    low = mx.full((3,), -np.inf)
    assert mx.logsumexp(low).item() == -np.inf
    assert mx.logsumexp(mx.array([np.inf, 1])).item() == np.inf
    assert mx.softmax(mx.zeros((3, 0)), axis=-1).shape == (3, 0)


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_norms(name: str) -> None:
    f = getattr(mx.fast, name)
    weights = [normal64((6,), 2), normal64((6,), 3)][: 2 if name == "layer_norm" else 1]
    for x in (normal64((4, 6), 1), normal64((2, 3, 6), 4)):
        a = wide(x)
        c = a - a.mean(-1, keepdims=True) if name == "layer_norm" else a
        want = c / np.sqrt((c * c).mean(-1, keepdims=True) + 1e-3) * wide(weights[0])
        if name == "layer_norm":
            want = want + wide(weights[1])
        check(f(x, *weights, 1e-3), want, 1e-10)
        check_derivatives(lambda v, *w: f(v, *w, 1e-3), x, *weights, tolerance=1e-5)
        none = [None] * len(weights)
        check_derivatives(lambda v: f(v, *none, 1e-3), x, tolerance=1e-5)
    w32 = [sample("float32", (6,), i) for i in range(len(weights))]
    batch = sample("float32", (3, 4, 6), 5)
    check_vmap(lambda v: f(v, *w32, 1e-3), batch, axes=(1,), tolerance=1e-5)
    stacked = [mx.stack([w] * 3) * mx.array([[1.0], [2.0], [3.0]]) for w in w32]
    check_vmap(
        lambda v, *w: f(v, *w, 1e-3), batch, *stacked, axes=(0,) * (1 + len(w32)), tolerance=1e-5
    )
    half = sample("float16", (4, 6), 1)
    assert f(half, *[w.astype(mx.float16) for w in w32], 1e-3).dtype == mx.float16


# --- creation -----------------------------------------------------------------------------------


def test_creation() -> None:
    check(mx.arange(7), np.arange(7))
    check(mx.arange(2, 9, 3), np.arange(2, 9, 3))
    check(mx.arange(5, -3, -2), np.arange(5, -3, -2))
    check(mx.arange(0.0, 1.0, 0.1), np.arange(0.0, 1.0, 0.1), 1e-6)
    check(mx.linspace(-1, 3, 11), np.linspace(-1, 3, 11), 1e-6)
    check(mx.linspace(0, 1, 1), [0.0])
    for n, m, k in itertools.product((0, 1, 4), (None, 3, 6), (-2, 0, 1)):
        check(mx.eye(n, m, k), np.eye(n, m, k))
        check(mx.tri(n, m, k), np.tri(n, m, k))
    x = sample("float32", (3, 4, 5), 1)
    for k in (-2, 0, 3):
        check(mx.tril(x, k), np.tril(to_numpy(x), k))
        check(mx.triu(x, k), np.triu(to_numpy(x), k))
    check(mx.full((2, 3), mx.array([1, 2, 3])), np.full((2, 3), [1, 2, 3]))
    for dtype in DTYPES:
        assert name_of(mx.zeros((2,), getattr(mx, dtype))) == dtype
        check(mx.ones((2, 0), getattr(mx, dtype)), np.ones((2, 0)))


# --- the whole lot, fused against unfused -------------------------------------------------------


@pytest.mark.parametrize("name", VIEWS)
def test_families_fused_is_unfused(name: str) -> None:
    x = sample("float32", (3, 2, 4), 11)

    def f() -> mx.array:
        y = VIEWS[name](mx.exp(x) - 1)
        return mx.sum(y * y + y, axis=0)

    fused = f()
    mx.eval(fused)
    with options(fuse=False, donate=False, verify=True):
        check(f(), to_numpy(fused), 1e-5)

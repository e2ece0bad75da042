"""Reductions, arg-reductions and scans: values, dtypes, layouts, derivatives, batching."""

from __future__ import annotations

import itertools
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
    reduced,
    rng,
    sample,
    stale,
    to_numpy,
    wide,
)

# --- reductions ---------------------------------------------------------------------------------

REDUCTIONS = ["sum", "prod", "min", "max", "all", "any", "mean", "var", "std", "logsumexp"]
AXES = [None, 0, 1, -1, (0, 2), (1, 2), (0, 1, 2), (-1, 0), ()]


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


def test_reduce_empty_into_a_join() -> None:
    """A reduction of nothing, written into a place that is no block of memory of its own."""
    stale(7.0)
    for shape in ((2, 0), (2, 3, 0)):
        x = mx.zeros(shape)
        parts = [f(x, axis=-1, keepdims=True) for f in (mx.prod, mx.sum, mx.prod)]
        want = np.broadcast_to(np.array([1, 0, 1], "f"), (*shape[:-1], 3))
        check(mx.concatenate(parts, axis=-1), want)


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
    x = mx.full((1 << 24,), 0.1)
    assert abs(mx.sum(x).item() / (np.float64(np.float32(0.1)) * (1 << 24)) - 1) < 2e-6
    columns = mx.sum(mx.full((1 << 19, 24), 0.1), axis=0)
    check(columns, np.full(24, np.float64(np.float32(0.1)) * (1 << 19)), 3e-6)
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


@pytest.mark.parametrize("shape", [(3, 5), (4, 300), (300, 4), (2, 9000), (9000, 8), (70_000,)])
@pytest.mark.parametrize("name", ["argmin", "argmax"])
def test_arg_reduce_of_what_a_search_starts_from(name: str, shape: tuple[int, ...]) -> None:
    """Infinities, least and largest integers, False: the first place of equal ones all the same."""
    starts = {np.float32: (-np.inf, np.inf), np.bool_: (False, True)}
    for dtype in (np.int8, np.uint32, np.int64):
        starts[dtype] = (np.iinfo(dtype).min, np.iinfo(dtype).max)
    for dtype, values in starts.items():
        for value in values:
            a = np.full(shape, value, dtype)
            spots = [a, a.copy()]
            spots[1].flat[[a.size // 3, a.size // 2]] = np.nan if dtype is np.float32 else 1
            for b in spots:
                for axis in (0, -1, None):
                    check(getattr(mx, name)(mx.array(b), axis=axis), getattr(np, name)(b, axis))


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


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", SCANS)
def test_complex_scan(name: str, reverse: bool) -> None:
    """Values by NumPy; jvp by differences; vjp is the adjoint of jvp."""
    x, t, ct = (sample("complex64", (2, 5), seed) for seed in (3, 4, 5))

    def f(v: mx.array) -> mx.array:
        return getattr(mx, name)(v, axis=1, reverse=reverse)

    def reference(a: np.ndarray) -> np.ndarray:
        if name == "logcumsumexp":
            return np.log(scanned("cumsum", np.exp(a), 1, reverse, True))
        return scanned(name, a, 1, reverse, True)

    want = reference(wide(x))
    if name == "logcumsumexp":  # equal up to turns
        check(mx.exp(f(x)), np.exp(want), 1e-4)
    else:
        check(f(x), want, 1e-4)
    h = 1e-6
    slope = (reference(wide(x) + h * wide(t)) - reference(wide(x) - h * wide(t))) / (2 * h)
    got = to_numpy(mx.jvp(f, [x], [t])[1][0])
    np.testing.assert_allclose(got, slope, rtol=1e-3, atol=1e-3)
    back = to_numpy(mx.vjp(f, [x], [ct])[1][0])
    left, right = (
        np.sum(np.conj(a) * b).real for a, b in ((to_numpy(ct), got), (back, to_numpy(t)))
    )
    assert abs(left - right) < 1e-3 * (1 + abs(left))


def test_cumprod_derivative_at_zero() -> None:
    x = mx.array([2.0, 0.0, 3.0, 0.0, 5.0], dtype=mx.float64)
    check_derivatives(lambda v: mx.cumprod(v), x, tolerance=1e-5, second=False)


@pytest.mark.parametrize("form", ["max", "min", "argmax", "argmin"])
@pytest.mark.parametrize("shape", [(7,), (300, 5), (5, 300), (64, 1000), (3, 70_000)])
def test_extremes_of_complex_numbers_are_by_real_part_first(
    form: str, shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    real, imag = rng.integers(-3, 3, (2, *shape))  # small, so that parts are often equal
    x = (real + 1j * imag).astype(np.complex64)
    holed = x.copy()
    holed[..., 3] = complex(np.nan, 1)
    for axis in (*range(x.ndim), None):
        for values in (x, holed):
            got = np.array(getattr(mx, form)(mx.array(values), axis=axis))
            expected = getattr(np, form)(values, axis=axis)
            assert np.array_equal(got, expected, equal_nan="arg" not in form)

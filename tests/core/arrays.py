"""Samples of every dtype, conversions and comparisons that the tests of the core share."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
from lamina import _core

INTEGERS = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]
FLOATS = ["float16", "bfloat16", "float32", "float64"]
DTYPES = ["bool_", *INTEGERS, *FLOATS, "complex64"]
# Relative error allowed per dtype of the result; some ten units in the last place.
TOLERANCE = {
    "float16": 4e-3,
    "bfloat16": 3e-2,
    "float32": 4e-6,
    "float64": 1e-12,
    "complex64": 1e-5,
}
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 1e-6, np.inf, -np.inf, np.nan]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def name_of(x: Any) -> str:
    """The dtype of any array as the attribute name of `core`."""
    text = str(x.dtype).rsplit(".", 1)[-1]
    return "bool_" if text == "bool" else text


def to_numpy(x: Any) -> np.ndarray:
    """Any array; bfloat16, which NumPy lacks, widened to float32."""
    if isinstance(x, (mx.array, omx.array)):
        core = mx if isinstance(x, mx.array) else omx
        return np.array(x.astype(core.float32) if name_of(x) == "bfloat16" else x)
    return np.asarray(x)


def ours(a: np.ndarray, dtype: str | None = None) -> mx.array:
    a = np.ascontiguousarray(a) if a.ndim else a
    return mx.array(a, dtype=getattr(mx, dtype or ("bool_" if a.dtype == bool else str(a.dtype))))


def theirs(a: np.ndarray, dtype: str | None = None) -> omx.array:
    return omx.array(a, dtype=getattr(omx, dtype or ("bool_" if a.dtype == bool else str(a.dtype))))


def sample(
    dtype: str, shape: tuple[int, ...], seed: int = 0, low: float = -2.0, high: float = 2.0
) -> mx.array:
    """Numbers of the interval, whole for integers, non-negative for unsigned ones."""
    g = rng(seed)
    if dtype == "bool_":
        return ours(g.integers(0, 2, shape).astype(bool))
    if dtype in INTEGERS:
        least = max(0, np.ceil(low)) if dtype[0] == "u" else np.ceil(low)
        return ours(g.integers(int(least), int(np.floor(high)) + 1, shape).astype(dtype))
    values = g.uniform(low, high, shape)
    if dtype == "complex64":
        values = (values + 1j * g.uniform(low, high, shape)).astype(np.complex64)
        return ours(values)
    return mx.array(values.astype(np.float64), dtype=getattr(mx, dtype))


def wide(x: mx.array) -> np.ndarray:
    """The exact values in the widest dtype of their kind, for a reference in NumPy."""
    a = to_numpy(x)
    if a.dtype.kind == "f":
        return a.astype(np.float64)
    return a.astype(np.complex128) if a.dtype.kind == "c" else a


def check(
    actual: mx.array, expected: Any, tolerance: float | None = None, context: Any = ""
) -> None:
    """Shape and values; exact for integers and booleans, relative to the result's dtype else."""
    a, b = to_numpy(actual), to_numpy(expected)
    assert a.shape == b.shape, f"{context}: shape {a.shape}, expected {b.shape}"
    if a.dtype.kind in "biu" and b.dtype.kind in "biu":
        np.testing.assert_array_equal(a, b, err_msg=str(context))
        return
    t = TOLERANCE.get(name_of(actual), 1e-6) if tolerance is None else tolerance
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(a, b, rtol=t, atol=t, err_msg=str(context))


def bits(x: mx.array) -> np.ndarray:
    """For bit-exact comparison: NaNs compare equal, zeros by sign."""
    a = to_numpy(x)
    return np.where(np.isnan(a), a.dtype.type(7.25), a).view(np.uint8) if a.dtype.kind == "f" else a


def reduced(name: str, a: np.ndarray, axis: Any, keepdims: bool) -> np.ndarray:
    """The reduction of that name in NumPy."""
    if name == "logsumexp":
        a = a if a.dtype.kind == "c" else a.astype(np.float64)
        top = np.max(a.real, axis=axis, keepdims=True, initial=-np.inf)
        top = np.where(np.isfinite(top), top, 0)
        with np.errstate(all="ignore"):
            return np.log(np.sum(np.exp(a - top), axis=axis, keepdims=keepdims)) + (
                top if keepdims else top.reshape(np.sum(a, axis=axis).shape)
            )
    return getattr(np, name)(a, axis=axis, keepdims=keepdims)


@contextlib.contextmanager
def options(**switches: bool) -> Iterator[None]:
    before = dict(_core._options())
    _core._options(**switches)
    _core._clear_plan_cache()
    try:
        yield
    finally:
        _core._options(**before)
        _core._clear_plan_cache()


def stale(value: float) -> None:
    """Leaves a value in the memory that kernels get next: what they fail to write will show it."""
    mx.eval([mx.full((int(2 ** (k / 4)),), value) + 0 for k in range(16, 72)])


def last_plan() -> dict[str, Any]:
    return json.loads(_core._plan_describe(_core._last_plan()))


# --- derivatives --------------------------------------------------------------------------------


def normal64(shape: tuple[int, ...], seed: int = 0) -> mx.array:
    return mx.array(rng(seed).standard_normal(shape), dtype=mx.float64)


def directional(
    f: Callable[..., mx.array], xs: list[mx.array], ts: list[mx.array], h: float
) -> np.ndarray:
    """Central difference of f along the tangents."""
    ahead = to_numpy(f(*[x + t * h for x, t in zip(xs, ts, strict=True)]))
    behind = to_numpy(f(*[x - t * h for x, t in zip(xs, ts, strict=True)]))
    return (ahead - behind) / (2 * h)


def check_derivatives(
    f: Callable[..., mx.array],
    *xs: mx.array,
    h: float = 1e-6,
    tolerance: float = 2e-6,
    seed: int = 7,
    second: bool = True,
) -> None:
    """jvp against differences, vjp against jvp, and the same of the gradient. All in float64."""
    inputs = list(xs)
    ts = [normal64(x.shape, seed + i) for i, x in enumerate(inputs)]
    outs, tangents = mx.jvp(f, inputs, ts)
    check(outs[0], f(*inputs), 1e-10, "primal of jvp")
    check(tangents[0], directional(f, inputs, ts, h), tolerance, "jvp against differences")
    ct = normal64(outs[0].shape, seed + 50)
    outs, cts = mx.vjp(f, inputs, [ct])
    check(outs[0], f(*inputs), 1e-10, "primal of vjp")
    left = float(np.sum(to_numpy(ct) * to_numpy(tangents[0])))
    right = sum(float(np.sum(to_numpy(c) * to_numpy(t))) for c, t in zip(cts, ts, strict=True))
    assert abs(left - right) <= 1e-9 * (1 + abs(left)), f"<ct, J t> = {left}, <J' ct, t> = {right}"
    for c, x in zip(cts, inputs, strict=True):
        assert c.shape == x.shape
        assert c.dtype == x.dtype
    if not second:
        return

    def slope(*at: mx.array) -> mx.array:
        grads = mx.vjp(f, list(at), [ct])[1]
        return sum(mx.sum(g * t) for g, t in zip(grads, ts, strict=True))

    us = [normal64(x.shape, seed + 90 + i) for i, x in enumerate(inputs)]
    by_difference = directional(slope, inputs, us, h)
    forward = mx.jvp(slope, inputs, us)[1][0]
    check(forward, by_difference, 20 * tolerance, "forward over reverse against differences")
    back = mx.vjp(slope, inputs, [mx.array(1.0, dtype=mx.float64)])[1]
    reverse = sum(float(np.sum(to_numpy(b) * to_numpy(u))) for b, u in zip(back, us, strict=True))
    assert abs(reverse - float(to_numpy(forward))) <= 1e-8 * (1 + abs(reverse)), (
        "reverse over reverse"
    )


def check_vmap(
    f: Callable[..., mx.array], *xs: mx.array, axes: tuple[Any, ...], tolerance: float | None = None
) -> None:
    """vmap against a loop of slices; output axes 0 and last."""
    n = next(x.shape[a] for x, a in zip(xs, axes, strict=True) if a is not None)

    def cut(x: mx.array, axis: int | None, i: int) -> mx.array:
        return x if axis is None else mx.take(x, i, axis)

    rows = [to_numpy(f(*[cut(x, a, i) for x, a in zip(xs, axes, strict=True)])) for i in range(n)]
    check(mx.vmap(f, in_axes=axes)(*xs), np.stack(rows), tolerance, f"vmap {axes}")
    check(
        mx.vmap(f, in_axes=axes, out_axes=-1)(*xs),
        np.stack(rows, -1),
        tolerance,
        f"vmap {axes} -> -1",
    )

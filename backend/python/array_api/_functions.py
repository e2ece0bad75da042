"""Functions whose parameters in the standard are not those that MLX gave them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lamina.core as mx
from lamina.core import array

__all__ = [
    "argmax",
    "argmin",
    "argsort",
    "clip",
    "cumulative_prod",
    "cumulative_sum",
    "diff",
    "prod",
    "reshape",
    "searchsorted",
    "sort",
    "std",
    "sum",
    "var",
]

Axis = int | Sequence[int] | None
# Positions have the dtype that `__array_namespace_info__` names for them.
POSITIONS = mx.int64


def _as(x: array, dtype: Any) -> array:
    return x if dtype is None else x.astype(dtype)


def sum(x: array, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> array:
    """The sum over `axis`, or of all, in `dtype`; of integers below 32 bits in 32."""
    return _as(mx.sum(_as(x, dtype), axis, keepdims), dtype)


def prod(x: array, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> array:
    """The product over `axis`, or of all, in `dtype`; of integers below 32 bits in 32."""
    return _as(mx.prod(_as(x, dtype), axis, keepdims), dtype)


def var(
    x: array, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False
) -> array:
    """The mean square distance from the mean; the divisor is the count less `correction`."""
    if correction == int(correction):
        return mx.var(x, axis, keepdims, int(correction))
    plain = mx.var(x, axis, keepdims)
    count = x.size // max(plain.size, 1)
    return plain * (count / (count - correction))


def std(
    x: array, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False
) -> array:
    """The root of `var`."""
    return mx.sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims))


def clip(x: array, /, min: Any = None, max: Any = None) -> array:
    """Numbers below `min` raised to it, those above `max` lowered to it; in the dtype of x."""
    if min is None and max is None:
        return x
    return mx.clip(x, min, max).astype(x.dtype)


def reshape(x: array, /, shape: Sequence[int], *, copy: bool | None = None) -> array:
    """The elements in the same order under another shape."""
    return mx.reshape(x, list(shape))


def diff(
    x: array,
    /,
    *,
    axis: int = -1,
    n: int = 1,
    prepend: array | None = None,
    append: array | None = None,
) -> array:
    """The n-th differences of neighbours along `axis`, of x between `prepend` and `append`."""
    parts = [p for p in (prepend, x, append) if p is not None]
    return mx.diff(parts[0] if len(parts) == 1 else mx.concatenate(parts, axis), n, axis)


def _scan(name: str, x: array, axis: int | None, dtype: Any, include_initial: bool) -> array:
    if axis is None:
        if x.ndim > 1:
            raise ValueError(f"{name}: shape {tuple(x.shape)} has several axes: say which")
        axis = 0
    wide = _as(x, dtype)
    if dtype is None and mx.issubdtype(x.dtype, mx.integer) and x.dtype.size < 4:
        unsigned = mx.issubdtype(x.dtype, mx.unsignedinteger)
        wide = x.astype(mx.uint32 if unsigned else mx.int32)
    out = (mx.cumsum if name == "cumulative_sum" else mx.cumprod)(wide, axis)
    if not include_initial:
        return out
    shape = [1 if k == axis % x.ndim else d for k, d in enumerate(x.shape)]
    first = mx.full(shape, 0 if name == "cumulative_sum" else 1, out.dtype)
    return mx.concatenate([first, out], axis)


def cumulative_sum(
    x: array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> array:
    """The sums of the elements up to each along `axis`, after a 0 if `include_initial`."""
    return _scan("cumulative_sum", x, axis, dtype, include_initial)


def cumulative_prod(
    x: array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> array:
    """The products of the elements up to each along `axis`, after a 1 if `include_initial`."""
    return _scan("cumulative_prod", x, axis, dtype, include_initial)


def argmax(x: array, /, *, axis: int | None = None, keepdims: bool = False) -> array:
    """The position of the largest element along `axis`, or in the flattened array."""
    return mx.argmax(x, axis, keepdims).astype(POSITIONS)


def argmin(x: array, /, *, axis: int | None = None, keepdims: bool = False) -> array:
    """The position of the smallest element along `axis`, or in the flattened array."""
    return mx.argmin(x, axis, keepdims).astype(POSITIONS)


def argsort(x: array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> array:
    """The positions of the elements in order along `axis`; of equal ones the first comes first."""
    if not descending:
        return mx.argsort(x, axis).astype(POSITIONS)
    # Sorted backwards from the end, so that equal ones, which that turns around, stay in order.
    back = mx.argsort(mx.flip(x, axis), axis)
    return x.shape[axis] - 1 - mx.flip(back, axis).astype(POSITIONS)


def sort(x: array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> array:
    """The elements in order along `axis`."""
    return mx.flip(mx.sort(x, axis), axis) if descending else mx.sort(x, axis)


def searchsorted(
    x1: array, x2: array, /, *, side: str = "left", sorter: array | None = None
) -> array:
    """Where the elements of `x2` would go into `x1`, or into `x1` in the order of `sorter`."""
    at = mx.searchsorted(x1 if sorter is None else mx.take(x1, sorter), x2, side)
    return at.astype(POSITIONS)

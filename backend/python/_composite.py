"""Elementwise functions, reductions and comparisons composed of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamina import _core as _c
from lamina._arguments import explain
from lamina._core import array
from lamina._dtypes import finfo, floating, inexact, issubdtype

__all__ = [
    "allclose",
    "array_equal",
    "clip",
    "count_nonzero",
    "diff",
    "divmod",
    "isclose",
    "median",
    "minmax",
    "nan_to_num",
    "round",
    "topk",
    "unique",
]

_Axis = int | Sequence[int] | None


def _to_array(value: Any) -> array:
    return value if isinstance(value, array) else _c.array(value)


def clip(a: array, /, a_min: Any, a_max: Any, *, stream: Any = None) -> array:
    """Elements moved into [a_min, a_max]; one of the bounds may be None."""
    if a_min is None and a_max is None:
        raise _c.ArgumentError("clip: one of a_min and a_max must be given")
    out = a if a_min is None else _c.maximum(a, a_min)
    return out if a_max is None else _c.minimum(out, a_max)


def round(a: array, /, decimals: int = 0, stream: Any = None) -> array:
    """Rounded to `decimals` places, ties to even; negative ones round tens, hundreds, ..."""
    a = _to_array(a)
    if abs(decimals) > 308:
        raise _c.ArgumentError(f"round: decimals must lie between -308 and 308, got {decimals}")
    if not issubdtype(a.dtype, inexact):
        if decimals >= 0:
            return a
        scale = 10.0**decimals
        return (_c.round(a.astype(_c.float32) * scale) / scale).astype(a.dtype)
    if decimals == 0:
        return _c.round(a)
    scale = 10.0**decimals
    return _c.round(a * scale) / scale


def divmod(a: Any, b: Any, stream: Any = None) -> list[array]:
    """[floor_divide(a, b), remainder(a, b)]."""
    return [_c.floor_divide(a, b), _c.remainder(a, b)]


def nan_to_num(
    a: Any,
    nan: float = 0,
    posinf: float | None = None,
    neginf: float | None = None,
    *,
    stream: Any = None,
) -> array:
    """NaN and the infinities replaced; the latter by the dtype's largest numbers if not given."""
    x = _to_array(a)
    if x.dtype == _c.complex64:
        raise _c.DtypeError("nan_to_num: complex64 is not supported\nUse it on x.real and x.imag")
    if not issubdtype(x.dtype, floating):
        return x
    limits = finfo(x.dtype)
    out = _c.where(_c.isnan(x), nan, x)
    out = _c.where(_c.isposinf(x), limits.max if posinf is None else posinf, out)
    return _c.where(_c.isneginf(x), limits.min if neginf is None else neginf, out)


def isclose(
    a: array,
    b: array,
    /,
    rtol: float = 1e-05,
    atol: float = 1e-08,
    *,
    equal_nan: bool = False,
    stream: Any = None,
) -> array:
    """Where ``|a - b| <= atol + rtol * |b|``, or both are the same infinity; NaN if `equal_nan`."""
    x, y = _to_array(a), _to_array(b)
    near = _c.abs(_c.subtract(x, y)) <= _c.abs(y) * rtol + atol
    # The rule alone would call an infinity near to every number.
    finite = _c.logical_and(_c.isfinite(x), _c.isfinite(y))
    out = _c.logical_or(_c.logical_and(near, finite), _c.equal(x, y))
    if equal_nan:
        out = _c.logical_or(out, _c.logical_and(_c.isnan(x), _c.isnan(y)))
    return out


def allclose(
    a: array,
    b: array,
    /,
    rtol: float = 1e-05,
    atol: float = 1e-08,
    *,
    equal_nan: bool = False,
    stream: Any = None,
) -> array:
    """Whether all elements are close in the sense of `isclose`: a boolean of shape ()."""
    return _c.all(isclose(a, b, rtol, atol, equal_nan=equal_nan))


def array_equal(a: Any, b: Any, equal_nan: bool = False, stream: Any = None) -> array:
    """Whether shapes and all elements are equal: a boolean of shape ()."""
    x, y = _to_array(a), _to_array(b)
    if tuple(x.shape) != tuple(y.shape):
        return _c.array(False)
    same = _c.equal(x, y)
    if equal_nan and issubdtype(_c._promote(x.dtype, y.dtype), inexact):
        same = _c.logical_or(same, _c.logical_and(_c.isnan(x), _c.isnan(y)))
    return _c.all(same)


def count_nonzero(
    a: array, /, *, axis: _Axis = None, keepdims: bool = False, stream: Any = None
) -> array:
    """How many elements over `axis` are not zero, int32."""
    return _c.sum(_c.not_equal(a, _c.zeros_like(a)).astype(_c.int32), axis, keepdims)


def minmax(
    a: array, /, axis: _Axis = None, keepdims: bool = False, *, stream: Any = None
) -> tuple[array, array]:
    """The smallest and the largest element over `axis`."""
    return _c.min(a, axis, keepdims), _c.max(a, axis, keepdims)


def _cut(a: array, axis: int, start: int, stop: int) -> array:
    low, high = [0] * a.ndim, list(a.shape)
    low[axis], high[axis] = start, stop
    return _c._slice(a, low, high, [1] * a.ndim)


def _normal_axis(op: str, axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise _c.AxisError(f"{op}: axis {axis} is out of bounds for an array with {ndim} axes")
    return axis % ndim


def diff(a: array, /, n: int = 1, axis: int = -1, *, stream: Any = None) -> array:
    """The n-th differences of neighbours along `axis`; of booleans, whether they differ."""
    if n < 0:
        raise _c.ArgumentError(f"diff: n must not be negative, got {n}")
    at = _normal_axis("diff", axis, a.ndim)
    for _ in range(n):
        size = a.shape[at]
        if size == 0:
            break
        after, before = _cut(a, at, 1, size), _cut(a, at, 0, size - 1)
        a = _c.not_equal(after, before) if a.dtype == _c.bool_ else after - before
    return a


def _merged(op: str, a: array, axis: _Axis) -> tuple[array, list[int]]:
    """`a` with the given axes merged into its last one, and those axes."""
    given = range(a.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    axes = sorted(_normal_axis(op, i, a.ndim) for i in given)
    rest = [i for i in range(a.ndim) if i not in axes]
    moved = _c.transpose(a, [*rest, *axes])
    return _c.flatten(moved, len(rest), -1) if axes else _c.expand_dims(moved, -1), axes


def median(a: array, /, axis: _Axis = None, keepdims: bool = False, *, stream: Any = None) -> array:
    """The middle element over `axis`, or the mean of the two middle ones; integers give float32."""
    flat, axes = _merged("median", a, axis)
    size = flat.shape[-1]
    if size == 0:
        raise _c.ShapeError(f"median: axes {axes} of shape {tuple(a.shape)} have no elements")
    ordered = _c.sort(flat, -1)
    if not issubdtype(a.dtype, inexact):
        ordered = ordered.astype(_c.float32)
    low, high = (size - 1) // 2, size // 2
    out = _c.squeeze(_cut(ordered, flat.ndim - 1, low, low + 1), -1)
    if high != low:
        out = (out + _c.squeeze(_cut(ordered, flat.ndim - 1, high, high + 1), -1)) * 0.5
    return _c.expand_dims(out, axes) if keepdims and axes else out


def topk(a: array, /, k: int, axis: int | None = -1, *, stream: Any = None) -> array:
    """The k largest elements along `axis` in no particular order; None: of all elements."""
    if axis is None:
        a, axis = _c.reshape(a, [-1]), 0
    at = _normal_axis("topk", axis, a.ndim)
    size = a.shape[at]
    if k < 0 or k > size:
        raise _c.ShapeError(f"topk: k={k} does not fit axis {axis} of shape {tuple(a.shape)}")
    if k == size:
        return a
    if k == 0:
        return _cut(a, at, size, size)
    return _cut(_c.partition(a, size - k, at), at, size - k, size)


def unique(
    a: array,
    /,
    size: int,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    fill_value: Any = None,
    *,
    stream: Any = None,
) -> array | tuple[array, ...]:
    """The sorted distinct elements of the flattened array, cut or filled up to `size`.

    On request also where each first occurs, which of them each element of `a` is, and how often
    each occurs (0 for filled places). Nothing is evaluated.
    """
    if size < 0:
        raise _c.ArgumentError(f"unique: size must not be negative, got {size}")
    flat = _c.reshape(a, [-1])
    n = flat.size
    if n == 0:
        raise _c.ArgumentError("unique: the array has no elements")
    order = _c.argsort(flat, 0)
    ordered = _c.take(flat, order, 0)
    first = _c.ones([1], _c.bool_)
    starts = _c._concatenate([first, _cut(ordered, 0, 1, n) != _cut(ordered, 0, 0, n - 1)], 0)
    rank = _c.cumsum(starts.astype(_c.int32), 0) - 1
    # One place past the end takes what does not fit.
    slot = _c.minimum(rank, size)

    def gathered(initial: array, updates: array, mode: int) -> array:
        wide = _c.reshape(updates, [n, 1])
        return _cut(_c._scatter(initial, [slot], wide, [0], mode), 0, 0, size)

    places = size + 1
    fill = _cut(ordered, 0, 0, 1) if fill_value is None else fill_value
    out = [gathered(_c._full([places], fill, a.dtype), ordered, 0)]
    if return_index:
        # Equal elements are sorted in order, so the smallest of each run comes first.
        counts = gathered(_c.zeros([places], _c.int32), _c.ones([n], _c.int32), 1)
        least = gathered(_c._full([places], n, _c.uint32), order.astype(_c.uint32), 4)
        origin = _cut(order, 0, 0, 1).astype(_c.uint32)
        out.append(_c.where(counts > 0, least, origin))
    if return_inverse:
        clamped = _c.minimum(rank, max(size - 1, 0)).astype(_c.uint32)
        inverse = _c._scatter(
            _c.zeros([n], _c.uint32), [order], _c.reshape(clamped, [n, 1]), [0], 0
        )
        out.append(_c.reshape(inverse, a.shape))
    if return_counts:
        out.append(gathered(_c.zeros([places], _c.int32), _c.ones([n], _c.int32), 1))
    return out[0] if len(out) == 1 else tuple(out)


explain(globals(), __all__)

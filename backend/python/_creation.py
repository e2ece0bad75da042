"""Arrays made from sizes and values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lamina import _core as _c
from lamina._arguments import explain
from lamina._core import Dtype, array
from lamina._dtypes import integer, issubdtype

__all__ = [
    "arange",
    "bartlett",
    "blackman",
    "diag",
    "full",
    "full_like",
    "hamming",
    "hanning",
    "identity",
    "linspace",
    "meshgrid",
    "tri",
    "tril",
    "triu",
]

_Number = int | float
_INT32 = range(-(2**31), 2**31)
_MISSING: Any = object()


def _arange_dtype(numbers: list[Any]) -> Dtype:
    if any(not hasattr(n, "__index__") for n in numbers):
        return _c.float32
    return _c.int32 if all(int(n) in _INT32 for n in numbers) else _c.int64


def arange(
    start: _Number = _MISSING,
    stop: _Number | None = None,
    step: _Number | None = None,
    dtype: Dtype | None = None,
    *,
    stream: Any = None,
) -> array:
    """Numbers from `start` (0 if only one number is given) up to but without `stop`.

    The dtype is int32 (int64 if a number needs it) or, if a number is a float, float32. Integer
    dtypes count in steps of ``dtype(start + step) - dtype(start)``, as in NumPy.
    """
    first: _Number = 0
    last: _Number
    if start is _MISSING:
        if stop is None:
            raise TypeError("arange: needs at least one number")
        last = stop
    elif stop is None:
        last = start
    else:
        first, last = start, stop
    by = 1 if step is None else step
    if dtype is None:
        # One boolean is a mistake; beside others it is a number.
        if isinstance(last, bool) and (start is _MISSING or stop is None):
            raise _c.DtypeError("arange: bool is not supported")
        dtype = _arange_dtype([first, last, by])
    if dtype == _c.bool_:
        raise _c.DtypeError("arange: bool is not supported")
    if not (math.isfinite(first) and math.isfinite(by)) or math.isnan(last):
        raise _c.ArgumentError(f"arange: the length of ({first}, {last}, {by}) cannot be computed")
    if by == 0:
        raise _c.ArgumentError("arange: step must not be 0")
    if math.isinf(last) and (last > 0) == (by > 0):
        raise _c.ArgumentError(f"arange: the length of ({first}, {last}, {by}) cannot be computed")
    fractional = int(first) != first or int(by) != by
    if fractional and issubdtype(dtype, integer):
        count = max(0, math.ceil((last - first) / by))
        whole = int(first)
        return _c._arange(0, count, 1, dtype) * (int(first + by) - whole) + whole
    return _c._arange(first, last, by, dtype)


def linspace(
    start: Any,
    stop: Any,
    num: int | None = 50,
    endpoint: bool = True,
    dtype: Dtype | None = _c.float32,
    stream: Any = None,
) -> array:
    """`num` evenly spaced numbers from `start` to `stop`, the latter included if `endpoint`."""
    kind = _c.float32 if dtype is None else dtype
    count = 50 if num is None else num
    return _c._linspace(float(start), float(stop), count, endpoint, kind)


def full(
    shape: int | Sequence[int], vals: Any, dtype: Dtype | None = None, *, stream: Any = None
) -> array:
    """An array of `shape` filled with `vals`, a scalar or an array that broadcasts to it."""
    return _c._full(shape, vals, dtype)


def full_like(a: array, vals: Any, dtype: Dtype | None = None, *, stream: Any = None) -> array:
    """`vals` in the shape of `a`, and in its dtype unless another is given."""
    return _c._full(a.shape, vals, a.dtype if dtype is None else dtype)


def identity(n: int, dtype: Dtype | None = _c.float32, *, stream: Any = None) -> array:
    """The (n, n) identity matrix."""
    return _c.eye(n, dtype=_c.float32 if dtype is None else dtype)


def tri(
    n: int, m: int | None = None, k: int = 0, dtype: Dtype | None = None, *, stream: Any = None
) -> array:
    """An (n, m) matrix of ones at and below the k-th diagonal, zeros above; m is n if not given."""
    rows, columns = max(n, 0), max(n if m is None else m, 0)
    return _c._tri(rows, columns, k, _c.float32 if dtype is None else dtype)


def _lower(op: str, x: array, k: int) -> array:
    if x.ndim < 2:
        raise _c.ShapeError(f"{op}: needs 2 axes or more, got shape {tuple(x.shape)}")
    return _c._tri(x.shape[-2], x.shape[-1], k, _c.bool_)


def tril(x: array, k: int = 0, *, stream: Any = None) -> array:
    """`x` (..., n, m) with zeros above the k-th diagonal."""
    return _c.where(_lower("tril", x, k), x, _c.zeros_like(x))


def triu(x: array, k: int = 0, *, stream: Any = None) -> array:
    """`x` (..., n, m) with zeros below the k-th diagonal."""
    return _c.where(_lower("triu", x, k - 1), _c.zeros_like(x), x)


def diag(a: array, /, k: int = 0, *, stream: Any = None) -> array:
    """The k-th diagonal of a matrix, or the matrix with the 1-D `a` on its k-th diagonal."""
    if a.ndim == 2:
        return _c.diagonal(a, k)
    if a.ndim != 1:
        raise _c.ShapeError(f"diag: expected 1 or 2 axes, got shape {tuple(a.shape)}")
    n = a.shape[0] + abs(k)
    row, column = max(0, -k), max(0, k)
    # The elements, each on its row, slid along by a selection of columns.
    inner = _c.where(_c.eye(a.shape[0], dtype=_c.bool_), a, _c.zeros_like(a))
    zero = _c._full((), 0, a.dtype)
    low, high = [row, column], [n - row - a.shape[0], n - column - a.shape[0]]
    return _c._pad(inner, [0, 1], low, high, zero)


def meshgrid(
    *arrays: array, sparse: bool | None = False, indexing: str | None = "xy", stream: Any = None
) -> tuple[array, ...]:
    """Coordinate grids of 1-D arrays: one grid per array, all of the shape of the sizes in order.

    With "xy" the first two axes are exchanged. `sparse` grids keep size 1 on the other axes.
    """
    if indexing not in ("xy", "ij"):
        raise _c.ArgumentError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}")
    rank = len(arrays)
    order = list(range(rank))
    if indexing == "xy" and rank > 1:
        order[0], order[1] = 1, 0
    grids, shape = [], [1] * rank
    for i, a in enumerate(arrays):
        own = [1] * rank
        own[order[i]] = shape[order[i]] = a.size
        grids.append(_c.reshape(a, own))
    return tuple(grids if sparse else [_c.broadcast_to(g, shape) for g in grids])


def _window(M: int, weights: Sequence[float]) -> array:
    """The sum of weights[j] * cos(2 pi j n / (M - 1))."""
    if M < 2:
        return _c.ones((max(0, M),))
    n = _c._arange(0, M, 1, _c.float32)
    out = _c._full((M,), weights[0], _c.float32)
    for j, weight in enumerate(weights[1:], 1):
        out = out + weight * _c.cos(n * (2 * math.pi * j / (M - 1)))
    return out


def hanning(M: int, *, stream: Any = None) -> array:
    """The Hann window of M points, float32."""
    return _window(M, [0.5, -0.5])


def hamming(M: int, *, stream: Any = None) -> array:
    """The Hamming window of M points, float32."""
    return _window(M, [0.54, -0.46])


def blackman(M: int, *, stream: Any = None) -> array:
    """The Blackman window of M points, float32."""
    return _window(M, [0.42, -0.5, 0.08])


def bartlett(M: int, *, stream: Any = None) -> array:
    """The triangular window of M points that ends in zeros, float32."""
    if M < 2:
        return _c.ones((max(0, M),))
    half = (M - 1) / 2
    return 1.0 - _c.abs(_c._arange(0, M, 1, _c.float32) - half) / half


explain(globals(), __all__)

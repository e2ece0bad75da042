"""Norms, vector products and the QR factorisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lamina import _core as _c
from lamina._arguments import explain
from lamina._core import array
from lamina._dtypes import inexact, issubdtype

__all__ = ["cross", "norm", "qr"]


def _vector_norm(a: array, order: float, axes: list[int], keepdims: bool) -> array:
    if order == 2:
        square = _c.square(_c.abs(a)) if a.dtype == _c.complex64 else _c.square(a)
        return _c.sqrt(_c.sum(square, axes, keepdims))
    size = _c.abs(a)
    if order == math.inf:
        return _c.max(size, axes, keepdims)
    if order == -math.inf:
        return _c.min(size, axes, keepdims)
    if order == 0:
        return _c.sum((size != 0).astype(a.dtype), axes, keepdims)
    if order == 1:
        return _c.sum(size, axes, keepdims)
    return _c.power(_c.sum(_c.power(size, order), axes, keepdims), 1.0 / order)


def _matrix_norm(a: array, order: float, axes: list[int], keepdims: bool) -> array:
    if abs(order) not in (1, math.inf):
        raise ValueError(
            f"norm: order {order} of a matrix needs its singular values\n"
            "Available are 'fro', 1, -1, inf and -inf"
        )
    summed, picked = axes if abs(order) == 1 else axes[::-1]
    sums = _c.sum(_c.abs(a), summed, True)
    out = _c.max(sums, picked, True) if order > 0 else _c.min(sums, picked, True)
    return out if keepdims else _c.squeeze(out, axes)


def norm(
    a: array,
    /,
    ord: float | str | None = None,
    axis: int | Sequence[int] | None = None,
    keepdims: bool = False,
    *,
    stream: Any = None,
) -> array:
    """The norm of vectors (one axis) or matrices (two axes), in a floating dtype.

    Without `ord` the root of the sum of squares over `axis` (every axis if not given). Of a matrix
    'fro', 1, -1, inf and -inf are available; of a vector any number.
    """
    x = a if issubdtype(a.dtype, inexact) else a.astype(_c.float32)
    given = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    axes = [i % x.ndim for i in given]
    if ord is None:
        return _vector_norm(x, 2, axes, keepdims)
    if len(axes) not in (1, 2):
        raise ValueError(f"norm: ord={ord!r} needs 1 or 2 axes, got {len(axes)}")
    if isinstance(ord, str):
        if ord != "fro" or len(axes) != 2:
            raise ValueError(f"norm: ord={ord!r} is not available over {len(axes)} axes")
        return _vector_norm(x, 2, axes, keepdims)
    if len(axes) == 1:
        return _vector_norm(x, float(ord), axes, keepdims)
    return _matrix_norm(x, float(ord), axes, keepdims)


def cross(a: array, b: array, axis: int = -1, *, stream: Any = None) -> array:
    """The cross product of vectors of size 2 or 3 along `axis`; the third part of 2 counts as 0."""
    for size in (a.shape[axis], b.shape[axis]):
        if size not in (2, 3):
            raise ValueError(f"cross: vectors must have size 2 or 3 along axis {axis}, got {size}")
    x, y = (_components(v, axis) for v in (a, b))
    parts = [x[i - 2] * y[i - 1] - x[i - 1] * y[i - 2] for i in range(3)]
    return _c._stack(parts, axis)


def _components(v: array, axis: int) -> list[array]:
    size = v.shape[axis]
    parts = [_c.squeeze(p, axis) for p in _c._split(v, list(range(1, size)), axis)]
    return parts if size == 3 else [*parts, _c.zeros_like(parts[0])]


def qr(a: array, *, stream: Any = None) -> tuple[array, array]:
    """Q of shape (..., M, K) with orthonormal columns and upper triangular R of shape (..., K, N).

    K = min(M, N) and Q @ R is a. DtypeError unless float32 or float64.
    """
    return _c.qr(a)


explain(globals(), __all__)

"""Norms, factorisations, systems of equations and their kin.

Matrices are the last two axes; those before them are a batch. Factorisations take float32, float64
and complex64 and run on the CPU. Where the numbers do not allow one (a singular matrix), evaluating
raises LinAlgError.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from lamina import _core as _c
from lamina._arguments import explain
from lamina._core import array
from lamina._dtypes import inexact, issubdtype
from lamina._linear import outer, tensordot, vecdot

__all__ = [
    "EigResult",
    "EighResult",
    "LuFactorResult",
    "LuResult",
    "QrResult",
    "SlogdetResult",
    "SvdResult",
    "cholesky",
    "cholesky_inv",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "lu",
    "lu_factor",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "tri_inv",
    "vecdot",
    "vector_norm",
]

matmul = _c.matmul


class QrResult(NamedTuple):
    """Orthonormal columns and an upper triangle."""

    Q: array
    R: array


class SvdResult(NamedTuple):
    """Singular values and the vectors on either side."""

    U: array
    S: array
    Vh: array


class EigResult(NamedTuple):
    """Eigenvalues and eigenvectors, one a column."""

    eigenvalues: array
    eigenvectors: array


class EighResult(NamedTuple):
    """Eigenvalues, ascending, and eigenvectors, one a column."""

    eigenvalues: array
    eigenvectors: array


class LuResult(NamedTuple):
    """The matrix is ``L[P] @ U``."""

    P: array
    L: array
    U: array


class LuFactorResult(NamedTuple):
    """L below and U on and above the diagonal; row i was exchanged with row pivots[i]."""

    LU: array
    pivots: array


class SlogdetResult(NamedTuple):
    """The determinant is ``sign * exp(logabsdet)``."""

    sign: array
    logabsdet: array


def _axis(op: str, axis: int, a: array) -> int:
    if not -a.ndim <= axis < a.ndim:
        raise _c.AxisError(f"{op}: axis {axis} is out of bounds for shape {tuple(a.shape)}")
    return axis % a.ndim


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


def _matrix_norm(a: array, order: float | str, axes: list[int], keepdims: bool) -> array:
    if order in ("nuc", 2, -2):
        rest = [i for i in range(a.ndim) if i not in axes]
        x = _c.transpose(a, [*rest, *axes])
        wide = x if x.dtype in (_c.float64, _c.complex64) else x.astype(_c.float32)
        s = _c._svdvals(wide)
        out = _c.sum(s, -1) if order == "nuc" else _c.max(s, -1) if order == 2 else _c.min(s, -1)
        out = out if a.dtype == _c.complex64 else out.astype(a.dtype)
        return _c.expand_dims(out, axes) if keepdims else out
    if order not in (1, -1, math.inf, -math.inf):
        raise _c.ArgumentError(
            f"norm: there is no order {order!r} of a matrix\n"
            "Available are 'fro', 'nuc', 1, -1, 2, -2, inf and -inf"
        )
    summed, picked = axes if abs(float(order)) == 1 else axes[::-1]
    sums = _c.sum(_c.abs(a), summed, True)
    out = _c.max(sums, picked, True) if float(order) > 0 else _c.min(sums, picked, True)
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
    'fro', 'nuc', 1, -1, 2, -2, inf and -inf are available; of a vector any number.
    """
    x = a if issubdtype(a.dtype, inexact) else a.astype(_c.float32)
    given = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    axes = [_axis("norm", i, x) for i in given]
    if len(set(axes)) != len(axes):
        raise _c.ArgumentError(f"norm: axes {tuple(given)} name one twice")
    if ord is None:
        return _vector_norm(x, 2, axes, keepdims)
    if len(axes) not in (1, 2):
        raise _c.ArgumentError(f"norm: ord={ord!r} needs 1 or 2 axes, got {len(axes)}")
    if isinstance(ord, str):
        if ord not in ("fro", "nuc") or len(axes) != 2:
            raise _c.ArgumentError(f"norm: ord={ord!r} is not available over {len(axes)} axes")
        if ord == "nuc":
            return _matrix_norm(x, ord, axes, keepdims)
        return _vector_norm(x, 2, axes, keepdims)
    if len(axes) == 1:
        return _vector_norm(x, float(ord), axes, keepdims)
    return _matrix_norm(x, ord, axes, keepdims)


def cross(a: array, b: array, axis: int = -1, *, stream: Any = None) -> array:
    """The cross product of vectors of size 2 or 3 along `axis`; the third part of 2 counts as 0."""
    for size in (v.shape[_axis("cross", axis, v)] for v in (a, b)):
        if size not in (2, 3):
            raise _c.ShapeError(
                f"cross: vectors must have size 2 or 3 along axis {axis}, got {size}"
            )
    x, y = (_components(v, axis) for v in (a, b))
    parts = [x[i - 2] * y[i - 1] - x[i - 1] * y[i - 2] for i in range(3)]
    return _c._stack(parts, axis)


def _components(v: array, axis: int) -> list[array]:
    size = v.shape[axis]
    parts = [_c.squeeze(p, axis) for p in _c._split(v, list(range(1, size)), axis)]
    return parts if size == 3 else [*parts, _c.zeros_like(parts[0])]


def qr(a: array, *, stream: Any = None) -> QrResult:
    """Q of shape (..., M, K) with orthonormal columns and upper triangular R of shape (..., K, N).

    K = min(M, N) and Q @ R is a.
    """
    return QrResult(*_c._qr(a))


def svd(a: array, compute_uv: bool = True, *, stream: Any = None) -> SvdResult | array:
    """U (..., M, M), S (..., min(M, N)) descending, and Vh (..., N, N), the adjoint of V.

    ``a = U[..., :k] * S @ Vh[:k]`` with k = min(M, N). Without `compute_uv` S alone.
    """
    return SvdResult(*_c._svd(a, True)) if compute_uv else _c._svdvals(a)


def svdvals(a: array, *, stream: Any = None) -> array:
    """The singular values of (..., M, N), descending: (..., min(M, N)), real."""
    return _c._svdvals(a)


def eig(a: array, *, stream: Any = None) -> EigResult:
    """Eigenvalues (..., N) and eigenvectors (..., N, N) of length 1, both complex64."""
    return EigResult(*_c._eig(a))


def eigvals(a: array, *, stream: Any = None) -> array:
    """The eigenvalues of (..., N, N), complex64."""
    return _c._eigvals(a)


def _is_upper(op: str, triangle: str) -> bool:
    if triangle not in ("L", "U", "l", "u"):
        raise _c.ArgumentError(f"{op}: UPLO must be 'L' or 'U', got {triangle!r}")
    return triangle in ("U", "u")


def eigh(a: array, UPLO: str = "L", *, stream: Any = None) -> EighResult:
    """Eigenvalues (..., N), ascending, and eigenvectors (..., N, N) of Hermitian matrices.

    `UPLO` is the triangle that is read: lower or upper.
    """
    return EighResult(*_c._eigh(a, _is_upper("eigh", UPLO)))


def eigvalsh(a: array, UPLO: str = "L", *, stream: Any = None) -> array:
    """The eigenvalues, ascending, of Hermitian matrices whose triangle `UPLO` is read."""
    return _c._eigvalsh(a, _is_upper("eigvalsh", UPLO))


def cholesky(a: array, upper: bool = False, *, stream: Any = None) -> array:
    """Lower L with ``L @ L.mH == a`` of positive definite matrices, or upper U, ``U.mH @ U == a``.

    LinAlgError when evaluated where a matrix is not positive definite.
    """
    return _c._cholesky(a, upper)


def cholesky_inv(a: array, upper: bool = False, *, stream: Any = None) -> array:
    """The inverse of the matrix whose Cholesky factor is `a`, lower or `upper`."""
    return _c._cholesky_inv(a, upper)


def inv(a: array, *, stream: Any = None) -> array:
    """The inverse of square matrices; LinAlgError when evaluated where one is singular."""
    return _c._inv(a)


def tri_inv(a: array, upper: bool = False, *, stream: Any = None) -> array:
    """The inverse of lower or `upper` triangular matrices; the other triangle is not read."""
    return _c._tri_inv(a, upper)


def pinv(a: array, *, stream: Any = None) -> array:
    """The pseudoinverse (..., N, M) of (..., M, N).

    Singular values below 10 max(M, N) eps times the largest count as 0.
    """
    return _c._pinv(a)


def lu_factor(a: array, *, stream: Any = None) -> LuFactorResult:
    """L (below the diagonal, which is 1) and U in one (..., M, N), and the exchanges of rows.

    `pivots` (..., min(M, N)), uint32: row i was exchanged with row pivots[i], in order.
    """
    factors, pivots, _ = _c._lu_factor(a)
    return LuFactorResult(factors, pivots)


def lu(a: array, *, stream: Any = None) -> LuResult:
    """P (..., M), uint32, L (..., M, K) and U (..., K, N) with ``a == L[P] @ U``."""
    factors, _, rows = _c._lu_factor(a)
    m, n = a.shape[-2:]
    k = min(m, n)
    left, right = factors[..., :k], factors[..., :k, :]
    below = _c._tri(m, k, -1, _c.bool_)
    unit = _c.eye(m, k, dtype=a.dtype)
    L = _c.where(below, left, unit)
    U = _c.where(_c._tri(k, n, -1, _c.bool_), _c.zeros_like(right), right)
    return LuResult(rows, L, U)


def solve(a: array, b: array, *, stream: Any = None) -> array:
    """X with ``a @ x == b`` for a vector `b` (N,) or matrices (..., N, K); batches broadcast.

    LinAlgError when evaluated where a matrix is singular.
    """
    return _c._solve(a, b)


def solve_triangular(a: array, b: array, *, upper: bool = False, stream: Any = None) -> array:
    """X with ``a @ x == b`` for lower or `upper` triangular `a`, of which the rest is not read."""
    return _c._solve_triangular(a, b, upper)


def det(a: array, *, stream: Any = None) -> array:
    """The determinants of (..., N, N)."""
    return _c._det(a)


def slogdet(a: array, *, stream: Any = None) -> SlogdetResult:
    """The signs of the determinants and the logarithms of their absolute values.

    0 and -inf where a matrix is singular.
    """
    return SlogdetResult(*_c._slogdet(a))


# Of the array API standard's extension, under its signatures.


def _square(op: str, x: array) -> int:
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise _c.ShapeError(f"{op}: needs square matrices, got shape {tuple(x.shape)}")
    return x.shape[-1]


def _matrices(op: str, x: array) -> None:
    if x.ndim < 2:
        raise _c.ShapeError(f"{op}: needs matrices, got shape {tuple(x.shape)}")


def matrix_transpose(x: array, /, *, stream: Any = None) -> array:
    """The last two axes exchanged."""
    _matrices("matrix_transpose", x)
    return _c.swapaxes(x, -1, -2)


def diagonal(x: array, /, *, offset: int = 0, stream: Any = None) -> array:
    """The diagonals of (..., M, N), `offset` above the main one: (..., K)."""
    _matrices("diagonal", x)
    return _c.diagonal(x, offset, -2, -1)


def trace(x: array, /, *, offset: int = 0, dtype: Any = None, stream: Any = None) -> array:
    """The sums of the diagonals of (..., M, N), `offset` above the main one: (...)."""
    line = diagonal(x, offset=offset)
    return _c.sum(line if dtype is None else line.astype(dtype), -1)


def vector_norm(
    x: array,
    /,
    *,
    axis: int | Sequence[int] | None = None,
    keepdims: bool = False,
    ord: float = 2,
    stream: Any = None,
) -> array:
    """The norm of order `ord` over `axis`, all of whose elements are one vector.

    The root of the sum of the powers `ord` of absolute values; of 0 how many are not 0, of inf and
    -inf the largest and the smallest. Without `axis` over every axis. In a floating dtype, real.
    """
    a = x if issubdtype(x.dtype, inexact) else x.astype(_c.float32)
    given = range(a.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    axes = [_axis("vector_norm", i, a) for i in given]
    if len(set(axes)) != len(axes):
        raise _c.ArgumentError(f"vector_norm: axes {tuple(given)} name one twice")
    out = _vector_norm(a, float(ord), axes, keepdims)
    return _c.real(out) if out.dtype == _c.complex64 else out


def matrix_norm(
    x: array,
    /,
    *,
    keepdims: bool = False,
    ord: float | str | None = "fro",
    stream: Any = None,
) -> array:
    """The norms of the matrices (..., M, N): 'fro', 'nuc', 1, -1, 2, -2, inf or -inf."""
    _matrices("matrix_norm", x)
    return norm(x, "fro" if ord is None else ord, (-2, -1), keepdims)


def matrix_power(x: array, n: int, /, *, stream: Any = None) -> array:
    """Square matrices to the power `n`, by repeated squares; below 0 that of the inverses."""
    size = _square("matrix_power", x)
    if not isinstance(n, int):
        raise TypeError(f"matrix_power: n must be an int, got {n!r}")
    base = inv(x) if n < 0 else x
    out = None if n else _c.broadcast_to(_c.eye(size, dtype=x.dtype), list(x.shape))
    left = abs(n)
    while left:
        if left & 1:
            out = base if out is None else out @ base
        left >>= 1
        base = base @ base if left else base
    assert out is not None
    return out


def matrix_rank(x: array, /, *, rtol: float | array | None = None, stream: Any = None) -> array:
    """How many singular values exceed `rtol` times the largest; int32, of shape (...).

    `rtol` is max(M, N) times the dtype's epsilon if it is not given, and may be one per matrix.
    """
    _matrices("matrix_rank", x)
    s = svdvals(x)
    if 0 in x.shape[-2:]:
        return _c.sum((s != 0).astype(_c.int32), -1)
    least = _epsilon(x, rtol) * _c.max(s, -1)
    return _c.sum((s > _c.expand_dims(least, -1)).astype(_c.int32), -1)


def _epsilon(x: array, rtol: float | array | None) -> Any:
    if rtol is not None:
        return rtol
    return max(x.shape[-2:]) * (2.0**-52 if x.dtype == _c.float64 else 2.0**-23)


explain(globals(), [name for name in __all__ if name not in ("outer", "tensordot", "vecdot")])

"""The standard's linear algebra extension."""

from __future__ import annotations

import lamina.core as mx
from lamina.core import array, linalg
from lamina.core.linalg import (
    QrResult,
    SvdResult,
    cholesky,
    cross,
    det,
    diagonal,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    inv,
    matmul,
    matrix_norm,
    matrix_power,
    matrix_rank,
    matrix_transpose,
    outer,
    slogdet,
    solve,
    svdvals,
    tensordot,
    trace,
    vecdot,
    vector_norm,
)

__all__ = [
    "cholesky",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]


def qr(x: array, /, *, mode: str = "reduced") -> QrResult:
    """Q (..., M, K) and R (..., K, N), K = min(M, N); with mode="complete" K = M."""
    if mode not in ("reduced", "complete"):
        raise ValueError(f"qr: mode must be 'reduced' or 'complete', got {mode!r}")
    if mode == "reduced":
        return linalg.qr(x)
    # Columns that are whole in themselves behind those of x fill Q up to M.
    rows, columns = x.shape[-2:]
    unit = mx.broadcast_to(mx.eye(rows, dtype=x.dtype), [*x.shape[:-1], rows])
    q, r = linalg.qr(mx.concatenate([x, unit], -1))
    return QrResult(q, r[..., :columns])


def svd(x: array, /, *, full_matrices: bool = True) -> SvdResult:
    """U (..., M, M), S (..., K) and Vh (..., N, N), K = min(M, N).

    Without `full_matrices` U is (..., M, K) and Vh (..., K, N).
    """
    u, s, vh = linalg.svd(x)
    k = s.shape[-1]
    return SvdResult(u, s, vh) if full_matrices else SvdResult(u[..., :k], s, vh[..., :k, :])


def pinv(x: array, /, *, rtol: float | array | None = None) -> array:
    """The pseudoinverse, for which singular values below `rtol` times the largest count as 0."""
    if rtol is None or 0 in x.shape:
        return linalg.pinv(x)
    u, s, vh = svd(x, full_matrices=False)
    kept = s > mx.expand_dims(rtol * mx.max(s, -1), -1)
    factors = mx.where(kept, 1 / mx.where(kept, s, 1), 0).astype(x.dtype)
    left, right = (mx.conjugate(mx.swapaxes(a, -1, -2)) for a in (vh, u))
    return (left * mx.expand_dims(factors, -2)) @ right

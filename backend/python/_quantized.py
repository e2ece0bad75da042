"""Quantized matrices, and the variants of the matrix product.

A quantized matrix has its rows cut into groups of elements that share a scale. Elements are codes
of a few bits in uint32 words, one after the other from the low bits.

========  ================  ===========================  ============  ======
mode      group_size        bits                         scales        biases
========  ================  ===========================  ============  ======
affine    32, **64**, 128   1, 2, 3, **4**, 5, 6, 8      w's dtype     yes
mxfp4     **32**            **4**                        2^n           no
mxfp8     **32**            **8**                        2^n           no
nvfp4     **16**            **4**                        8-bit floats  no
========  ================  ===========================  ============  ======
"""

from __future__ import annotations

from typing import Any

from lamina import _core as _c
from lamina._arguments import explain
from lamina._core import Dtype, array

__all__ = [
    "block_masked_mm",
    "dequantize",
    "from_fp8",
    "gather_mm",
    "gather_qmm",
    "gather_qqmm",
    "hadamard_transform",
    "qqmm",
    "quantize",
    "quantized_matmul",
    "segmented_mm",
    "to_fp8",
]


def quantize(
    w: array,
    /,
    group_size: int | None = None,
    bits: int | None = None,
    mode: str = "affine",
    *,
    global_scale: array | None = None,
    stream: Any = None,
) -> tuple[array, ...]:
    """Quantize the rows of `w` (..., rows, columns): (words, scales, biases).

    Groups of `group_size` columns share a scale, and in mode "affine" a bias: an element is
    ``scale * code + bias`` with a whole code of `bits` bits. The other modes have small floats for
    codes, scales of 8 bits (uint8) and no biases: (words, scales). Left out, `group_size` and
    `bits` are the mode's usual ones. `global_scale` (float32, one element) is for "nvfp4".

    ValueError: a mode, group_size or bits that there is not, or columns that groups do not divide.
    """
    return _c._quantize(w, group_size, bits, mode, global_scale)


def dequantize(
    w: array,
    /,
    scales: array,
    biases: array | None = None,
    group_size: int | None = None,
    bits: int | None = None,
    mode: str = "affine",
    global_scale: array | None = None,
    dtype: Dtype | None = None,
    *,
    stream: Any = None,
) -> array:
    """The elements of a quantized matrix, from what `quantize` gave and the same arguments.

    `dtype` is by default that of affine scales, else bfloat16.
    """
    return _c._dequantize(w, scales, biases, group_size, bits, mode, global_scale, dtype)


def quantized_matmul(
    x: array,
    w: array,
    /,
    scales: array,
    biases: array | None = None,
    transpose: bool = True,
    group_size: int | None = None,
    bits: int | None = None,
    mode: str = "affine",
    *,
    stream: Any = None,
) -> array:
    """``x @ w.T`` for a quantized `w` (..., N, K), or ``x @ w`` for (..., K, N).

    `x` is (..., M, K) or (K,); batch axes broadcast. Differentiable by `x`, `scales` and `biases`.
    """
    return _c._quantized_matmul(x, w, scales, biases, transpose, group_size, bits, mode)


def gather_qmm(
    x: array,
    w: array,
    /,
    scales: array,
    biases: array | None = None,
    lhs_indices: array | None = None,
    rhs_indices: array | None = None,
    transpose: bool = True,
    group_size: int | None = None,
    bits: int | None = None,
    mode: str = "affine",
    global_scale: array | None = None,
    *,
    sorted_indices: bool = False,
    stream: Any = None,
) -> array:
    """`quantized_matmul` of ``x[lhs_indices]`` and ``w[rhs_indices]``.

    Indices count matrices over all axes but the last two, and broadcast; left out, they take every
    matrix in turn. Products that follow one another and share their `w` are computed as one,
    whether `sorted_indices` promises it or not.
    """
    lhs, rhs = lhs_indices, rhs_indices
    how = transpose, group_size, bits, mode, global_scale
    return _c._gather_qmm(x, w, scales, biases, lhs, rhs, *how)


def qqmm(
    x: array,
    w: array,
    scales: array | None = None,
    group_size: int | None = None,
    bits: int | None = None,
    mode: str = "nvfp4",
    global_scale_x: array | None = None,
    global_scale_w: array | None = None,
    *,
    stream: Any = None,
) -> array:
    """``x @ w.T`` with both rounded to the format; `w` (N, K), or its words with `scales`.

    Sums are in float32, the result has the dtype of `x`. Derivatives take the rounding for none.
    """
    how = group_size, bits, mode, global_scale_x, global_scale_w
    return _c._qqmm(x, w, scales, *how)


def gather_qqmm(
    x: array,
    w: array,
    /,
    scales: array | None = None,
    lhs_indices: array | None = None,
    rhs_indices: array | None = None,
    group_size: int | None = None,
    bits: int | None = None,
    mode: str = "nvfp4",
    global_scale_x: array | None = None,
    global_scale_w: array | None = None,
    *,
    sorted_indices: bool = False,
    stream: Any = None,
) -> array:
    """`qqmm` of ``x[lhs_indices]`` and ``w[rhs_indices]``, as in `gather_qmm`."""
    how = group_size, bits, mode, global_scale_x, global_scale_w
    return _c._gather_qqmm(x, w, scales, lhs_indices, rhs_indices, *how)


def to_fp8(x: array, *, stream: Any = None) -> array:
    """Elements as floats of 8 bits (e4m3) in uint8, to the nearest, at most 448."""
    return _c._to_fp8(x)


def from_fp8(x: array, dtype: Dtype = _c.bfloat16, *, stream: Any = None) -> array:
    """Floats of 8 bits (e4m3) in uint8 as another floating dtype."""
    return _c._from_fp8(x, dtype)


# --- other products ------------------------------------------------------------------------------


def gather_mm(
    a: array,
    b: array,
    /,
    lhs_indices: array | None = None,
    rhs_indices: array | None = None,
    *,
    sorted_indices: bool = False,
    stream: Any = None,
) -> array:
    """``a[lhs_indices] @ b[rhs_indices]`` without copies of the matrices.

    Indices count matrices over all axes but the last two, and broadcast; left out, they take every
    matrix in turn. The result has the indices' shape, then (M, N).
    """
    return _c._gather_mm(a, b, lhs_indices, rhs_indices)


def block_masked_mm(
    a: array,
    b: array,
    /,
    block_size: int = 64,
    mask_out: array | None = None,
    mask_lhs: array | None = None,
    mask_rhs: array | None = None,
    *,
    stream: Any = None,
) -> array:
    """``a @ b`` with blocks of the factors and of the result masked.

    A mask has an element for each block of `block_size` x `block_size` elements: booleans keep or
    clear it, numbers are multiplied with it.
    """
    return _c._block_masked_mm(a, b, block_size, mask_out, mask_lhs, mask_rhs)


def segmented_mm(a: array, b: array, /, segments: array, *, stream: Any = None) -> array:
    """``a[:, begin:end] @ b[begin:end]`` for each pair of `segments` (..., 2): (..., M, N)."""
    return _c._segmented_mm(a, b, segments)


def hadamard_transform(a: array, scale: float | None = None, stream: Any = None) -> array:
    """The Hadamard matrix of the last axis's size by it, times `scale`, by default 1/sqrt(size).

    Sizes are ``m * 2**k`` with m one of 1, 12, 20 and 28. Differentiable.
    """
    return _c._hadamard_transform(a, scale)


explain(globals(), __all__)

"""Products: tensor contractions, Einstein sums and convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lamina import _core as _c
from lamina._arguments import explain
from lamina._core import array
from lamina._dtypes import inexact, issubdtype

__all__ = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_general",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convolve",
    "inner",
    "kron",
    "outer",
    "tensordot",
    "trace",
    "vecdot",
]

_Sizes = int | Sequence[int]


def _product(a: array, b: array) -> array:
    """(..., m, k) by (..., k, n) for any dtype."""
    if issubdtype(_c._promote(a.dtype, b.dtype), inexact):
        return _c.matmul(a, b)
    return _c.sum(_c.expand_dims(a, -1) * _c.expand_dims(b, -3), -2)


def tensordot(a: array, b: array, /, axes: int | Sequence[Any] = 2, *, stream: Any = None) -> array:
    """The sum of products over pairs of axes.

    `axes` is how many last axes of `a` meet the first of `b`, or a list of each one's axes. The
    result has the other axes of `a`, then those of `b`.
    """
    if isinstance(axes, int):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise _c.ShapeError(
                f"tensordot: axes={axes} for shapes {tuple(a.shape)} and {tuple(b.shape)}"
            )
        left, right = list(range(a.ndim - axes, a.ndim)), list(range(axes))
    else:
        first, second = axes
        left = [i % a.ndim for i in ([first] if isinstance(first, int) else first)]
        right = [i % b.ndim for i in ([second] if isinstance(second, int) else second)]
    if [a.shape[i] for i in left] != [b.shape[i] for i in right]:
        raise _c.ShapeError(
            f"tensordot: sizes differ on axes {left} of {tuple(a.shape)} and {right} of "
            f"{tuple(b.shape)}"
        )
    rows = [i for i in range(a.ndim) if i not in left]
    columns = [i for i in range(b.ndim) if i not in right]
    shape = [a.shape[i] for i in rows] + [b.shape[i] for i in columns]
    if not left:
        spread = [*a.shape, *([1] * b.ndim)]
        return _c.multiply(_c.reshape(a, spread), b)
    inside = math.prod(a.shape[i] for i in left)
    height = math.prod(a.shape[i] for i in rows)
    width = math.prod(b.shape[i] for i in columns)
    x = _c.reshape(_c.transpose(a, [*rows, *left]), [height, inside])
    y = _c.reshape(_c.transpose(b, [*right, *columns]), [inside, width])
    return _c.reshape(_product(x, y), shape)


def inner(a: array, b: array, /, *, stream: Any = None) -> array:
    """The sum of products over the last axes; with an array of shape (), the product."""
    if a.ndim == 0 or b.ndim == 0:
        return _c.multiply(a, b)
    if a.shape[-1] != b.shape[-1]:
        raise _c.ShapeError(
            f"inner: last sizes differ: {tuple(a.shape)} and {tuple(b.shape)}, "
            f"{a.shape[-1]} != {b.shape[-1]}"
        )
    return tensordot(a, b, [[-1], [-1]])


def outer(a: array, b: array, /, *, stream: Any = None) -> array:
    """Every element of `a` times every element of `b`: (a.size, b.size)."""
    return _c.multiply(_c.reshape(a, [a.size, 1]), _c.reshape(b, [1, b.size]))


def kron(a: array, b: array, *, stream: Any = None) -> array:
    """The Kronecker product: blocks of `b` scaled by the elements of `a`."""
    rank = max(a.ndim, b.ndim)
    left = [1] * (rank - a.ndim) + list(a.shape)
    right = [1] * (rank - b.ndim) + list(b.shape)
    x = _c.reshape(a, [n for size in left for n in (size, 1)])
    y = _c.reshape(b, [n for size in right for n in (1, size)])
    return _c.reshape(_c.multiply(x, y), [m * n for m, n in zip(left, right, strict=True)])


def vecdot(a: array, b: array, /, *, axis: int = -1, stream: Any = None) -> array:
    """The sum of ``conj(a) * b`` over `axis`; the other axes broadcast."""
    left = _c.conjugate(a) if a.dtype == _c.complex64 else a
    return _c.sum(_c.multiply(left, b), axis)


def trace(
    a: array,
    /,
    offset: int = 0,
    axis1: int = 0,
    axis2: int = 1,
    dtype: Any = None,
    *,
    stream: Any = None,
) -> array:
    """The sum of the diagonal of two axes."""
    line = _c.diagonal(a, offset, axis1, axis2)
    return _c.sum(line if dtype is None else line.astype(dtype), -1)


# --- convolution ---------------------------------------------------------------------------------


def _per_axis(op: str, name: str, value: _Sizes, rank: int) -> list[int]:
    if isinstance(value, int):
        return [value] * rank
    sizes = list(value)
    if len(sizes) == 1:
        return sizes * rank
    if len(sizes) != rank:
        raise _c.ShapeError(f"{op}: {name} has {len(sizes)} values for {rank} spatial axes")
    return sizes


def _check_rank(op: str, x: array, weight: array, rank: int) -> None:
    if x.ndim != rank + 2 or weight.ndim != rank + 2:
        raise _c.ShapeError(
            f"{op}: input and weight must have {rank + 2} axes: input {tuple(x.shape)}, "
            f"weight {tuple(weight.shape)}"
        )


def conv_general(
    input: array,
    weight: array,
    /,
    stride: _Sizes = 1,
    padding: int | Sequence[Any] = 0,
    kernel_dilation: _Sizes = 1,
    input_dilation: _Sizes = 1,
    groups: int = 1,
    flip: bool = False,
    *,
    stream: Any = None,
) -> array:
    """Convolution of (N, spatial..., C_in) with (C_out, spatial..., C_in / groups).

    `padding` is a size, one size per spatial axis, or a pair (before, after) of such lists. `flip`
    reverses the kernel: then it is the convolution of mathematics, else the cross-correlation.
    """
    op, rank = "conv_general", input.ndim - 2
    if not isinstance(padding, int) and padding and not isinstance(padding[0], int):
        if len(padding) != 2:
            raise _c.ArgumentError(
                f"{op}: padding must be a pair of lists, got {len(padding)} lists"
            )
        low, high = (_per_axis(op, "padding", p, rank) for p in padding)
    else:
        low = high = _per_axis(op, "padding", padding, rank)
    return _c._conv_general(
        input,
        weight,
        _per_axis(op, "stride", stride, rank),
        low,
        high,
        _per_axis(op, "kernel_dilation", kernel_dilation, rank),
        _per_axis(op, "input_dilation", input_dilation, rank),
        groups,
        flip,
    )


def _conv(
    rank: int,
    x: array,
    weight: array,
    stride: _Sizes,
    padding: _Sizes,
    dilation: _Sizes,
    groups: int,
) -> array:
    _check_rank(f"conv{rank}d", x, weight, rank)
    return conv_general(x, weight, stride, padding, dilation, 1, groups)


def conv1d(
    input: array,
    weight: array,
    /,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    *,
    stream: Any = None,
) -> array:
    """Cross-correlation of (N, L, C_in) with (C_out, K, C_in / groups)."""
    return _conv(1, input, weight, stride, padding, dilation, groups)


def conv2d(
    input: array,
    weight: array,
    /,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    *,
    stream: Any = None,
) -> array:
    """Cross-correlation of (N, H, W, C_in) with (C_out, KH, KW, C_in / groups)."""
    return _conv(2, input, weight, stride, padding, dilation, groups)


def conv3d(
    input: array,
    weight: array,
    /,
    stride: int | tuple[int, int, int] = 1,
    padding: int | tuple[int, int, int] = 0,
    dilation: int | tuple[int, int, int] = 1,
    groups: int = 1,
    *,
    stream: Any = None,
) -> array:
    """Cross-correlation of (N, D, H, W, C_in) with (C_out, KD, KH, KW, C_in / groups)."""
    return _conv(3, input, weight, stride, padding, dilation, groups)


def _conv_transpose(
    rank: int,
    x: array,
    weight: array,
    stride: _Sizes,
    padding: _Sizes,
    dilation: _Sizes,
    output_padding: _Sizes,
    groups: int,
) -> array:
    """The gradient of a convolution by its input: the strides spread the input instead."""
    op = f"conv_transpose{rank}d"
    _check_rank(op, x, weight, rank)
    pads = _per_axis(op, "padding", padding, rank)
    holes = _per_axis(op, "dilation", dilation, rank)
    extra = _per_axis(op, "output_padding", output_padding, rank)
    reach = [d * (k - 1) for d, k in zip(holes, weight.shape[1:-1], strict=True)]
    low = [r - p for r, p in zip(reach, pads, strict=True)]
    high = [p + e for p, e in zip(low, extra, strict=True)]
    return conv_general(x, weight, 1, (low, high), holes, stride, groups, True)


def conv_transpose1d(
    input: array,
    weight: array,
    /,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    output_padding: int = 0,
    groups: int = 1,
    *,
    stream: Any = None,
) -> array:
    """Transposed convolution of (N, L, C_in) with (C_out, K, C_in / groups)."""
    return _conv_transpose(1, input, weight, stride, padding, dilation, output_padding, groups)


def conv_transpose2d(
    input: array,
    weight: array,
    /,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    output_padding: int | tuple[int, int] = 0,
    groups: int = 1,
    *,
    stream: Any = None,
) -> array:
    """Transposed convolution of (N, H, W, C_in) with (C_out, KH, KW, C_in / groups)."""
    return _conv_transpose(2, input, weight, stride, padding, dilation, output_padding, groups)


def conv_transpose3d(
    input: array,
    weight: array,
    /,
    stride: int | tuple[int, int, int] = 1,
    padding: int | tuple[int, int, int] = 0,
    dilation: int | tuple[int, int, int] = 1,
    output_padding: int | tuple[int, int, int] = 0,
    groups: int = 1,
    *,
    stream: Any = None,
) -> array:
    """Transposed convolution of (N, D, H, W, C_in) with (C_out, KD, KH, KW, C_in / groups)."""
    return _conv_transpose(3, input, weight, stride, padding, dilation, output_padding, groups)


def convolve(a: array, v: array, /, mode: str = "full", *, stream: Any = None) -> array:
    """The discrete convolution of two 1-D arrays; the longer one is the signal.

    "full" has size n + m - 1, "same" that of the longer array, "valid" only full overlaps.
    """
    if a.ndim != 1 or v.ndim != 1:
        raise _c.ShapeError(
            f"convolve: expected 1-D arrays, got shapes {tuple(a.shape)} and {tuple(v.shape)}"
        )
    if a.size == 0 or v.size == 0:
        raise _c.ArgumentError("convolve: the arrays must not be empty")
    if mode not in ("full", "same", "valid"):
        raise _c.ArgumentError(f"convolve: mode must be 'full', 'same' or 'valid', got {mode!r}")
    if a.size < v.size:
        a, v = v, a
    n, low, high = v.size, 0, 0
    if mode == "full":
        low = high = n - 1
    elif mode == "same":
        low, high = n // 2, n - 1 - n // 2
    x, w = _c.reshape(a, [1, a.size, 1]), _c.reshape(v, [1, n, 1])
    return _c.reshape(conv_general(x, w, 1, ([low], [high]), flip=True), [-1])


explain(globals(), __all__)

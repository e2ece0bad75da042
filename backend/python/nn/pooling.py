"""Max and average pooling over (N, ..., C), channels last."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lamina.core as mx
from lamina._arguments import whole
from lamina.nn.module import Module


def _sizes(name: str, what: str, value: Any, dims: int, least: int) -> tuple[int, ...]:
    sizes = (value,) * dims if isinstance(value, int) else value
    if (
        not isinstance(sizes, (tuple, list))
        or len(sizes) != dims
        or not all(isinstance(s, int) for s in sizes)
    ):
        raise ValueError(f"{name}: expected {what} to be an int or {dims} ints, got {value!r}")
    if min(sizes) < least:
        raise ValueError(f"{name}: expected {what} of at least {least}, got {value}")
    return tuple(sizes)


def _lowest(dtype: mx.Dtype) -> int | float:
    """What never wins a maximum."""
    if mx.issubdtype(dtype, mx.integer):
        return int(mx.iinfo(dtype).min)
    return -math.inf


class _Pool(Module):
    """Slides a window over the spatial axes and reduces what is inside."""

    _dims = 0
    _reduce: Callable[..., Any]

    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] | None = None,
        padding: int | tuple[int, ...] | None = 0,
    ) -> None:
        super().__init__()
        name, dims = type(self).__name__, self._dims
        stride = kernel_size if stride is None else stride
        self._kernel_size = _sizes(name, "kernel_size", kernel_size, dims, 1)
        self._stride = _sizes(name, "stride", stride, dims, 1)
        self._padding = _sizes(name, "padding", padding or 0, dims, 0)

    def _extra_repr(self) -> str:
        return f"kernel_size={self._kernel_size}, stride={self._stride}, padding={self._padding}"

    def _padding_value(self, x: mx.array) -> int | float:
        raise NotImplementedError

    def __call__(self, x: mx.array) -> mx.array:
        if x.ndim != self._dims + 2:
            places = ", ".join(("N", *"DHW"[3 - self._dims :], "C"))
            raise ValueError(f"{type(self).__name__}: expected ({places}), got {tuple(x.shape)}")
        if any(self._padding):
            width = [(0, 0), *((p, p) for p in self._padding), (0, 0)]
            x = mx.pad(x, width, constant_values=self._padding_value(x))
        if self._stride == self._kernel_size:
            windows, axes = _blocks(x, self._kernel_size)
        else:
            windows, axes = _windows(x, self._kernel_size, self._stride)
        return type(self)._reduce(windows, axis=axes)


@whole
def _blocks(x: mx.array, kernel: tuple[int, ...]) -> tuple[mx.array, tuple[int, ...]]:
    """Windows that do not overlap, as a reshape: a view, which the engine fuses."""
    counts = [size // k for size, k in zip(x.shape[1:-1], kernel, strict=True)]
    covered = tuple(slice(0, n * k) for n, k in zip(counts, kernel, strict=True))
    if any(s.stop != size for s, size in zip(covered, x.shape[1:-1], strict=True)):
        x = x[(slice(None),) + covered]  # noqa: RUF005
    split = [size for pair in zip(counts, kernel, strict=True) for size in pair]
    axes = tuple(range(2, 2 + 2 * len(kernel), 2))
    return x.reshape(x.shape[0], *split, x.shape[-1]), axes


@whole
def _windows(
    x: mx.array, kernel: tuple[int, ...], stride: tuple[int, ...]
) -> tuple[mx.array, tuple[int, ...]]:
    """Overlapping windows (N, *counts, *kernel, C) as a strided view."""
    strides = [math.prod(x.shape[i + 1 :]) for i in range(x.ndim)]
    spatial = zip(x.shape[1:-1], kernel, stride, strict=True)
    counts = [max((size - k) // s + 1, 0) for size, k, s in spatial]
    steps = [s * strides[i + 1] for i, s in enumerate(stride)]
    view = mx.as_strided(
        x,
        (x.shape[0], *counts, *kernel, x.shape[-1]),
        (strides[0], *steps, *strides[1:-1], strides[-1]),
    )
    return view, tuple(range(-1 - len(kernel), -1))


class _MaxPool(_Pool):
    _reduce = staticmethod(mx.max)

    def _padding_value(self, x: mx.array) -> int | float:
        return _lowest(x.dtype)


class _AvgPool(_Pool):
    _reduce = staticmethod(mx.mean)

    def _padding_value(self, x: mx.array) -> int | float:
        return 0


class MaxPool1d(_MaxPool):
    """Maximum over windows of (N, L, C)."""

    _dims = 1


class AvgPool1d(_AvgPool):
    """Mean over windows of (N, L, C); padding counts as zeros."""

    _dims = 1


class MaxPool2d(_MaxPool):
    """Maximum over windows of (N, H, W, C)."""

    _dims = 2


class AvgPool2d(_AvgPool):
    """Mean over windows of (N, H, W, C); padding counts as zeros."""

    _dims = 2


class MaxPool3d(_MaxPool):
    """Maximum over windows of (N, D, H, W, C)."""

    _dims = 3


class AvgPool3d(_AvgPool):
    """Mean over windows of (N, D, H, W, C); padding counts as zeros."""

    _dims = 3

"""Upsample: resizing of the spatial axes of (N, ..., C)."""

from __future__ import annotations

import functools
import math
from typing import Literal

import lamina.core as mx
import numpy as np
from lamina._arguments import whole
from lamina.nn.module import Module

Taps = tuple[np.ndarray, np.ndarray]


def _positions(size: int, scale: float, align_corners: bool) -> np.ndarray:
    """Where in the input (fractional index) each output place along an axis is read."""
    out = int(scale * size)
    if align_corners:
        step = (size - 1) / (out - 1) if out > 1 else 0.0
        return np.asarray(np.arange(out) * step)
    # The output grid is centred on the input grid, also when scale * size is no integer.
    start = ((out - 1) / scale - size + 1) / 2
    return np.arange(out) / scale - start


def _nearest(size: int, scale: float) -> np.ndarray:
    """Index of the input place that each output place along an axis repeats."""
    out = int(scale * size)
    places = np.arange(out)
    if out <= size:
        return places * size // max(out, 1)
    # Centres of the outputs in input places; round() takes halves to the even place.
    return np.round((2 * places + 1) * size / (2 * out) - 0.5).astype(np.int64)


def _triangle(d: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(1 - np.abs(d), 0))


def _cubic(d: np.ndarray, a: float) -> np.ndarray:
    """Keys' convolution kernel with the slope `a` at distance 1."""
    d = np.abs(d)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.asarray(np.where(d <= 1, near, np.where(d < 2, far, 0.0)))


@functools.lru_cache(maxsize=256)
def _taps(size: int, scale: float, mode: str, align_corners: bool, antialias: bool) -> Taps:
    """Indices and weights, (taps, out) each, of the inputs that make up each output."""
    positions = _positions(size, scale, align_corners)
    # Antialiasing widens the kernel to the distance between two outputs.
    stretch = max(1.0, 1 / scale) if antialias else 1.0
    radius = math.ceil((1 if mode == "linear" else 2) * stretch)
    steps = np.arange(1 - radius, radius + 1)[:, None]
    indices = np.floor(positions).astype(np.int64)[None] + steps
    distance = (indices - positions[None]) / stretch
    if mode == "linear":
        weights = _triangle(distance)
    else:
        weights = _cubic(distance, -0.5 if antialias else -0.75)
    if antialias:
        weights = np.where((indices >= 0) & (indices < size), weights, 0.0)
        weights = weights / weights.sum(axis=0, keepdims=True)
    return np.clip(indices, 0, size - 1), weights.astype(np.float32)


def _repeat(x: mx.array, scales: tuple[int, ...]) -> mx.array:
    """Nearest for whole scales: every element repeated, as a broadcast."""
    spaced, wide = [x.shape[0]], [x.shape[0]]
    for size, scale in zip(x.shape[1:-1], scales, strict=True):
        spaced += [size, 1]
        wide += [size, scale]
    wide.append(x.shape[-1])
    spaced.append(x.shape[-1])
    sizes = [size * scale for size, scale in zip(x.shape[1:-1], scales, strict=True)]
    return mx.broadcast_to(x.reshape(spaced), wide).reshape(x.shape[0], *sizes, x.shape[-1])


@whole
def _pick(x: mx.array, axis: int, scale: float) -> mx.array:
    indices = _nearest(x.shape[axis], scale).astype(np.int32)
    return mx.take(x, mx.array(indices), axis=axis)


@whole
def _resize(
    x: mx.array, axis: int, scale: float, mode: str, align_corners: bool, antialias: bool
) -> mx.array:
    indices, weights = _taps(x.shape[axis], scale, mode, align_corners, antialias)
    dtype = x.dtype if mx.issubdtype(x.dtype, mx.inexact) else mx.float32
    shape = [1] * x.ndim
    shape[axis] = -1
    total: mx.array | None = None
    for index, weight in zip(indices, weights, strict=True):
        part = mx.take(x, mx.array(index.astype(np.int32)), axis=axis)
        part = part * mx.array(weight).astype(dtype).reshape(shape)
        total = part if total is None else total + part
    assert total is not None, "every output has at least one tap"
    return total


class Upsample(Module):
    """Resizes (N, ..., C) along each spatial axis by `scale_factor`, one number or one an axis.

    `mode` is "nearest", "linear" or "cubic". `align_corners` puts the first and last places of
    input and output on each other; `antialias` (linear and cubic, without `align_corners`) smooths
    before sizing down. Places outside the input take its nearest edge.
    """

    def __init__(
        self,
        scale_factor: float | tuple[float, ...],
        mode: Literal["nearest", "linear", "cubic"] = "nearest",
        align_corners: bool = False,
        antialias: bool = False,
    ) -> None:
        super().__init__()
        if mode not in ("nearest", "linear", "cubic"):
            raise ValueError(
                f"Upsample: expected mode 'nearest', 'linear' or 'cubic', got {mode!r}"
            )
        if antialias and (align_corners or mode == "nearest"):
            raise ValueError(
                "Upsample: expected mode 'linear' or 'cubic' without align_corners for antialias, "
                f"got mode {mode!r} and align_corners {align_corners}"
            )
        self.scale_factor: float | tuple[float, ...]
        if isinstance(scale_factor, (list, tuple)):
            self.scale_factor = tuple(float(s) for s in scale_factor)
        else:
            self.scale_factor = float(scale_factor)
        self.mode = mode
        self.align_corners = align_corners
        self.antialias = antialias

    def _extra_repr(self) -> str:
        return (
            f"scale_factor={self.scale_factor}, mode={self.mode!r}, "
            f"align_corners={self.align_corners}" + (", antialias=True" if self.antialias else "")
        )

    def __call__(self, x: mx.array) -> mx.array:
        dims = x.ndim - 2
        if dims < 1:
            raise ValueError(
                f"Upsample: expected at least 3 dimensions (N, ..., C), got {tuple(x.shape)}"
            )
        factor = self.scale_factor
        scales = factor if isinstance(factor, (tuple, list)) else (factor,) * dims
        if len(scales) != dims:
            raise ValueError(
                f"Upsample: expected one scale for each of {dims} spatial axes, got {factor}"
            )
        if self.mode == "nearest":
            if all(scale == int(scale) and scale >= 1 for scale in scales):
                return _repeat(x, tuple(int(scale) for scale in scales))
            for i, scale in enumerate(scales, 1):
                x = _pick(x, i, scale)
            return x
        for i, scale in enumerate(scales, 1):
            if scale != 1:
                x = _resize(x, i, scale, self.mode, self.align_corners, self.antialias)
        return x

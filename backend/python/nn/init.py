"""Initialisers: each returns a function from an array to new values of its shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import lamina.core as mx

Mode = Literal["fan_in", "fan_out"]


def constant(value: float, dtype: mx.Dtype = mx.float32) -> Callable[[mx.array], mx.array]:
    """Every element `value`."""

    def initializer(a: mx.array) -> mx.array:
        return mx.full(a.shape, value, dtype=dtype)

    return initializer


def normal(
    mean: float = 0.0, std: float = 1.0, dtype: mx.Dtype = mx.float32
) -> Callable[[mx.array], mx.array]:
    """Normal of the given mean and standard deviation."""

    def initializer(a: mx.array) -> mx.array:
        return mx.random.normal(shape=a.shape, scale=std, loc=mean, dtype=dtype)

    return initializer


def uniform(
    low: float = 0.0, high: float = 1.0, dtype: mx.Dtype = mx.float32
) -> Callable[[mx.array], mx.array]:
    """Uniform in [low, high)."""

    def initializer(a: mx.array) -> mx.array:
        return mx.random.uniform(low, high, a.shape, dtype=dtype)

    return initializer


def identity(dtype: mx.Dtype = mx.float32) -> Callable[[mx.array], mx.array]:
    """The identity matrix; the array must be square."""

    def initializer(arr: mx.array) -> mx.array:
        if arr.ndim != 2 or arr.shape[0] != arr.shape[1]:
            raise ValueError(f"identity: expected a square matrix, got shape {tuple(arr.shape)}")
        return mx.eye(arr.shape[0], dtype=dtype)

    return initializer


def _fans(x: mx.array) -> tuple[int, int]:
    """Inputs and outputs of one unit of a weight (out, ..., in)."""
    if x.ndim < 2:
        raise ValueError(f"fan: expected at least 2 dimensions, got shape {tuple(x.shape)}")
    places = math.prod(x.shape[1:-1])
    return x.shape[-1] * places, x.shape[0] * places


def _fan(x: mx.array, mode: str) -> int:
    fan_in, fan_out = _fans(x)
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"he: expected mode 'fan_in' or 'fan_out', got {mode!r}")
    return fan_in if mode == "fan_in" else fan_out


def glorot_normal(dtype: mx.Dtype = mx.float32) -> Callable[[mx.array, float], mx.array]:
    """Normal with deviation gain * sqrt(2 / (fan_in + fan_out))."""

    def initializer(a: mx.array, gain: float = 1.0) -> mx.array:
        std = gain * math.sqrt(2.0 / sum(_fans(a)))
        return mx.random.normal(shape=a.shape, scale=std, dtype=dtype)

    return initializer


def glorot_uniform(dtype: mx.Dtype = mx.float32) -> Callable[[mx.array, float], mx.array]:
    """Uniform within gain * sqrt(6 / (fan_in + fan_out))."""

    def initializer(a: mx.array, gain: float = 1.0) -> mx.array:
        limit = gain * math.sqrt(6.0 / sum(_fans(a)))
        return mx.random.uniform(-limit, limit, a.shape, dtype=dtype)

    return initializer


def he_normal(dtype: mx.Dtype = mx.float32) -> Callable[[mx.array, Mode, float], mx.array]:
    """Normal with deviation gain / sqrt(fan)."""

    def initializer(a: mx.array, mode: Mode = "fan_in", gain: float = 1.0) -> mx.array:
        std = gain / math.sqrt(_fan(a, mode))
        return mx.random.normal(shape=a.shape, scale=std, dtype=dtype)

    return initializer


def he_uniform(dtype: mx.Dtype = mx.float32) -> Callable[[mx.array, Mode, float], mx.array]:
    """Uniform within gain * sqrt(3 / fan)."""

    def initializer(a: mx.array, mode: Mode = "fan_in", gain: float = 1.0) -> mx.array:
        limit = gain * math.sqrt(3.0 / _fan(a, mode))
        return mx.random.uniform(-limit, limit, a.shape, dtype=dtype)

    return initializer


def sparse(
    sparsity: float, mean: float = 0.0, std: float = 1.0, dtype: mx.Dtype = mx.float32
) -> Callable[[mx.array], mx.array]:
    """Normal, with the share `sparsity` of each row (rounded up) set to zero at random."""

    def initializer(a: mx.array) -> mx.array:
        if a.ndim != 2:
            raise ValueError(f"sparse: expected 2 dimensions, got shape {tuple(a.shape)}")
        zeros = math.ceil(sparsity * a.shape[1])
        # Each row of the argsort is a random permutation: exactly `zeros` entries are below it.
        order = mx.argsort(mx.random.uniform(shape=a.shape), axis=1)
        values = mx.random.normal(shape=a.shape, scale=std, loc=mean, dtype=dtype)
        return mx.where(order < zeros, mx.zeros_like(values), values)

    return initializer


def orthogonal(gain: float = 1.0, dtype: mx.Dtype = mx.float32) -> Callable[[mx.array], mx.array]:
    """A matrix with orthogonal rows or columns (whichever are fewer), times `gain`."""

    def initializer(a: mx.array) -> mx.array:
        if a.ndim != 2:
            raise ValueError(f"orthogonal: expected 2 dimensions, got shape {tuple(a.shape)}")
        rows, cols = a.shape
        size = max(rows, cols)
        noise = mx.random.normal(shape=(size, size))
        q, r = mx.linalg.qr(noise, stream=mx.cpu)
        # The signs of r's diagonal make the distribution uniform over orthogonal matrices.
        q = q * mx.sign(mx.diag(r))
        return (gain * q[:rows, :cols]).astype(dtype)

    return initializer

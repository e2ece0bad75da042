"""Normalisation layers. Channels come last: (N, ..., C)."""

from __future__ import annotations

from typing import Any

import lamina.core as mx
from lamina.nn.module import Module


def _normalize(x: mx.array, axes: Any, eps: float) -> mx.array:
    mean = mx.mean(x, axis=axes, keepdims=True)
    var = mx.var(x, axis=axes, keepdims=True)
    return (x - mean) * mx.rsqrt(var + eps)


class InstanceNorm(Module):
    """Normalises each channel of each sample of (N, ..., C) over its spatial places."""

    def __init__(self, dims: int, eps: float = 1e-5, affine: bool = False) -> None:
        super().__init__()
        if affine:
            self.weight = mx.ones((dims,))
            self.bias = mx.zeros((dims,))
        self.dims = dims
        self.eps = eps

    def _extra_repr(self) -> str:
        return f"{self.dims}, eps={self.eps}, affine={'weight' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        if x.ndim < 3:
            raise ValueError(
                f"InstanceNorm: expected at least 3 dimensions (N, ..., C), got {tuple(x.shape)}"
            )
        y = _normalize(x, tuple(range(1, x.ndim - 1)), self.eps)
        return self["weight"] * y + self["bias"] if "weight" in self else y


class LayerNorm(Module):
    """Normalises the last axis of (..., dims) to mean 0 and variance 1, then scales and shifts."""

    def __init__(
        self, dims: int, eps: float = 1e-5, affine: bool = True, bias: bool = True
    ) -> None:
        super().__init__()
        if affine:
            self.weight = mx.ones((dims,))
            if bias:
                self.bias = mx.zeros((dims,))
        self.eps = eps
        self.dims = dims

    def _extra_repr(self) -> str:
        return f"{self.dims}, eps={self.eps}, affine={'weight' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.layer_norm(x, self.get("weight"), self.get("bias"), self.eps)


class RMSNorm(Module):
    """Divides the last axis of (..., dims) by its root mean square, then scales."""

    def __init__(self, dims: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = mx.ones((dims,))
        self.eps = eps

    def _extra_repr(self) -> str:
        return f"{self['weight'].shape[0]}, eps={self.eps}"

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.rms_norm(x, self["weight"], self.eps)


class GroupNorm(Module):
    """Normalises groups of channels of (N, ..., dims) over their channels and spatial places.

    `pytorch_compatible` makes each group of neighbouring channels; otherwise channel c is in group
    ``c % num_groups``.
    """

    def __init__(
        self,
        num_groups: int,
        dims: int,
        eps: float = 1e-5,
        affine: bool = True,
        pytorch_compatible: bool = False,
    ) -> None:
        super().__init__()
        if dims % num_groups:
            raise ValueError(
                f"GroupNorm: expected dims divisible by num_groups, got {dims} and {num_groups}"
            )
        if affine:
            self.bias = mx.zeros((dims,))
            self.weight = mx.ones((dims,))
        self.num_groups = num_groups
        self.dims = dims
        self.eps = eps
        self.pytorch_compatible = pytorch_compatible

    def _extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.dims}, eps={self.eps}, affine={'weight' in self}, "
            f"pytorch_compatible={self.pytorch_compatible}"
        )

    def __call__(self, x: mx.array) -> mx.array:
        if x.ndim < 2 or x.shape[-1] != self.dims:
            raise ValueError(f"GroupNorm: expected (N, ..., {self.dims}), got {tuple(x.shape)}")
        per_group = self.dims // self.num_groups
        if self.pytorch_compatible:
            split, axes = (self.num_groups, per_group), (1, 3)
        else:
            split, axes = (per_group, self.num_groups), (1, 2)
        y = _normalize(x.reshape(x.shape[0], -1, *split), axes, self.eps).reshape(x.shape)
        return self["weight"] * y + self["bias"] if "weight" in self else y


class BatchNorm(Module):
    """Normalises each channel of (N, C), (N, L, C) or (N, H, W, C) over everything else.

    In training the statistics are those of the batch, and running means of them are kept
    (``running = (1 - momentum) * running + momentum * batch``, the variance unbiased); evaluation
    uses the running ones. They are never trainable, whatever is unfrozen.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.track_running_stats = track_running_stats
        if affine:
            self.weight = mx.ones((num_features,))
            self.bias = mx.zeros((num_features,))
        if track_running_stats:
            self.running_mean = mx.zeros((num_features,))
            self.running_var = mx.ones((num_features,))
            self._freeze_statistics()

    def _freeze_statistics(self) -> None:
        self.freeze(keys=["running_mean", "running_var"], recurse=False)

    def unfreeze(self, *args: Any, **kwargs: Any) -> Module:
        """As `Module.unfreeze`; the running statistics stay frozen."""
        super().unfreeze(*args, **kwargs)
        if self.track_running_stats:
            self._freeze_statistics()
        return self

    def _extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={'weight' in self}, track_running_stats={self.track_running_stats}"
        )

    def _batch_statistics(self, x: mx.array) -> tuple[mx.array, mx.array]:
        axes = tuple(range(x.ndim - 1))
        mean, var = mx.mean(x, axis=axes), mx.var(x, axis=axes)
        if self._training and self.track_running_stats:
            count = x.size // x.shape[-1]
            unbiased = var * (count / max(count - 1, 1))
            keep, take = 1 - self.momentum, self.momentum
            self.running_mean = keep * self["running_mean"] + take * mean
            self.running_var = keep * self["running_var"] + take * unbiased
        return mean, var

    def _check(self, x: mx.array) -> None:
        if x.ndim < 2 or x.ndim > 4:
            raise ValueError(f"BatchNorm: expected 2, 3 or 4 dimensions, got {tuple(x.shape)}")
        if x.shape[-1] != self.num_features:
            raise ValueError(
                f"BatchNorm: expected {self.num_features} channels last, got {tuple(x.shape)}"
            )

    def __call__(self, x: mx.array) -> mx.array:
        self._check(x)
        if self._training or not self.track_running_stats:
            mean, var = self._batch_statistics(x)
        else:
            mean, var = self["running_mean"], self["running_var"]
        scale = mx.rsqrt(var + self.eps)
        weight: mx.array | None = self.get("weight")
        y = (x - mean) * scale
        return y if weight is None else weight * y + self["bias"]

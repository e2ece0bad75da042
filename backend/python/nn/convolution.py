"""Convolutions and transposed convolutions. Channels come last: (N, ..., C).

Weights are (out_channels, *kernel, in_channels / groups), uniform within
1/sqrt(in_channels / groups * kernel places); biases start at zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lamina.core as mx
from lamina.nn.module import Module


def _tuple(name: str, what: str, value: int | tuple[int, ...], dims: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * dims
    if len(value) != dims:
        raise ValueError(f"{name}: expected {what} to be an int or {dims} ints, got {value}")
    return tuple(value)


class _Conv(Module):
    """What all convolutions share: parameters, checks, bias."""

    _dims = 0
    _shown: tuple[str, ...] = ("stride", "padding", "dilation", "output_padding", "groups")

    def _init_parameters(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        groups: int,
        bias: bool,
    ) -> None:
        name = type(self).__name__
        kernel = _tuple(name, "kernel_size", kernel_size, self._dims)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: expected in_channels and out_channels divisible by groups, "
                f"got {in_channels}, {out_channels} and {groups}"
            )
        scale = math.sqrt(1 / (in_channels // groups * math.prod(kernel)))
        self.weight = mx.random.uniform(
            low=-scale, high=scale, shape=(out_channels, *kernel, in_channels // groups)
        )
        if bias:
            self.bias = mx.zeros((out_channels,))

    def _keep(self, **sizes: int | tuple[int, ...]) -> None:
        """Sizes as given for one axis, one a spatial axis for several."""
        name = type(self).__name__
        for what, value in sizes.items():
            setattr(self, what, value if self._dims == 1 else _tuple(name, what, value, self._dims))

    def _check(self, x: mx.array, groups: int = 1) -> None:
        channels = self["weight"].shape[-1] * groups
        if x.ndim != self._dims + 2 or x.shape[-1] != channels:
            places = ", ".join(("N", *"DHW"[3 - self._dims :], str(channels)))
            raise ValueError(f"{type(self).__name__}: expected ({places}), got {tuple(x.shape)}")

    def _add_bias(self, y: mx.array) -> mx.array:
        return y + self["bias"] if "bias" in self else y

    def _extra_repr(self) -> str:
        out, *kernel, per_group = self["weight"].shape
        groups = getattr(self, "groups", None)
        size = kernel[0] if self._dims == 1 else tuple(kernel)
        parts: list[Any] = [f"{per_group * (groups or 1)}, {out}", f"kernel_size={size}"]
        parts += [f"{n}={getattr(self, n)}" for n in self._shown if hasattr(self, n)]
        return ", ".join([*parts, f"bias={'bias' in self}"])


class _DirectConv(_Conv):
    """The cross-correlation as a layer."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self._init_parameters(in_channels, out_channels, kernel_size, groups, bias)
        self._keep(stride=stride, padding=padding)
        self.dilation = dilation
        self.groups = groups

    def __call__(self, x: mx.array) -> mx.array:
        self._check(x, self.groups)
        y = mx.conv_general(
            x, self["weight"], self.stride, self.padding, self.dilation, groups=self.groups
        )
        return self._add_bias(y)


class Conv1d(_DirectConv):
    """(N, L, in_channels) to (N, L', out_channels)."""

    _dims = 1


class Conv2d(_DirectConv):
    """(N, H, W, in_channels) to (N, H', W', out_channels)."""

    _dims = 2


class Conv3d(_DirectConv):
    """(N, D, H, W, in_channels) to (N, D', H', W', out_channels)."""

    _dims = 3
    _shown = ("stride", "padding", "dilation")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, bias=bias
        )


class _ConvTranspose(_Conv):
    """The gradient of a convolution by its input as a layer."""

    _op: Callable[..., mx.array]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        output_padding: int | tuple[int, ...] = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self._init_parameters(in_channels, out_channels, kernel_size, 1, bias)
        self._keep(stride=stride, padding=padding, output_padding=output_padding)
        self.dilation = dilation

    def __call__(self, x: mx.array) -> mx.array:
        self._check(x)
        y = type(self)._op(
            x, self["weight"], self.stride, self.padding, self.dilation, self.output_padding
        )
        return self._add_bias(y)


class ConvTranspose1d(_ConvTranspose):
    """The gradient of a 1-d convolution as a layer: (N, L, in_channels) to (N, L', out)."""

    _dims = 1
    _op = staticmethod(mx.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """The gradient of a 2-d convolution as a layer: (N, H, W, in_channels) to (N, H', W', out)."""

    _dims = 2
    _op = staticmethod(mx.conv_transpose2d)


class ConvTranspose3d(_ConvTranspose):
    """The gradient of a 3-d convolution as a layer: (N, D, H, W, in) to (N, D', H', W', out)."""

    _dims = 3
    _op = staticmethod(mx.conv_transpose3d)

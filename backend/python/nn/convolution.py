"""Convolutions and transposed convolutions. Channels come last: (N, ..., C).

Weights are (out_channels, *kernel, in_channels / groups), uniform within
1/sqrt(in_channels / groups * kernel places); biases start at zero.
"""

from __future__ import annotations

import math
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

    def _init_parameters(
        self, in_channels: int, out_channels: int, kernel: tuple[int, ...], groups: int, bias: bool
    ) -> None:
        name = type(self).__name__
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
        names = ("stride", "padding", "dilation", "output_padding", "groups")
        parts += [f"{n}={getattr(self, n)}" for n in names if hasattr(self, n)]
        return ", ".join([*parts, f"bias={'bias' in self}"])


class Conv1d(_Conv):
    """(N, L, in_channels) to (N, L', out_channels)."""

    _dims = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        kernel = _tuple("Conv1d", "kernel_size", kernel_size, 1)
        self._init_parameters(in_channels, out_channels, kernel, groups, bias)
        self.padding = padding
        self.dilation = dilation
        self.stride = stride
        self.groups = groups

    def __call__(self, x: mx.array) -> mx.array:
        self._check(x, self.groups)
        y = mx.conv1d(x, self["weight"], self.stride, self.padding, self.dilation, self.groups)
        return self._add_bias(y)


class Conv2d(_Conv):
    """(N, H, W, in_channels) to (N, H', W', out_channels)."""

    _dims = 2

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
        kernel = _tuple("Conv2d", "kernel_size", kernel_size, 2)
        self._init_parameters(in_channels, out_channels, kernel, groups, bias)
        self.padding = _tuple("Conv2d", "padding", padding, 2)
        self.stride = _tuple("Conv2d", "stride", stride, 2)
        self.dilation = dilation
        self.groups = groups

    def __call__(self, x: mx.array) -> mx.array:
        self._check(x, self.groups)
        # Sizes are checked to have as many entries as there are axes.
        sizes: tuple[Any, Any, Any] = (self.stride, self.padding, self.dilation)
        y = mx.conv2d(x, self["weight"], *sizes, self.groups)
        return self._add_bias(y)


class Conv3d(_Conv):
    """(N, D, H, W, in_channels) to (N, D', H', W', out_channels)."""

    _dims = 3

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
        super().__init__()
        kernel = _tuple("Conv3d", "kernel_size", kernel_size, 3)
        self._init_parameters(in_channels, out_channels, kernel, 1, bias)
        self.padding = _tuple("Conv3d", "padding", padding, 3)
        self.stride = _tuple("Conv3d", "stride", stride, 3)
        self.dilation = dilation

    def __call__(self, x: mx.array) -> mx.array:
        self._check(x)
        sizes: tuple[Any, Any, Any] = (self.stride, self.padding, self.dilation)
        y = mx.conv3d(x, self["weight"], *sizes)
        return self._add_bias(y)


class _ConvTranspose(_Conv):
    def _init_transpose(
        self, channels: tuple[int, int], kernel_size: Any, geometry: dict[str, Any], bias: bool
    ) -> None:
        name, dims = type(self).__name__, self._dims
        kernel = _tuple(name, "kernel_size", kernel_size, dims)
        self._init_parameters(*channels, kernel, 1, bias)
        for what, value in geometry.items():
            plain = dims == 1 or what == "dilation"
            setattr(self, what, value if plain else _tuple(name, what, value, dims))

    def _call(self, conv: Any, x: mx.array) -> mx.array:
        self._check(x)
        y = conv(x, self["weight"], self.stride, self.padding, self.dilation, self.output_padding)
        return self._add_bias(y)


class ConvTranspose1d(_ConvTranspose):
    """The gradient of a 1-d convolution as a layer: (N, L, in_channels) to (N, L', out)."""

    _dims = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        output_padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        geometry = {
            "padding": padding,
            "dilation": dilation,
            "stride": stride,
            "output_padding": output_padding,
        }
        self._init_transpose((in_channels, out_channels), kernel_size, geometry, bias)

    def __call__(self, x: mx.array) -> mx.array:
        return self._call(mx.conv_transpose1d, x)


class ConvTranspose2d(_ConvTranspose):
    """The gradient of a 2-d convolution as a layer: (N, H, W, in_channels) to (N, H', W', out)."""

    _dims = 2

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
        geometry = {
            "padding": padding,
            "dilation": dilation,
            "stride": stride,
            "output_padding": output_padding,
        }
        self._init_transpose((in_channels, out_channels), kernel_size, geometry, bias)

    def __call__(self, x: mx.array) -> mx.array:
        return self._call(mx.conv_transpose2d, x)


class ConvTranspose3d(_ConvTranspose):
    """The gradient of a 3-d convolution as a layer: (N, D, H, W, in) to (N, D', H', W', out)."""

    _dims = 3

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
        geometry = {
            "padding": padding,
            "dilation": dilation,
            "stride": stride,
            "output_padding": output_padding,
        }
        self._init_transpose((in_channels, out_channels), kernel_size, geometry, bias)

    def __call__(self, x: mx.array) -> mx.array:
        return self._call(mx.conv_transpose3d, x)

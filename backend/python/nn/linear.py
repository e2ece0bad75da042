"""Linear maps: Linear, Bilinear, Identity."""

from __future__ import annotations

import math
from typing import Any

import lamina.core as mx
from lamina.nn.module import Module
from lamina.nn.quantized import QQLinear, QuantizedLinear


class Identity(Module):
    """Returns its input; takes and ignores any arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __call__(self, x: mx.array) -> mx.array:
        return x


class Linear(Module):
    """``x @ weight.T + bias``: (..., input_dims) to (..., output_dims).

    `weight` is (output_dims, input_dims); both start uniform within 1/sqrt(input_dims).
    """

    def __init__(self, input_dims: int, output_dims: int, bias: bool = True) -> None:
        super().__init__()
        scale = math.sqrt(1.0 / input_dims)
        self.weight = mx.random.uniform(low=-scale, high=scale, shape=(output_dims, input_dims))
        if bias:
            self.bias = mx.random.uniform(low=-scale, high=scale, shape=(output_dims,))

    def _extra_repr(self) -> str:
        output_dims, input_dims = self["weight"].shape
        return f"input_dims={input_dims}, output_dims={output_dims}, bias={'bias' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        weight = self["weight"]
        try:
            if "bias" in self:
                return mx.addmm(self["bias"], x, weight.T)
            return x @ weight.T
        except ValueError as error:
            if x.ndim and x.shape[-1] == weight.shape[-1]:
                raise
            raise ValueError(
                f"Linear: expected input of shape (..., {weight.shape[-1]}), got {tuple(x.shape)}"
            ) from error

    def to_quantized(
        self,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
        quantize_input: bool = False,
    ) -> QuantizedLinear | QQLinear:
        """A quantized form of this layer: `QuantizedLinear`, or with `quantize_input` `QQLinear`.

        The arguments are those of `lamina.core.quantize`; inputs are quantized in modes "nvfp4" and
        "mxfp8" and without a bias alone.
        """
        if not quantize_input:
            return QuantizedLinear.from_linear(self, group_size, bits, mode)
        if mode not in ("nvfp4", "mxfp8"):
            raise ValueError(
                f"to_quantized: inputs are quantized in modes 'nvfp4' and 'mxfp8', got {mode!r}"
            )
        return QQLinear.from_linear(self, group_size, bits, mode)


class Bilinear(Module):
    """``x1 @ weight[o] @ x2 + bias[o]`` for every output o.

    Inputs (..., input1_dims) and (..., input2_dims) give (..., output_dims); `weight` is
    (output_dims, input2_dims, input1_dims), uniform within 1/sqrt(input1_dims).
    """

    def __init__(
        self, input1_dims: int, input2_dims: int, output_dims: int, bias: bool = True
    ) -> None:
        super().__init__()
        scale = math.sqrt(1.0 / input1_dims)
        self.weight = mx.random.uniform(
            low=-scale, high=scale, shape=(output_dims, input2_dims, input1_dims)
        )
        if bias:
            self.bias = mx.random.uniform(low=-scale, high=scale, shape=(output_dims,))

    def _extra_repr(self) -> str:
        out, in2, in1 = self["weight"].shape
        return f"input1_dims={in1}, input2_dims={in2}, output_dims={out}, bias={'bias' in self}"

    def __call__(self, x1: mx.array, x2: mx.array) -> mx.array:
        out, in2, in1 = self["weight"].shape
        if x1.shape[-1] != in1 or x2.shape[-1] != in2:
            raise ValueError(
                f"Bilinear: expected inputs of shape (..., {in1}) and (..., {in2}), "
                f"got {tuple(x1.shape)} and {tuple(x2.shape)}"
            )
        y = x1 @ self["weight"].reshape(out * in2, in1).T
        y = y.reshape(*y.shape[:-1], out, in2) @ mx.expand_dims(x2, -1)
        y = mx.squeeze(y, -1)
        return y + self["bias"] if "bias" in self else y

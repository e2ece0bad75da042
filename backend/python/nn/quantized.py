"""Layers whose weights are quantized: QuantizedLinear, QuantizedEmbedding, QQLinear, quantize."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import lamina.core as mx
from lamina.nn.module import Module
from lamina.utils import tree_map_with_path

_Layer = TypeVar("_Layer", bound="_Quantized")
_Predicate = Callable[[str, Module], "bool | dict[str, Any]"]
# Of the modes; see `lamina.core.quantize`.
_USUAL = {"affine": (64, 4), "mxfp4": (32, 4), "nvfp4": (16, 4), "mxfp8": (32, 8)}
_ROUNDS_INPUT = ("nvfp4", "mxfp8")


def _uniform(rows: int, columns: int) -> mx.array:
    scale = math.sqrt(1 / columns)
    return mx.random.uniform(low=-scale, high=scale, shape=(rows, columns))


class _Quantized(Module):
    """What the layers share: `weight`, `scales` and `biases` (None but in mode "affine").

    They are frozen: no derivative reaches the codes.
    """

    weight: mx.array
    scales: mx.array

    def _choose(self, group_size: int | None, bits: int | None, mode: str) -> None:
        usual_group, usual_bits = _USUAL.get(mode, (None, None))
        self.group_size = group_size if group_size is not None else usual_group
        self.bits = bits if bits is not None else usual_bits
        self.mode = mode

    @classmethod
    def _from(
        cls: type[_Layer], weight: mx.array, group_size: int | None, bits: int | None, mode: str
    ) -> _Layer:
        layer = cls.__new__(cls)
        Module.__init__(layer)
        layer._choose(group_size, bits, mode)
        layer._take(weight)
        return layer

    def _take(self, weight: mx.array) -> None:
        """Quantize `weight`, and freeze what comes of it."""
        self.weight, self.scales, *rest = mx.quantize(
            weight, self.group_size, self.bits, mode=self.mode
        )
        self.biases = rest[0] if rest else None
        self.freeze()

    def _how(self) -> dict[str, Any]:
        return {"group_size": self.group_size, "bits": self.bits, "mode": self.mode}

    def _shape(self) -> tuple[int, int]:
        rows, words = self.weight.shape
        return rows, words * 32 // (self.bits or 1)

    def _product(self, x: mx.array) -> mx.array:
        codes = self["weight"], self["scales"], self.get("biases")
        try:
            return mx.quantized_matmul(x, *codes, transpose=True, **self._how())
        except ValueError as error:
            width = self._shape()[1]
            if x.ndim and x.shape[-1] == width:
                raise
            raise ValueError(
                f"{type(self).__name__}: expected input of shape (..., {width}), "
                f"got {tuple(x.shape)}"
            ) from error

    def _format(self) -> str:
        return f"group_size={self.group_size}, bits={self.bits}, mode={self.mode}"


class QuantizedLinear(_Quantized):
    """`Linear` with a quantized weight: (..., input_dims) to (..., output_dims).

    The arguments of the format are those of `lamina.core.quantize`. Parameters are frozen.
    """

    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        bias: bool = True,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
    ) -> None:
        super().__init__()
        self._choose(group_size, bits, mode)
        if bias:
            self.bias = mx.zeros((output_dims,))
        self._take(_uniform(output_dims, input_dims))

    def _extra_repr(self) -> str:
        rows, columns = self._shape()
        dims = f"input_dims={columns}, output_dims={rows}, bias={'bias' in self}"
        return f"{dims}, {self._format()}"

    def __call__(self, x: mx.array) -> mx.array:
        y = self._product(x)
        return y + self["bias"] if "bias" in self else y

    @classmethod
    def from_linear(
        cls,
        linear_layer: Module,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
    ) -> QuantizedLinear:
        """The quantized form of a `Linear`; its bias stays as it is, and trainable."""
        layer = cls._from(linear_layer.weight, group_size, bits, mode)
        if "bias" in linear_layer:
            layer.bias = linear_layer.bias
        return layer


class QuantizedEmbedding(_Quantized):
    """`Embedding` with a quantized table: integers (...) to vectors (..., dims), frozen."""

    def __init__(
        self,
        num_embeddings: int,
        dims: int,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
    ) -> None:
        super().__init__()
        self._choose(group_size, bits, mode)
        self.num_embeddings = num_embeddings
        self.dims = dims
        self._take(mx.random.normal(shape=(num_embeddings, dims), scale=math.sqrt(1 / dims)))

    def _extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.dims}, {self._format()}"

    def __call__(self, x: mx.array) -> mx.array:
        biases = self.get("biases")
        # One row by itself would have no axis of rows.
        at = x if x.ndim else mx.expand_dims(x, 0)
        picked = None if biases is None else biases[at]
        y = mx.dequantize(self["weight"][at], self["scales"][at], picked, **self._how())
        return y if x.ndim else mx.squeeze(y, 0)

    def as_linear(self, x: mx.array) -> mx.array:
        """``x @ weight.T``: scores of (..., dims) against every row, for tied output layers."""
        return self._product(x)

    @classmethod
    def from_embedding(
        cls,
        embedding_layer: Module,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
    ) -> QuantizedEmbedding:
        """The quantized form of an `Embedding`."""
        layer = cls._from(embedding_layer.weight, group_size, bits, mode)
        layer.num_embeddings, layer.dims = embedding_layer.weight.shape
        return layer


class QQLinear(Module):
    """``x @ weight.T`` with both rounded to a quantized format; there is no bias.

    In evaluation mode `weight` is quantized and has `scales`. In training mode it is kept in full
    and rounded at every call; derivatives take the rounding for none. `train` and `eval` go from
    one to the other, which loses what the format does not hold. Modes are "nvfp4" and "mxfp8".
    """

    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "nvfp4",
    ) -> None:
        super().__init__()
        self._choose(group_size, bits, mode)
        self.weight = _uniform(output_dims, input_dims)

    def _choose(self, group_size: int | None, bits: int | None, mode: str) -> None:
        if mode not in _ROUNDS_INPUT:
            raise ValueError(f"QQLinear: mode must be 'nvfp4' or 'mxfp8', got {mode!r}")
        self.group_size = group_size if group_size is not None else _USUAL[mode][0]
        self.bits = bits if bits is not None else _USUAL[mode][1]
        self.mode = mode
        self._quantized = False
        self._full_dtype: Any = None

    def _extra_repr(self) -> str:
        rows, columns = self.weight.shape
        if self._quantized:
            columns = columns * 32 // self.bits
        how = f"group_size={self.group_size}, bits={self.bits}, mode={self.mode}"
        return f"input_dims={columns}, output_dims={rows}, {how}"

    def quantize(self) -> None:
        """Keep the weight quantized from now on; nothing changes if it is."""
        if self._quantized:
            return
        self._full_dtype = self.weight.dtype
        self.weight, self.scales = mx.quantize(
            self.weight, self.group_size, self.bits, mode=self.mode
        )
        self._quantized = True

    def dequantize(self) -> None:
        """Keep the weight in full from now on; nothing changes if it is."""
        if not self._quantized:
            return
        how = self.group_size, self.bits, self.mode
        self.weight = mx.dequantize(
            self.weight, self.scales, None, *how, dtype=self._full_dtype or mx.bfloat16
        )
        del self.scales
        self._quantized = False

    def _set_training_mode(self, mode: bool) -> None:
        super()._set_training_mode(mode)
        if mode:
            self.dequantize()
        else:
            self.quantize()

    def __call__(self, x: mx.array) -> mx.array:
        how: dict[str, Any] = {"group_size": self.group_size, "bits": self.bits, "mode": self.mode}
        return mx.qqmm(x, self["weight"], self.get("scales"), **how)

    @classmethod
    def from_linear(
        cls,
        linear_layer: Module,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "nvfp4",
    ) -> QQLinear:
        """The form of a `Linear` without bias that rounds its input too, in the layer's mode."""
        if "bias" in linear_layer:
            raise NotImplementedError("QQLinear: the layer has a bias\nUse Linear(..., bias=False)")
        layer = cls.__new__(cls)
        Module.__init__(layer)
        layer._choose(group_size, bits, mode)
        layer.weight = linear_layer.weight
        layer.train(linear_layer.training)
        return layer


def quantize(
    model: Module,
    group_size: int | None = None,
    bits: int | None = None,
    *,
    mode: str = "affine",
    quantize_input: bool = False,
    class_predicate: _Predicate | None = None,
) -> None:
    """Replace layers of `model` by their quantized forms, in place.

    By default those with a `to_quantized` method: `Linear` and `Embedding`. `class_predicate` is
    called with a layer's dotted path and the layer, and says whether, or gives the arguments of
    `to_quantized` as a dict. `quantize_input` is for modes "nvfp4" and "mxfp8" and `Linear` alone.

    ValueError: a layer was chosen that has no quantized form, or whose sizes groups do not divide.
    """
    usual: dict[str, Any] = {"group_size": group_size, "bits": bits, "mode": mode}
    if quantize_input:
        usual["quantize_input"] = True

    def replaced(path: str, layer: Any) -> Any:
        chosen = class_predicate(path, layer) if class_predicate else hasattr(layer, "to_quantized")
        if not chosen:
            return layer
        if not hasattr(layer, "to_quantized"):
            raise ValueError(f"quantize: {path}: {type(layer).__name__} has no quantized form")
        return layer.to_quantized(**(chosen if isinstance(chosen, dict) else usual))

    leaves = model.leaf_modules()
    model.update_modules(tree_map_with_path(replaced, leaves, is_leaf=Module.is_module))

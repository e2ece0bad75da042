"""Attention and the encoder-decoder transformer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lamina.core as mx
from lamina.nn.activations import relu
from lamina.nn.dropout import Dropout
from lamina.nn.linear import Linear
from lamina.nn.module import Module
from lamina.nn.norm import LayerNorm
from lamina.nn.utils import checkpoint as checkpointed


class MultiHeadAttention(Module):
    """Scaled dot product attention over `num_heads` heads.

    Queries (N, L, query_input_dims), keys (N, S, key_input_dims) and values
    (N, S, value_input_dims) give (N, L, value_output_dims). All sizes default to `dims`, those of
    the values' input to that of the keys.
    """

    def __init__(
        self,
        dims: int,
        num_heads: int,
        query_input_dims: int | None = None,
        key_input_dims: int | None = None,
        value_input_dims: int | None = None,
        value_dims: int | None = None,
        value_output_dims: int | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if dims % num_heads:
            raise ValueError(
                f"MultiHeadAttention: expected dims divisible by num_heads, "
                f"got {dims} and {num_heads}"
            )
        query_input_dims = query_input_dims or dims
        key_input_dims = key_input_dims or dims
        value_input_dims = value_input_dims or key_input_dims
        value_dims = value_dims or dims
        value_output_dims = value_output_dims or dims
        self.num_heads = num_heads
        self.query_proj = Linear(query_input_dims, dims, bias=bias)
        self.key_proj = Linear(key_input_dims, dims, bias=bias)
        self.value_proj = Linear(value_input_dims, value_dims, bias=bias)
        self.out_proj = Linear(value_dims, value_output_dims, bias=bias)

    def _heads(self, x: mx.array) -> mx.array:
        return mx.unflatten(x, -1, (self.num_heads, -1)).transpose(0, 2, 1, 3)

    def __call__(
        self,
        queries: mx.array,
        keys: mx.array,
        values: mx.array,
        mask: mx.array | None = None,
    ) -> mx.array:
        q = self._heads(self["query_proj"](queries))
        k = self._heads(self["key_proj"](keys))
        v = self._heads(self["value_proj"](values))
        scale = math.sqrt(1 / q.shape[-1])
        y = mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)
        return self["out_proj"](mx.flatten(y.transpose(0, 2, 1, 3), -2, -1))

    @staticmethod
    def create_additive_causal_mask(N: int, dtype: mx.Dtype = mx.float32) -> mx.array:
        """(N, N): 0 where a query may look, the least finite number of `dtype` where not."""
        places = mx.arange(N)
        hidden = mx.expand_dims(places, 1) < mx.expand_dims(places, 0)
        return hidden.astype(dtype) * mx.finfo(dtype).min


class _Layer(Module):
    """One or more attentions and a two-layer perceptron, each with a norm and a residual."""

    _attentions: tuple[str, ...]

    def __init__(
        self,
        dims: int,
        num_heads: int,
        mlp_dims: int | None = None,
        dropout: float = 0.0,
        activation: Callable[[Any], Any] = relu,
        norm_first: bool = True,
    ) -> None:
        super().__init__()
        mlp_dims = mlp_dims or dims * 4
        for name in self._attentions:
            self[name] = MultiHeadAttention(dims, num_heads)
        parts = range(1, len(self._attentions) + 2)
        for i in parts:
            self[f"ln{i}"] = LayerNorm(dims)
        self.linear1 = Linear(dims, mlp_dims)
        self.linear2 = Linear(mlp_dims, dims)
        for i in parts:
            self[f"dropout{i}"] = Dropout(dropout)
        self.activation = activation
        self.norm_first = norm_first

    def _run(self, x: mx.array, *others: tuple[mx.array | None, mx.array | None]) -> mx.array:
        """`others`: per attention, what it looks at (None: x itself) and its mask."""
        last = len(others) + 1
        for i, (name, (memory, mask)) in enumerate(zip(self._attentions, others, strict=True), 1):
            y = self[f"ln{i}"](x) if self.norm_first else x
            seen = y if memory is None else memory
            x = x + self[f"dropout{i}"](self[name](y, seen, seen, mask))
            x = x if self.norm_first else self[f"ln{i}"](x)
        y = self[f"ln{last}"](x) if self.norm_first else x
        hidden = self[f"dropout{last}"](self.activation(self.linear1(y)))
        x = x + self.linear2(hidden)
        return x if self.norm_first else self[f"ln{last}"](x)


class TransformerEncoderLayer(_Layer):
    """Self attention and a two-layer perceptron, each with a norm and a residual."""

    _attentions = ("attention",)

    def __call__(self, x: mx.array, mask: mx.array | None) -> mx.array:
        return self._run(x, (None, mask))


class TransformerDecoderLayer(_Layer):
    """Self attention, attention to a memory, and a perceptron, each with a norm and a residual."""

    _attentions = ("self_attention", "cross_attention")

    def __call__(
        self,
        x: mx.array,
        memory: mx.array,
        x_mask: mx.array | None,
        memory_mask: mx.array | None,
    ) -> mx.array:
        return self._run(x, (None, x_mask), (memory, memory_mask))


class _Stack(Module):
    _layer: type[_Layer]

    def __init__(
        self,
        num_layers: int,
        dims: int,
        num_heads: int,
        mlp_dims: int | None = None,
        dropout: float = 0.0,
        activation: Callable[[Any], Any] = relu,
        norm_first: bool = True,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.layers = [
            self._layer(dims, num_heads, mlp_dims, dropout, activation, norm_first)
            for _ in range(num_layers)
        ]
        self.ln = LayerNorm(dims)
        self.checkpoint = checkpoint

    def _run(self, x: mx.array, *rest: mx.array | None) -> mx.array:
        for layer in self["layers"]:
            x = (checkpointed(layer) if self.checkpoint else layer)(x, *rest)
        return self.ln(x)


class TransformerEncoder(_Stack):
    """`num_layers` encoder layers and a final norm; `checkpoint` saves memory in the gradient."""

    _layer = TransformerEncoderLayer

    def __call__(self, x: mx.array, mask: mx.array | None) -> mx.array:
        return self._run(x, mask)


class TransformerDecoder(_Stack):
    """`num_layers` decoder layers and a final norm; `checkpoint` saves memory in the gradient."""

    _layer = TransformerDecoderLayer

    def __call__(
        self,
        x: mx.array,
        memory: mx.array,
        x_mask: mx.array | None,
        memory_mask: mx.array | None,
    ) -> mx.array:
        return self._run(x, memory, x_mask, memory_mask)


class Transformer(Module):
    """Encoder and decoder: source (N, S, dims) and target (N, L, dims) to (N, L, dims)."""

    def __init__(
        self,
        dims: int = 512,
        num_heads: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        mlp_dims: int | None = None,
        dropout: float = 0.0,
        activation: Callable[[Any], Any] = relu,
        custom_encoder: Any | None = None,
        custom_decoder: Any | None = None,
        norm_first: bool = True,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        rest = (dims, num_heads, mlp_dims, dropout, activation, norm_first, checkpoint)
        self.encoder = custom_encoder or TransformerEncoder(num_encoder_layers, *rest)
        self.decoder = custom_decoder or TransformerDecoder(num_decoder_layers, *rest)

    def __call__(
        self,
        src: mx.array,
        tgt: mx.array,
        src_mask: mx.array | None,
        tgt_mask: mx.array | None,
        memory_mask: mx.array | None,
    ) -> mx.array:
        memory = self.encoder(src, src_mask)
        return self.decoder(tgt, memory, tgt_mask, memory_mask)

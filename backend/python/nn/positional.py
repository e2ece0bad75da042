"""Encodings of positions: rotary, sinusoidal, and attention biases."""

from __future__ import annotations

import math

import lamina.core as mx
from lamina.nn.module import Module


class RoPE(Module):
    """Rotary encoding of (..., L, D): pairs of the first `dims` features turn with the position.

    `traditional` pairs neighbours, otherwise feature i is paired with i + dims / 2.
    """

    def __init__(
        self, dims: int, traditional: bool = False, base: float = 10000, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.dims = dims
        self.traditional = traditional
        self.base = base
        self.scale = scale

    def _extra_repr(self) -> str:
        return f"{self.dims}, traditional={self.traditional}"

    def __call__(self, x: mx.array, offset: int = 0) -> mx.array:
        return mx.fast.rope(
            x,
            self.dims,
            traditional=self.traditional,
            base=self.base,
            scale=self.scale,
            offset=offset,
        )


class SinusoidalPositionalEncoding(Module):
    """Positions of any shape (...) to sines and cosines (..., dims).

    Frequencies fall geometrically from `max_freq` to `min_freq`. `scale` defaults to
    sqrt(2 / dims); `full_turns` measures frequencies in turns instead of radians.
    """

    def __init__(
        self,
        dims: int,
        min_freq: float = 0.0001,
        max_freq: float = 1,
        scale: float | None = None,
        cos_first: bool = False,
        full_turns: bool = False,
    ) -> None:
        super().__init__()
        if dims < 2 or dims % 2:
            raise ValueError(f"SinusoidalPositionalEncoding: expected even dims, got {dims}")
        half = dims // 2
        fraction = mx.arange(half - 1, -1, -1) / max(half - 1, 1)
        low, high = math.log(min_freq), math.log(max_freq)
        sigmas = mx.exp(fraction * (high - low) + low)
        # The underscore keeps the table out of the parameters.
        self._sigmas = sigmas * (2 * math.pi) if full_turns else sigmas
        self.scale = scale or math.sqrt(2 / dims)
        self.cos_first = cos_first

    def __call__(self, x: mx.array) -> mx.array:
        angles = mx.expand_dims(x, -1) * self["_sigmas"]
        parts = [mx.sin(angles), mx.cos(angles)]
        if self.cos_first:
            parts.reverse()
        y = mx.concatenate(parts, axis=-1)
        return y * self.scale if self.scale != 1 else y


class ALiBi(Module):
    """Adds to attention scores (N, heads, L, S) a bias that grows with the distance."""

    @staticmethod
    def create_alibi_slope(num_heads: int) -> mx.array:
        """One slope a head, (heads, 1, 1): powers of two, then those halfway between them."""
        closest = 2 ** math.floor(math.log2(num_heads))
        slopes = [2.0 ** (-8 * (i + 1) / closest) for i in range(closest)]
        rest = num_heads - closest
        slopes += [2.0 ** (-4 * (2 * i + 1) / closest) for i in range(rest)]
        return mx.array(slopes).reshape(num_heads, 1, 1)

    @staticmethod
    def create_alibi_matrix(
        q_sequence_length: int,
        k_sequence_length: int,
        num_heads: int,
        offset: int = 0,
        dtype: mx.Dtype = mx.float32,
    ) -> mx.array:
        """The biases: minus slope times distance, (1, heads, q, k)."""
        queries = mx.arange(offset, q_sequence_length)
        keys = mx.arange(0, k_sequence_length)
        distance = mx.abs(mx.expand_dims(queries, 1) - mx.expand_dims(keys, 0))
        slopes = ALiBi.create_alibi_slope(num_heads)
        return mx.expand_dims(-distance * slopes, 0).astype(dtype)

    def __call__(
        self, attention_scores: mx.array, offset: int = 0, mask: mx.array | None = None
    ) -> mx.array:
        bias = ALiBi.create_alibi_matrix(
            q_sequence_length=attention_scores.shape[-2] + offset,
            k_sequence_length=attention_scores.shape[-1],
            num_heads=attention_scores.shape[1],
            offset=offset,
            dtype=attention_scores.dtype,
        )
        if mask is not None:
            bias = bias + mask
        return attention_scores + bias

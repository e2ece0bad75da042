"""Embedding: a learned table of vectors."""

from __future__ import annotations

import math

import lamina.core as mx
from lamina.nn.module import Module
from lamina.nn.quantized import QuantizedEmbedding


class Embedding(Module):
    """Row look-up: integers of any shape (...) to vectors (..., dims).

    `weight` is (num_embeddings, dims), normal with deviation 1/sqrt(dims).
    """

    def __init__(self, num_embeddings: int, dims: int) -> None:
        super().__init__()
        scale = math.sqrt(1 / dims)
        self.weight = mx.random.normal(shape=(num_embeddings, dims), scale=scale)

    def _extra_repr(self) -> str:
        return f"{self['weight'].shape[0]}, {self['weight'].shape[1]}"

    def __call__(self, x: mx.array) -> mx.array:
        return self["weight"][x]

    def as_linear(self, x: mx.array) -> mx.array:
        """``x @ weight.T``: scores of (..., dims) against every row, for tied output layers."""
        return x @ self["weight"].T

    def to_quantized(
        self,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
        quantize_input: bool = False,
    ) -> QuantizedEmbedding:
        """A quantized form of this layer; the arguments are those of `lamina.core.quantize`."""
        if quantize_input:
            raise ValueError("to_quantized: the input of an Embedding is indices")
        return QuantizedEmbedding.from_embedding(self, group_size, bits, mode)

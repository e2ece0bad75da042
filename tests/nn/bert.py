"""BERT with mean pooling, as sentence embeddings use it: layers of `lamina.nn`, and plain NumPy."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import lamina.core as mx
import lamina.nn as nn
import numpy as np
from lamina.utils import tree_flatten


class Block(nn.Module):
    def __init__(self, dims: int, heads: int, inner: int, eps: float) -> None:
        super().__init__()
        self.attention = nn.MultiHeadAttention(dims, heads, bias=True)
        self.after_attention = nn.LayerNorm(dims, eps)
        self.grow = nn.Linear(dims, inner)
        self.shrink = nn.Linear(inner, dims)
        self.after_growth = nn.LayerNorm(dims, eps)

    def __call__(self, x: mx.array, mask: mx.array) -> mx.array:
        x = self.after_attention(x + self.attention(x, x, x, mask))
        return self.after_growth(x + self.shrink(nn.gelu(self.grow(x))))


class Bert(nn.Module):
    """Token ids and their mask, both (batch, length), to unit vectors (batch, dims)."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        dims, eps = config["hidden_size"], config["layer_norm_eps"]
        self.words = nn.Embedding(config["vocab_size"], dims)
        self.places = nn.Embedding(config["max_position_embeddings"], dims)
        self.kinds = nn.Embedding(config["type_vocab_size"], dims)
        self.norm = nn.LayerNorm(dims, eps)
        self.blocks = [
            Block(dims, config["num_attention_heads"], config["intermediate_size"], eps)
            for _ in range(config["num_hidden_layers"])
        ]

    def __call__(self, ids: mx.array, mask: mx.array) -> mx.array:
        x = self.words(ids) + self.places(mx.arange(ids.shape[1])) + self.kinds(mx.zeros_like(ids))
        x = self.norm(x)
        hidden = mx.where(mask[:, None, None, :] == 0, -math.inf, 0.0)
        for block in self.blocks:
            x = block(x, hidden)
        weight = mask[..., None].astype(x.dtype)
        pooled = (x * weight).sum(axis=1) / weight.sum(axis=1)
        return pooled / mx.linalg.norm(pooled, axis=-1, keepdims=True)


_LAYERS = {
    "attention.query_proj": "attention.self.query",
    "attention.key_proj": "attention.self.key",
    "attention.value_proj": "attention.self.value",
    "attention.out_proj": "attention.output.dense",
    "after_attention": "attention.output.LayerNorm",
    "grow": "intermediate.dense",
    "shrink": "output.dense",
    "after_growth": "output.LayerNorm",
}
_EMBEDDINGS = {
    "words": "embeddings.word_embeddings",
    "places": "embeddings.position_embeddings",
    "kinds": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
}


def name_in_file(path: str) -> str:
    """The name that a parameter of `Bert` has in Hugging Face's files."""
    stem, _, leaf = path.rpartition(".")
    if not stem.startswith("blocks."):
        return f"{_EMBEDDINGS[stem]}.{leaf}"
    _, index, layer = stem.split(".", 2)
    return f"encoder.layer.{index}.{_LAYERS[layer]}.{leaf}"


def load(folder: Path) -> Bert:
    """The model of a folder in Hugging Face's layout."""
    model = Bert(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    weights = mx.load(str(folder / "model.safetensors"))
    paths = [path for path, _ in tree_flatten(model.parameters())]
    model.load_weights([(path, weights[name_in_file(path)]) for path in paths])
    model.eval()
    return model


def _norm(w: dict[str, np.ndarray], name: str, x: np.ndarray, eps: float) -> np.ndarray:
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def _dense(w: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def reference(
    w: dict[str, np.ndarray], config: dict[str, Any], ids: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """The same model in NumPy, in the precision of the weights, under the file's own names."""
    erf = np.vectorize(math.erf)
    batch, length = ids.shape
    heads, eps = config["num_attention_heads"], config["layer_norm_eps"]
    x = (
        w["embeddings.word_embeddings.weight"][ids]
        + w["embeddings.position_embeddings.weight"][:length]
        + w["embeddings.token_type_embeddings.weight"][0]
    )
    x = _norm(w, "embeddings.LayerNorm", x, eps)
    for i in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{i}"

        def split(part: str, x: np.ndarray = x, at: str = at) -> np.ndarray:
            y = _dense(w, f"{at}.attention.self.{part}", x)
            return y.reshape(batch, length, heads, -1).transpose(0, 2, 1, 3)

        q, k, v = split("query"), split("key"), split("value")
        scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(q.shape[-1])
        scores = np.where(mask[:, None, None, :] == 0, -np.inf, scores)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        y = (scores / scores.sum(-1, keepdims=True)) @ v
        y = y.transpose(0, 2, 1, 3).reshape(batch, length, -1)
        y = _dense(w, f"{at}.attention.output.dense", y)
        x = _norm(w, f"{at}.attention.output.LayerNorm", x + y, eps)
        y = _dense(w, f"{at}.intermediate.dense", x)
        y = y * 0.5 * (1 + erf(y / math.sqrt(2)))
        x = _norm(w, f"{at}.output.LayerNorm", x + _dense(w, f"{at}.output.dense", y), eps)
    pooled = (x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return pooled / np.linalg.norm(pooled, axis=-1, keepdims=True)

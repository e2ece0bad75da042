"""Quantized layers against MLX: parameters by name, values, what is frozen, checkpoints."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import lamina.core as mx
import mlx.core as omx
import mlx.nn as onn
import numpy as np
import pytest
from lamina import nn
from lamina.utils import tree_flatten
from mlx.utils import tree_flatten as other_flatten
from oracle import close, copy_parameters, normal, to_numpy

FORMATS: list[dict[str, Any]] = [
    {},
    {"bits": 8, "group_size": 32},
    {"bits": 3},
    {"mode": "mxfp4"},
    {"mode": "mxfp8"},
    {"mode": "nvfp4"},
]


def pair(kind: str, *args: Any, **kwargs: Any) -> tuple[nn.Module, onn.Module]:
    mine, other = getattr(nn, kind)(*args, **kwargs), getattr(onn, kind)(*args, **kwargs)
    copy_parameters(mine, other)
    return mine, other


def described(module: Any, flatten: Any) -> dict[str, tuple[Any, ...]]:
    return {
        name: (tuple(x.shape), str(x.dtype).rsplit(".", 1)[-1])
        for name, x in flatten(module.parameters())
    }


def same_values(mine: nn.Module, other: onn.Module) -> None:
    theirs = dict(other_flatten(other.parameters()))
    for name, value in tree_flatten(mine.parameters()):
        np.testing.assert_array_equal(to_numpy(value), to_numpy(theirs[name]))


@pytest.mark.parametrize("how", FORMATS, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_linear(how: dict[str, Any], bias: bool) -> None:
    mine, other = pair("Linear", 128, 24, bias=bias)
    quantized, theirs = mine.to_quantized(**how), other.to_quantized(**how)
    assert described(quantized, tree_flatten) == described(theirs, other_flatten)
    same_values(quantized, theirs)
    assert repr(quantized) == repr(theirs)
    x = normal(2, 5, 128)
    close(quantized(mx.array(x)), theirs(omx.array(x)), 1e-4)
    frozen = dict(tree_flatten(quantized.trainable_parameters()))
    assert set(frozen) == set(dict(other_flatten(theirs.trainable_parameters())))
    fresh, pattern = (
        nn.QuantizedLinear(128, 24, bias, **how),
        onn.QuantizedLinear(128, 24, bias, **how),
    )
    assert described(fresh, tree_flatten) == described(pattern, other_flatten)
    assert tree_flatten(fresh.trainable_parameters()) == []
    assert repr(fresh) == repr(pattern)


@pytest.mark.parametrize("how", FORMATS, ids=str)
def test_embedding(how: dict[str, Any]) -> None:
    mine, other = pair("Embedding", 10, 128)
    quantized, theirs = mine.to_quantized(**how), other.to_quantized(**how)
    assert described(quantized, tree_flatten) == described(theirs, other_flatten)
    same_values(quantized, theirs)
    assert repr(quantized) == repr(theirs)
    for indices in (np.array([[1, 3], [9, 0]]), np.array([2]), np.array(5)):
        got = quantized(mx.array(indices))
        assert tuple(got.shape) == (*indices.shape, 128)
        rows = to_numpy(theirs(omx.array(np.atleast_1d(indices)))).reshape(got.shape)
        np.testing.assert_allclose(to_numpy(got), rows, rtol=1e-2, atol=1e-6)
    x = normal(3, 128)
    close(quantized.as_linear(mx.array(x)), theirs.as_linear(omx.array(x)), 1e-4)
    fresh = nn.QuantizedEmbedding(10, 128, **how)
    assert described(fresh, tree_flatten) == described(theirs, other_flatten)
    assert tree_flatten(fresh.trainable_parameters()) == []


class Model(nn.Module):
    def __init__(self, package: Any) -> None:
        super().__init__()
        self.embed = package.Embedding(12, 64)
        self.layers = [package.Linear(64, 64), package.Linear(64, 32, bias=False)]
        self.norm = package.RMSNorm(32)

    def __call__(self, x: mx.array) -> mx.array:
        y = self.embed(x)
        for layer in self.layers:
            y = layer(y)
        return self.norm(y)


class Theirs(onn.Module):
    __init__ = Model.__init__
    __call__ = Model.__call__


PREDICATES: list[Any] = [
    None,
    lambda path, m: path.startswith("layers"),
    lambda path, m: {"bits": 8, "group_size": 32} if path == "layers.1" else path == "embed",
]


@pytest.mark.parametrize("predicate", PREDICATES)
def test_quantize(predicate: Any) -> None:
    mine, other = Model(nn), Theirs.__new__(Theirs)
    onn.Module.__init__(other)
    other.embed, other.norm = onn.Embedding(12, 64), onn.RMSNorm(32)
    other.layers = [onn.Linear(64, 64), onn.Linear(64, 32, bias=False)]
    copy_parameters(mine, other)
    nn.quantize(mine, 32, 4, class_predicate=predicate)
    onn.quantize(other, 32, 4, class_predicate=predicate)
    assert described(mine, tree_flatten) == described(other, other_flatten)
    same_values(mine, other)
    tokens = np.array([[1, 2, 11]])
    close(mine(mx.array(tokens)), other(omx.array(tokens)), 1e-4)


def test_checkpoints_of_mlx_load(tmp_path: Path) -> None:
    other = onn.Sequential(onn.Embedding(12, 64), onn.Linear(64, 64), onn.Linear(64, 32))
    onn.quantize(other)
    other.save_weights(str(tmp_path / "w.safetensors"))
    mine = nn.Sequential(nn.Embedding(12, 64), nn.Linear(64, 64), nn.Linear(64, 32))
    nn.quantize(mine)
    mine.load_weights(str(tmp_path / "w.safetensors"))
    same_values(mine, other)
    tokens = np.array([[1, 2, 11]])
    close(mine(mx.array(tokens)), other(omx.array(tokens)), 1e-4)


def test_biases_and_inputs_are_trained() -> None:
    mine, other = pair("Linear", 64, 8)
    quantized, theirs = mine.to_quantized(), other.to_quantized()
    x = normal(3, 64)
    _, grads = nn.value_and_grad(quantized, lambda x: mx.sum(quantized(x) ** 2))(mx.array(x))
    _, want = onn.value_and_grad(theirs, lambda x: omx.sum(theirs(x) ** 2))(omx.array(x))
    assert set(grads) == set(want) == {"bias"}
    close(grads["bias"], want["bias"], 1e-4)
    got = mx.grad(lambda x: mx.sum(quantized(x) ** 2))(mx.array(x))
    close(got, omx.grad(lambda x: omx.sum(theirs(x) ** 2))(omx.array(x)), 1e-4)


@pytest.mark.parametrize("mode", ["nvfp4", "mxfp8"])
def test_qq_linear(mode: str) -> None:
    layer = nn.QQLinear(64, 8, mode=mode)
    assert repr(layer) == repr(onn.QQLinear(64, 8, mode=mode))
    x = mx.array(normal(3, 64))
    trained = layer(x)
    assert set(layer.trainable_parameters()) == {"weight"}
    _, grads = nn.value_and_grad(layer, lambda x: mx.sum(layer(x)))(x)
    assert grads["weight"].shape == (8, 64)
    full = layer.weight
    layer.eval()
    assert set(layer.parameters()) == {"weight", "scales"}
    assert layer.weight.dtype == mx.uint32
    assert repr(layer) == repr(onn.QQLinear(64, 8, mode=mode))
    close(layer(x), trained, 1e-5)
    layer.eval()
    layer.train()
    assert set(layer.parameters()) == {"weight"}
    assert layer.weight.dtype == mx.float32
    assert np.abs(to_numpy(layer.weight) - to_numpy(full)).max() < 0.03
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(64, 8, bias=False))
    nn.quantize(model, mode=mode, quantize_input=True)
    assert [type(m).__name__ for m in model.layers] == ["QQLinear", "QQLinear"]
    model.eval()
    assert model.layers[1].weight.dtype == mx.uint32
    assert model(x).shape == (3, 8)


def test_errors() -> None:
    with pytest.raises(NotImplementedError, match=r"QQLinear: the layer has a bias\nUse Linear"):
        nn.QQLinear.from_linear(nn.Linear(64, 8))
    with pytest.raises(ValueError, match="mode must be 'nvfp4' or 'mxfp8', got 'affine'"):
        nn.QQLinear(64, 8, mode="affine")
    with pytest.raises(ValueError, match="modes 'nvfp4' and 'mxfp8', got 'affine'"):
        nn.Linear(64, 8).to_quantized(quantize_input=True)
    with pytest.raises(ValueError, match="input of an Embedding is indices"):
        nn.Embedding(8, 64).to_quantized(mode="nvfp4", quantize_input=True)
    with pytest.raises(ValueError, match=r"\(8, 60\) is not a multiple of group_size=64"):
        nn.quantize(nn.Sequential(nn.Linear(60, 8)))
    with pytest.raises(ValueError, match=r"quantize: layers\.0: RMSNorm has no quantized form"):
        nn.quantize(nn.Sequential(nn.RMSNorm(8)), class_predicate=lambda p, m: True)
    with pytest.raises(
        ValueError, match=r"QuantizedLinear: expected input of shape \(..., 64\), got \(2, 60\)"
    ):
        nn.QuantizedLinear(64, 8)(mx.ones((2, 60)))


@pytest.mark.parametrize("name", ["QuantizedLinear", "QuantizedEmbedding", "QQLinear"])
def test_signatures_are_mlx(name: str) -> None:
    mine = list(inspect.signature(getattr(nn, name)).parameters.values())
    other = list(inspect.signature(getattr(onn, name)).parameters.values())
    assert [(p.name, p.default, p.kind) for p in mine] == [
        (p.name, p.default, p.kind) for p in other
    ]

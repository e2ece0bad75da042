"""Initialisers: exact where they are, moments and bounds where they are random."""

from __future__ import annotations

import math

import lamina.core as mx
import numpy as np
import pytest
from lamina.nn import init
from oracle import close, to_numpy

WEIGHT = (64, 3, 3, 32)  # out, kernel, in: fan_in 288, fan_out 576


def test_constant_and_identity():
    close(init.constant(2.5, mx.float16)(mx.zeros((2, 3))), np.full((2, 3), 2.5, np.float16))
    close(init.identity()(mx.zeros((3, 3))), np.eye(3, dtype=np.float32))


@pytest.mark.parametrize("shape", [(2, 3), (2, 2, 2), (4,)])
def test_identity_needs_a_square(shape):
    with pytest.raises(ValueError, match="identity: expected a square matrix"):
        init.identity()(mx.zeros(shape))


def test_normal_and_uniform():
    x = to_numpy(init.normal(3.0, 0.5)(mx.zeros((100, 100))))
    assert abs(x.mean() - 3.0) < 0.03
    assert abs(x.std() - 0.5) < 0.03
    x = to_numpy(init.uniform(-2.0, 4.0)(mx.zeros((100, 100))))
    assert x.min() >= -2
    assert x.max() < 4
    assert abs(x.mean() - 1.0) < 0.1


@pytest.mark.parametrize(
    ("make", "kwargs", "std"),
    [
        (init.glorot_normal, {}, math.sqrt(2 / (288 + 576))),
        (init.glorot_normal, {"gain": 3.0}, 3 * math.sqrt(2 / (288 + 576))),
        (init.glorot_uniform, {}, math.sqrt(2 / (288 + 576))),
        (init.he_normal, {}, 1 / math.sqrt(288)),
        (init.he_normal, {"mode": "fan_out", "gain": 2.0}, 2 / math.sqrt(576)),
        (init.he_uniform, {}, 1 / math.sqrt(288)),
        (init.he_uniform, {"mode": "fan_out"}, 1 / math.sqrt(576)),
    ],
)
def test_fans(make, kwargs, std):
    x = to_numpy(make()(mx.zeros(WEIGHT), **kwargs))
    assert x.shape == WEIGHT
    assert abs(x.mean()) < 0.05 * std
    assert abs(x.std() - std) < 0.05 * std
    if "uniform" in make.__name__:
        assert np.abs(x).max() <= std * math.sqrt(3) * (1 + 1e-6)


def test_fans_reject():
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        init.glorot_normal()(mx.zeros((3,)))
    with pytest.raises(ValueError, match="'fan_in' or 'fan_out', got 'x'"):
        init.he_normal()(mx.zeros((3, 3)), mode="x")


@pytest.mark.parametrize(("sparsity", "zeros"), [(0.5, 3), (0.3, 2), (0.0, 0), (1.0, 5)])
def test_sparse(sparsity, zeros):
    x = to_numpy(init.sparse(sparsity, mean=5.0)(mx.zeros((40, 5))))
    assert ((x == 0).sum(axis=1) == zeros).all()
    if 0 < zeros < 5:
        assert len({tuple(row) for row in x == 0}) > 1, "the zeros should move from row to row"


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3)])
def test_orthogonal(shape):
    x = to_numpy(init.orthogonal(2.0)(mx.zeros(shape))).astype(np.float64)
    gram = x @ x.T if shape[0] <= shape[1] else x.T @ x
    np.testing.assert_allclose(gram, 4 * np.eye(min(shape)), atol=1e-5)


@pytest.mark.parametrize("name", ["constant", "normal", "uniform", "identity", "he_normal"])
def test_dtype(name):
    make = getattr(init, name)
    made = make(1.0, dtype=mx.float16) if name == "constant" else make(dtype=mx.float16)
    assert made(mx.zeros((3, 3))).dtype == mx.float16


@pytest.mark.parametrize("name", ["sparse", "orthogonal"])
def test_matrices_only(name):
    made = init.sparse(0.5) if name == "sparse" else init.orthogonal()
    with pytest.raises(ValueError, match=f"{name}: expected 2 dimensions"):
        made(mx.zeros((3,)))

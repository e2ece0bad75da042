"""The kernels of the worked examples (docs/custom-primitives.md) on devices that compile text."""

from __future__ import annotations

from typing import Any

import lamina
import lamina.core as mx
import numpy as np
import pytest
from arrays import last_plan
from plugins import example
from present import PRESENT


@pytest.fixture(autouse=True, params=[d for d in ("soft_metal", "cuda", "metal") if d in PRESENT])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LAMINA_GPU", request.param)
    with mx.stream(mx.gpu):
        yield request.param


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype("f")


def test_flash_attention_as_text(device: str) -> None:
    """The worked example's own kernels, forward and backward."""
    flash = lamina.primitives.load(example("flash_attention"))
    q, k, v = (mx.array(normal(2, 2, n, 16, seed=n)) for n in (70, 40, 40))
    weight = mx.array(normal(2, 2, 70, 16, seed=1))
    for causal in (False, True):
        if causal:
            q, weight = q[:, :, :33], weight[:, :, :33]
        fast = flash.attention(q, k, v, scale=0.25, causal=causal)
        slow = flash.attention(q, k, v, scale=0.25, causal=causal, stream=mx.cpu)
        mx.eval(fast)
        assert last_plan()["device"] == device
        for a, b in zip(fast, slow, strict=True):
            np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-4, atol=1e-5)

        def loss(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
            out, lse = flash.attention(q, k, v, scale=0.25, causal=causal)
            return mx.sum(weight * out) + mx.sum(lse * lse)

        gradient = mx.grad(loss, argnums=[0, 1, 2])
        here = gradient(q, k, v)
        mx.eval(here)
        names = [launch["name"] for launch in last_plan()["launches"]]
        assert last_plan()["device"] == device and "call flash.attention_backward" in names
        with mx.stream(mx.cpu):
            there = gradient(q, k, v)
        for a, b in zip(here, there, strict=True):
            np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-3, atol=1e-4)


def test_block_sparse_products_as_text(device: str) -> None:
    """The product and both gradients, with strided operands; block rows that are empty."""
    blocks = lamina.primitives.load(example("block_sparse"))
    starts, columns = mx.array([0, 2, 2, 3, 5]), mx.array([0, 2, 1, 1, 0])
    values = mx.swapaxes(mx.array(normal(5, 8, 8, seed=1)), 1, 2)
    x = mx.swapaxes(mx.array(normal(70, 24, seed=2)), 0, 1)
    weight = mx.array(normal(32, 70, seed=3))

    def run(values: mx.array, x: mx.array) -> mx.array:
        return blocks.matmul(values, columns, starts, x)

    gradient = mx.grad(lambda values, x: mx.sum(weight * run(values, x)), argnums=[0, 1])
    here = [run(values, x)]
    mx.eval(here)
    assert last_plan()["device"] == device
    here += gradient(values, x)
    mx.eval(here)
    names = {launch["name"] for launch in last_plan()["launches"]}
    assert last_plan()["device"] == device
    assert {"call blocks.values_gradient", "call blocks.x_gradient"} <= names
    with mx.stream(mx.cpu):
        there = [run(values, x), *gradient(values, x)]
    for a, b in zip(here, there, strict=True):
        np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("columns", "starts"),
    [([0, 9], [0, 1, 2]), ([0, -1], [0, 1, 2]), ([0, 1], [0, 1, 5]), ([0, 1], [0, 2, 1, 2])],
)
def test_a_wrong_block_structure_gives_no_number(
    device: str, columns: list[int], starts: list[int]
) -> None:
    """The temporary of the first kernel tells the second, which reads nothing out of bounds."""
    blocks = lamina.primitives.load(example("block_sparse"))
    structure = mx.array(columns, dtype=mx.int32), mx.array(starts, dtype=mx.int32)
    values, x = mx.array(normal(2, 2, 2, seed=1)), mx.array(normal(6, 3, seed=2))
    y = blocks.matmul(values, *structure, x)
    mx.eval(y)
    assert last_plan()["device"] == device and np.isnan(np.array(y)).all()
    dy = mx.ones(y.shape)
    assert np.isnan(np.array(blocks.values_gradient(*structure, x, dy, size=2))).all()
    assert np.isnan(np.array(blocks.x_gradient(values, *structure, dy, rows=6))).all()

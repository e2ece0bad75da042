"""Plans are found again: by structure, by structure in other sizes, whatever the scalars are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import lamina.core as mx
import lamina.nn as nn
import lamina.optimizers as optim
import numpy as np
import pytest
from lamina import _core


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    _core._clear_plan_cache()
    yield


def outcomes(run: Callable[[], None]) -> dict[str, int]:
    before = _core._plan_cache()
    run()
    after = _core._plan_cache()
    return {k: after[k] - before[k] for k in ("hits", "resized", "misses")}


def test_same_graph_hits() -> None:
    x = mx.array(np.ones((4, 5), "f"))
    mx.eval(mx.exp(x) + 1)
    assert outcomes(lambda: mx.eval(mx.exp(x) + 1)) == {"hits": 1, "resized": 0, "misses": 0}


def test_scalars_are_arguments() -> None:
    x = mx.array(np.ones(8, "f"))
    mx.eval(x * 2.0 + 1.0)

    def run() -> None:
        y = x * 3.5 - -7.0
        z = x * 4.5 + 0.25
        mx.eval(z)
        np.testing.assert_allclose(np.array(z), 4.75)
        mx.eval(y)

    assert outcomes(run)["hits"] == 1


def test_training_step_plans_once() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = optim.Adam(optim.cosine_decay(1e-2, 100))
    step = nn.value_and_grad(model, lambda m, x: mx.mean(mx.square(m(x))))
    x = mx.array(np.random.default_rng(0).normal(size=(16, 6)).astype("f"))

    def run(n: int) -> None:
        for _ in range(n):
            loss, grads = step(model, x)
            optimizer.update(model, grads)
            mx.eval(loss, model.parameters(), optimizer.state)

    run(3)
    assert outcomes(lambda: run(10)) == {"hits": 10, "resized": 0, "misses": 0}


def test_short_last_batch_reuses_the_fusion() -> None:
    w = mx.array(np.random.default_rng(0).normal(size=(5, 3)).astype("f"))
    mx.eval(w)

    def run(n: int) -> None:
        x = np.random.default_rng(n).normal(size=(n, 5)).astype("f")
        y = mx.sum(mx.softmax(mx.tanh(mx.array(x) @ w) + 1.0, axis=-1), axis=0)
        mx.eval(y)
        z = np.tanh(x @ np.array(w)) + 1
        e = np.exp(z)
        np.testing.assert_allclose(np.array(y), (e / e.sum(-1, keepdims=True)).sum(0), rtol=1e-4)

    run(64)
    assert outcomes(lambda: run(17)) == {"hits": 0, "resized": 1, "misses": 0}
    assert outcomes(lambda: run(17)) == {"hits": 1, "resized": 0, "misses": 0}


def test_growing_slice_reuses_the_fusion() -> None:
    cache = mx.array(np.random.default_rng(0).normal(size=(2, 32, 8)).astype("f"))
    q = mx.array(np.random.default_rng(1).normal(size=(2, 1, 8)).astype("f"))
    mx.eval(cache, q)

    def run(n: int) -> None:
        keys = cache[:, :n]
        out = mx.softmax(q @ keys.transpose(0, 2, 1), axis=-1) @ keys
        mx.eval(out)
        k = np.array(cache)[:, :n]
        s = np.array(q) @ k.transpose(0, 2, 1)
        e = np.exp(s - s.max(-1, keepdims=True))
        np.testing.assert_allclose(
            np.array(out), e / e.sum(-1, keepdims=True) @ k, rtol=1e-4, atol=1e-5
        )

    run(3)
    assert outcomes(lambda: [run(n) for n in range(4, 20)]) == {
        "hits": 0,
        "resized": 16,
        "misses": 0,
    }


def test_size_one_is_another_structure() -> None:
    """A size of 1 broadcasts, so its plan is not taken over."""

    def run(n: int) -> None:
        x = np.arange(n * 3, dtype="f").reshape(n, 3)
        y = mx.array(x) - mx.max(mx.array(x), axis=0, keepdims=True)
        np.testing.assert_allclose(np.array(y), x - x.max(0, keepdims=True))

    run(4)
    run(1)
    run(5)


def test_a_row_that_grows_too_long_is_planned_anew() -> None:
    def run(n: int) -> None:
        x = np.linspace(-3, 3, 2 * n, dtype="f").reshape(2, n)
        e = np.exp(x - x.max(-1, keepdims=True))
        np.testing.assert_allclose(
            np.array(mx.softmax(mx.array(x), axis=-1)), e / e.sum(-1, keepdims=True), rtol=2e-5
        )

    run(1000)
    assert outcomes(lambda: run(40000))["misses"] == 1

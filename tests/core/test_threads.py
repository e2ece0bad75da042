"""Any thread may build and evaluate, also the same arrays at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import lamina.core as mx
import numpy as np


def test_threads_evaluate_graphs_of_their_own() -> None:
    def work(seed: int) -> float:
        rng = np.random.default_rng(seed)
        a = rng.normal(size=(40, 30)).astype("f")
        worst = 0.0
        for _ in range(30):
            x = mx.array(a)
            y = mx.softmax(mx.tanh(x @ x.T) * 2.0, axis=-1)
            e = np.exp(2 * np.tanh(a @ a.T))
            worst = max(worst, float(np.abs(np.array(y) - e / e.sum(-1, keepdims=True)).max()))
        return worst

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(work, range(8))) < 1e-5


def test_threads_evaluate_the_same_array() -> None:
    for _ in range(20):
        x = mx.array(np.arange(1000, dtype="f"))
        y = mx.exp(x * -0.01)
        z = mx.sum(y * 2.0)
        with ThreadPoolExecutor(4) as pool:
            values = list(pool.map(lambda a: np.array(a).sum(), [z, y, z, y, z]))
        assert values[0] == values[2] == values[4]
        np.testing.assert_allclose(values[0], 2 * np.exp(-0.01 * np.arange(1000)).sum(), rtol=1e-5)


def test_a_worker_differentiates_while_others_evaluate() -> None:
    w = mx.array(np.eye(5, dtype="f"))

    def work(k: int) -> np.ndarray:
        g = mx.grad(lambda a: mx.sum(mx.square(a @ w)))(mx.full((3, 5), float(k)))
        return np.array(g)

    with ThreadPoolExecutor(4) as pool:
        for k, g in enumerate(pool.map(work, range(20))):
            np.testing.assert_allclose(g, 2.0 * k)


def test_the_last_handle_may_die_on_any_thread() -> None:
    def work(k: int) -> int:
        owner = np.full(100_000, k, dtype="f")
        x = mx.asarray(owner)
        del owner
        return int(mx.max(x + 0).item())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(50))) == list(range(50))

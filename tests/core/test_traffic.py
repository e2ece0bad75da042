"""Predicted bytes against a device that counts the bytes each launch really touches.

What a call picks from an array it cannot see: tests/devices/test_picked_traffic.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import lamina.core as mx
import lamina.nn as nn
import lamina.optimizers as optim
import numpy as np
import pytest
from lamina import _core


@pytest.fixture(autouse=True)
def counting() -> Iterator[None]:
    _core._count_traffic(True)
    with mx.stream(mx.cpu):  # whose stead the counting device takes
        yield
    _core._count_traffic(False)


def fresh(*shape: int, dtype: mx.Dtype = mx.float32) -> mx.array:
    """An evaluated array in memory of the counting device."""
    x = mx.array(np.random.default_rng(sum(shape)).normal(size=shape).astype("f")).astype(dtype)
    mx.eval(x)
    return x


def predicted_and_counted(outputs: object) -> list[tuple[str, tuple[int, int], tuple[int, int]]]:
    """Per launch: name, predicted (reads, writes), counted (reads, writes)."""
    _core._counted_traffic()
    mx.eval(outputs)
    plan = json.loads(_core._plan_describe(_core._last_plan()))
    counted = _core._counted_traffic()
    assert len(counted) == len(plan["launches"])
    return [
        (launch["name"], (launch["reads"], launch["writes"]), seen)
        for launch, seen in zip(plan["launches"], counted, strict=True)
    ]


CASES: dict[str, Callable[[], object]] = {
    "chain": lambda: mx.exp(fresh(100, 7)) * 2 + 1,
    "broadcast": lambda: fresh(30, 1) * fresh(1, 20) + fresh(20),
    "transposed": lambda: fresh(12, 34).T + fresh(34, 12),
    "sliced": lambda: fresh(40, 30)[3:20:2, ::-1] * 2.0,
    "row": lambda: mx.softmax(fresh(64, 33), axis=-1),
    "norm": lambda: mx.fast.layer_norm(fresh(16, 48), fresh(48), fresh(48), 1e-5),
    "sum_rows": lambda: mx.sum(mx.tanh(fresh(25, 40)), axis=1),
    "sum_columns": lambda: mx.sum(fresh(25, 40), axis=0),
    "argmax": lambda: mx.argmax(fresh(9, 50), axis=-1),
    "bfloat16": lambda: fresh(64, 5, dtype=mx.bfloat16) * 3.0,
    "two_outputs": lambda: (lambda a: (a + 1, mx.sum(a)))(mx.exp(fresh(31, 3))),
    "concatenate": lambda: mx.concatenate([fresh(4, 5) * 2, fresh(3, 5)], axis=0),
    "pad": lambda: mx.pad(fresh(6, 7), 2),
    "matmul_epilogue": lambda: mx.maximum(fresh(300, 20) @ fresh(20, 40) + fresh(40), 0),
    "pool": lambda: fresh(4, 8, 8, 3).reshape(4, 4, 2, 4, 2, 3).max(axis=(2, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_launch_traffic_is_predicted(name: str) -> None:
    for launch, predicted, counted in predicted_and_counted(CASES[name]()):
        assert predicted == counted, launch


def test_traffic_of_a_training_step_is_predicted() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    head = nn.Linear(64, 3)
    mx.eval(model.parameters(), head.parameters())
    optimizer = optim.AdamW(1e-3)

    def loss(head: nn.Linear, x: mx.array, y: mx.array) -> mx.array:
        return mx.mean(nn.losses.cross_entropy(head(model(x).reshape(x.shape[0], -1)), y))

    step = nn.value_and_grad(head, loss)
    x, y = fresh(8, 8, 8, 1), mx.array([0, 1, 2, 0, 1, 2, 0, 1])
    value, grads = step(head, x, y)
    optimizer.update(head, grads)
    launches = predicted_and_counted([value, head.parameters(), optimizer.state])
    total = [sum(pair) for _, pair, _ in launches]
    seen = [sum(pair) for _, _, pair in launches]
    assert sum(total) == pytest.approx(sum(seen), rel=0.01)

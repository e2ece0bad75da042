"""Plans are found again: by structure, by structure in other sizes, whatever the scalars are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import lamina.core as mx
import lamina.nn as nn
import lamina.optimizers as optim
import numpy as np
import pytest
from arrays import last_plan, rng, to_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from lamina import _core

# The tests run with the scheduler's grammar on, so every resized plan below is also compared, part
# by part, with one made anew.
HIT = {"hits": 1, "resized": 0, "misses": 0}
RESIZED = {"hits": 0, "resized": 1, "misses": 0}
MISS = {"hits": 0, "resized": 0, "misses": 1}


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


def test_a_short_batch_is_a_hit() -> None:
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
    assert outcomes(lambda: run(17)) == RESIZED
    assert outcomes(lambda: run(17)) == HIT


def test_growing_slice_is_a_hit() -> None:
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


def fresh(run: Callable[[], list[np.ndarray]]) -> list[np.ndarray]:
    """What it gives with no plan known."""
    _core._clear_plan_cache()
    return run()


def softmax(s: np.ndarray) -> np.ndarray:
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q: Any, keys: Any, values: Any) -> Any:
    return mx.softmax((q * 0.25) @ mx.swapaxes(keys, -1, -2), axis=-1) @ values


def test_growing_concatenation_is_a_hit() -> None:
    g = rng(0)
    token = g.normal(size=(2, 1, 8)).astype("f")
    q = mx.array(g.normal(size=(2, 1, 8)).astype("f"))
    keys = mx.array(g.normal(size=(2, 3, 8)).astype("f"))
    want = np.array(keys)

    def step(keys: mx.array) -> mx.array:
        keys = mx.concatenate([keys, mx.array(token)], axis=1)
        out = attention(q, keys, keys)
        mx.eval(keys, out)
        np.testing.assert_allclose(
            np.array(out),
            softmax(np.array(q) * 0.25 @ np.swapaxes(np.array(keys), -1, -2)) @ np.array(keys),
            rtol=1e-4,
            atol=1e-5,
        )
        return keys

    keys = step(step(keys))
    before = _core._plan_cache()
    for _ in range(20):
        keys = step(keys)
    after = _core._plan_cache()
    assert after["resized"] - before["resized"] == 20
    assert after["misses"] == before["misses"]
    np.testing.assert_array_equal(np.array(keys), np.concatenate([want] + [token] * 22, axis=1))


class Cache:
    """Keys and values of a decoding loop, in buffers that grow by `block` rows at a time."""

    def __init__(self, block: int) -> None:
        self.block, self.length = block, 0
        self.keys: Any = None
        self.values: Any = None

    def update(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        start, self.length = self.length, self.length + keys.shape[2]
        if self.keys is None or self.length > self.keys.shape[2]:
            room = mx.zeros((*keys.shape[:2], self.block, keys.shape[3]))
            old = [] if self.keys is None else [(self.keys, self.values)]
            self.keys = mx.concatenate([*(k for k, _ in old), room], axis=2)
            self.values = mx.concatenate([*(v for _, v in old), room], axis=2)
        self.keys[..., start : self.length, :] = keys
        self.values[..., start : self.length, :] = values
        return self.keys[..., : self.length, :], self.values[..., : self.length, :]


def test_decoding_with_a_key_value_cache() -> None:
    """Updates at a moving place, slices one row longer each step, rotation by position."""
    heads, size, block = 2, 8, 16
    g = rng(1)
    weight = mx.array(g.normal(size=(4, heads * size, heads * size)).astype("f") / 4)
    x0 = mx.array(g.normal(size=(1, 1, heads * size)).astype("f"))
    angles = mx.array((1.0 / 100 ** (np.arange(size // 2) / (size // 2))).astype("f"))
    mx.eval(weight, x0, angles)

    def rotate(x: mx.array, offset: int) -> mx.array:
        at = mx.arange(offset, offset + x.shape[2]).astype(mx.float32)[:, None] * angles
        a, b = x[..., : size // 2], x[..., size // 2 :]
        cos, sin = mx.cos(at), mx.sin(at)
        return mx.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)

    def decode(steps: int) -> list[np.ndarray]:
        cache, x, out = Cache(block), x0, []
        for _ in range(steps):
            offset = cache.length
            h = mx.fast.rms_norm(x, mx.ones((heads * size,)), 1e-5)
            q, k, v = (
                (h @ weight[i]).reshape(1, 1, heads, size).transpose(0, 2, 1, 3) for i in range(3)
            )
            keys, values = cache.update(rotate(k, offset), v)
            y = attention(rotate(q, offset), keys, values)
            y = y.transpose(0, 2, 1, 3).reshape(1, 1, heads * size) @ weight[3]
            x = mx.tanh(x + y)
            mx.eval(x, cache.keys, cache.values)
            out.append(to_numpy(x))
        return out

    before = _core._plan_cache()
    got = decode(60)
    after = _core._plan_cache()
    # First step, first growth, sizes of one row, and each new block of the buffer may be planned.
    assert after["resized"] - before["resized"] >= 45
    assert outcomes(lambda: decode(60))["misses"] <= 8
    _core._clear_plan_cache()
    want = []
    for n in (10, 17, 40, 60):
        want.append(fresh(lambda n=n: decode(n))[-1])  # type: ignore[misc]
    for n, row in zip((10, 17, 40, 60), want, strict=True):
        np.testing.assert_allclose(got[n - 1], row, rtol=1e-4, atol=1e-5)


def digits_step() -> Callable[[int], list[np.ndarray]]:
    """The training step of the first notebook, on batches of any size."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
            self.conv2 = nn.Conv2d(4, 8, 3, padding=1)
            self.norm = nn.BatchNorm(8)
            self.pool = nn.MaxPool2d(2, 2)
            self.linear = nn.Linear(8 * 4 * 4, 10)

        def __call__(self, x: mx.array) -> mx.array:
            x = nn.relu(self.conv1(x))
            x = self.pool(nn.relu(self.norm(self.conv2(x))))
            return self.linear(x.reshape(x.shape[0], -1))

    mx.random.seed(3)
    net, optimizer = Net(), optim.AdamW(1e-3)
    images = rng(2).normal(size=(64, 8, 8, 1)).astype("f")
    labels = rng(3).integers(0, 10, 64).astype(np.int32)
    loss = nn.value_and_grad(
        net, lambda net, x, y: nn.losses.cross_entropy(net(x), y, reduction="mean")
    )

    def step(n: int) -> list[np.ndarray]:
        value, gradients = loss(net, mx.array(images[:n]), mx.array(labels[:n]))
        optimizer.update(net, gradients)
        mx.eval(value, net.parameters(), optimizer.state)
        return [to_numpy(value), to_numpy(net.linear.weight), to_numpy(net.conv1.weight)]

    return step


def test_short_last_batch_of_the_digits_step() -> None:
    sizes = [32, 32, 32, 13, 32, 13, 64]
    step = digits_step()
    got, seen = [], []
    for n in sizes:
        seen.append(outcomes(lambda n=n: got.append(step(n))))  # type: ignore[misc]
    assert seen[2:] == [HIT, RESIZED, HIT, HIT, RESIZED]
    step = digits_step()
    for n, a in zip(sizes, got, strict=True):
        for x, y in zip(a, fresh(lambda n=n: step(n)), strict=True):  # type: ignore[misc]
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


def test_a_length_seen_lately_hits_exactly() -> None:
    x = mx.array(rng(0).normal(size=(64, 4)).astype("f"))

    def run(n: int) -> None:
        np.testing.assert_allclose(
            np.array(mx.sum(x[:n], axis=0)), np.array(x)[:n].sum(0), rtol=1e-5, atol=1e-5
        )

    for n in (10, 11, 12):
        run(n)
    assert outcomes(lambda: [run(n) for n in (10, 11, 12, 11)]) == HIT | {"hits": 4}


def test_many_lengths_keep_few_plans() -> None:
    x = mx.array(rng(0).normal(size=(4000, 2)).astype("f"))
    mx.eval(x)

    def run(n: int) -> None:
        out = mx.softmax(x[:n].T, axis=-1) @ x[:n] + 1
        mx.eval(out)

    run(2)
    assert outcomes(lambda: [run(n) for n in range(3, 3003)]) == RESIZED | {"resized": 3000}
    assert _core._plan_cache()["plans"] <= 8
    run(3001)
    s = softmax(np.array(x)[:2000].T)
    np.testing.assert_allclose(
        np.array(mx.softmax(x[:2000].T, axis=-1) @ x[:2000] + 1),
        s @ np.array(x)[:2000] + 1,
        rtol=1e-4,
    )


def test_predictions_follow_the_sizes() -> None:
    """Bytes, operations and the peak are those of a plan made for these sizes."""
    x = mx.array(rng(0).normal(size=(50, 30)).astype("f"))

    def plan(n: int) -> dict[str, Any]:
        y = mx.tanh(x[:n]) @ x[:n].T
        mx.eval(mx.sum(mx.exp(y), axis=0) + 1)
        return last_plan()

    def parts(p: dict[str, Any]) -> dict[str, Any]:
        return {
            k: v for k, v in p.items() if k not in ("plan", "key", "family", "outcome", "passes")
        }

    plan(20)
    resized = plan(33)
    assert resized["outcome"] == "polymorphic"
    assert [p["name"] for p in resized["passes"]] == ["resize"]
    _core._clear_plan_cache()
    made = plan(33)
    assert made["outcome"] == "miss"
    assert json.dumps(parts(resized)) == json.dumps(parts(made))


# ---- where a decision would not hold, the whole pipeline runs


def test_values_equal_by_accident_are_not_merged_for_ever() -> None:
    """Two slices are one node while their lengths agree, and two when they do not."""
    x = mx.array(rng(0).normal(size=(30,)).astype("f"))

    def run(n: int, m: int) -> None:
        y = mx.sum(mx.exp(x[:n])) - mx.sum(mx.exp(x[:m]))
        e = np.exp(np.array(x))
        np.testing.assert_allclose(np.array(y), e[:n].sum() - e[:m].sum(), rtol=1e-4, atol=1e-5)

    run(7, 7)
    assert outcomes(lambda: run(8, 8)) == RESIZED
    assert outcomes(lambda: run(8, 9)) == MISS
    assert outcomes(lambda: run(10, 12)) == RESIZED
    assert outcomes(lambda: run(11, 11)) == MISS


def test_a_copy_that_a_view_needed_may_become_needless() -> None:
    """Whole rows reshape without a copy, parts of rows do not."""
    x = mx.array(np.arange(48, dtype="f").reshape(6, 8))
    mx.eval(x)

    def run(n: int) -> None:
        np.testing.assert_array_equal(
            np.array(mx.reshape(x[:, :n], (n, 6)) * 2), np.array(x)[:, :n].reshape(n, 6) * 2
        )

    run(4)
    assert outcomes(lambda: run(5)) == RESIZED
    assert outcomes(lambda: run(8)) == MISS
    assert outcomes(lambda: run(6)) == MISS


def test_what_was_whole_by_chance() -> None:
    """A kept array computed where a slice of it is read, while that slice is all of it."""
    x = mx.array(rng(0).normal(size=(9, 3)).astype("f"))

    def run(n: int, k: int) -> None:
        kept = mx.tanh(x[:n])
        part = mx.exp(kept[:k])
        mx.eval(kept, part)
        want = np.tanh(np.array(x)[:n])
        np.testing.assert_allclose(np.array(kept), want, rtol=1e-5)
        np.testing.assert_allclose(np.array(part), np.exp(want[:k]), rtol=1e-5)

    for sizes in ((4, 4), (5, 5), (6, 4), (9, 2), (7, 7)):
        run(*sizes)


def test_what_was_as_long_by_chance() -> None:
    """Kernels that became one over a shared input because their lengths were equal."""
    x = mx.array(rng(0).normal(size=(40, 3)).astype("f"))

    def run(n: int, m: int) -> None:
        a, b = mx.exp(x[:n]) + 1, mx.tanh(x[7 : 7 + m])
        c, d = mx.sum(x[:n], axis=0), mx.max(x[9 : 9 + m], axis=0)
        e = mx.tanh(x[:n] @ mx.ones((3, 2))) + mx.tanh(x[5 : 5 + m] @ mx.ones((3, 2)))[:1]
        mx.eval(a, b, c, d, e)
        v = np.array(x)
        np.testing.assert_allclose(np.array(a), np.exp(v[:n]) + 1, rtol=1e-5)
        np.testing.assert_allclose(np.array(b), np.tanh(v[7 : 7 + m]), rtol=1e-5)
        np.testing.assert_allclose(np.array(c), v[:n].sum(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(np.array(d), v[9 : 9 + m].max(0))
        rows = [np.tanh(p @ np.ones((3, 2))) for p in (v[:n], v[5 : 5 + m])]
        np.testing.assert_allclose(np.array(e), rows[0] + rows[1][:1], rtol=1e-4, atol=1e-5)

    for sizes in ((4, 4), (5, 5), (3, 9), (9, 3), (6, 6), (2, 30)):
        run(*sizes)


def test_layouts_of_leaves_are_structure() -> None:
    base = rng(0).normal(size=(6, 40)).astype("f")

    def run(a: np.ndarray) -> None:
        np.testing.assert_allclose(np.array(mx.exp(mx.array(a)) + 1), np.exp(a) + 1, rtol=1e-5)

    run(base[:, :7])
    run(base[:, :9])
    x = mx.array(base)
    views = [x[:, :7], x[:, 3:19], x[:, ::-1], x.T]
    mx.eval(views)
    for v in views:
        np.testing.assert_allclose(np.array(mx.exp(v) + 1), np.exp(np.array(v)) + 1, rtol=1e-5)


@pytest.mark.parametrize("sizes", [(4, 1, 5, 0, 3, 1, 0, 2), (0, 2, 0, 3), (1, 2, 1, 3)])
def test_through_one_and_zero(sizes: tuple[int, ...]) -> None:
    base = rng(0).normal(size=(8, 3)).astype("f")
    x = mx.array(base)
    for n in sizes:
        a = base[:n]
        y = mx.concatenate([x[:n], x[:2]], axis=0) * mx.sum(x[:n], axis=0, keepdims=True)
        want = np.concatenate([a, base[:2]]) * a.sum(0, keepdims=True)
        np.testing.assert_allclose(np.array(y), want, rtol=1e-4, atol=1e-6)


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
    assert outcomes(lambda: run(16384)) == RESIZED
    assert outcomes(lambda: run(16385)) == MISS
    assert outcomes(lambda: run(20000)) == RESIZED


# ---- random programs in random sizes

STEPS: list[Callable[..., Any]] = [
    lambda x, y, n: mx.tanh(x) + 0.5,
    lambda x, y, n: mx.exp(-mx.abs(x)),
    lambda x, y, n: x.T,
    lambda x, y, n: x[::-1],
    lambda x, y, n: x[:n],
    lambda x, y, n: x[:, n // 2 :],
    lambda x, y, n: x[::2],
    lambda x, y, n: mx.concatenate([x, x[:n]], axis=0),
    lambda x, y, n: mx.concatenate([x, x], axis=1),
    lambda x, y, n: mx.softmax(x, axis=-1),
    lambda x, y, n: x - mx.logsumexp(x, axis=0, keepdims=True),
    lambda x, y, n: mx.sum(x, axis=1, keepdims=True) * 0.1 + x,
    lambda x, y, n: mx.mean(x, axis=0, keepdims=True),
    lambda x, y, n: mx.tanh(x @ x.T),
    lambda x, y, n: mx.tanh(x.T @ x) + 1,
    lambda x, y, n: mx.reshape(x, (-1, x.shape[0])),
    lambda x, y, n: mx.reshape(x, (1, -1)),
    lambda x, y, n: mx.pad(x, 1),
    lambda x, y, n: updated(x, n),
    lambda x, y, n: x + y if x.shape == y.shape else x * 2,
    lambda x, y, n: (
        mx.concatenate([x[:n], y[n:, : x.shape[1]]], axis=0)
        if y.shape[1] >= x.shape[1]
        else x[n - 1 :] + 1
    ),
    lambda x, y, n: mx.maximum(x, y) if x.shape == y.shape else x - 1,
    lambda x, y, n: mx.sort(x, axis=0),
    lambda x, y, n: mx.cumsum(x, axis=1) * 0.1,
    lambda x, y, n: mx.contiguous(x.T),
    lambda x, y, n: mx.arange(x.shape[1]).astype(mx.float32) * 0.01 + x,
    lambda x, y, n: mx.fast.layer_norm(x, None, None, 1e-5),
]


def updated(x: mx.array, n: int) -> mx.array:
    y = x * 1.0
    y[:n] = x[:n] * 2
    return y


Program = tuple[list[tuple[int, int, int]], list[int]]


def evaluated(program: Program, n: int, m: int, k: int) -> list[np.ndarray]:
    steps, outputs = program
    base = np.sin(np.arange(n * m, dtype="f")).reshape(n, m)
    values = [mx.array(base), mx.array(base * 0.5)[::-1]]
    for op, i, j in steps:
        x, y = values[-1 - i % len(values)], values[-1 - j % len(values)]
        out = STEPS[op](x, y, k)
        values.append(out if 0 < out.size <= 5000 else mx.tanh(x))
    wanted = [values[-1], *(values[i % len(values)] for i in outputs)]
    del values
    mx.eval(wanted)
    return [to_numpy(v) for v in wanted]


programs = st.tuples(
    st.lists(
        st.tuples(st.integers(0, len(STEPS) - 1), st.integers(0, 3), st.integers(0, 5)),
        min_size=2,
        max_size=14,
    ),
    st.lists(st.integers(0, 20), max_size=2),
)
lengths = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 12, 17])


@settings(deadline=None)
@given(programs, st.lists(st.tuples(lengths, lengths, lengths), min_size=2, max_size=6))
def test_random_programs_in_random_sizes(
    program: Program, sizes: list[tuple[int, int, int]]
) -> None:
    _core._clear_plan_cache()
    got = [evaluated(program, *size) for size in sizes]
    for size, values in zip(sizes, got, strict=True):
        for a, b in zip(values, fresh(lambda s=size: evaluated(program, *s)), strict=True):  # type: ignore[misc]
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_random_programs_are_often_resized() -> None:
    """The property above is not empty: programs of all steps do meet plans of other sizes."""
    before = _core._plan_cache()
    for op in range(len(STEPS)):
        for size in ((7, 9, 4), (9, 11, 5), (13, 15, 7)):
            evaluated(([(0, 0, 0), (op, 0, 1), (1, 0, 0)], []), *size)
    after = _core._plan_cache()
    assert after["resized"] - before["resized"] >= len(STEPS)

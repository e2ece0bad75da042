"""What a failing allocation leaves behind, donation, and the peak that the plan predicts."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from arrays import check, last_plan, options, sample, to_numpy
from lamina import _core


def live() -> int:
    gc.collect()
    return mx.get_active_memory()


# --- a training step that runs out of memory anywhere -------------------------------------------


def start() -> dict[str, mx.array]:
    p = {
        "c": sample("float32", (4, 3, 3, 1), 1, -0.5, 0.5),
        "w": sample("float32", (64, 8), 2, -0.3, 0.3),
        "b": mx.zeros((8,)),
        "v": sample("float32", (8, 3), 3, -0.5, 0.5),
    }
    mx.eval(p)
    return p


IMAGES, LABELS = sample("float32", (5, 8, 8, 1), 4), mx.array([0, 2, 1, 1, 0])


def cost(p: dict[str, mx.array], x: mx.array, y: mx.array) -> mx.array:
    h = mx.maximum(mx.conv2d(x, p["c"], stride=2, padding=1), 0)
    h = mx.fast.layer_norm(mx.reshape(h, (x.shape[0], -1)), None, None, 1e-5)
    logits = mx.tanh(h @ p["w"] + p["b"]) @ p["v"]
    order = mx.sort(logits, axis=1)
    picked = mx.take_along_axis(logits, y[:, None], axis=1)[:, 0]
    return mx.mean(mx.logsumexp(logits, axis=1) - picked) + 0.01 * mx.mean(order[:, 0] ** 2)


def step(p: dict[str, mx.array], m: dict[str, mx.array]) -> tuple[Any, Any, mx.array]:
    value, g = mx.value_and_grad(cost)(p, IMAGES, LABELS)
    m = {k: 0.9 * m[k] + g[k] for k in p}
    p = {k: p[k] - 0.1 * m[k] for k in p}
    mx.eval(p, m, value)
    return p, m, value


@pytest.mark.parametrize("checkpointed", [False, True])
def test_every_allocation_may_fail(checkpointed: bool) -> None:
    """For every N: OutOfMemoryError, nothing leaked, inputs intact, and the next step right."""
    global cost
    plain = cost
    if checkpointed:
        cost = mx.checkpoint(plain)
    try:
        mx.eval(IMAGES, LABELS)
        p = start()
        m = {k: mx.zeros_like(v) for k, v in p.items()}
        mx.eval(m)
        originals = {k: to_numpy(v).copy() for k, v in p.items()}
        want, _, value = step(p, m)
        want = {k: to_numpy(v) for k, v in want.items()}
        value = value.item()
        del _
        baseline = live()
        for n in range(1000):
            _core._fail_allocation(n)
            try:
                q, state, _ = step(p, m)
            except mx.OutOfMemoryError as e:
                assert e.bytes_asked >= 0
                del e
            else:
                break
            finally:
                _core._fail_allocation(-1)
            assert live() == baseline, f"allocation {n} leaked"
            for k in p:
                np.testing.assert_array_equal(to_numpy(p[k]), originals[k])
            if n % 5 == 0:
                q, _, again = step(p, m)
                assert again.item() == value
                for k in p:
                    np.testing.assert_array_equal(to_numpy(q[k]), want[k])
                del q, _, again
        assert n > 5, "the step allocates"
        for k in p:
            np.testing.assert_array_equal(to_numpy(q[k]), want[k])
        del q, state, _
        assert live() == baseline
    finally:
        _core._fail_allocation(-1)
        cost = plain


ALLOCATING: dict[str, Callable[[mx.array], Any]] = {
    "array": lambda x: mx.array([1.0, 2.0]),
    "numpy": lambda x: mx.array(np.arange(1000)),
    "elementwise": lambda x: mx.eval(mx.exp(x) + 1),
    "two outputs": lambda x: mx.eval(mx.exp(x), mx.sum(x, axis=0)),
    "sort": lambda x: mx.eval(mx.sort(x, axis=0)),
    "gather": lambda x: mx.eval(x[mx.array([1, 2])]),
    "product": lambda x: mx.eval(mx.transpose(x) @ x),
    "convolution": lambda x: mx.eval(mx.conv2d(x[None, :, :, None], mx.ones((2, 3, 3, 1)))),
    "item": lambda x: mx.sum(x).item(),
    "tolist": lambda x: (x[::2] * 2).tolist(),
    "concatenate": lambda x: mx.eval(mx.concatenate([x, x])),
    "update": lambda x: mx.eval(x.at[mx.array([0])].add(1.0)),
    "mask": lambda x: x[x > 0],
    "repr": lambda x: repr(x + 1),
}


@pytest.mark.parametrize("name", ALLOCATING)
def test_operations_may_fail(name: str) -> None:
    x = sample("float32", (40, 30), 1)
    mx.eval(x)
    act = ALLOCATING[name]
    act(x)
    # What comes from Python lies in the CPU's memory first.
    where = mx.cpu if name in ("array", "numpy") else mx.default_device()
    baseline = live()
    failures = 0
    for n in range(100):
        _core._fail_allocation(n, device=where)
        try:
            act(x)
        except MemoryError:
            failures += 1
        else:
            break
        finally:
            _core._fail_allocation(-1, device=where)
        assert live() == baseline
    assert failures > 0
    act(x)


def test_failed_evaluation_can_be_repeated() -> None:
    """Running out of memory poisons nothing: the same array evaluates once there is room."""
    x = sample("float32", (100,), 1)
    y = mx.exp(x) * 2
    _core._fail_allocation(0)
    with pytest.raises(mx.OutOfMemoryError):
        mx.eval(y)
    _core._fail_allocation(-1)
    check(y, np.exp(to_numpy(x)) * 2)


# --- nothing leaks ------------------------------------------------------------------------------


def test_no_growth() -> None:
    p = start()
    m = {k: mx.zeros_like(v) for k, v in p.items()}
    for i in range(30):
        p, m, _ = step(p, m)
        if i == 5:
            before = live()
    assert live() == before


def test_cycles_and_closures_are_freed() -> None:
    before = live()
    for _ in range(3):
        f = mx.custom_function(lambda x: mx.sum(x * x))
        f.vjp(lambda primals, cotangent, output: 2 * primals * cotangent)
        x = mx.ones((1000,))
        mx.eval(mx.grad(lambda x, f=f: f(x) + mx.checkpoint(mx.sum)(x))(x))
        mx.eval(mx.vmap(lambda r: r * 2)(x))
    del f, x
    assert live() == before


def test_views_share_memory() -> None:
    x = mx.ones((1000, 100))
    mx.eval(x)
    before = live()
    views = [
        x[::2],
        x.T,
        mx.reshape(x, (-1,)),
        x[3],
        mx.broadcast_to(x[:1], (5000, 100)),
        mx.expand_dims(x, 0),
    ]
    mx.eval(views)
    assert live() == before
    del x
    assert live() == before
    del views
    assert live() == before - 400_000


def test_evaluated_arrays_drop_their_graphs() -> None:
    before = live()
    x = mx.ones((1 << 16,))
    for _ in range(50):
        x = x * 1.5 + 1
        mx.eval(x)
    assert live() - before == 1 << 18


# --- donation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("donate", [True, False])
def test_held_arrays_never_change(donate: bool) -> None:
    with options(donate=donate):
        x = mx.ones((1000,)) * 3
        mx.eval(x)
        y = x + 1
        z = y * 2
        mx.eval(z)
        kept = x
        x = x - 1
        mx.eval(x)
        check(kept, np.full(1000, 3.0))
        check(y, np.full(1000, 4.0))
        check(z, np.full(1000, 8.0))
        view = kept[::2]
        kept = kept * 10
        mx.eval(kept)
        check(view, np.full(500, 3.0))


def test_adopted_memory_is_never_written() -> None:
    a = np.ones(1000, np.float32)
    x = mx.asarray(a)
    for _ in range(3):
        x = x + 1
        mx.eval(x)
    np.testing.assert_array_equal(a, 1)
    x = mx.asarray(a)
    x[3] = 7
    mx.eval(x)
    np.testing.assert_array_equal(a, 1)


def test_exported_memory_is_never_written() -> None:
    x = mx.ones((1000,)) * 2
    mx.eval(x)
    for export in (np.asarray, np.from_dlpack, memoryview, lambda v: v._numpy()):
        out = export(x)
        y = x
        x = x + 1
        mx.eval(x)
        del y
        x = x - 1
        mx.eval(x)
        np.testing.assert_array_equal(np.asarray(out), 2)


def test_donation_saves_memory() -> None:
    """A chain that overwrites its input needs one buffer, not two."""
    n = 1 << 18
    x = mx.ones((n,))
    mx.eval(x)
    before = live()
    mx.reset_peak_memory()
    for _ in range(5):
        x = mx.tanh(x) * 2
        mx.eval(x)
    assert mx.get_peak_memory() - before < n * 4 // 8
    assert live() == before


def test_update_in_place() -> None:
    """Index assignment to an array nobody else holds copies nothing large."""
    n = 1 << 18
    x = mx.zeros((n,))
    mx.eval(x)
    before = live()
    mx.reset_peak_memory()
    for i in range(5):
        x[i * 100] = i + 1.0
        mx.eval(x)
    assert mx.get_peak_memory() - before < n * 4 // 8
    assert [x[i * 100].item() for i in range(5)] == [1, 2, 3, 4, 5]


# --- the predicted peak -------------------------------------------------------------------------


def transformer(p: dict[str, mx.array], x: mx.array) -> mx.array:
    for i in range(2):
        q, k, v = (x @ p[f"{c}{i}"] for c in "qkv")
        x = x + mx.softmax(q @ mx.swapaxes(k, 1, 2) * 0.1, axis=-1) @ v
        x = x + mx.tanh(mx.fast.rms_norm(x, None, 1e-5) @ p[f"u{i}"]) @ p[f"d{i}"]
    return mx.mean(x * x)


def big_parameters() -> dict[str, mx.array]:
    p = {f"{c}{i}": sample("float32", (64, 64), i, -0.1, 0.1) for i in range(2) for c in "qkv"}
    p |= {f"u{i}": sample("float32", (64, 256), i, -0.1, 0.1) for i in range(2)}
    p |= {f"d{i}": sample("float32", (256, 64), i, -0.1, 0.1) for i in range(2)}
    mx.eval(p)
    return p


def step_of_transformer() -> Any:
    p, x = big_parameters(), sample("float32", (8, 64, 64), 3)
    mx.eval(x)

    def act() -> Any:
        g = mx.grad(transformer)(p, x)
        return [{k: p[k] - 0.1 * g[k] for k in p}, p, x]

    return act


def elementwise_chain() -> Any:
    x = sample("float32", (512, 512), 1)
    mx.eval(x)
    return lambda: [mx.sin(x) @ mx.cos(x) + mx.sort(x, axis=1), x]


def convolutions() -> Any:
    x, w = sample("float32", (8, 32, 32, 8), 1), sample("float32", (16, 3, 3, 8), 2)
    mx.eval(x, w)

    def act() -> Any:
        f = lambda x, w: mx.mean(mx.maximum(mx.conv2d(x, w, padding=1), 0) ** 2)
        return [mx.grad(f, argnums=(0, 1))(x, w), x, w]

    return act


@pytest.mark.parametrize("make", [step_of_transformer, elementwise_chain, convolutions])
def test_peak_is_predicted(make: Callable[[], Any]) -> None:
    """Inputs, outputs and temporaries of the plan against the allocator's own count, within 5%."""
    act = make()
    mx.eval(act())
    gc.collect()
    outputs = act()
    base = live()
    mx.reset_peak_memory()
    mx.eval(outputs)
    measured = mx.get_peak_memory()
    predicted = base - last_plan()["memory"]["input_bytes"] + last_plan()["memory"]["peak_bytes"]
    assert abs(measured - predicted) <= 0.05 * measured, (measured, predicted)


def test_peak_agrees_with_the_process() -> None:
    """The allocator's count of a large array is what the process really holds."""
    import psutil

    mx.clear_cache()
    before, counted = psutil.Process().memory_info().rss, live()
    x = mx.ones((64 << 20,), mx.uint8) + mx.array(1, mx.uint8)
    mx.eval(x)
    grown, count = psutil.Process().memory_info().rss - before, live() - counted
    assert count == 64 << 20
    assert abs(grown - count) < 0.1 * count
    del x
    mx.clear_cache()
    assert psutil.Process().memory_info().rss - before < 8 << 20


def test_cache() -> None:
    mx.clear_cache()
    x = mx.ones((1 << 20,)) + 1
    mx.eval(x)
    del x
    gc.collect()
    assert mx.get_cache_memory() >= 1 << 22
    old = mx.set_cache_limit(0)
    try:
        assert mx.get_cache_memory() == 0
        x = mx.ones((1 << 20,)) + 1
        mx.eval(x)
        del x
        gc.collect()
        assert mx.get_cache_memory() == 0
    finally:
        mx.set_cache_limit(old)
    mx.clear_cache()
    assert mx.get_cache_memory() == 0

"""Memory of devices: counters, limits, failures, donation, and what other libraries read."""

from __future__ import annotations

import threading

import lamina.core as mx
import numpy as np
import pytest
from lamina import _core
from present import recorded

MB = 1 << 20


def test_counters_are_the_devices_own(chosen: str) -> None:
    here = mx.get_active_memory(device=mx.cpu)
    before = mx.get_active_memory()
    x = mx.zeros((MB,)) + 1
    mx.eval(x)
    assert mx.get_active_memory() - before == 4 * MB
    assert mx.get_active_memory(device=mx.cpu) == here
    mx.reset_peak_memory()
    y = x * 2
    mx.eval(y)
    assert mx.get_peak_memory() - before == 8 * MB
    del x, y
    assert mx.get_active_memory() == before
    assert mx.get_cache_memory() >= 4 * MB
    mx.clear_cache()
    assert mx.get_cache_memory() == 0


def test_out_of_memory_can_be_caught(chosen: str) -> None:
    limit = mx.set_memory_limit(mx.get_active_memory() + 8 * MB)
    try:
        x = mx.zeros((8 * MB,), dtype=mx.uint8) + 1
        z = mx.concatenate([x, x])
        with pytest.raises(MemoryError, match=f"out of memory on {chosen}: asked .* free of"):
            mx.eval(z)
    finally:
        mx.set_memory_limit(limit)
    mx.eval(z)
    assert int(z.sum().item()) == 16 * MB


def test_any_allocation_may_fail(chosen: str) -> None:
    a = np.random.default_rng(0).standard_normal((40, 30)).astype(np.float32)
    want = np.exp(a) @ a.T

    def act() -> np.ndarray:
        x = mx.array(a)
        y = mx.exp(x) @ x.T
        mx.eval(y)
        return np.array(y)

    np.testing.assert_allclose(act(), want, rtol=1e-4, atol=1e-5)
    live = mx.get_active_memory()
    failures = 0
    for n in range(50):
        _core._fail_allocation(n)
        try:
            result = act()
        except MemoryError:
            failures += 1
        else:
            break
        finally:
            _core._fail_allocation(-1)
        assert mx.get_active_memory() == live
    assert failures > 0
    np.testing.assert_allclose(result, want, rtol=1e-4, atol=1e-5)


def test_a_dying_input_gives_its_memory(chosen: str) -> None:
    x = mx.zeros((MB,)) + 1
    mx.eval(x)
    mx.reset_peak_memory()
    start = mx.get_peak_memory()
    for _ in range(3):
        x = x * 2 + 1
        mx.eval(x)
    assert mx.get_peak_memory() == start
    np.testing.assert_array_equal(np.array(x[:3]), [15, 15, 15])


def test_updates_in_place(chosen: str) -> None:
    x = mx.zeros((4, 5))
    x[1] = 3.0
    x[:, 2] += 1.0
    want = np.zeros((4, 5), np.float32)
    want[1] = 3
    want[:, 2] += 1
    np.testing.assert_array_equal(x, want)


def test_results_are_read_everywhere(chosen: str) -> None:
    want = np.arange(12, dtype=np.float32).reshape(3, 4) + 1
    x = mx.array(want - 1) + 1
    np.testing.assert_array_equal(np.array(x), want)
    np.testing.assert_array_equal(np.asarray(memoryview(x)), want)
    np.testing.assert_array_equal(np.from_dlpack(x), want)
    assert x.tolist() == want.tolist()
    assert x[2, 3].item() == 12
    assert "12]], dtype=float32" in repr(x)
    np.testing.assert_array_equal(np.array(x.T[::-1]), want.T[::-1])
    assert bool(mx.all(x > 0))
    half = x.astype(mx.bfloat16)
    np.testing.assert_array_equal(np.array(half.astype(mx.float32)), want)


def test_a_view_of_a_result_outlives_it(chosen: str) -> None:
    x = mx.ones((1000,)) * 3
    a = np.asarray(x)
    del x
    for _ in range(5):
        mx.eval(mx.zeros((1000,)) + 7)
    assert (a == 3).all()


def test_empty_and_scalar_arrays(chosen: str) -> None:
    assert np.array(mx.zeros((0, 3)) + 1).shape == (0, 3)
    assert float(mx.sum(mx.zeros((0,)))) == 0
    assert float(mx.array(2.0) * 3) == 6
    assert np.array(mx.arange(5)[2:2]).shape == (0,)


def test_threads_share_a_device(chosen: str) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            a = np.random.default_rng(seed).standard_normal((64, 64)).astype(np.float32)
            device = mx.gpu if seed % 2 else mx.cpu
            for _ in range(20):
                with mx.stream(device):
                    x = mx.array(a)
                    y = mx.tanh(x) + x.sum(axis=0)
                np.testing.assert_allclose(y, np.tanh(a) + a.sum(0), rtol=1e-4, atol=1e-4)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures[0]


def test_launches_are_timed_in_order(chosen: str) -> None:
    x = mx.ones((256, 256))
    mx.eval(x)
    with recorded() as record:
        y = mx.softmax(x @ x, axis=-1).sum()
        mx.eval(y)
    launches, plans = record.of("launch"), record.plans()
    assert chosen in [plan["device"] for plan in plans]
    for plan in plans:
        steps = [launch[1] for launch in launches if launch[0] == plan["plan"]]
        assert steps == list(range(len(plan["launches"])))
    # Of the evaluation, one after the other, and after they were asked for.
    (begun, _), *_ = record.times("eval")
    ends = begun
    for start, end in record.times("launch"):
        assert ends <= start <= end
        ends = end

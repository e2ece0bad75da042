"""Evaluations that Metal still works on: order, what they keep alive, and failures that are known
only later. Run by test_metal_device.py in a process whose module has the double."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator

import lamina.core as mx
import numpy as np
import pytest
from lamina import _core
from metal_double import (
    DOUBLE,
    HERE,
    RUN,
    held,
    inject,
    let_go,
    let_go_soon,
    limit_memory,
    needs_double,
    needs_metal,
    seen,
    violations,
)

pytestmark = [needs_metal, needs_double]
PAGE = 16384
FAILED = "metal: a command buffer of .*injected"


@pytest.fixture(autouse=True)
def metal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not HERE or DOUBLE is None:
        yield
        return
    monkeypatch.setenv("LAMINA_GPU", "metal")
    with mx.stream(mx.gpu):
        yield
    mx.synchronize()
    assert violations() == []


def ready(*arrays: mx.array) -> None:
    """Evaluates, so that kernels are compiled, and waits until nothing is in flight."""
    mx.eval(*arrays)
    mx.synchronize()


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def in_flight() -> int:
    return int(_core._metal_figures()["in_flight"])


def comes_down_to(number: int) -> bool:
    """Whether so many stay in flight: a buffer's end is known a little after its results."""
    deadline = time.monotonic() + 10
    while in_flight() > number and time.monotonic() < deadline:
        time.sleep(0.001)
    return in_flight() == number


def pages(n: int) -> np.ndarray:
    """n floats that begin at a page."""
    whole = np.zeros(n + PAGE, np.float32)
    start = -whole.ctypes.data % PAGE // 4
    return whole[start : start + n]


def test_async_eval_does_not_wait_and_eval_does() -> None:
    x = mx.arange(100, dtype=mx.float32)
    ready(x, x * 2)
    before = seen("dispatches")
    with held():
        y = x * 2
        mx.async_eval(y)
        assert seen("dispatches") == before
        assert in_flight() == 1
        with let_go_soon():
            mx.eval(y)
        assert seen("dispatches") == before + 1
    np.testing.assert_array_equal(y, np.arange(100) * 2)


def test_evaluations_follow_each_other_without_waiting() -> None:
    x = mx.arange(100, dtype=mx.float32)
    ready(x, x * 2 + 1)
    with held():
        for _ in range(5):
            x = x * 2 + 1
            mx.async_eval(x)
        assert in_flight() == 5
        with let_go_soon():
            result = np.array(x)
    np.testing.assert_array_equal(result, np.arange(100) * 32 + 31)


def test_a_long_loop_keeps_few_command_buffers() -> None:
    x = mx.zeros((1000,))
    ready(x, x + 1)
    most = 0
    for _ in range(300):
        x = x + 1
        mx.async_eval(x)
        most = max(most, in_flight())
    assert 1 <= most <= 10
    np.testing.assert_array_equal(x, np.full(1000, 300))


@pytest.mark.parametrize("read", ["numpy", "item", "eval", "list", "synchronize", "print"])
def test_every_way_to_read_waits(read: str) -> None:
    x = mx.arange(8, dtype=mx.float32)
    ready(x, (x * 3)[2])
    with held():
        y = (x * 3)[2]
        mx.async_eval(y)
        with let_go_soon():
            if read == "numpy":
                assert np.array(y) == 6
            elif read == "item":
                assert y.item() == 6
            elif read == "list":
                assert y.tolist() == 6
            elif read == "print":
                assert "6" in str(y)
            elif read == "eval":
                mx.eval(y)
            else:
                mx.synchronize()
                assert in_flight() == 0
    assert y.item() == 6


def test_the_cpu_waits_for_what_it_reads() -> None:
    x = mx.arange(1000, dtype=mx.float32)
    ready(x, x * 7)
    with held():
        y = x * 7
        mx.async_eval(y)
        z = mx.sum(y, stream=mx.cpu)
        with let_go_soon():
            mx.async_eval(z)
    assert z.item() == 7 * 999 * 500


def mixed(x: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """What the CPU computes from the GPU's, what the GPU does with that, and GPU work beside."""
    inverse = mx.linalg.inv(x * 2, stream=mx.cpu)
    return inverse, inverse * 3, mx.tanh(x) @ x


def test_the_cpu_computes_while_work_that_it_does_not_read_is_in_flight() -> None:
    numbers = normal(8, 8) + 8 * np.eye(8, dtype=np.float32)
    x = mx.array(numbers)
    ready(x, *mixed(x))
    inverse, after, beside = mixed(x)
    before = seen("dispatches")
    with held(through=1):
        mx.async_eval(after, beside)  # would wait for ever for all that had been launched
        assert seen("dispatches") == before + 1  # x * 2
        assert comes_down_to(2)
        np.testing.assert_allclose(inverse, np.linalg.inv(numbers * 2), rtol=1e-4, atol=1e-6)
        assert in_flight() == 2
    np.testing.assert_allclose(after, np.linalg.inv(numbers * 2) * 3, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(beside, np.tanh(numbers) @ numbers, rtol=1e-4, atol=1e-4)


def crossing(x: mx.array) -> tuple[mx.array, mx.array]:
    """Two results of one plan of the GPU's: the CPU reads the first at once, and the second when
    the GPU has computed something from what the CPU made of the first."""
    first, second = x * 2, mx.tanh(x) @ x
    inverse = mx.linalg.inv(first, stream=mx.cpu)
    return inverse, mx.add(inverse * 3, second, stream=mx.cpu)


def test_a_cpu_step_waits_for_the_launch_that_writes_what_it_reads() -> None:
    numbers = normal(8, 8) + 8 * np.eye(8, dtype=np.float32)
    x = mx.array(numbers)
    ready(x, *crossing(x))
    inverse, last = crossing(x)
    known: list[int] = []
    dispatches, buffers = seen("dispatches"), seen("command_buffers")

    def watch() -> None:
        for _ in range(1000):
            if seen("command_buffers") == buffers + 3:
                break
            time.sleep(0.01)
        known.extend([seen("dispatches"), seen("command_buffers")])
        let_go()

    with held(through=1):
        watcher = threading.Thread(target=watch)
        watcher.start()
        mx.async_eval(inverse, last)
        watcher.join()
    # The first result alone had been written when the GPU was given what follows from the inverse.
    assert known == [dispatches + 1, buffers + 3]
    np.testing.assert_allclose(inverse, np.linalg.inv(numbers * 2), rtol=1e-4, atol=1e-6)
    want = np.linalg.inv(numbers * 2) * 3 + np.tanh(numbers) @ numbers
    np.testing.assert_allclose(last, want, rtol=1e-4, atol=1e-4)


def test_a_failure_costs_only_what_was_to_be_written_behind_the_fence() -> None:
    numbers = normal(8, 8) + 8 * np.eye(8, dtype=np.float32)
    x = mx.array(numbers)
    ready(x, *crossing(x))
    inverse, last = crossing(x)
    inject(RUN, 3, after=1)
    with held(through=1), let_go_soon(), pytest.raises(mx.DeviceError, match=FAILED):
        mx.async_eval(inverse, last)
    np.testing.assert_allclose(inverse, np.linalg.inv(numbers * 2), rtol=1e-4, atol=1e-6)
    for _ in range(2):
        with pytest.raises(mx.DeviceError, match=FAILED):
            np.array(last)


def test_eval_waits_for_its_own_arrays_only() -> None:
    x = mx.arange(10, dtype=mx.float32)
    ready(x, x * 2, x * 3)
    first = x * 2
    ready(first)
    with held():
        later = x * 3
        mx.async_eval(later)
        mx.eval(first)  # would wait for ever
        assert first.tolist()[3] == 6
        assert in_flight() == 1
    np.testing.assert_array_equal(later, np.arange(10) * 3)


@pytest.mark.parametrize("code", [1, 2, 3, 9])
def test_a_late_failure_fails_every_read_of_what_it_cost(code: int) -> None:
    x = mx.arange(50, dtype=mx.float32)
    ready(x, x * 2, x * 2 + 5)
    inject(RUN, code)
    with held():
        y = x * 2
        mx.async_eval(y)
        follows = y + 5  # in line behind what will fail
        mx.async_eval(follows)
        apart = x * 2 + 5
        mx.async_eval(apart)
    for lost in (y, follows, y, follows):
        with pytest.raises(mx.DeviceError, match=rf"{FAILED}.*MTLCommandBufferErrorDomain {code}"):
            np.array(lost)
    for lost in (y, follows, y + 1, mx.sum(follows, stream=mx.cpu)):
        with pytest.raises(mx.DeviceError, match=FAILED):
            mx.eval(lost)
    np.testing.assert_array_equal(apart, np.arange(50) * 2 + 5)
    np.testing.assert_array_equal(x * 2, np.arange(50) * 2)
    mx.synchronize()  # everybody has been told


def test_a_late_failure_goes_on_through_many_evaluations() -> None:
    x = mx.arange(50, dtype=mx.float32)
    ready(x, x + 1)
    inject(RUN, 3, after=2)
    with held():
        steps = [x]
        for _ in range(7):
            steps.append(steps[-1] + 1)
            mx.async_eval(steps[-1])
    for step in steps[3:]:
        with pytest.raises(mx.DeviceError, match=FAILED):
            np.array(step)
    for i, step in enumerate(steps[:3]):
        np.testing.assert_array_equal(step, np.arange(50) + i)


def test_a_donated_input_is_lost_with_the_result() -> None:
    x = mx.arange(50, dtype=mx.float32)
    ready(x, x * 4)
    y = x * 4
    mx.eval(y)
    buffer = _core._buffer_id(y)
    inject(RUN, 3)
    with held():
        y = y * 4
        mx.async_eval(y)
    assert buffer == _core._buffer_id(y)
    with pytest.raises(mx.DeviceError, match=FAILED):
        np.array(y)


def test_synchronize_tells_a_failure_that_nobody_has_seen() -> None:
    x = mx.arange(50, dtype=mx.float32)
    ready(x, x * 2)
    inject(RUN, 3)
    y = x * 2
    mx.async_eval(y)
    with pytest.raises(mx.DeviceError, match=FAILED):
        mx.synchronize()
    mx.synchronize()
    inject(RUN, 3)
    z = x * 2
    mx.async_eval(z)
    del z
    mx.eval(x * 2)  # which nothing has happened to
    with pytest.raises(mx.DeviceError, match=FAILED):
        mx.synchronize()
    mx.synchronize()
    with pytest.raises(mx.DeviceError, match=FAILED):
        np.array(y)


def test_a_failure_known_before_is_raised_when_the_graph_is_evaluated() -> None:
    x = mx.arange(50, dtype=mx.float32)
    ready(x, x * 2)
    inject(RUN, 3)
    y = x * 2
    mx.async_eval(y)
    with pytest.raises(mx.DeviceError):
        np.array(y)
    before = seen("command_buffers")
    with pytest.raises(mx.DeviceError, match=FAILED):
        mx.async_eval(y + 1)
    assert seen("command_buffers") == before


def test_memory_that_ran_out_on_the_gpu_is_a_memory_error_of_every_read() -> None:
    x = mx.zeros((1 << 20,))
    ready(x, x + 3)
    inject(RUN, 8)
    y = x + 3
    mx.async_eval(y)
    for _ in range(2):
        with pytest.raises(MemoryError, match=r"it binds .* in use of") as error:
            np.array(y)
        assert error.value.bytes_asked == 8 << 20
    np.testing.assert_array_equal(x + 3, np.full(1 << 20, 3))


def test_released_memory_in_flight_comes_back_when_memory_is_short() -> None:
    size = 4 << 20
    x = mx.zeros((size,))
    ready(x, x + 1)
    mx.clear_cache()
    limit_memory(seen("buffer_bytes") + (40 << 20))
    try:
        for _ in range(6):  # of 16 MiB each: the third waits until a first has been given back
            y = x + 1
            mx.async_eval(y)
            del y
        assert (x + 1)[-1].item() == 1
    finally:
        limit_memory(8 << 30)


def test_memory_of_the_cpu_stays_while_it_is_read() -> None:
    n = 1 << 20
    numbers = pages(n)
    numbers[:] = np.arange(n) % 13
    expected = numbers + 1
    x = mx.asarray(numbers)
    ready(x + 1)
    owner = weakref.ref(numbers.base)
    with held():
        y = x + 1
        mx.async_eval(y)
        del x, numbers
        gc.collect()
        assert owner() is not None
    mx.eval(y)
    mx.synchronize()
    gc.collect()
    assert owner() is None
    np.testing.assert_array_equal(y, expected)


def test_the_cpus_pool_gives_nothing_out_that_is_still_read() -> None:
    n = 1 << 20
    with mx.stream(mx.cpu):
        x = mx.arange(n, dtype=mx.float32) % 11
        mx.eval(x)
    expected = np.array(x) * 2
    ready(x * 2)
    with held():
        y = x * 2
        mx.async_eval(y)
        del x
        with mx.stream(mx.cpu):  # of the same size, so that the pool would give the same memory
            for _ in range(4):
                mx.eval(mx.full((n,), 99.0))
    np.testing.assert_array_equal(y, expected)


def test_an_evaluation_that_fails_half_way_leaves_nothing_under_way() -> None:
    x = mx.arange(50, dtype=mx.float32)
    ready(x, mx.cumsum(x) * 2, mx.cumsum(mx.cumsum(x)))
    inject(6, after=0)  # the encoder
    with pytest.raises(mx.DeviceError, match="the system gave no"):
        mx.async_eval(mx.cumsum(mx.cumsum(x)))
    assert in_flight() == 0
    np.testing.assert_array_equal(mx.cumsum(x) * 2, np.cumsum(np.arange(50)) * 2)


def test_training_steps_in_flight_give_what_steps_that_wait_give() -> None:
    rng = np.random.default_rng(0)
    data = mx.array(rng.standard_normal((64, 8), dtype=np.float32))
    wanted = mx.array(rng.standard_normal((64, 1), dtype=np.float32))

    def loss(w: mx.array) -> mx.array:
        return mx.mean((mx.tanh(data @ w) - wanted) ** 2)

    def train(evaluate) -> np.ndarray:
        w = mx.zeros((8, 1)) + 0.1
        step = mx.value_and_grad(loss)
        for _ in range(25):
            value, g = step(w)
            w = w - 0.1 * g
            evaluate(w, value)
        return np.array(w)

    np.testing.assert_array_equal(train(mx.async_eval), train(mx.eval))

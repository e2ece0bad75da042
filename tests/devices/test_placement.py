"""Which device an operation runs on, and what it takes to get the data there."""

from __future__ import annotations

import inspect
import threading
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from lamina import _core
from present import LACKS, UNIFIED, recorded


def lies_on(x: mx.array) -> int:
    mx.eval(x)
    return int(_core._lies_on(x))


def test_default_device(chosen: str, number: int) -> None:
    assert mx.default_device() == mx.gpu
    assert mx.default_device() == mx.Device(mx.gpu, 0)
    x = mx.ones((3, 4)) * 2
    assert _core._device_of(x) == number
    assert lies_on(x) == number
    assert mx.device_info()["device_name"] == mx.device_info(mx.gpu)["device_name"]
    np.testing.assert_array_equal(x, np.full((3, 4), 2.0))


def test_stream_scopes_nest_and_end(gpu: str, number: int) -> None:
    x = mx.array([1.0, 2.0])
    with mx.stream(mx.gpu):
        a = x + 1
        with mx.stream(mx.cpu):
            b = x + 2
        c = x + 3
    d = x + 4
    assert [_core._device_of(v) for v in (a, b, c, d)] == [number, 0, number, 0]
    with pytest.raises(RuntimeError, match="stop"), mx.stream(mx.gpu):
        raise RuntimeError("stop")
    assert _core._device_of(x + 5) == 0


def test_a_scope_is_its_threads_own(gpu: str, number: int) -> None:
    seen: list[int] = []
    with mx.stream(mx.gpu):
        thread = threading.Thread(target=lambda: seen.append(_core._device_of(mx.ones(2) + 1)))
        thread.start()
        thread.join()
        seen.append(_core._device_of(mx.ones(2) + 1))
    assert seen == [0, number]


def test_streams(gpu: str) -> None:
    s = mx.new_stream(mx.gpu)
    assert s.device == mx.gpu
    assert s != mx.default_stream(mx.gpu)
    before = mx.default_stream(mx.gpu)
    with mx.stream(s):
        assert mx.default_stream(mx.gpu) == s
    assert mx.default_stream(mx.gpu) == before
    local = mx.new_thread_local_stream(mx.gpu)
    x = mx.add(mx.ones(3), 1, stream=s) + mx.add(mx.ones(3), 1, stream=local)
    mx.async_eval(x)
    mx.synchronize(s)
    np.testing.assert_array_equal(x, [4, 4, 4])


def streamed_functions() -> list[str]:
    out = []
    for name in sorted(vars(mx)):
        function = getattr(mx, name)
        if name.startswith("_") or not callable(function) or isinstance(function, type):
            continue
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            parameters = {}
        text = (function.__doc__ or "").split("\n")[0]
        if "stream" in parameters or "stream" in text:
            out.append(name)
    return [n for n in out if n not in ("stream", "set_default_stream", "synchronize")]


CALLS: dict[str, Any] = {
    "sum": lambda x, s: mx.sum(x, stream=s),
    "reshape": lambda x, s: mx.reshape(x, (4, 3), stream=s),
    "clip": lambda x, s: mx.clip(x, 0, 1, stream=s),
    "method": lambda x, s: x.sum(axis=0, stream=s),
    "astype": lambda x, s: x.astype(mx.int32, stream=s),
    "matmul": lambda x, s: mx.matmul(x, x.T, stream=s),
    "zeros": lambda x, s: mx.zeros((3,), stream=s),
    "uniform": lambda x, s: mx.random.uniform(shape=(3,), stream=s),
    "rms_norm": lambda x, s: mx.fast.rms_norm(x, None, 1e-5, stream=s),
    "round": lambda x, s: mx.round(x, 2, s),
    "elementwise": lambda x, s: mx.exp(x, stream=s),
    "positional": lambda x, s: mx.add(x, x, s),
    "norm": lambda x, s: mx.linalg.norm(x, stream=s),
}


@pytest.mark.parametrize("name", CALLS)
def test_stream_argument(name: str, gpu: str, number: int) -> None:
    x = mx.array(np.arange(12, dtype=np.float32).reshape(3, 4))
    y = CALLS[name](x, mx.gpu)
    assert _core._device_of(y) == number
    assert _core._device_of(CALLS[name](x, mx.cpu)) == 0
    if name != "uniform":
        np.testing.assert_allclose(y, CALLS[name](x, None), rtol=1e-6)


@pytest.mark.parametrize("name", CALLS)
def test_stream_argument_is_checked(name: str) -> None:
    x = mx.ones((3, 4))
    with pytest.raises(TypeError, match="expected a Device, DeviceType or Stream, got int"):
        CALLS[name](x, 3)


def test_every_operation_takes_a_stream() -> None:
    assert len(streamed_functions()) > 150


def test_missing_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_GPU", "abacus")
    assert not mx.is_available(mx.gpu)
    assert mx.device_count(mx.gpu) == 0
    with pytest.raises(mx.DeviceError, match='unknown name "abacus"; this build has cpu, '):
        mx.set_default_device(mx.gpu)
    with pytest.raises(mx.DeviceError, match=r"Device\(cpu, 1\) is not available"):
        mx.new_stream(mx.Device(mx.cpu, 1))


def test_mixed_graph_is_cut_at_the_boundary(gpu: str, number: int) -> None:
    # Metal takes the CPU's memory as it lies where that is pages of its own.
    n = (1 << 19) if gpu in UNIFIED else 1000
    a = np.linspace(-1, 1, n, dtype=np.float32)
    x = mx.array(a)
    with mx.stream(mx.gpu):
        y = mx.exp(x) * 2
    z = mx.sin(y) + 1
    with mx.stream(mx.gpu):
        w = (z * y).sum()
    with recorded() as record:
        mx.eval(w)
    plans = record.plans()
    assert [p["device"] for p in plans] == [gpu, "cpu", gpu]
    want = (np.sin(np.exp(a) * 2) + 1) * np.exp(a) * 2
    np.testing.assert_allclose(float(w), want.sum(), rtol=1e-5)
    if gpu in UNIFIED:
        assert record.copies() == []
        assert [p["transfers"] for p in plans] == [[], [], []]
        return
    # x goes there, y comes here, z goes there; y lies there still.
    assert record.copies() == [(4000, 0, number), (4000, number, 0), (4000, 0, number)]
    edges = [e for p in plans for e in p["edges"] if e["reason"] == "device_boundary"]
    assert [e["bytes"] for e in edges] == [4000, 4000, 4000]
    moved = [(t["source"], t["bytes"], t["before"]) for p in plans for t in p["transfers"]]
    assert moved == [("cpu", 4000, 0), (gpu, 4000, 0), ("cpu", 4000, 0)]
    crossing = {(p["plan"], t["node"]) for p in plans for t in p["transfers"]}
    assert crossing == {(p["plan"], e["src"]) for p in plans for e in p["edges"] if e in edges}


def test_a_recording_says_what_times_were_read_from(gpu: str) -> None:
    """By nothing where the CPU's clock around a launch is its time."""
    x = mx.array(np.ones(1000, np.float32))
    with recorded() as record, mx.stream(mx.gpu):
        mx.eval((mx.sort(x) @ x) * 2)
    launches = record.of("launch")
    assert len(launches) >= 2
    timed = record.of("timed")
    by = {"cuda": 1, "metal": 2}
    if gpu not in by:
        assert timed == []
        return
    assert sum(count for *_, count, _ in timed) == len(launches)
    assert {clock for *_, clock in timed} <= {by[gpu], by[gpu] + 1}
    assert timed[0][0] == launches[0][0] and timed[0][1] == 0


def test_transfers_stand_before_the_launch_that_reads_them(gpu: str) -> None:
    """In every size that a plan is put on, and where no launch reads what crosses."""
    if gpu in UNIFIED:
        return
    for n in (30, 50, 70):
        a = mx.array(np.linspace(0, 1, n, dtype=np.float32))
        b = mx.array(np.linspace(1, 2, n, dtype=np.float32))
        mx.eval(a, b)
        with mx.stream(mx.gpu):
            late = mx.cumsum(mx.cumsum(a)) * b
        with recorded() as record:
            mx.eval(late)
        (plan,) = record.plans()
        last = len(plan["launches"]) - 1
        assert last >= 1
        assert [(t["bytes"], t["before"]) for t in plan["transfers"]] == [(4 * n, 0), (4 * n, last)]
    there = mx.add(a, 1, stream=mx.gpu)
    mx.eval(there)
    with recorded() as record:
        mx.eval(mx.reshape(there, (7, 10), stream=mx.cpu))
    (plan,) = record.plans()
    assert [(t["source"], t["before"]) for t in plan["transfers"]] == [(gpu, 0)]
    assert plan["launches"] == []


def test_a_device_has_all_its_work_before_the_cpu_begins(gpu: str) -> None:
    a = np.linspace(0.5, 1, 16, dtype=np.float32).reshape(4, 4)
    x = mx.array(a)
    with mx.stream(mx.gpu):
        after = mx.cos(mx.exp(x), stream=mx.cpu) * 2
        beside = mx.sin(x) @ x
    with recorded() as record:
        mx.eval(after, beside)
    plans = [(p["device"], [n["op"] for n in p["nodes"]]) for p in record.plans()]
    assert [device for device, _ in plans] == [gpu, gpu, "cpu", gpu]
    assert "exp" in plans[0][1] and "matmul" in plans[1][1]
    np.testing.assert_allclose(after, np.cos(np.exp(a)) * 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(beside, np.sin(a) @ a, rtol=1e-5)


def test_a_view_on_the_cpu_of_what_a_device_writes(gpu: str) -> None:
    """No step of the CPU's reads it."""
    x = mx.array(np.arange(12, dtype=np.float32))
    y = mx.add(x, 1, stream=mx.gpu)
    z = mx.reshape(y, (3, 4), stream=mx.cpu)
    assert (lies_on(z) == 0) == (gpu not in UNIFIED)
    np.testing.assert_array_equal(z, np.arange(12).reshape(3, 4) + 1)


def test_roots_on_two_devices(gpu: str, number: int) -> None:
    x = mx.array([1.0, 2.0, 3.0])
    a = mx.add(x, 1, stream=mx.gpu)
    b = mx.multiply(a, 2, stream=mx.cpu)
    c = mx.add(b, a, stream=mx.gpu)
    d = mx.add(x, 5)
    mx.eval(d, a, c, b)
    assert [_core._lies_on(v) for v in (a, b, c, d)] == [number, 0, number, 0]
    np.testing.assert_array_equal(c, [6, 9, 12])
    np.testing.assert_array_equal(d, [6, 7, 8])


def test_copies_are_kept_while_the_buffer_lives(gpu: str) -> None:
    if gpu in UNIFIED:
        return
    x = mx.array(np.ones(1000, np.float32))
    with recorded() as record:
        for k in range(3):
            mx.eval(mx.add(x, k, stream=mx.gpu))
    assert len(record.copies()) == 1
    y = mx.add(x, 1, stream=mx.gpu)
    with recorded() as record:
        for _ in range(3):
            np.array(y)
            y.tolist()
    assert len(record.copies()) == 1


def test_a_copy_never_outlives_its_original(gpu: str) -> None:
    """A buffer that is updated in place has been mirrored before."""
    x = mx.array(np.arange(1000, dtype=np.float32)) + 0
    mx.eval(x)
    for k in range(4):
        there = mx.add(x, 1, stream=mx.gpu)
        assert float(there[0].item()) == k + 1
        del there
        x = mx.add(x, 1, stream=mx.cpu)
        mx.eval(x)
    y = mx.add(x, 0, stream=mx.gpu)
    for k in range(4):
        assert float(np.array(y)[0]) == 4 + k
        y = mx.add(y, 1, stream=mx.gpu)
        mx.eval(y)


def test_adopted_memory_may_change(gpu: str) -> None:
    a = np.zeros(100, np.float32)
    x = mx.asarray(a)
    for k in range(3):
        a[:] = k
        y = mx.add(x, 1, stream=mx.gpu)
        assert float(y[7].item()) == k + 1


def test_missing_dtypes_run_on_the_cpu(gpu: str) -> None:
    for dtype in ("float64", "complex64"):
        x = mx.array([0.1, 0.2], dtype=getattr(mx, dtype))
        y = mx.add(x, x, stream=mx.gpu)
        assert y.dtype == x.dtype
        assert (lies_on(y) == 0) == (dtype in LACKS[gpu])
        np.testing.assert_array_equal(np.array(y), np.array(x) * 2)
        z = mx.softmax(y.real if dtype == "complex64" else y, stream=mx.gpu)
        np.testing.assert_allclose(np.sum(np.array(z)), 1, rtol=1e-6)


def test_derivatives_stay_with_their_operation(gpu: str, number: int) -> None:
    x = mx.array([0.5, 1.5])

    def f(x: mx.array) -> mx.array:
        return mx.sum(mx.sin(x, stream=mx.gpu) * 2, stream=mx.cpu)

    slope = mx.grad(f)(x)
    np.testing.assert_allclose(slope, 2 * np.cos([0.5, 1.5]), rtol=1e-6)
    with recorded() as record:
        mx.eval(mx.grad(f)(x))
    assert gpu in [p["device"] for p in record.plans()]
    batched = mx.vmap(lambda t: mx.sin(t, stream=mx.gpu))(x)
    assert _core._device_of(batched) == number


def test_custom_functions_cross_devices(gpu: str) -> None:
    @mx.custom_function
    def f(x: mx.array) -> mx.array:
        return mx.sin(x, stream=mx.gpu) + mx.cos(x, stream=mx.cpu)

    x = mx.array([0.5, 1.5])
    for device in (mx.cpu, mx.gpu):
        with mx.stream(device):
            y = f(x) * 2
        np.testing.assert_allclose(y, 2 * (np.sin([0.5, 1.5]) + np.cos([0.5, 1.5])), rtol=1e-6)
    double = mx.checkpoint(lambda z: mx.sin(z) @ z)
    z = mx.array(np.eye(3), dtype=mx.float64)
    with mx.stream(mx.gpu):
        np.testing.assert_allclose(double(z), np.sin(np.eye(3)) @ np.eye(3), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "few", "many"),
    [
        ("inv", (8, 65, 65), (9, 65, 65)),
        ("cholesky", (16, 129, 129), (17, 129, 129)),
        ("svdvals", (9, 33, 40), (10, 33, 40)),
        ("eigvalsh", (4, 33, 33), (5, 33, 33)),
    ],
)
def test_few_large_matrices_run_on_the_cpu(
    device: str, name: str, few: tuple[int, ...], many: tuple[int, ...]
) -> None:
    number = int(_core._device_named(device))
    for shape, where in ((few, 0), (many, number), ((5, 5), number)):
        a = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        if name != "svdvals":
            a = a @ np.swapaxes(a, -1, -2) / shape[-1] + np.eye(shape[-1], dtype=np.float32)
        x = mx.array(a)
        y = getattr(mx.linalg, name)(x, stream=mx.gpu)
        assert lies_on(y) == where, shape
        want = getattr(mx.linalg, name)(x, stream=mx.cpu)
        np.testing.assert_allclose(y, want, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("order", ["smaller first", "larger first"])
@pytest.mark.parametrize("name", ["det", "pinv"])
def test_a_plan_on_other_sizes_runs_where_a_new_one_would(
    device: str, name: str, order: str
) -> None:
    """Also inside a composition, whose own operations are placed when it is planned."""
    number = int(_core._device_named(device))
    sizes = [(5, number), (70, 0), (6, number), (71, 0)]
    for n, where in sizes if order == "smaller first" else sizes[::-1]:
        a = np.eye(n, dtype=np.float32) + np.triu(np.full((n, n), 0.25, np.float32), 1) / n
        y = getattr(mx.linalg, name)(mx.array(a), stream=mx.gpu)
        mx.eval(y)
        assert lies_on(y) == where, n
        want = np.linalg.pinv(a) if name == "pinv" else np.float32(1)
        np.testing.assert_allclose(np.array(y), want, atol=1e-5)


def test_a_fault_of_a_matrix_is_told_and_the_device_works_on(device: str) -> None:
    a = np.broadcast_to(np.eye(3, dtype=np.float32), (4, 3, 3)).copy()
    a[2, 1, 1] = 0
    with pytest.raises(mx.LinAlgError, match=r"inv: matrix 2 of the batch \(4, 3, 3\) is singular"):
        mx.eval(mx.linalg.inv(mx.array(a), stream=mx.gpu))
    a[2, 1, 1] = 4
    np.testing.assert_allclose(mx.linalg.inv(mx.array(a), stream=mx.gpu)[2, 1, 1], 0.25)

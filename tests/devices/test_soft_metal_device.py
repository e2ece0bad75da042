"""The device `soft_metal`: lamina's own kernels as Metal's text, held against the CPU, with every
rule of Metal enforced while they run; what they cost is in the recording."""

from __future__ import annotations

from collections.abc import Iterator

import lamina.core as mx
import numpy as np
import pytest
from lamina import profile, soft_metal


@pytest.fixture(autouse=True)
def on_soft_metal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LAMINA_GPU", "soft_metal")
    before = mx.default_device()
    mx.set_default_device(mx.gpu)
    soft_metal.take_counts()
    yield
    mx.set_default_device(before)


def on_cpu(function, *args):
    with mx.stream(mx.cpu):
        out = function(*args)
        mx.eval(out)
    return np.array(out)


PROGRAMS = {
    "map": lambda x: mx.exp(x) * 2 + x.T,
    "sum of rows": lambda x: x.sum(axis=1),
    "sum of columns": lambda x: x.sum(axis=0),
    "whole sum": lambda x: (x * x).sum(),
    "softmax": lambda x: mx.softmax(x, axis=-1),
    "norm": lambda x: (x - x.mean(axis=1, keepdims=True)) / mx.sqrt(x.var(axis=1, keepdims=True)),
    "product": lambda x: x @ x.T,
    "slices": lambda x: x[::-1, ::2] + 1,
    "sort": lambda x: mx.sort(x, axis=1),
    "cumsum": lambda x: mx.cumsum(x, axis=0),
    "argmax": lambda x: mx.argmax(x, axis=1),
    "gather": lambda x: x[mx.array([3, 1, 2, 3])],
    "half": lambda x: (x.astype(mx.float16) * 3).astype(mx.float32),
    "bfloat16": lambda x: (x.astype(mx.bfloat16) * 3).astype(mx.float32),
    "integers": lambda x: (x * 100).astype(mx.int32) // 7,
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("shape", [(4, 4), (37, 37), (128, 128)])
def test_programs(name: str, shape: tuple[int, int]) -> None:
    data = np.random.default_rng(1).standard_normal(shape).astype("f4")
    got = PROGRAMS[name](mx.array(data))
    mx.eval(got)
    want = on_cpu(PROGRAMS[name], mx.array(data))
    np.testing.assert_allclose(np.array(got), want, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("shape", [(1024, 256), (256, 4096), (64, 128)])
def test_column_sums_are_read_in_whole_lines(shape: tuple[int, int]) -> None:
    x = mx.array(np.ones(shape, "f4"))
    mx.eval(x)
    soft_metal.take_counts()
    mx.eval(x.sum(axis=0))
    counts = soft_metal.take_counts()["reduce_sum"]
    assert counts["load_transactions"] == counts["load_transactions_ideal"]
    assert counts["load_transactions"] == shape[0] * shape[1] * 4 // 128


def shared_elements(kind: str, x: mx.array, w: mx.array) -> tuple[mx.array, mx.array]:
    y = x * 3 + 1
    if kind == "row":
        return y, mx.softmax(y + w, axis=(1, 2))
    return y, mx.sum(mx.broadcast_to(y, w.shape) if kind == "all" else y + w, axis=(0, 1))


@pytest.mark.parametrize("kind", ["row", "all", "columns"])
def test_shared_elements_are_written_once(kind: str) -> None:
    """Results smaller than the domain that computes them: of the threads that come to an element
    one writes it, and none reads what it overwrote."""
    g = np.random.default_rng(2)
    x, w = g.standard_normal((4, 1, 300)).astype("f4"), g.standard_normal((4, 9, 300)).astype("f4")
    results = []
    for device in (mx.gpu, mx.cpu):
        with mx.stream(device):
            both = shared_elements(kind, mx.array(x), mx.array(w))
            mx.eval(both)
        results.append([np.array(a) for a in both])
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-4, atol=1e-4)


def test_indices_outside_read_zero_and_write_nothing() -> None:
    x = mx.arange(1, 4)
    np.testing.assert_array_equal(mx.take(x, mx.array([0, 7, -1, -4])), [1, 0, 3, 0])
    np.testing.assert_array_equal(mx.take_along_axis(x, mx.array([2, 3]), axis=0), [3, 0])
    x[mx.array([3, 1, -9])] = mx.array([5, 6, 7])
    np.testing.assert_array_equal(x, [1, 6, 3])


def test_kernels_are_counted() -> None:
    n = 1 << 12
    x = mx.ones((n,))
    mx.eval(x)
    soft_metal.take_counts()
    mx.eval(x * 3 + 1)
    (counts,) = soft_metal.take_counts().values()
    assert counts["launches"] == 1
    assert counts["device_load_bytes"] == counts["device_store_bytes"] == 4 * n
    assert counts["load_transactions"] == counts["load_transactions_ideal"] == 4 * n // 128
    assert soft_metal.take_counts() == {}


def test_counts_are_in_the_recording(tmp_path) -> None:
    x = mx.ones((64, 64))
    mx.eval(x)
    with profile(ceilings=False) as p:
        mx.eval(mx.softmax(x, axis=-1) + 1)
    recording = p.recording
    (launch,) = recording.kernel_launches
    assert recording.window[0] <= launch.t0 < launch.t1 <= recording.window[1]
    assert launch.counts["device_store_bytes"] == 4 * 64 * 64
    spans = [s for run in recording.runs for s in run.launches]
    assert any(s.t0 <= launch.t0 and launch.t1 <= s.t1 for s in spans)
    recording.save(tmp_path / "run.lamina")
    again = type(recording).load(tmp_path / "run.lamina")
    assert again.kernel_launches == recording.kernel_launches


def test_memory_is_the_cpus() -> None:
    x = mx.arange(10)
    y = x * 2
    with mx.stream(mx.cpu):
        z = y + x
    assert z.tolist() == [3 * i for i in range(10)]


def test_float64_is_refused_or_runs_on_the_cpu() -> None:
    with mx.stream(mx.cpu):
        x = mx.array([1.0, 2.0], dtype=mx.float64)
        mx.eval(x)
    try:
        y = (x * 2).tolist()
    except Exception as error:
        assert "float64" in str(error)
    else:
        assert y == [2.0, 4.0]

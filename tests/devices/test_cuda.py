"""The CUDA device's own: graphs, failures of the driver, the compiler's messages.

Failures are asked of the driver's double, so they are tested where that stands in; the rest runs on
a GPU as well.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from lamina import _core
from present import DOUBLE, PRESENT, has_driver

LONG = 20_000  # of a row that no kernel keeps on chip, so that reducing it is a launch of its own
ON_CUDA = ["cuda"] if "cuda" in PRESENT else []
ON_DOUBLE = ["double"] if DOUBLE is not None else []


@pytest.fixture(params=ON_CUDA)
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("LAMINA_GPU", "cuda")
    with mx.stream(mx.gpu):
        yield request.param


@pytest.fixture(params=ON_DOUBLE)
def driver(request: pytest.FixtureRequest, cuda: str) -> Iterator[ctypes.CDLL]:
    assert DOUBLE is not None
    DOUBLE.cuda_double_calls.restype = ctypes.c_long
    yield DOUBLE
    DOUBLE.cuda_double_reset()


def figures() -> dict[str, int]:
    return dict(_core._cuda_figures())


def gained(before: dict[str, int]) -> dict[str, int]:
    return {k: v - before[k] for k, v in figures().items()}


def chain(x: mx.array) -> mx.array:
    """Several launches, each of which needs the one before."""
    for _ in range(4):
        x = mx.tanh(x / (1 + mx.sum(mx.abs(x))))
    return x


def chain_of(a: np.ndarray) -> np.ndarray:
    for _ in range(4):
        a = np.tanh(a / (1 + np.abs(a).sum()))
    return a


def test_a_plan_becomes_a_graph(cuda: str) -> None:
    a = np.linspace(-1, 1, LONG, dtype=np.float32)
    x = mx.array(a)
    mx.eval(chain(x))
    before = figures()
    for _ in range(5):
        np.testing.assert_allclose(chain(x), chain_of(a), rtol=1e-4)
    got = gained(before)
    assert got["graphs"] == 1
    assert got["graph_launches"] == 5
    assert got["launches"] >= 5 * 5
    assert got["compiled"] == got["on_disk"] == 0


def test_parts_of_a_reduction_meet_in_one_launch(cuda: str) -> None:
    """The last threadgroup puts them together, again and again."""
    a = np.random.default_rng(0).integers(-9, 9, (1280, 256)).astype(np.float32)
    x = mx.array(a)
    forms = {
        "all": (lambda: mx.sum(x) / 2, a.sum() / 2),
        "columns": (lambda: mx.sum(x, axis=0) + 1, a.sum(0) + 1),
        "places": (lambda: mx.argmax(x, axis=0), a.argmax(0)),
        "place": (lambda: mx.argmin(x), a.argmin()),
        "two": (lambda: mx.max(x) - mx.min(x), a.max() - a.min()),
    }
    for name, (form, want) in forms.items():
        mx.eval(form())
        assert "takes_last_turn" in texts(), name
        for _ in range(4):
            before = figures()
            np.testing.assert_array_equal(form(), want)
            assert gained(before)["launches"] == 1, name


def test_a_graph_takes_other_memory_and_scalars(cuda: str) -> None:
    rng = np.random.default_rng(0)
    kept = []
    before = figures()
    for k in range(6):
        a = rng.standard_normal(LONG).astype(np.float32)
        x = mx.array(a)
        y = chain(x * float(k + 1)) + float(k)
        mx.eval(y)
        kept.append((y, chain_of(a * np.float32(k + 1)) + k))
    for y, want in kept:
        np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-5)
    assert gained(before)["updates"] > 0


def test_the_cpu_computes_while_the_gpu_works_on_what_it_does_not_read(
    driver: ctypes.CDLL,
) -> None:
    a = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32) + 8 * np.eye(8)
    x = mx.array(a.astype(np.float32))

    def mixed() -> tuple[mx.array, mx.array, mx.array]:
        inverse = mx.linalg.inv(x * 2, stream=mx.cpu)
        return inverse, inverse * 3, chain(x)

    mx.eval(mixed())
    driver.cuda_double_queued.restype = ctypes.c_long
    for _ in range(3):
        inverse, after, beside = mixed()
        mx.async_eval(beside, inverse)
        # The device has been given the chain before the CPU began, and has not begun with it.
        assert driver.cuda_double_queued() > 0
        np.testing.assert_allclose(inverse, np.linalg.inv(a * 2), rtol=1e-4, atol=1e-6)
        assert driver.cuda_double_queued() > 0
        np.testing.assert_allclose(after, np.linalg.inv(a * 2) * 3, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(beside, chain_of(a), rtol=1e-4, atol=1e-5)


def test_what_was_waited_for_and_is_written_again_is_waited_for_again(driver: ctypes.CDLL) -> None:
    x = mx.array(np.full(1000, 1.0, np.float32))
    for k in range(4):
        y = x * 2
        total = mx.sum(y, stream=mx.cpu)
        mx.async_eval(total)  # reads y behind a fence of its own
        assert float(total) == 2000 * (k + 1)
        y = y + 1  # in y's memory
        mx.async_eval(y)
        np.testing.assert_array_equal(y, np.full(1000, 2.0 * (k + 1) + 1))
        x = x + 1


def test_a_failure_before_a_fence_is_the_error_of_who_waits(driver: ctypes.CDLL) -> None:
    x = mx.array(np.eye(4, dtype=np.float32))
    mx.eval(mx.linalg.inv(x * 2, stream=mx.cpu))
    driver.cuda_double_fail(b"cuEventSynchronize", 0, 719)
    with pytest.raises(mx.DeviceError, match="waiting for the device"):
        mx.eval(mx.linalg.inv(x * 2, stream=mx.cpu))
    driver.cuda_double_reset()


def test_siblings_of_a_level(cuda: str) -> None:
    """Updates of many parameters are launches of one level; what follows waits for all of them."""
    sizes = [10 * k + 3 for k in range(40)]
    xs = [mx.array(np.full(n, 1.0, np.float32)) for n in sizes]
    mx.eval(xs)
    for step in range(4):
        xs = [x * 2 - 0.5 * (step + 1) for x in xs]
        total = sum(mx.sum(x) for x in xs)
        mx.eval(xs, total)
    value = 1.0
    for step in range(4):
        value = value * 2 - 0.5 * (step + 1)
    assert all((np.array(x) == value).all() for x in xs)
    assert float(total) == pytest.approx(value * sum(sizes))


def texts() -> str:
    """What the latest plan's launches were compiled from, or given to a library as."""
    return _core._plan_describe(_core._last_plan())


def flipped(x: Any, dense: Callable[[Any], Any]) -> Any:
    """The same matrices with their columns side by side in memory."""
    return dense(x.swapaxes(-1, -2)).swapaxes(-1, -2)


LAYOUTS: dict[str, Callable[..., tuple[Any, Any]]] = {
    "plain": lambda a, b, dense: (a, b),
    "a transposed": lambda a, b, dense: (flipped(a, dense), b),
    "b transposed": lambda a, b, dense: (a, flipped(b, dense)),
    "one b for all": lambda a, b, dense: (a, b[:1]),
    "one a for all": lambda a, b, dense: (a[:1], b),
    "not aligned": lambda a, b, dense: (a[:, 1:, 3:], b[:, 3:]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64", "complex64"])
def test_products_by_the_library(cuda: str, dtype: str, layout: str) -> None:
    """Sent by themselves, then in a graph whose operands move."""
    rng = np.random.default_rng(3)
    kept = []
    for _ in range(4):
        a, b = rng.standard_normal((3, 17, 37)), rng.standard_normal((3, 37, 21))
        x, y = (mx.array(v.astype(np.float32)).astype(getattr(mx, dtype)) for v in (a, b))
        x, y = LAYOUTS[layout](x, y, mx.contiguous)
        a, b = LAYOUTS[layout](a, b, np.ascontiguousarray)
        mx.eval(x, y)
        z = (x @ y) * 2 - 1
        mx.eval(z)
        assert "cublasLtMatmul" in texts()
        kept.append((z.astype(mx.complex64), 2 * (a @ b) - 1))
    tolerance = {"float16": 2e-2, "bfloat16": 1.5e-1}.get(dtype, 1e-4)
    for z, want in kept:
        np.testing.assert_allclose(np.array(z), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("transpose", [True, False])
def test_decoded_matrices_go_to_the_library(cuda: str, transpose: bool) -> None:
    """A kernel of lamina's decodes into temporary memory, of which the library reads."""
    rng = np.random.default_rng(4)
    for _ in range(3):
        w = mx.array(rng.standard_normal((64, 128)).astype(np.float32))
        x = mx.array(rng.standard_normal((2, 40, 128 if transpose else 64)).astype(np.float32))
        codes = mx.quantize(w)
        mx.eval(x, codes)
        y = mx.quantized_matmul(x, *codes, transpose=transpose) + 1
        mx.eval(y)
        text = texts()
        assert "value_of" in text and "cublasLtMatmul" in text
        full = np.array(mx.dequantize(*codes))
        want = np.array(x) @ (full.T if transpose else full) + 1
        np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-4)


# Of 1, 2 and 3 axes, with groups, strides, dilation, a mirrored kernel: all for the library.
CONVOLUTIONS: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...]]] = {
    "plain": (lambda x, w: mx.conv2d(x, w, padding=1), (3, 24, 24, 48), (96, 3, 3, 48)),
    "many channels": (
        lambda x, w: mx.conv2d(x, w, stride=(2, 1), padding=1),
        (4, 17, 24, 96),
        (80, 3, 3, 96),
    ),
    "one axis": (lambda x, w: mx.conv1d(x, w, stride=2, padding=3), (4, 400, 64), (128, 9, 64)),
    "three axes": (lambda x, w: mx.conv3d(x, w), (1, 9, 9, 9, 64), (96, 3, 3, 3, 64)),
    "groups and dilation": (
        lambda x, w: mx.conv2d(x, w, stride=(1, 2), padding=(2, 1), dilation=(2, 1), groups=4),
        (4, 30, 30, 128),
        (128, 3, 3, 32),
    ),
    "mirrored": (
        lambda x, w: mx.conv_general(x, w, padding=1, flip=True),
        (3, 24, 24, 48),
        (96, 3, 3, 48),
    ),
}


@pytest.mark.parametrize(
    ("name", "dtype"), [(n, "float32") for n in CONVOLUTIONS] + [("plain", "bfloat16")]
)
def test_convolutions_by_the_library(cuda: str, name: str, dtype: str) -> None:
    """Forward and both gradients against the CPU's, sent by themselves and in a graph."""
    f, *shapes = CONVOLUTIONS[name]
    rng = np.random.default_rng(5)
    x, w = (
        mx.array(rng.standard_normal(s).astype(np.float32)).astype(getattr(mx, dtype))
        for s in shapes
    )
    mx.eval(x, w)

    def all_three() -> list[mx.array]:
        outputs, gradients = mx.vjp(f, [x, w], [mx.ones(f(x, w).shape, getattr(mx, dtype))])
        return [*outputs, *gradients]

    with mx.stream(mx.cpu):
        expected = [np.array(v.astype(mx.float32)) for v in all_three()]
    for _ in range(2):
        got = all_three()
        mx.eval(got)
        assert texts().count("cudnnConvolution") == 3
        # A GPU may find others faster.
        if name == "many channels" and not has_driver():
            assert texts().count("puts first, and last again") == 3
        for g, e in zip(got, expected, strict=True):
            scale = np.abs(e).max()
            # Winograd's algorithm multiplies less and rounds more.
            tolerance = 5e-5 if dtype == "float32" else 2e-2
            np.testing.assert_allclose(
                np.array(g.astype(mx.float32)) / scale, e / scale, atol=tolerance
            )


def test_products_stand_in_the_graph_of_their_plan(cuda: str) -> None:
    x = mx.array(np.full((40, 40), 1e-2, np.float32))
    y = x
    mx.eval(x)

    def network(x: mx.array) -> mx.array:
        for _ in range(3):
            x = mx.tanh(x @ y) + 0.25
        return x

    want = np.array(network(x))
    before = figures()
    for _ in range(4):
        np.testing.assert_allclose(network(x), want, rtol=1e-6)
    assert gained(before)["graph_launches"] == 4
    # Arrays that are swapped: a graph for each set of them, then nothing more to prepare.
    xs = [x, mx.array(np.full((40, 40), 2e-2, np.float32)), mx.array(np.eye(40, dtype=np.float32))]
    kept = [None] * len(xs)
    for turn in range(12):
        at = turn % len(xs)
        kept[at] = network(xs[at])
        mx.eval(kept[at])
        if turn == 8:
            before = figures()
    got = gained(before)
    assert (got["graphs"], got["updates"], got["graph_launches"]) == (0, 0, 3)


def test_products_of_other_sizes_are_other_kernels(cuda: str) -> None:
    """Plans of one family share graphs, but no node of one takes another product's kernels."""
    rng = np.random.default_rng(9)
    for n in (24, 40, 24, 24, 64, 40, 40, 24, 64, 64):
        a = rng.standard_normal((n, n)).astype(np.float32)
        x = mx.array(a)
        np.testing.assert_allclose(mx.tanh(x @ x) + 1, np.tanh(a @ a) + 1, rtol=1e-4, atol=1e-4)


def test_without_libraries_the_kernels_are_lamina_s_own(tmp_path: Path) -> None:
    program = """
import sys
sys.path += [sys.argv[1]]
import nvidia_double, present
import lamina.core as mx, numpy as np
from lamina import _core
mx.set_default_device(mx.gpu)
a = np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32)
z = mx.array(a) @ mx.array(a.T)
np.testing.assert_allclose(z, a @ a.T, rtol=1e-4, atol=1e-4)
assert "cublasLt" not in _core._plan_describe(_core._last_plan())
"""
    here = Path(__file__).resolve().parent
    folders = os.pathsep.join(
        [str(here), str(here.parent / "cuda_double"), *filter(None, sys.path)]
    )
    environment = {
        **os.environ,
        "LAMINA_CUDA_LIBRARIES": "0",
        "LAMINA_GPU": "cuda",
        "PYTHONPATH": folders,
    }
    command = [sys.executable, "-c", program, str(here)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def fail(driver: ctypes.CDLL, name: str, result: int, skip: int = 0) -> None:
    driver.cuda_double_fail(name.encode(), skip, result)


def test_work_is_queued_until_somebody_looks(driver: ctypes.CDLL) -> None:
    driver.cuda_double_queued.restype = ctypes.c_long
    x = mx.array(np.ones(100, np.float32))
    y = chain(x)
    mx.async_eval(y)
    assert driver.cuda_double_queued() > 0
    mx.synchronize()
    assert driver.cuda_double_queued() == 0


def test_a_result_is_read_while_what_was_sent_since_is_under_way(driver: ctypes.CDLL) -> None:
    driver.cuda_double_queued.restype = ctypes.c_long
    a = np.linspace(-1, 1, LONG, dtype=np.float32)
    want = chain_of(chain_of(a))
    y = mx.array(a)
    for _ in range(3):
        y = chain(chain(y))
        mx.async_eval(y)
        after = chain(chain(y * 0.5))
        mx.async_eval(after)
        np.testing.assert_allclose(y, want, rtol=1e-4)
        assert driver.cuda_double_queued() > 0
        np.testing.assert_allclose(after, chain_of(chain_of(want * np.float32(0.5))), rtol=1e-4)
        want = chain_of(chain_of(want))


def test_the_driver_has_no_memory(driver: ctypes.CDLL) -> None:
    x = mx.array(np.ones(100_000, np.float32))
    mx.eval(x + 1)
    mx.clear_cache()
    fail(driver, "cuMemAlloc", 2)
    y = x + 2
    np.testing.assert_array_equal(y[:2], [3, 3])  # the second request follows an emptied cache
    huge = mx.zeros((1 << 29,)) + 1
    with pytest.raises(MemoryError, match=r"out of memory on cuda: asked 2\.1 GB"):
        mx.eval(huge)
    np.testing.assert_array_equal((x + 3)[:2], [4, 4])


@pytest.mark.parametrize("call", ["cuGraphLaunch", "cuGraphExecKernelNodeSetParams"])
def test_a_graph_has_no_memory(driver: ctypes.CDLL, call: str) -> None:
    a = np.linspace(-1, 1, LONG, dtype=np.float32)
    x = mx.array(a)
    for k in range(3):
        mx.eval(chain(x * float(k)))
    fail(driver, call, 2)
    with pytest.raises(MemoryError, match=r"CUDA_ERROR_OUT_OF_MEMORY .*B free of .*B") as failure:
        mx.eval(chain(x * 4.0))
    assert failure.value.bytes_free > 0
    np.testing.assert_allclose(chain(x * 5.0), chain_of(a * np.float32(5)), rtol=1e-4)


def test_memory_is_used_again_in_the_order_of_the_queue(driver: ctypes.CDLL) -> None:
    driver.cuda_double_queued.restype = ctypes.c_long
    x = mx.array(np.arange(5000, dtype=np.float32))
    mx.eval(x + 0)
    total = mx.zeros((5000,))
    mx.eval(total)
    before = mx.get_active_memory()
    for k in range(20):  # blocks are freed and taken while what reads them has not begun
        between = x * float(k)
        mx.async_eval(between)
        total = total + between
        mx.async_eval(total)
        del between
    assert driver.cuda_double_queued() > 20
    assert mx.get_active_memory() <= before + 2 * x.nbytes
    np.testing.assert_array_equal(total, np.arange(5000, dtype=np.float32) * sum(range(20)))


@pytest.mark.parametrize("call", ["cuLaunchKernelEx", "cuMemcpyHtoD", "cuMemcpyDtoH"])
def test_a_failed_call_is_an_error_and_no_more(driver: ctypes.CDLL, call: str) -> None:
    a = np.arange(7, dtype=np.float32)
    fail(driver, call, 1)
    with pytest.raises(mx.DeviceError, match=r"cuda: .*: CUDA_ERROR_INVALID_VALUE"):
        (mx.array(a) * 3).tolist()
    np.testing.assert_array_equal(mx.array(a) * 3, a * 3)


def test_a_broken_context_is_reported_as_such(driver: ctypes.CDLL) -> None:
    x = mx.array(np.ones(10, np.float32))
    mx.eval(x + 1)
    fail(driver, "cuStreamSynchronize", 700)
    with pytest.raises(mx.DeviceError, match="CUDA_ERROR_ILLEGAL_ADDRESS") as failure:
        mx.eval(x * 5)
    assert "restart it" in str(failure.value)
    with pytest.raises(mx.DeviceError, match="restart it"):
        np.array(mx.exp(x))
    np.testing.assert_array_equal(mx.multiply(x, 2, stream=mx.cpu), np.full(10, 2.0))


def test_kernels_are_kept_on_disk(driver: ctypes.CDLL) -> None:
    before = figures()
    x = mx.array(np.ones(10, np.float32))
    mx.eval(mx.cosh(mx.sinh(x)) - 0.25)
    got = gained(before)
    assert got["compiled"] + got["on_disk"] + got["in_memory"] >= 1


def test_the_compiler_names_the_line(cuda: str) -> None:
    good = 'extern "C" __global__ void f(float* x, const int n) {\n  x[0] = n;\n}\n'
    assert len(_core._cuda_compile("f", good, 90)) > 100
    bad = good.replace("x[0] = n", "x[0] = undefined_thing")
    with pytest.raises(mx.DeviceError) as failure:
        _core._cuda_compile("f", bad, 90)
    text = str(failure.value)
    assert "kernel f does not compile" in text
    assert "f.cu(2)" in text
    assert "2 |   x[0] = undefined_thing;" in text


def test_device_info(cuda: str) -> None:
    info: dict[str, Any] = mx.device_info(mx.gpu)
    assert info["architecture"].startswith("sm_")
    assert info["memory_size"] > 1 << 28
    assert mx.cuda.is_available()

"""The Metal device through the public interface: on a Mac, or on the double of Metal's protocols.

Where this build has no Metal, `test_on_the_double` runs this file, and the tests that every device
passes, again in a process whose module has the host and the double (`make metal-double`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lamina.core as mx
import numpy as np
import pytest
from lamina import _core
from metal_double import (
    DOUBLE,
    HERE,
    POINTS,
    RUN,
    held,
    inject,
    limit_memory,
    needs_double,
    needs_metal,
    seen,
    violations,
)
from present import PRESENT, recorded

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / f"core-{sys.implementation.cache_tag}"


@pytest.fixture(autouse=True)
def metal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """mx.gpu is Metal, and the double has seen no rule broken."""
    if not HERE:
        yield
        return
    monkeypatch.setenv("LAMINA_GPU", "metal")
    with mx.stream(mx.gpu):
        yield
    mx.synchronize()
    if DOUBLE is not None:
        assert violations() == []


@needs_metal
def test_results() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((33, 70), dtype=np.float32)
    x = mx.array(a)
    y = mx.softmax(mx.tanh(x) * 2 + x.T.sum(axis=0)[:, None], axis=-1)
    z = np.tanh(a) * 2 + a.T.sum(axis=0)[:, None]
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(y, e / e.sum(axis=-1, keepdims=True), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(x @ x.T, a @ a.T, rtol=1e-4, atol=1e-4)


@needs_metal
@pytest.mark.parametrize("n", [1, 63, 64, 100])
def test_the_last_threadgroup_of_a_custom_kernel_is_partial(n: int) -> None:
    """Each thread writes one element, and none looks whether it is one too many."""
    kernel = mx.fast.metal_kernel(
        name=f"count_{n}",
        input_names=["x"],
        output_names=["out", "width"],
        source="""
            uint i = thread_position_in_grid.x;
            out[i] = x[i] * 2;
            width[i] = threads_per_threadgroup.x;
        """,
    )
    out, width = kernel(
        inputs=[mx.arange(n, dtype=mx.float32)],
        output_shapes=[(n,), (n,)],
        output_dtypes=[mx.float32, mx.uint32],
        grid=(n, 1, 1),
        threadgroup=(64, 1, 1),
    )
    np.testing.assert_array_equal(out, np.arange(n) * 2)
    full = n // 64 * 64
    np.testing.assert_array_equal(width[:full], np.full(full, 64))
    np.testing.assert_array_equal(width[full:], np.full(n - full, min(64, n) if n < 64 else n % 64))


@needs_metal
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 2)])
def test_sums_over_nothing(shape: tuple[int, ...]) -> None:
    x = mx.array(np.zeros(shape, np.float32))
    assert mx.sum(x).item() == 0
    for axis in range(len(shape)):
        np.testing.assert_array_equal(mx.sum(x, axis=axis), np.zeros(shape).sum(axis=axis))
    assert mx.sum(mx.broadcast_to(x[:0].reshape((0, 1)), (0, 4))).item() == 0


@needs_metal
def test_a_long_chain_crosses_command_buffers() -> None:
    before = _core._metal_figures()
    x = mx.zeros((100,))
    for _ in range(120):
        x = mx.cumsum(x + 1) * 0.5
        mx.eval(x)
    expected = np.zeros(100, np.float32)
    for _ in range(120):
        expected = np.cumsum(expected + 1, dtype=np.float32) * np.float32(0.5)
    np.testing.assert_allclose(x, expected, rtol=1e-3)
    after = _core._metal_figures()
    assert after["command_buffers"] - before["command_buffers"] >= 120
    assert after["pipelines"] - before["pipelines"] < 10


@needs_metal
def test_launches_are_said_to_take_what_the_plan_says() -> None:
    g = np.random.default_rng(0)
    a, b, heads, experts = (
        mx.array(g.standard_normal(shape).astype(np.float32))
        for shape in ((40, 40), (40, 40), (1, 4, 3, 32), (3, 40, 24))
    )
    which = mx.array([2, 0], dtype=mx.uint32)
    programs = (
        lambda: mx.exp(a) * b,
        lambda: mx.maximum(a @ b, 0),
        lambda: mx.fast.scaled_dot_product_attention(heads, heads, heads, scale=0.2),
        lambda: mx.gather_mm(a[:2, None], experts, None, which),
    )
    for program in programs:
        mx.eval(program())  # looked at, the first time
        before = _core._metal_figures()["flops"]
        mx.eval(program())
        plan = json.loads(_core._plan_describe(_core._last_plan()))
        flops = sum(launch["flops"] for launch in plan["launches"])
        assert _core._metal_figures()["flops"] - before == flops > 0


@needs_metal
def test_whole_pages_are_read_where_they_lie() -> None:
    pages = np.zeros((1 << 20) + 4096, np.float32)
    start = -pages.ctypes.data % 16384 // 4
    a = pages[start : start + (1 << 20)]
    a[:] = np.arange(1 << 20) % 17
    with mx.stream(mx.cpu):
        x = mx.asarray(a) if hasattr(mx, "asarray") else mx.array(a)
        mx.eval(x)
    with recorded() as log:
        y = (x + 1).sum()
        mx.eval(y)
    assert y.item() == float((a + 1).sum())
    assert _core._lies_on(x) == 0
    assert log.copies() == []


@needs_metal
@needs_double
@pytest.mark.parametrize("code", [1, 2, 3, 5, 7, 9, 10])
def test_a_failed_command_buffer_fails_its_arrays(code: int) -> None:
    x = mx.arange(50, dtype=mx.float32)
    mx.eval(x, x * 2)
    inject(RUN, code)
    y = x * 2
    with pytest.raises(mx.DeviceError, match=rf"MTLCommandBufferErrorDomain {code}"):
        mx.eval(y)
    for _ in range(2):
        with pytest.raises(mx.DeviceError, match="metal: a command buffer of"):
            np.array(y)
    with pytest.raises(mx.DeviceError, match="metal: a command buffer of"):
        mx.eval(y + 1)
    np.testing.assert_array_equal(x * 2, np.arange(50) * 2)


@needs_metal
@needs_double
def test_out_of_memory_is_caught_and_the_device_works_on() -> None:
    mx.eval(mx.ones(1000) + 1)
    mx.clear_cache()
    limit_memory(seen("buffer_bytes") + (8 << 20))
    try:
        with pytest.raises(MemoryError, match="on metal") as error:
            mx.eval(mx.ones(16 << 20) * 2)
        assert error.value.bytes_asked >= 64 << 20
        np.testing.assert_array_equal(mx.ones(1000) + 1, np.full(1000, 2))
    finally:
        limit_memory(8 << 30)
    assert (mx.ones(16 << 20) * 2)[-1].item() == 2


@needs_metal
@needs_double
@pytest.mark.parametrize("point", [POINTS.index(p) for p in ("commands", "encoder")])
def test_what_the_system_refuses_is_an_error(point: int) -> None:
    x = mx.arange(50, dtype=mx.float32)
    mx.eval(x)
    inject(point)
    with pytest.raises(mx.DeviceError, match="metal: the system gave no"):
        mx.eval(x * 5)
    np.testing.assert_array_equal(x * 6, np.arange(50) * 6)


@needs_metal
@needs_double
def test_a_pipeline_that_fails_is_an_error_with_the_kernels_name() -> None:
    x = mx.arange(50, dtype=mx.float32)
    mx.eval(x)
    inject(POINTS.index("pipeline"), times=2)  # also where machine code on disk fails first
    with pytest.raises(mx.DeviceError, match=r"metal: kernel \w+: no pipeline: Compiler"):
        mx.eval(mx.sin(x) * mx.cos(x) - 7)
    inject(POINTS.index("pipeline"), times=0, after=1 << 40)
    np.testing.assert_allclose(mx.sin(x), np.sin(np.arange(50)), atol=1e-5)


@needs_metal
def test_kernels_have_times_of_the_device() -> None:
    x = mx.ones((1 << 16,))
    mx.eval(x)
    before = mx.metal.kernel_times()
    with recorded() as log:
        mx.eval(mx.cumsum(x) + x.sum())
    assert len(log.of("launch")) >= 2
    after = mx.metal.kernel_times()
    timed = {source: after[source] - before[source] for source in after}
    assert sum(timed.values()) >= 2
    if DOUBLE is not None:
        assert (timed["command_buffers"], timed["none"]) == (0, 0)
        assert {(first, clock) for _, first, _, clock in log.of("timed")} == {(0, 2)}
    assert sum(count for *_, count, _ in log.of("timed")) == len(log.of("launch"))
    mx.eval(mx.cumsum(x))
    assert mx.metal.kernel_times() == after


@needs_metal
def test_wired_memory_has_a_limit() -> None:
    assert mx.set_wired_limit(1 << 30) == 0
    try:
        x = mx.zeros(1 << 20) + 1
        mx.eval(x)
        figures = _core._metal_figures()
        assert (figures["wired"] > 0) == figures["residency_sets"]
        if DOUBLE is not None:
            assert seen("resident_bytes") == figures["wired"]
    finally:
        assert mx.set_wired_limit(0) == 1 << 30
    assert _core._metal_figures()["wired"] == 0


@needs_metal
def test_what_was_released_is_not_in_use() -> None:
    before = mx.get_active_memory()
    z = mx.ones((1 << 20,)) + 1
    mx.eval(z)
    mx.synchronize()
    assert mx.get_active_memory() - before == 4 << 20
    del z
    assert mx.get_active_memory() == before


@needs_metal
@needs_double
def test_what_is_under_way_is_in_use() -> None:
    x = mx.ones((1 << 20,))
    mx.eval(x)
    before = mx.get_active_memory()
    with held():
        z = x + 1
        mx.async_eval(z)
        del z
        assert mx.get_active_memory() - before == 4 << 20
    mx.synchronize()
    assert mx.get_active_memory() == before


@needs_metal
@needs_double
def test_a_product_and_a_sum_are_two_roundings() -> None:
    """Safe math alone does not say so to Metal's compiler. A program's own kernel decides."""
    made, exact = seen("libraries"), seen("uncontracted")
    x = mx.arange(7, dtype=mx.float32)
    mx.eval(mx.sin(x) * 3 + mx.cos(x) * x - 11)
    assert seen("libraries") > made
    assert seen("libraries") - made == seen("uncontracted") - exact
    made, exact = seen("libraries"), seen("uncontracted")
    kernel = mx.fast.metal_kernel(
        name="own",
        input_names=["x"],
        output_names=["out"],
        source="uint i = thread_position_in_grid.x; out[i] = x[i] * 2 + 1;",
    )
    grid = {"grid": (7, 1, 1), "threadgroup": (7, 1, 1)}
    mx.eval(kernel(inputs=[x], output_shapes=[(7,)], output_dtypes=[mx.float32], **grid))
    assert (seen("libraries") - made, seen("uncontracted") - exact) == (1, 0)


@needs_metal
@needs_double
def test_a_capture_that_the_system_forbids() -> None:
    assert DOUBLE is not None
    DOUBLE.lamina_double_may_capture(0)
    try:
        with pytest.raises(mx.DeviceError) as error:
            mx.metal.start_capture("x.gputrace")
    finally:
        DOUBLE.lamina_double_may_capture(1)
    said, fix = str(error.value).split("\n")
    assert said.startswith("start_capture: x.gputrace: ")
    assert fix == "Start the process with MTL_CAPTURE_ENABLED=1 in its environment."


@needs_metal
@needs_double
def test_capture(tmp_path: Path) -> None:
    mx.metal.start_capture(str(tmp_path / "x.gputrace"))
    with pytest.raises(mx.DeviceError, match=r"start_capture: .*already capturing"):
        mx.metal.start_capture(str(tmp_path / "y.gputrace"))
    mx.eval(mx.ones(100) * 3)
    mx.metal.stop_capture()
    assert seen("traces") == 1
    with pytest.raises(mx.DeviceError, match="exists"):
        mx.metal.start_capture(str(tmp_path))


@needs_metal
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PRODUCTS", "both", 'expected library or text, got "both"'),
        ("UNFOLDED", "64 MiB", 'expected a number of bytes, got "64 MiB"'),
        ("UNFOLDED", "-1", 'expected a number of bytes, got "-1"'),
    ],
)
def test_a_wish_that_is_none(name: str, value: str, said: str) -> None:
    program = "import lamina.core as mx; mx.eval(mx.add(mx.ones(3), 1, stream=mx.gpu))"
    env = {**os.environ, "LAMINA_GPU": "metal", f"LAMINA_METAL_{name}": value}
    told = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    assert f"LAMINA_METAL_{name}: {said}" in told.stderr.splitlines()[-1]


@pytest.mark.skipif("metal" in _core._device_names(), reason="not applicable: a build with Metal")
def test_without_metal() -> None:
    assert not mx.metal.is_available()
    with pytest.raises(mx.DeviceError, match=r"start_capture\('x.gputrace'\): no Metal device"):
        mx.metal.start_capture("x.gputrace")
    with pytest.raises(mx.DeviceError, match=r"metal.stop_capture\(\): no Metal device"):
        mx.metal.stop_capture()
    with pytest.raises(mx.DeviceError, match=r"metal.kernel_times\(\): no Metal device"):
        mx.metal.kernel_times()


ON_EVERY_DEVICE = (
    "memory",
    "placement",
    "structured_text",
    "custom_kernels",
    "epilogues",
    "bounds",
)
ON_EVERY_DEVICE += ("eigenvalues", "lent_memory", "precompiled_kernels", "scan_groups")
SUITES = [f"tests/devices/test_{n}.py" for n in ("metal_device", "metal_async", *ON_EVERY_DEVICE)]
PRODUCTS = "tests/devices/test_metal_products.py"
SLOW = "tests/devices/test_structured_text.py"


@pytest.mark.skipif("metal" in _core._device_names(), reason="not applicable: a build with Metal")
@pytest.mark.parametrize("suite", [*SUITES, PRODUCTS])
def test_on_the_double(suite: str, tmp_path: Path) -> None:
    """All of it again, in a module with the host and the double."""
    module = BUILD / "metal_module"
    if not module.exists():
        pytest.skip("the double of Metal is not built: make metal-double")
    tree = [sys.executable, "tests/tools/link_tree.py", str(tmp_path / "site"), "--core", module]
    subprocess.run(tree, check=True, cwd=ROOT)
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "LAMINA_GPU": "metal"}
    if suite == PRODUCTS:
        env |= {"LAMINA_METAL_PRODUCTS": "library", "LAMINA_METAL_UNFOLDED": "5000"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", suite]
    if suite == SLOW:  # on the other devices it has run already
        command += ["-k", " and ".join(f"not {name}" for name in PRESENT)]
    said = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=800)
    assert said.returncode == 0, said.stdout[-5000:] + said.stderr[-2000:]
    assert " passed" in said.stdout

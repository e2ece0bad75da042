"""The subset of Metal that is compiled for CUDA too: one result on software Metal and on CUDA, and
no complaint of the real compiler where it is installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from common_subset import CASES

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", CASES)
def test_a_body_means_the_same_on_both(name: str, device: str) -> None:
    case = CASES[name]
    got = np.array(case.run(name))
    np.testing.assert_allclose(got, case.want, rtol=case.rtol, atol=case.atol)


@pytest.mark.parametrize("threads", [8, 40, 50, 64])
@pytest.mark.parametrize("group", [32, 50, 64])
def test_simd_functions_take_in_the_lanes_that_exist(threads: int, group: int, device: str) -> None:
    x = np.random.default_rng(threads).uniform(0.5, 1.5, threads).astype("f")
    functions: dict[str, Callable[[Any], Any]] = {
        "simd_sum": np.sum,
        "simd_product": np.prod,
        "simd_max": np.max,
        "simd_min": np.min,
        "simd_prefix_inclusive_sum": np.cumsum,
        "simd_prefix_exclusive_sum": lambda x: np.cumsum(x) - x,
    }
    source = "uint i = thread_position_in_grid.x;\n" + "".join(
        f"out[{k} * {threads} + i] = {f}(x[i]);\n" for k, f in enumerate(functions)
    )
    kernel = mx.fast.metal_kernel("lanes", ["x"], ["out"], source)
    (y,) = kernel(
        inputs=[mx.array(x)],
        grid=(threads, 1, 1),
        threadgroup=(group, 1, 1),
        output_shapes=[(len(functions), threads)],
        output_dtypes=[mx.float32],
    )
    parts = [
        g[s : s + 32]
        for g in (x[t : t + group] for t in range(0, threads, group))
        for s in range(0, len(g), 32)
    ]
    for row, f in zip(np.array(y), functions.values(), strict=True):
        want = np.concatenate([np.broadcast_to(f(p), p.shape) for p in parts])
        np.testing.assert_allclose(row, want, rtol=1e-5, atol=1e-6)


def test_lanes_of_a_group_in_two_dimensions(device: str) -> None:
    """SIMD-groups go on from row to row."""
    source = """
        uint2 at = thread_position_in_grid.xy;
        out[at.y * 8 + at.x] = simd_sum(1.0f) + 100 * simd_prefix_exclusive_sum(1.0f);
    """
    (y,) = mx.fast.metal_kernel("rows", [], ["out"], source)(
        inputs=[],
        grid=(8, 6, 1),
        threadgroup=(8, 6, 1),
        output_shapes=[(48,)],
        output_dtypes=[mx.float32],
    )
    n = np.arange(48)
    np.testing.assert_array_equal(np.array(y), np.where(n < 32, 32, 16) + 100 * (n % 32))


def test_lanes_that_left_are_left_out(device: str) -> None:
    source = """
        uint i = thread_position_in_grid.x;
        if (i % 3 == 0) return;
        out[i] = simd_sum(1.0f);
    """
    (y,) = mx.fast.metal_kernel("left", [], ["out"], source)(
        inputs=[],
        grid=(32, 1, 1),
        threadgroup=(32, 1, 1),
        output_shapes=[(32,)],
        output_dtypes=[mx.float32],
        init_value=0,
    )
    np.testing.assert_array_equal(np.array(y), np.where(np.arange(32) % 3, 21, 0))


COMPILE_ALL = """
import sys
import lamina.core as mx
from lamina import _core
_core._library_folders([sys.argv[1]])
sys.path.insert(0, sys.argv[2])
from common_subset import CASES
bad = 0
for name, case in CASES.items():
    with mx.stream(mx.cpu):
        try:
            mx.eval(case.run(name))
        except mx.DeviceError:
            pass
        for step in _core._kernel_texts("cuda"):
            for k in step["launches"]:
                try:
                    _core._cuda_compile(k["name"], k["source"], 90)
                except mx.DeviceError as error:
                    bad += 1
                    print(name, error)
print(len(CASES), "texts,", bad, "refused")
sys.exit(bad)
"""


NAME_LINES = """
import sys
import lamina.core as mx
from lamina import _core
_core._library_folders([sys.argv[1]])
bodies = {
    "uint i = thread_position_in_grid.x;\\nout[i] = T(x[i]);": "",
    "out[0] = half_of(x[0]);": "\\n\\nfloat half_of(float x) { return y / 2; }",
}
for body, header in bodies.items():
    with mx.stream(mx.cpu):
        kernel = mx.fast.metal_kernel("bad", ["x"], ["out"], body, header)
        (y,) = kernel(inputs=[mx.ones(4)], grid=(4, 1, 1), threadgroup=(4, 1, 1),
                      output_shapes=[(4,)], output_dtypes=[mx.float32])
        try:
            mx.eval(y)
        except mx.DeviceError:
            pass
        k = _core._kernel_texts("cuda")[-1]["launches"][-1]
        try:
            _core._cuda_compile(k["name"], k["source"], 90)
        except mx.DeviceError as error:
            print(error)
"""


def with_the_real_compiler(program: str) -> str:
    spec = importlib.util.find_spec("nvidia")
    found = [
        library.parent
        for folder in (spec.submodule_search_locations or [] if spec else [])
        for library in Path(folder).rglob("libnvrtc.so.*")
        if ".alt." not in library.name
    ]
    if not found:
        pytest.skip("NVRTC is not installed (nvidia-cuda-nvrtc)")
    command = [sys.executable, "-c", program, str(found[0]), str(HERE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_real_compiler_takes_every_body() -> None:
    assert f"{len(CASES)} texts, 0 refused" in with_the_real_compiler(COMPILE_ALL)


def test_the_real_compiler_names_the_users_lines() -> None:
    said = with_the_real_compiler(NAME_LINES)
    assert 'bad:2: error: identifier "T" is undefined' in said
    assert 'bad header:3: error: identifier "y" is undefined' in said

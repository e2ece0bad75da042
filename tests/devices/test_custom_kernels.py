"""Kernels that a program writes, run by the software Metal and, as CUDA, on a GPU or its double."""

from __future__ import annotations

import re
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from arrays import last_plan
from present import DOUBLE

pytestmark = pytest.mark.usefixtures("device")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("f")


EXP = """
    uint elem = thread_position_in_grid.x;
    T tmp = inp[elem];
    out[elem] = metal::exp(tmp);
"""


def exp(x: mx.array, dtype: Any = mx.float32) -> mx.array:
    kernel = mx.fast.metal_kernel("myexp", ["inp"], ["out"], EXP)
    return kernel(
        inputs=[x],
        template=[("T", dtype)],
        grid=(x.size, 1, 1),
        threadgroup=(256, 1, 1),
        output_shapes=[x.shape],
        output_dtypes=[dtype],
    )[0]


@pytest.mark.parametrize("shape", [(1,), (7, 11), (256,), (3, 200)])
def test_elementwise(shape: tuple[int, ...]) -> None:
    x = normal(*shape)
    y = np.array(exp(mx.array(x)))
    np.testing.assert_allclose(y, np.exp(x), rtol=1e-6)


def test_half_precision() -> None:
    x = normal(33).astype("e")
    y = np.array(exp(mx.array(x), mx.float16))
    np.testing.assert_allclose(y.astype("f"), np.exp(x.astype("f")), rtol=2e-3)


def test_strided_inputs() -> None:
    source = """
        uint elem = thread_position_in_grid.x;
        auto at = elem_to_loc(elem, inp_shape, inp_strides, inp_ndim);
        out[elem] = 2 * inp[at];
    """
    x = normal(6, 5)
    kernel = mx.fast.metal_kernel("twice", ["inp"], ["out"], source, ensure_row_contiguous=False)
    y = kernel(
        inputs=[mx.transpose(mx.array(x), (1, 0))],
        grid=(30, 1, 1),
        threadgroup=(32, 1, 1),
        output_shapes=[(5, 6)],
        output_dtypes=[mx.float32],
    )
    np.testing.assert_array_equal(np.array(y[0]), 2 * x.T)


def test_template_values_scalars_and_headers() -> None:
    kernel = mx.fast.metal_kernel(
        "mix",
        ["x", "by"],
        ["out", "count"],
        "uint i = thread_position_in_grid.x;\n"
        "out[i] = NEGATE ? -scaled(x[i], by) : scaled(x[i], by);\n"
        "if (i == 0) count[0] = N + x_shape[0];",
        header="inline float scaled(float x, float by) { return x * by; }",
    )
    x = normal(10)
    y = kernel(
        inputs=[mx.array(x), 2.5],
        template=[("NEGATE", True), ("N", 7)],
        grid=(10, 1, 1),
        threadgroup=(4, 1, 1),
        output_shapes=[(10,), ()],
        output_dtypes=[mx.float32, mx.int32],
    )
    mx.eval(y)
    out, count = (np.array(v) for v in y)
    np.testing.assert_array_equal(out, -np.float32(2.5) * x)
    assert count == 17


def test_threadgroups_share_memory() -> None:
    source = """
        threadgroup float part[64];
        uint i = thread_position_in_threadgroup.x;
        part[i] = x[thread_position_in_grid.x];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (uint s = 32; s > 0; s /= 2) {
          if (i < s) part[i] += part[i + s];
          threadgroup_barrier(mem_flags::mem_threadgroup);
        }
        if (i == 0) out[threadgroup_position_in_grid.x] = part[0];
    """
    x = normal(256)
    kernel = mx.fast.metal_kernel("sums", ["x"], ["out"], source)
    y = kernel(
        inputs=[mx.array(x)],
        grid=(256, 1, 1),
        threadgroup=(64, 1, 1),
        output_shapes=[(4,)],
        output_dtypes=[mx.float32],
    )
    np.testing.assert_allclose(np.array(y[0]), x.reshape(4, 64).sum(1), rtol=1e-5, atol=1e-5)


# --- a sampler with atomics, and its rule ---------------------------------------------------------

CORNERS = """
    uint i = thread_position_in_grid.x;
    int height = image_shape[0], width = image_shape[1];
    float y = at[2 * i], x = at[2 * i + 1];
    int y0 = int(floor(y)), x0 = int(floor(x));
"""
SAMPLE = (
    CORNERS
    + """
    float sum = 0;
    for (int dy = 0; dy < 2; ++dy)
      for (int dx = 0; dx < 2; ++dx) {
        int r = y0 + dy, c = x0 + dx;
        if (r < 0 || r >= height || c < 0 || c >= width) continue;
        sum += (1 - metal::abs(y - r)) * (1 - metal::abs(x - c)) * image[r * width + c];
      }
    out[i] = sum;
"""
)
SCATTER = (
    CORNERS
    + """
    for (int dy = 0; dy < 2; ++dy)
      for (int dx = 0; dx < 2; ++dx) {
        int r = y0 + dy, c = x0 + dx;
        if (r < 0 || r >= height || c < 0 || c >= width) continue;
        float weight = (1 - metal::abs(y - r)) * (1 - metal::abs(x - c));
        atomic_fetch_add_explicit(&dimage[r * width + c], weight * dout[i], memory_order_relaxed);
      }
"""
)


@mx.custom_function
def sample(image: mx.array, at: mx.array) -> mx.array:
    return mx.fast.metal_kernel("sample", ["image", "at"], ["out"], SAMPLE)(
        inputs=[image, at],
        grid=(at.shape[0], 1, 1),
        threadgroup=(64, 1, 1),
        output_shapes=[(at.shape[0],)],
        output_dtypes=[mx.float32],
    )[0]


@sample.vjp
def sample_vjp(primals: Any, cotangent: mx.array, output: mx.array) -> Any:
    image, at = primals
    kernel = mx.fast.metal_kernel(
        "sample_back", ["image", "at", "dout"], ["dimage"], SCATTER, atomic_outputs=True
    )
    dimage = kernel(
        inputs=[image, at, cotangent],
        grid=(at.shape[0], 1, 1),
        threadgroup=(64, 1, 1),
        output_shapes=[image.shape],
        output_dtypes=[mx.float32],
        init_value=0,
    )[0]
    return dimage, mx.zeros_like(at)


@mx.custom_function
def cube(x: mx.array) -> mx.array:
    return power(x, 3)


@cube.jvp
def cube_jvp(primals: Any, tangents: Any) -> mx.array:
    return 3 * square(primals) * tangents


@cube.vjp
def cube_vjp(primals: Any, cotangent: mx.array, output: mx.array) -> mx.array:
    return 3 * square(primals) * cotangent


@mx.custom_function
def square(x: mx.array) -> mx.array:
    return power(x, 2)


@square.jvp
def square_jvp(primals: Any, tangents: Any) -> mx.array:
    return 2 * primals * tangents


@square.vjp
def square_vjp(primals: Any, cotangent: mx.array, output: mx.array) -> mx.array:
    return 2 * primals * cotangent


def power(x: mx.array, n: int) -> mx.array:
    source = """
        uint i = thread_position_in_grid.x;
        float y = 1;
        for (int k = 0; k < N; ++k) y *= x[i];
        out[i] = y;
    """
    return mx.fast.metal_kernel("power", ["x"], ["out"], source)(
        inputs=[x],
        template=[("N", n)],
        grid=(x.size, 1, 1),
        threadgroup=(32, 1, 1),
        output_shapes=[x.shape],
        output_dtypes=[mx.float32],
    )[0]


def test_forward_derivatives_of_first_and_second_order() -> None:
    x, dx = normal(20), normal(20, seed=1)
    X, DX = mx.array(x), mx.array(dx)
    (y,), (dy,) = mx.jvp(cube, [X], [DX])
    np.testing.assert_allclose(np.array(y), x**3, rtol=1e-5)
    np.testing.assert_allclose(np.array(dy), 3 * x**2 * dx, rtol=1e-5)
    (_,), (ddy,) = mx.jvp(lambda x: mx.jvp(cube, [x], [DX])[1][0], [X], [DX])
    np.testing.assert_allclose(np.array(ddy), 6 * x * dx**2, rtol=1e-5)
    # The two modes on each other: the gradient's change along dx, and the gradient of a change.
    slope = mx.grad(lambda x: cube(x).sum())
    (_,), (turned,) = mx.jvp(slope, [X], [DX])
    np.testing.assert_allclose(np.array(turned), 6 * x * dx, rtol=1e-5)
    second = mx.grad(lambda x: slope(x).sum())(X)
    np.testing.assert_allclose(np.array(second), 6 * x, rtol=1e-5)


def sampling(height: int, width: int, at: np.ndarray) -> np.ndarray:
    """The matrix whose product with the image is what is sampled."""
    rows, columns = np.arange(height), np.arange(width)
    wy = np.clip(1 - np.abs(at[:, :1] - rows), 0, None)
    wx = np.clip(1 - np.abs(at[:, 1:] - columns), 0, None)
    return (wy[:, :, None] * wx[:, None, :]).reshape(len(at), -1)


def test_a_sampler_and_its_gradient() -> None:
    image = normal(9, 8)
    at = np.random.default_rng(1).uniform(-1, 9, (100, 2)).astype("f")
    weights = sampling(9, 8, at)
    out = np.array(sample(mx.array(image), mx.array(at)))
    np.testing.assert_allclose(out, weights @ image.reshape(-1), rtol=1e-4, atol=1e-5)
    gradient = mx.grad(lambda image: mx.sum(sample(image, mx.array(at))))(mx.array(image))
    ones = np.ones(100, "f")
    np.testing.assert_allclose(
        np.array(gradient).reshape(-1), weights.T @ ones, rtol=1e-4, atol=1e-4
    )


# --- mistakes in the text -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "header", "line"),
    [
        ("uint i = thread_position_in_grid.x;\nout[i] = T(x[i]);", "", "bad:2:"),
        ("out[0] = x[0];\nout[1] = nothing;", "", "bad:2:"),
        (
            "out[0] = half_of(x[0]);",
            "\n\nfloat half_of(float x) { return y / 2; }",
            "bad header:3:",
        ),
    ],
)
def test_compilers_name_the_users_lines(body: str, header: str, line: str) -> None:
    kernel = mx.fast.metal_kernel("bad", ["x"], ["out"], body, header)
    y = kernel(
        inputs=[mx.ones(4)],
        grid=(4, 1, 1),
        threadgroup=(4, 1, 1),
        output_shapes=[(4,)],
        output_dtypes=[mx.float32],
    )
    with pytest.raises(mx.DeviceError) as error:
        mx.eval(y)
    assert re.search(rf"\b{line}", str(error.value)), str(error.value)


def test_a_long_axis_that_cuda_does_not_have(device: str) -> None:
    (y,) = mx.fast.metal_kernel(
        "long", [], ["out"], "if (thread_position_in_grid.y == 65535) out[0] = 1;"
    )(
        inputs=[],
        grid=(1, 65536, 1),
        threadgroup=(1, 1, 1),
        output_shapes=[(1,)],
        output_dtypes=[mx.float32],
    )
    if device == "soft_metal":
        assert y.item() == 1
        return
    with pytest.raises(mx.ArgumentError, match="metal_kernel long: the grid has 65536 threadgroup"):
        mx.eval(y)


@pytest.mark.parametrize("where", ["inputs", "outputs"])
def test_float64_is_named_where_the_device_lacks_it(where: str, device: str) -> None:
    wide = np.ones(4)
    kernel = mx.fast.metal_kernel("wide", ["x"], ["out"], "out[0] = x[0] + 1;")

    def y() -> mx.array:
        return kernel(
            inputs=[mx.array(wide, mx.float64 if where == "inputs" else mx.float32)],
            grid=(1, 1, 1),
            threadgroup=(1, 1, 1),
            output_shapes=[(1,)],
            output_dtypes=[mx.float64 if where == "outputs" else mx.float32],
        )[0]

    if device == "cuda":
        assert y().item() == 2
        return
    with pytest.raises(mx.DtypeError) as error:
        y()
    assert str(error.value) == "metal_kernel wide: kernels on this device have no float64"


def test_the_text_and_its_device_are_in_the_plan(device: str) -> None:
    x = mx.array(normal(6))
    y = exp(x * 2) + 1
    np.testing.assert_allclose(np.array(y), np.exp(2 * np.array(x)) + 1, rtol=1e-5)
    plan = last_plan()
    assert plan["device"] == device
    (group,) = [g for g in plan["groups"] if g["label"] == "myexp"]
    assert EXP in group["text"]


def test_verbose_prints_what_is_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    kernel = mx.fast.metal_kernel("shown", ["x"], ["out"], "out[0] = 2 * x[0];")
    (y,) = kernel(
        inputs=[mx.ones(1)],
        grid=(1, 1, 1),
        threadgroup=(1, 1, 1),
        output_shapes=[(1,)],
        output_dtypes=[mx.float32],
        verbose=True,
    )
    said = capsys.readouterr().out
    assert "kernel void custom_kernel_shown(" in said and "out[0] = 2 * x[0];" in said
    assert y.item() == 2


def test_a_launch_in_three_dimensions() -> None:
    """The grid counts threads; the last groups along each axis are partial."""
    source = """
        uint3 at = thread_position_in_grid;
        uint i = (at.z * threads_per_grid.y + at.y) * threads_per_grid.x + at.x;
        atomic_fetch_add_explicit(&seen[i], 1, memory_order_relaxed);
        atomic_fetch_max_explicit(&most[0], threads_per_threadgroup.x, memory_order_relaxed);
    """
    kernel = mx.fast.metal_kernel("visit", [], ["seen", "most"], source, atomic_outputs=True)
    seen, most = kernel(
        inputs=[],
        grid=(7, 5, 3),
        threadgroup=(4, 2, 2),
        output_shapes=[(3, 5, 7), (1,)],
        output_dtypes=[mx.int32, mx.uint32],
        init_value=0,
    )
    np.testing.assert_array_equal(np.array(seen), np.ones((3, 5, 7)))
    assert most.item() == 4


def test_rows_are_copied_first_unless_told_otherwise() -> None:
    a = normal(4, 3)
    source = "uint i = thread_position_in_grid.x;\nout[i] = x[i];"
    for contiguous, want in ((True, a.T), (False, a.reshape(3, 4))):
        kernel = mx.fast.metal_kernel(
            "as_it_lies", ["x"], ["out"], source, ensure_row_contiguous=contiguous
        )
        (y,) = kernel(
            inputs=[mx.array(a).T],
            grid=(12, 1, 1),
            threadgroup=(12, 1, 1),
            output_shapes=[(3, 4)],
            output_dtypes=[mx.float32],
        )
        np.testing.assert_array_equal(np.array(y), want)


def test_a_cuda_body_has_what_cuda_has(device: str) -> None:
    source = """
        extern __shared__ float part[];
        int i = blockIdx.x * blockDim.x + threadIdx.x;
        part[threadIdx.x] = x[i];
        __syncthreads();
        out[i] = by * part[blockDim.x - 1 - threadIdx.x];
    """
    x = normal(128)
    kernel = mx.fast.cuda_kernel("turned", ["x", "by"], ["out"], source, shared_memory=32 * 4)
    (y,) = kernel(
        inputs=[mx.array(x), 3.0],
        grid=(128, 1, 1),
        threadgroup=(32, 1, 1),
        output_shapes=[(128,)],
        output_dtypes=[mx.float32],
    )
    if device == "cuda":
        np.testing.assert_array_equal(np.array(y).reshape(4, 32), 3 * x.reshape(4, 32)[:, ::-1])
        return
    with pytest.raises(mx.DeviceError, match="turned: this device compiles Metal text, not CUDA"):
        mx.eval(y)


def test_a_cuda_body_has_the_half_types(device: str) -> None:
    kernel = mx.fast.cuda_kernel(
        "rounded", ["x"], ["out"], "half h = x[0];\nbfloat b = x[0];\nout[0] = h, out[1] = b;"
    )
    (y,) = kernel(
        inputs=[mx.array([0.1])],
        grid=(1, 1, 1),
        threadgroup=(1, 1, 1),
        output_shapes=[(2,)],
        output_dtypes=[mx.float32],
    )
    if device == "cuda":
        assert y.tolist() == [np.float32(np.float16(0.1)), 0.10009765625]


def test_more_shared_memory_than_the_device_has(device: str) -> None:
    if device != "cuda" or DOUBLE is None:
        pytest.skip("not applicable: the double of a GPU has 48 KiB")
    kernel = mx.fast.cuda_kernel("greedy", ["x"], ["out"], "out[0] = x[0];", shared_memory=1 << 16)
    (y,) = kernel(
        inputs=[mx.ones(1)],
        grid=(1, 1, 1),
        threadgroup=(1, 1, 1),
        output_shapes=[(1,)],
        output_dtypes=[mx.float32],
    )
    with pytest.raises(mx.ArgumentError) as error:
        mx.eval(y)
    assert str(error.value) == (
        "cuda: kernel custom_kernel_greedy asks for 65536 bytes of shared memory, a threadgroup of "
        "this GPU has 49152"
    )

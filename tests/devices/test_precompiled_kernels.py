"""Kernels that were compiled elsewhere (`mx.fast.precompiled_cuda_kernel`), on a GPU of NVIDIA's or
its double: the run-time compiler makes the modules here that a program would bring in a file."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from present import DOUBLE, PRESENT, recorded

SAXPY = """
extern "C" __global__ void saxpy(const float* x, const float* y, float* out, int n, float a,
                                 bool twice) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = (twice ? 2 : 1) * a * x[i] + y[i];
}
"""
COUNT = """
extern "C" __global__ void count(const int* x, int* out) {
  atomicAdd(&out[x[threadIdx.x]], 1);
}
"""


def module(source: str) -> bytes:
    """The source, compiled by NVRTC to a cubin for this machine's GPU."""
    nvrtc = DOUBLE if DOUBLE is not None else ctypes.CDLL("libnvrtc.so")
    program = ctypes.c_void_p()

    def done(result: int) -> None:
        assert result == 0, result

    done(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"module.cu", 0, 0, 0))
    architecture = mx.device_info(mx.gpu)["architecture"].encode()
    options = (ctypes.c_char_p * 1)(b"--gpu-architecture=" + architecture)
    done(nvrtc.nvrtcCompileProgram(program, 1, options))
    size = ctypes.c_size_t()
    done(nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)))
    image = ctypes.create_string_buffer(size.value)
    done(nvrtc.nvrtcGetCUBIN(program, image))
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return image.raw


@pytest.fixture(params=["cuda"] if "cuda" in PRESENT else [])
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("LAMINA_GPU", "cuda")
    with mx.stream(mx.gpu):
        yield request.param


def saxpy(image: bytes, x: mx.array, y: mx.array, a: float = 3.0, **options: Any) -> mx.array:
    given: dict[str, Any] = {
        "name": "saxpy",
        "compiled_source": image,
        "inputs": [x, y],
        "output_shapes": [x.shape],
        "output_dtypes": [mx.float32],
        "scalars": [x.size, a, False],
        "grid": (x.size, 1, 1),
        "threadgroup": (64, 1, 1),
    }
    return mx.fast.precompiled_cuda_kernel(**(given | options))[0]


def test_arrays_then_scalars(cuda: str) -> None:
    image = module(SAXPY)
    x, y = (np.random.default_rng(k).standard_normal(300).astype("f4") for k in (0, 1))
    one, two = mx.array(x), mx.array(y)
    np.testing.assert_allclose(np.array(saxpy(image, one, two)), 3 * x + y, rtol=1e-5, atol=1e-6)
    for a in (0.5, -7.0):
        got = saxpy(image, one, two, scalars=[300, a, True]) + 1
        np.testing.assert_allclose(
            np.array(got), 2 * np.float32(a) * x + y + 1, rtol=1e-5, atol=1e-6
        )


def test_outputs_are_initialised(cuda: str) -> None:
    x = np.array([0, 3, 3, 1, 3, 0, 2, 2], np.int32)
    (got,) = mx.fast.precompiled_cuda_kernel(
        name="count",
        compiled_source=module(COUNT),
        inputs=[x],
        output_shapes=[(5,)],
        output_dtypes=[mx.int32],
        scalars=[],
        grid=(8, 1, 1),
        threadgroup=(8, 1, 1),
        init_value=10,
    )
    np.testing.assert_array_equal(np.array(got), 10 + np.bincount(x, minlength=5))


def test_inputs_are_copied_to_rows_on_request(cuda: str) -> None:
    image = module(SAXPY)
    a = np.arange(12, dtype="f4").reshape(3, 4)
    x = mx.array(a).T
    got = saxpy(image, x, mx.zeros(12), output_shapes=[(4, 3)], ensure_row_contiguous=True)
    np.testing.assert_array_equal(np.array(got), 3 * a.T)


def test_it_is_a_step_of_the_plan(cuda: str) -> None:
    x = mx.array(np.ones(8, "f4"))
    mx.eval(x)
    with recorded() as record:
        mx.eval(saxpy(module(SAXPY), x, x))
    (plan,) = record.plans()
    (group,) = plan["groups"]
    assert group["label"] == "saxpy"
    assert "compiled elsewhere" in group["text"]


def test_a_rule_of_its_own(cuda: str) -> None:
    image = module(SAXPY)

    @mx.custom_function
    def scaled(x: mx.array) -> mx.array:
        return saxpy(image, x, mx.zeros(x.shape))

    @scaled.vjp
    def scaled_vjp(primals: Any, cotangent: mx.array, output: mx.array) -> Any:
        return saxpy(image, cotangent, mx.zeros(cotangent.shape))

    x = mx.array(np.arange(6, dtype="f4"))
    np.testing.assert_array_equal(np.array(mx.grad(lambda x: mx.sum(scaled(x)))(x)), np.full(6, 3))
    with pytest.raises(mx.TraceError, match="saxpy"):
        mx.grad(lambda x: mx.sum(saxpy(image, x, x)))(x)


def test_what_the_driver_cannot_load(cuda: str) -> None:
    x = mx.array(np.ones(8, "f4"))
    with pytest.raises(mx.DeviceError, match="loading the module given for saxpy"):
        mx.eval(saxpy(b"no module at all", x, x))
    mx.eval(saxpy(module(SAXPY), x, x))


def test_on_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    x = mx.array(np.ones(8, "f4"))
    with mx.stream(mx.cpu), pytest.raises(mx.DeviceError, match=r"saxpy.*does not run on the CPU"):
        mx.eval(saxpy(b"module", x, x))
    if "soft_metal" not in PRESENT:
        return
    monkeypatch.setenv("LAMINA_GPU", "soft_metal")
    with mx.stream(mx.gpu), pytest.raises(mx.DeviceError, match="does not run on this device"):
        mx.eval(saxpy(b"module", x, x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": (0, 1, 1)}, "saxpy: grid must be three positive numbers of threads"),
        ({"threadgroup": (2048, 1, 1)}, "2048 threads, 1024 are possible"),
        ({"compiled_source": b""}, "compiled_source is empty"),
        ({"scalars": [1 << 40]}, "does not fit into an int of C"),
        ({"output_dtypes": []}, "1 output_shapes and 0 output_dtypes"),
        ({"output_shapes": [], "output_dtypes": []}, "needs one output or more"),
        ({"shared_memory": -4}, "shared_memory must be 0 or more bytes"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    x = mx.array(np.ones(8, "f4"))
    with pytest.raises(ValueError, match=message):
        saxpy(b"module", x, x, **options)


def test_scalars_are_numbers() -> None:
    x = mx.array(np.ones(8, "f4"))
    with pytest.raises(TypeError, match="scalars must be bools, ints or floats, got 'n'"):
        saxpy(b"module", x, x, scalars=["n"])

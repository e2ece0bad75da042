"""Structured operations with kernel text, on every device of the machine: the CPU's values, and
nothing goes across on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from lamina import _core
from present import LACKS, recorded

rng = np.random.default_rng(5)
LOOSE = {mx.float32: 2e-6, mx.float16: 2e-3, mx.bfloat16: 1.6e-2, mx.complex64: 2e-6}


def f32(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def check(
    gpu: str, f: Callable[..., Any], *inputs: Any, tolerance: float | None = None
) -> None:
    """f on the device against f on the CPU; what the device lacks a dtype for may go across."""
    on_cpu = [x if isinstance(x, mx.array) else mx.array(x) for x in inputs]
    mx.eval(on_cpu)
    with mx.stream(mx.cpu):
        want = f(*on_cpu)
        mx.eval(want)
    # The values lie on the device before anything is looked at.
    there = [mx.contiguous(x, stream=mx.gpu) for x in on_cpu]
    mx.eval(there)
    with recorded() as record, mx.stream(mx.gpu):
        got = f(*there)
        mx.eval(got)
    number = int(_core._device_named(gpu))
    if stays := not {str(x.dtype).split(".")[-1] for x in there} & LACKS[gpu]:
        assert {p["device"] for p in record.plans()} <= {gpu}
        assert record.copies() == []
    wants, gots = (list(x) if isinstance(x, list | tuple) else [x] for x in (want, got))
    for w, g in zip(wants, gots, strict=True):
        assert w.dtype == g.dtype
        assert not stays or g.size == 0 or _core._lies_on(g) == number
        loose = LOOSE.get(w.dtype, 0) if tolerance is None else tolerance
        one, two = (np.array(x.astype(mx.float32) if x.dtype == mx.bfloat16 else x) for x in (w, g))
        scale = max(1.0, float(np.abs(one).max(initial=0)))
        np.testing.assert_allclose(two, one, rtol=loose, atol=loose * scale)


# --- quantized ------------------------------------------------------------------------------------

FORMATS = [("affine", g, b) for g, b in ((32, 1), (64, 2), (32, 3), (128, 4), (64, 5), (32, 6))]
FORMATS += [("affine", 32, 8), ("mxfp4", 32, 4), ("mxfp8", 32, 8), ("nvfp4", 16, 4)]


def how(q: tuple[str, int, int]) -> dict[str, Any]:
    return {"mode": q[0], "group_size": q[1], "bits": q[2]}


@pytest.mark.parametrize("q", FORMATS, ids=str)
def test_quantize_and_dequantize(q: Any, gpu: str) -> None:
    x = mx.array(f32(3, 4, 256), dtype=mx.float16)
    check(gpu, lambda x: mx.quantize(x, **how(q)), x, tolerance=0)
    codes = mx.quantize(x, **how(q))
    check(gpu, lambda *c: mx.dequantize(*c, **how(q)), *codes)
    check(gpu, lambda *c: mx.dequantize(*(v[::-2] for v in c), **how(q)), *codes)


@pytest.mark.parametrize("q", FORMATS, ids=str)
@pytest.mark.parametrize("transpose", [True, False])
def test_quantized_product(q: Any, transpose: bool, gpu: str) -> None:
    codes = mx.quantize(mx.array(f32(*((37, 128) if transpose else (37, 128)))), **how(q))
    depth = 128 if transpose else 37
    for rows in (1, 6, 34):
        check(
            gpu,
            lambda x, *c: mx.quantized_matmul(x, *c, transpose=transpose, **how(q)),
            f32(rows, depth),
            *codes,
            tolerance=1e-5,
        )


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_quantized_product_dtypes(dtype: mx.Dtype, gpu: str) -> None:
    codes = mx.quantize(mx.array(f32(20, 1024), dtype=dtype))
    for rows in (1, 40):
        x = mx.array(f32(rows, 1024), dtype=dtype)
        check(gpu, lambda x, *c: mx.quantized_matmul(x, *c), x, *codes)


def test_quantized_product_views(gpu: str) -> None:
    def product(x: mx.array, *codes: mx.array) -> mx.array:
        return mx.quantized_matmul(x, *codes, bits=8)

    x, codes = f32(2, 3, 5, 64), mx.quantize(mx.array(f32(3, 7, 64)), bits=8)
    check(gpu, product, x, *codes, tolerance=1e-5)
    check(gpu, lambda x, *c: product(x[:, ::-1, ::2], *(v[::-1] for v in c)), x, *codes)
    check(gpu, lambda x, *c: product(mx.tile(x, (1, 1, 8, 1))[0], *c), x, *codes, tolerance=1e-5)
    check(gpu, lambda x, *c: product(x[:, :, :0], *c), x, *codes)
    check(gpu, lambda x, *c: product(x[..., ::-1], *c), x, *codes, tolerance=1e-5)


@pytest.mark.parametrize("rows", [1, 5, 33])
@pytest.mark.parametrize("transpose", [True, False])
def test_gathered_quantized_product(rows: int, transpose: bool, gpu: str) -> None:
    codes = mx.quantize(mx.array(f32(4, 64, 64)))
    left, right = np.array([[0, 1], [2, -1]], np.int32), np.array([[3], [-2]], np.int64)

    def product(x: mx.array, i: mx.array, j: mx.array, *c: mx.array) -> mx.array:
        return mx.gather_qmm(x, *c, lhs_indices=i, rhs_indices=j, transpose=transpose)

    check(gpu, product, f32(3, rows, 64), left, right, *codes, tolerance=1e-5)
    # mlx-lm's experts: a token a matrix.
    tokens, chosen = f32(6, 1, 1, 64), np.array([[0, 2], [1, 1], [3, 0]] * 2, np.uint32)
    check(
        gpu,
        lambda x, j, *c: mx.gather_qmm(x, *c, rhs_indices=j, transpose=transpose),
        tokens,
        chosen,
        *codes,
        tolerance=1e-5,
    )


def test_products_of_rounded_factors(gpu: str) -> None:
    w = mx.array(f32(24, 64))
    for mode in ("nvfp4", "mxfp8"):
        codes = mx.quantize(w, mode=mode)
        check(gpu, lambda x, *c, m=mode: mx.qqmm(x, *c, mode=m), f32(3, 64), *codes, tolerance=1e-5)
        check(gpu, lambda x, w, m=mode: mx.qqmm(x, w, mode=m), f32(3, 64), w, tolerance=1e-5)


def test_eight_bit_floats(gpu: str) -> None:
    x = f32(300) * 100
    check(gpu, lambda x: mx.to_fp8(x), x, tolerance=0)
    check(gpu, lambda x: mx.from_fp8(x, mx.float32), np.arange(256, dtype=np.uint8), tolerance=0)


# --- products of gathered matrices, of segments ---------------------------------------------------


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.complex64])
@pytest.mark.parametrize("rows", [1, 9, 40])
def test_gathered_product(dtype: mx.Dtype, rows: int, gpu: str) -> None:
    a = mx.array(f32(3, rows, 48)).astype(dtype)
    b, turned = mx.array(f32(2, 48, 21)).astype(dtype), mx.array(f32(2, 21, 48)).astype(dtype)
    left, right = np.array([0, 2, 2, -1, 1], np.int32), np.array([1, 1, 0, -2, 0])
    loose = LOOSE[dtype] * 10
    check(gpu, mx.gather_mm, a, b, left, right.astype(np.int8), tolerance=loose)
    check(
        gpu,
        lambda a, b, i, j: mx.gather_mm(a, mx.swapaxes(b, -1, -2), i, j),
        *(a, turned, left, right.astype(np.int64)),
        tolerance=loose,
    )
    check(
        gpu,
        lambda a, b, i, j: mx.gather_mm(a[..., ::-2], b[:, 1::2, ::-1], i, j),
        *(a, b, left, right.astype(np.int32)),
        tolerance=loose,
    )


def test_numbers_out_of_range_give_zero(gpu: str) -> None:
    if gpu == "apart":
        return
    a, b, i = mx.array(f32(3, 2, 64)), mx.array(f32(2, 64, 64)), mx.array([0, 3, -4])
    zero, codes = mx.array([0, 0, 0]), mx.quantize(b)
    with mx.stream(mx.gpu):
        for y in (mx.gather_mm(a, b, i, zero), mx.gather_qmm(a, *codes, i, zero)):
            assert np.abs(np.array(y[0])).max() > 0
            assert np.array(y[1:]).max() == np.array(y[1:]).min() == 0
        wide = mx.tile(a, (1, 20, 1))
        assert np.abs(np.array(mx.gather_mm(wide, b, i, zero)[1:])).max() == 0
        cut = mx.segmented_mm(a[0], b[0], mx.array([[-5, 4], [60, 90], [9, 3]]))
        np.testing.assert_allclose(cut[0], np.array(a[0, :, :4] @ b[0, :4]), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(cut[1], np.array(a[0, :, 60:] @ b[0, 60:]), rtol=1e-4, atol=1e-4)
        assert np.abs(np.array(cut[2])).max() == 0


def test_segmented_product(gpu: str) -> None:
    segments = np.array([[[0, 10], [10, 50]], [[50, 100], [7, 7]], [[0, 100], [3, 4]]], np.uint32)
    check(gpu, mx.segmented_mm, f32(70, 100), f32(100, 9), segments, tolerance=1e-5)
    check(
        gpu,
        lambda a, b, s: mx.segmented_mm(a.T, b[:, ::-1], s),
        *(f32(100, 3), f32(100, 9), segments[1].astype(np.int64)),
        tolerance=1e-5,
    )


def test_masked_product(gpu: str) -> None:
    keep = rng.random((3, 2)) > 0.5
    check(
        gpu,
        lambda a, b, m: mx.block_masked_mm(a, b, 32, mask_lhs=m),
        *(f32(70, 64), f32(64, 20), keep),
        tolerance=1e-5,
    )


# --- Fourier transforms ---------------------------------------------------------------------------

# Passes of every radix, chirps, lines cut into columns, and chirps of such lines.
SIZES = [1, 2, 3, 8, 60, 121, 169, 343, 17, 58, 127, 2048, 4096, 2100 * 3, 4099]


@pytest.mark.parametrize("n", SIZES)
def test_transforms(n: int, gpu: str) -> None:
    z = (f32(3, n) + 1j * f32(3, n)).astype(np.complex64)
    check(gpu, mx.fft.fft, z)
    check(gpu, mx.fft.ifft, z)
    if gpu != "apart" and "complex64" not in LACKS[gpu]:
        with mx.stream(mx.gpu):
            got = np.array(mx.fft.fft(mx.array(z)))
        want = np.fft.fft(z.astype(np.complex128))
        assert np.abs(got - want).max() < 1e-6 * np.abs(want).max()
    check(gpu, mx.fft.rfft, f32(3, n))
    check(gpu, lambda z: mx.fft.irfft(z, n=n), z[:, : n // 2 + 1])


def test_transforms_along_other_axes(gpu: str) -> None:
    z = (f32(5, 12, 7) + 1j * f32(5, 12, 7)).astype(np.complex64)
    for axis in (0, 1):
        check(gpu, lambda z, a=axis: mx.fft.fft(z, axis=a), z)
        check(gpu, lambda z, a=axis: mx.fft.rfft(mx.real(z[::-1, :, ::2]), axis=a), z)
        check(gpu, lambda z, a=axis: mx.fft.irfft(mx.swapaxes(z, 0, 2), axis=a), z)
    check(gpu, lambda z: mx.fft.fft2(z, axes=(0, 1)), z)
    check(gpu, lambda z: mx.fft.fft(z[:0], axis=1), z)
    long = (f32(4100, 2) + 1j * f32(4100, 2)).astype(np.complex64)
    check(gpu, lambda z: mx.fft.fft(z, axis=0), long)
    check(gpu, lambda z: mx.fft.rfft(mx.real(z), axis=0), long)

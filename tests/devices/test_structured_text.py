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
    gpu: str,
    f: Callable[..., Any],
    *inputs: Any,
    tolerance: float | None = None,
    constants: bool = False,
) -> None:
    """f on the device against f on the CPU; what the device lacks a dtype for may go across, and
    `constants` that f has besides its inputs must go there."""
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
    wants, gots = (list(x) if isinstance(x, list | tuple) else [x] for x in (want, got))
    if stays := not {str(x.dtype).split(".")[-1] for x in [*there, *wants]} & LACKS[gpu]:
        assert {p["device"] for p in record.plans()} <= {gpu}
        assert constants or record.copies() == []
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
    codes = mx.quantize(mx.array(f32(37, 128)), **how(q))
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


def test_experts_of_many_tokens(gpu: str) -> None:
    """Neighbours with the same matrix read it once; one that is not there gives zero."""
    codes, dense = mx.quantize(mx.array(f32(5, 24, 64))), mx.array(f32(5, 24, 64))
    for chosen in (np.sort(rng.integers(0, 5, 37)), rng.integers(0, 5, 37)):
        i = chosen.astype(np.uint32)
        tokens = f32(37, 1, 64)
        check(
            gpu,
            lambda x, i, *c: mx.gather_qmm(x, *c, rhs_indices=i, sorted_indices=True),
            *(tokens, i, *codes),
            tolerance=1e-5,
        )
        check(
            gpu,
            lambda x, i, w: mx.gather_mm(x[:, :, ::-1], mx.swapaxes(w, -1, -2), None, i),
            *(tokens, i, dense),
            tolerance=1e-5,
        )
        few = f32(3, 1, 64)
        check(
            gpu,
            lambda x, j, i, *c: mx.gather_qmm(x, *c, lhs_indices=j, rhs_indices=i),
            *(few, np.arange(37) % 3 - 3, i, *codes),
            tolerance=1e-5,
        )
    if gpu == "apart":
        return
    with mx.stream(mx.gpu):
        i = mx.array(np.arange(20) - 7)
        y = np.array(mx.gather_mm(mx.array(f32(20, 1, 64)), mx.swapaxes(dense, -1, -2), None, i))
    there = np.abs(y).max((1, 2)) > 0
    assert there.tolist() == [-5 <= k < 5 for k in np.arange(20) - 7]


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


@pytest.mark.parametrize("n", [1, 8, 64, 2048])
def test_hadamard(n: int, gpu: str) -> None:
    check(gpu, mx.hadamard_transform, f32(3, n), tolerance=1e-5)


# --- Fourier transforms ---------------------------------------------------------------------------

# Passes of every radix, chirps, lines cut into columns, and chirps of such lines.
SIZES = [1, 2, 3, 8, 60, 121, 169, 343, 17, 58, 127, 2048, 4096, 2100 * 3, 4099]
TWICE_CUT = 13**5  # 169 columns, rows of 2197, which are 13 columns of 169


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


def test_rows_are_cut_again(gpu: str) -> None:
    if "complex64" in LACKS[gpu]:
        return
    z = (f32(TWICE_CUT) + 1j * f32(TWICE_CUT)).astype(np.complex64)
    with mx.stream(mx.gpu):
        got = np.array(mx.fft.ifft(mx.array(z)))
    want = np.fft.ifft(z.astype(np.complex128))
    assert np.abs(got - want).max() < 1e-6 * np.abs(want).max()


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


# --- attention ------------------------------------------------------------------------------------


def attend(q: mx.array, k: mx.array, v: mx.array, mask: Any = None, **more: Any) -> mx.array:
    return mx.fast.scaled_dot_product_attention(
        q, k, v, scale=0.2, mask=mask, force_fused=True, **more
    )


# B, heads, groups, queries, keys, width of keys, width of values: few rows and many keys (each
# SIMD-group, or threadgroup, has its own), many rows, odd widths.
ATTENTIONS = [
    (1, 2, 2, 1, 3, 32, 32),
    (2, 4, 1, 1, 70, 64, 64),
    (1, 8, 2, 1, 1100, 64, 96),
    (1, 2, 1, 100, 100, 32, 64),
    (2, 3, 3, 5, 7, 8, 20),
    (1, 2, 1, 40, 33, 256, 256),
    (1, 16, 16, 20, 33, 128, 128),
    (1, 1, 1, 1, 600, 80, 40),
]


def parts_of(case: tuple[int, ...], dtype: mx.Dtype = mx.float32) -> list[mx.array]:
    b, h, g, t, s, d, e = case
    return [mx.array(f32(*n), dtype=dtype) for n in ((b, h, t, d), (b, g, s, d), (b, g, s, e))]


@pytest.mark.parametrize("case", ATTENTIONS, ids=str)
def test_attention(case: tuple[int, ...], gpu: str) -> None:
    b, h, _, t, s, _, _ = case
    q, k, v = parts_of(case)
    check(gpu, attend, q, k, v, tolerance=1e-5)
    check(
        gpu,
        lambda q, k, v, i: attend(q, k, v, "causal", sinks=i),
        *(q, k, v, f32(h)),
        tolerance=1e-5,
    )
    masks = [rng.random((s,)) > 0.3, f32(h, 1, s), f32(b, 1, t, s).astype(np.float16)]
    check(gpu, attend, q, k, v, masks[ATTENTIONS.index(case) % 3], tolerance=1e-5)


@pytest.mark.parametrize("case", ATTENTIONS[1:4], ids=str)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_attention_of_short_floats(case: tuple[int, ...], dtype: mx.Dtype, gpu: str) -> None:
    q, k, v = parts_of(case, dtype)
    check(gpu, lambda q, k, v: attend(q, k, v, "causal"), q, k, v)
    if gpu == "apart":
        return
    # Nothing is rounded on the way but the result.
    wide = [x.astype(mx.float32) for x in (q, k, v)]
    with mx.stream(mx.gpu):
        got, want = attend(q, k, v), attend(*wide).astype(dtype)
    ulp = 1e-3 if dtype == mx.float16 else 8e-3
    got, want = (np.array(x.astype(mx.float32)) for x in (got, want))
    np.testing.assert_allclose(got, want, rtol=ulp, atol=1e-6)


def test_attention_is_one_operation_for_few_queries(gpu: str) -> None:
    if gpu == "apart":
        return
    x = mx.array(f32(1, 2, 70, 32))

    def names(queries: int, **more: Any) -> set[str]:
        with recorded() as record, mx.stream(mx.gpu):
            mx.eval(mx.fast.scaled_dot_product_attention(x[:, :, :queries], x, x, scale=1, **more))
        return {n["op"] for p in record.plans() for n in p["nodes"]}

    assert "attention" in names(1) and "attention" in names(32)
    assert "attention" not in names(33)
    assert "attention" in names(33, force_fused=True)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16])
def test_attention_as_one_operation_on_the_cpu(dtype: mx.Dtype) -> None:
    """What runs where a device has text but not the dtype."""
    for case in ATTENTIONS[1:5]:
        q, k, v = parts_of(case, dtype)
        b, h, _, t, s, _, _ = case
        sinks = mx.array(f32(h))
        for mask in (None, "causal", mx.array(f32(b, h, t, s)), mx.array(rng.random(s) > 0.3)):
            causal = isinstance(mask, str)
            got = _core._attention(q, k, v, 0.2, causal, None if causal else mask, sinks)
            want = attend(q, k, v, mask, sinks=sinks)
            one, two = (np.array(x.astype(mx.float32)) for x in (got, want))
            np.testing.assert_allclose(one, two, rtol=LOOSE[dtype] * 3, atol=LOOSE[dtype] * 3)


def test_attention_of_views(gpu: str) -> None:
    # As models have them: (B, T, H, D) with the axes swapped, and a part of a cache.
    x, y = f32(2, 9, 4, 64), f32(2, 2, 50, 128)
    check(
        gpu,
        lambda x, y: attend(mx.swapaxes(x, 1, 2), y[:, :, :40, :64], y[:, ::-1, 10:, ::2]),
        *(x, y),
        tolerance=1e-5,
    )


def test_attention_of_one_batch_for_all(gpu: str) -> None:
    check(gpu, lambda q, k: attend(q, k, k), f32(3, 2, 4, 32), f32(1, 2, 5, 32), tolerance=1e-5)


def test_attention_of_nothing_and_of_infinities(gpu: str) -> None:
    q = mx.array(f32(1, 2, 4, 32))
    # Queries 0 and 1 see no key: nothing is divided by nothing.
    check(gpu, lambda q: mx.isnan(attend(q, q[:, :, :2], q[:, :, :2], "causal")), q)
    masked = np.array([True, False, False, False])
    check(gpu, lambda q, m: attend(q, q, q, m), q, masked)
    check(gpu, lambda q: attend(q[:, :, :0], q, q), q)
    check(gpu, lambda q: attend(q * 1e4, q, q, "causal"), q, tolerance=1e-4)
    bad = f32(1, 2, 4, 32)
    bad[:, :, 2] = np.nan
    check(gpu, lambda q, k: mx.isnan(attend(q, k, q)), q, bad)


@pytest.mark.parametrize("kind", ["none", "causal", "boolean", "added"])
def test_attention_derivatives(kind: str, gpu: str) -> None:
    q, k, v = f32(2, 4, 5, 8), f32(2, 2, 7, 8), f32(2, 2, 7, 6)
    mask: Any = {"boolean": mx.array(rng.random((5, 7)) > 0.2), "added": mx.array(f32(4, 5, 7))}
    mask = mask.get(kind, "causal" if kind == "causal" else None)
    ct, sinks = mx.array(f32(2, 4, 5, 6)), mx.array(f32(4))

    def loss(q: mx.array, k: mx.array, v: mx.array, i: mx.array) -> mx.array:
        return mx.sum(attend(q, k, v, mask, sinks=i) * ct)

    check(gpu, mx.grad(loss, argnums=(0, 1, 2, 3)), q, k, v, sinks, tolerance=1e-5, constants=True)
    if kind == "added":
        check(
            gpu,
            mx.grad(lambda m: mx.sum(attend(*map(mx.array, (q, k, v)), m) * ct)),
            mask,
            constants=True,
        )
    tangents = [mx.array(f32(*x.shape)) for x in (q, k, v, sinks)]
    check(
        gpu,
        lambda *x: mx.jvp(loss, list(x), tangents)[1],
        q,
        k,
        v,
        sinks,
        tolerance=1e-5,
        constants=True,
    )
    # Twice, and under vmap.
    slope = mx.grad(lambda q, k, v, i: mx.sum(mx.grad(loss)(q, k, v, i) ** 2), argnums=(1, 2))
    check(gpu, slope, q, k, v, sinks, tolerance=1e-4, constants=True)
    several = f32(3, 2, 4, 5, 8)
    check(
        gpu, mx.vmap(lambda x: attend(x, mx.array(k), mx.array(v), mask)), several, constants=True
    )


WRONG = {
    "mask": (
        lambda q: attend(q, q, q, mx.ones((3, 4))),
        ValueError,
        r"mask \(3, 4\) does not broadcast to \(1, 2, 4, 4\)",
    ),
    "mask's name": (lambda q: attend(q, q, q, "full"), ValueError, "mask must be 'causal' or an"),
    "no mask": (lambda q: attend(q, q, q, 3), TypeError, "mask must be an array or None, got 3"),
    "complex": (
        lambda q: attend(q, q, q, mx.ones((4, 4), dtype=mx.complex64)),
        TypeError,
        "mask and sinks must be real, got complex64",
    ),
    "sinks": (
        lambda q: attend(q, q, q, sinks=mx.ones(3)),
        ValueError,
        r"sinks \(3,\) does not broadcast to \(1, 2\)",
    ),
    "no heads": (lambda q: attend(q, q[:, :0], q[:, :0]), ValueError, "shapes do not fit"),
    "batch": (
        lambda q: attend(q, mx.tile(q, (3, 1, 1, 1)), mx.tile(q, (3, 1, 1, 1))),
        ValueError,
        r"k \(3, 2, 4, 8\) does not broadcast to \(1, 2, 4, 8\)",
    ),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_wrong_attention_is_explained(case: str, gpu: str) -> None:
    if gpu == "apart":
        return
    call, kind, message = WRONG[case]
    with mx.stream(mx.gpu), pytest.raises(kind, match=message):
        call(mx.ones((1, 2, 4, 8)))


# --- rotary positions -----------------------------------------------------------------------------

# (B, ..., T, D), dims; the last have more heads than a thread takes, and features beyond dims.
ROPES = [((2, 3, 5, 8), 8), ((1, 7, 6), 4), ((3, 2, 2, 1, 16), 10), ((2, 9, 300, 80), 64)]


def turned(x: np.ndarray, dims: int, traditional: bool, place: np.ndarray) -> np.ndarray:
    """The formula in double precision; `place` (B or 1, T)."""
    half = dims // 2
    angle = place[..., None] * 100.0 ** (-np.arange(half) / half)
    angle = angle.reshape(angle.shape[0], *[1] * (x.ndim - 3), *angle.shape[1:])
    at = np.arange(half) * 2 if traditional else np.arange(half)
    two = at + (1 if traditional else half)
    out = x.astype(np.float64)
    a, b = out[..., at], out[..., two]
    out[..., at] = a * np.cos(angle) - b * np.sin(angle)
    out[..., two] = a * np.sin(angle) + b * np.cos(angle)
    return out


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
@pytest.mark.parametrize("traditional", [False, True])
@pytest.mark.parametrize(("shape", "dims"), ROPES, ids=str)
def test_rope(
    shape: tuple[int, ...], dims: int, traditional: bool, dtype: mx.Dtype, gpu: str
) -> None:
    x = mx.array(f32(*shape), dtype=dtype)
    starts = mx.array(rng.integers(0, 9, shape[0]).astype(np.int32))
    rates = mx.array(rng.uniform(1, 9, dims // 2).astype(np.float32))

    def rope(x: mx.array, base: float | None = 100.0, **more: Any) -> mx.array:
        given: dict[str, Any] = {"scale": 0.5, "offset": 3, **more}
        return mx.fast.rope(x, dims, traditional=traditional, base=base, **given)

    loose = {mx.float32: 1e-4, mx.float16: 1e-3, mx.bfloat16: 8e-3}[dtype]

    def as_on_the_cpu(f: Callable[..., Any], *inputs: Any) -> None:
        check(gpu, f, *inputs, tolerance=2 * loose)

    as_on_the_cpu(rope, x)
    as_on_the_cpu(lambda x, at: rope(x, offset=at), x, starts)
    as_on_the_cpu(lambda x, f: rope(x, None, freqs=f), x, rates)
    # Views, and the other way round: what was turned forth and back is as before.
    as_on_the_cpu(lambda x: rope(mx.swapaxes(mx.swapaxes(x, -1, -2) * 2, -1, -2)[::-1]), x)
    as_on_the_cpu(lambda x: mx.vjp(rope, [x], [rope(x)])[1][0], x)
    with mx.stream(mx.gpu):
        got = np.array(rope(x).astype(mx.float32))
        several = np.array(rope(x, offset=starts).astype(mx.float32))
    wide = np.array(x.astype(mx.float32))
    steps = np.arange(shape[-2])
    for value, first in ((got, np.array([3])), (several, np.array(starts))):
        want = turned(wide, dims, traditional, (steps + first[:, None]) * 0.5)
        np.testing.assert_allclose(value, want, rtol=loose, atol=loose)

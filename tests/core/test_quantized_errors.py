"""What quantized matrices cannot be made of: each wrong call is answered by its own values."""

from __future__ import annotations

from typing import Any

import lamina.core as mx
import pytest
from arrays import rng

W = mx.array(rng(1).standard_normal((4, 128)).astype("float32"))
CODES = mx.quantize(W)
FP4 = mx.quantize(W, mode="mxfp4")
X = mx.ones((2, 128))
WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "bits": (
        lambda: mx.quantize(W, bits=7),
        ValueError,
        r"quantize: mode 'affine' has no bits 7\nUse bits=1, 2, 3, 4, 5, 6 or 8",
    ),
    "group": (
        lambda: mx.quantize(W, group_size=48),
        ValueError,
        r"has no group_size 48\nUse group_size=32, 64 or 128",
    ),
    "group of a mode": (
        lambda: mx.quantize(W, 64, mode="nvfp4"),
        ValueError,
        r"mode 'nvfp4' has no group_size 64\nUse group_size=16",
    ),
    "mode": (
        lambda: mx.quantize(W, mode="fp4"),
        ValueError,
        "quantize: there is no mode 'fp4'\nUse mode='affine'",
    ),
    "columns": (
        lambda: mx.quantize(mx.zeros((2, 100))),
        ValueError,
        r"last axis of \(2, 100\) is not a multiple of group_size=64",
    ),
    "axes": (
        lambda: mx.quantize(mx.zeros((64,))),
        ValueError,
        r"quantize: w needs 2 axes or more, got \(64,\)",
    ),
    "integers": (
        lambda: mx.quantize(mx.zeros((2, 64), dtype=mx.int32)),
        TypeError,
        "quantize: w must be floating, got int32",
    ),
    "no array": (lambda: mx.quantize(3), TypeError, r"quantize: w must be an array, got 3 \(int\)"),
    "global scale": (
        lambda: mx.quantize(W, global_scale=mx.array(1.0)),
        ValueError,
        "only mode 'nvfp4' has a global scale, got mode 'affine'",
    ),
    "global dtype": (
        lambda: mx.quantize(W, mode="nvfp4", global_scale=mx.array(1)),
        TypeError,
        "global scale must be float32, got int32",
    ),
    "global shape": (
        lambda: mx.quantize(W, mode="nvfp4", global_scale=mx.ones(2)),
        ValueError,
        r"one element, got \(2,\)",
    ),
    "no biases": (
        lambda: mx.dequantize(*CODES[:2]),
        ValueError,
        "dequantize: mode 'affine' needs biases",
    ),
    "biases": (
        lambda: mx.dequantize(*FP4, CODES[2], mode="mxfp4"),
        ValueError,
        "mode 'mxfp4' has no biases",
    ),
    "scales": (
        lambda: mx.dequantize(FP4[0], CODES[1], mode="mxfp4"),
        TypeError,
        "scales of mode 'mxfp4' are uint8, got float32",
    ),
    "words": (
        lambda: mx.dequantize(CODES[0].astype(mx.int32), *CODES[1:]),
        TypeError,
        "w must be uint32 words, got int32",
    ),
    "other group": (
        lambda: mx.dequantize(*CODES, group_size=32),
        ValueError,
        r"w \(4, 16\) and scales \(4, 2\) do not fit group_size=32, bits=4\nPass the group_size",
    ),
    "other bits": (
        lambda: mx.quantized_matmul(X, *CODES, bits=8),
        ValueError,
        "quantized_matmul: .* do not fit group_size=64, bits=8",
    ),
    "rows of scales": (
        lambda: mx.dequantize(CODES[0], CODES[1][:2], CODES[2][:2]),
        ValueError,
        r"scales \(2, 2\) do not fit",
    ),
    "rows of biases": (
        lambda: mx.dequantize(CODES[0], CODES[1], CODES[2][:2]),
        ValueError,
        r"scales \(4, 2\) and biases \(2, 2\) differ in shape",
    ),
    "result": (
        lambda: mx.dequantize(*CODES, dtype=mx.int32),
        TypeError,
        "dequantize: the result must be floating, got int32",
    ),
    "inner": (
        lambda: mx.quantized_matmul(X[:, :64], *CODES),
        ValueError,
        r"inner sizes differ: x \(2, 64\) and w \(4, 128\) with transpose=True, 64 != 128",
    ),
    "inner, not transposed": (
        lambda: mx.quantized_matmul(X, *CODES, transpose=False),
        ValueError,
        "transpose=False, 128 != 4",
    ),
    "scalar": (
        lambda: mx.quantized_matmul(mx.array(1.0), *CODES),
        ValueError,
        r"x needs an axis, got shape \(\)",
    ),
    "complex": (
        lambda: mx.quantized_matmul(X.astype(mx.complex64), *CODES),
        TypeError,
        "x must be floating, got complex64",
    ),
    "whole x": (
        lambda: mx.quantized_matmul(X.astype(mx.int32), *FP4, mode="mxfp4"),
        TypeError,
        "x must be floating, got int32",
    ),
    "batches": (
        lambda: mx.quantized_matmul(mx.ones((3, 2, 128)), *(mx.stack([c, c]) for c in CODES)),
        ValueError,
        "batch axes do not broadcast",
    ),
    "float indices": (
        lambda: mx.gather_qmm(X[None], *(c[None] for c in CODES), rhs_indices=mx.array([0.0])),
        TypeError,
        "gather_qmm: rhs_indices must be integers, got float32",
    ),
    "shapes of indices": (
        lambda: mx.gather_qmm(
            X[None], *(c[None] for c in CODES), mx.array([0, 0, 0]), mx.array([0, 0])
        ),
        ValueError,
        r"lhs_indices \(3,\) and rhs_indices \(2,\) do not broadcast",
    ),
    "index": (
        lambda: mx.eval(
            mx.gather_qmm(X[None], *(c[None] for c in CODES), rhs_indices=mx.array([1]))
        ),
        IndexError,
        "gather_qmm: index 1 is out of bounds for axis 0 with size 1",
    ),
    "affine qqmm": (
        lambda: mx.qqmm(X, W, mode="affine"),
        ValueError,
        "qqmm: mode 'affine' does not round x",
    ),
    "qqmm inner": (
        lambda: mx.qqmm(X[:, :64], W),
        ValueError,
        r"qqmm: inner sizes differ: x \(2, 64\) and w \(4, 128\)",
    ),
    "qqmm columns": (
        lambda: mx.qqmm(X[:, :40], W),
        ValueError,
        r"last axis of x \(2, 40\) is not a multiple of group_size=16",
    ),
    "qqmm axes": (
        lambda: mx.qqmm(X, W[None]),
        ValueError,
        r"qqmm: w must have 2 axes, got \(1, 4, 128\)",
    ),
    "to_fp8": (
        lambda: mx.to_fp8(mx.array([1])),
        TypeError,
        "to_fp8: x must be floating, got int32",
    ),
    "from_fp8": (
        lambda: mx.from_fp8(mx.array([1])),
        TypeError,
        "from_fp8: x must be uint8, got int32",
    ),
    "from_fp8 to": (
        lambda: mx.from_fp8(mx.array([1], dtype=mx.uint8), mx.int32),
        TypeError,
        "from_fp8: the result must be floating",
    ),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_wrong_calls_are_explained(case: str) -> None:
    call, kind, message = WRONG[case]
    # Indices are checked on the CPU only.
    with mx.stream(mx.cpu), pytest.raises(kind, match=message):
        call()

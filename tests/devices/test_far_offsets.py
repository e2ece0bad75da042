"""Texts that count in 64 bits, on every device that compiles text: structured operations and the
three skeletons, with the limit of offsets set so low that all of them do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from lamina import _core
from present import PRESENT

rng = np.random.default_rng(0)
TEXT = [name for name in PRESENT if name != "apart"]


def f32(*shape: int) -> mx.array:
    return mx.array(rng.standard_normal(shape).astype(np.float32))


def attend(queries: int) -> Callable[..., mx.array]:
    q, k, v = f32(2, 4, queries, 32), f32(2, 2, 70, 32), f32(2, 2, 70, 32)
    return lambda: mx.fast.scaled_dot_product_attention(q, k, v, scale=0.2, mask="causal")


def rope() -> mx.array:
    return mx.fast.rope(ROWS, 16, traditional=False, base=1e4, scale=1.0, offset=3)


ROWS, SQUARE = f32(3, 40, 48), f32(64, 64)
CODES = mx.quantize(SQUARE, group_size=32, bits=4)
EXPERTS = mx.quantize(f32(4, 64, 64), group_size=32, bits=4)
WHICH = mx.array([3, 0, 0, 2, 1], dtype=mx.uint32)
TOKENS = f32(5, 1, 64)
SEGMENTS = mx.array([[0, 20], [20, 21], [21, 64]], dtype=mx.uint32)
IMAGES, FILTERS, STRIDED = f32(2, 9, 10, 8), f32(6, 3, 3, 8), f32(2, 5, 5, 6)

PROGRAMS: dict[str, Callable[[], Any]] = {
    "elementwise": lambda: mx.exp(ROWS) * ROWS[:, :1],
    "transposed": lambda: mx.contiguous(mx.broadcast_to(SQUARE, (5, 64, 64)).swapaxes(1, 2)),
    "sum": lambda: (mx.sum(ROWS, axis=-1), mx.sum(ROWS), mx.max(ROWS, axis=0)),
    "argmax": lambda: (mx.argmax(ROWS, axis=1), mx.argmin(ROWS)),
    "softmax": lambda: mx.softmax(ROWS, axis=-1),
    "scan": lambda: (mx.cumsum(ROWS, axis=1), mx.cummax(ROWS, axis=-1)),
    "sort": lambda: (mx.sort(ROWS, axis=1), mx.argsort(ROWS, axis=-1)),
    "attention of few": attend(3),
    "attention of many": attend(40),
    "rope": rope,
    "fft": lambda: [mx.abs(mx.fft.fft(f)) for f in (ROWS, SQUARE[:, :30], SQUARE[:, :37])],
    "product": lambda: (SQUARE @ SQUARE.T, ROWS @ SQUARE[:48], SQUARE[:1] @ SQUARE),
    "gathered product": lambda: mx.gather_mm(TOKENS, mx.stack([SQUARE] * 4), None, WHICH),
    "segmented product": lambda: mx.segmented_mm(SQUARE, SQUARE, SEGMENTS),
    "quantized product": lambda: [
        mx.quantized_matmul(x, *CODES, transpose=t, group_size=32, bits=4)
        for x in (SQUARE[:1], SQUARE[:40])
        for t in (True, False)
    ],
    "gathered quantized": lambda: mx.gather_qmm(
        TOKENS, *EXPERTS, rhs_indices=WHICH, transpose=True, group_size=32, bits=4
    ),
    "quantize": lambda: mx.dequantize(*mx.quantize(SQUARE, group_size=64, bits=8), 64, 8),
    "hadamard": lambda: mx.hadamard_transform(SQUARE),
    "convolution": lambda: mx.vjp(
        lambda x, w: mx.conv2d(x, w, padding=1, stride=2), [IMAGES, FILTERS], [STRIDED]
    ),
    "gather": lambda: (SQUARE[WHICH], mx.take_along_axis(SQUARE, mx.argsort(SQUARE), axis=1)),
    "scatter": lambda: SQUARE.at[WHICH].add(ROWS[0, :5, :1]),
    "random bits": lambda: mx.random.uniform(shape=(7, 33), key=mx.random.key(3)),
}  # fmt: skip


@pytest.fixture(params=TEXT)
def far(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("LAMINA_GPU", request.param)
    number = _core._device_named(request.param)
    before = _core._index_limit(number, 1)
    yield request.param
    _core._index_limit(number, before)


def leaves(x: Any) -> list[mx.array]:
    return [x] if isinstance(x, mx.array) else [y for part in x for y in leaves(part)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_offsets_of_64_bits(name: str, far: str) -> None:
    with mx.stream(mx.cpu):
        want = leaves(PROGRAMS[name]())
        mx.eval(want)
    with mx.stream(mx.gpu):
        got = leaves(PROGRAMS[name]())
        mx.eval(got)
    text = _core._plan_describe(_core._last_plan())
    assert re.search(r"\bu?long\b", text)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(np.array(a), np.array(b), rtol=2e-4, atol=2e-4)

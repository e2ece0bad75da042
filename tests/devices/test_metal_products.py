"""Products and convolutions on Metal: who computes them, and that wrong sums are noticed. Run by
test_metal_device.py with LAMINA_METAL_PRODUCTS=library, so that small ones go to the library, and
with little memory for convolutions, so that they are unfolded in parts."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterator

import lamina.core as mx
import numpy as np
import pytest
from lamina import _core
from metal_double import (
    DOUBLE,
    HERE,
    PRODUCT,
    SUMS,
    TILES,
    held,
    inject,
    needs_double,
    needs_metal,
    seen,
    violations,
)
from present import recorded

SUFFIXES = ("", "_input_gradient", "_weight_gradient")
UNFOLDED = int(os.environ.get("LAMINA_METAL_UNFOLDED", "0"))

pytestmark = [
    needs_metal,
    needs_double,
    pytest.mark.skipif(
        os.environ.get("LAMINA_METAL_PRODUCTS") != "library",
        reason="not applicable: run by test_metal_device.py, with the library first",
    ),
]


@pytest.fixture(autouse=True)
def metal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not HERE or DOUBLE is None:
        yield
        return
    monkeypatch.setenv("LAMINA_GPU", "metal")
    with mx.stream(mx.gpu), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    mx.synchronize()
    assert violations() == []


def normal(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def products(evaluate) -> int:
    """Products that the library computed."""
    before = seen("products")
    evaluate()
    return seen("products") - before


CASES = {
    "plain": lambda a: (a(33, 20), a(20, 17)),
    "left transposed": lambda a: (a(20, 33).T, a(20, 17)),
    "right transposed": lambda a: (a(33, 20), a(17, 20).T),
    "both transposed": lambda a: (a(20, 33).T, a(17, 20).T),
    "parts of rows": lambda a: (a(33, 40)[:, 7:27], a(20, 64)[:, 3:20]),
    "a batch": lambda a: (a(4, 9, 20), a(4, 20, 17)),
    "a batch with one right side": lambda a: (a(4, 9, 20), a(20, 17)),
    "a batch transposed": lambda a: (a(4, 20, 9).swapaxes(1, 2), a(4, 17, 20).swapaxes(1, 2)),
    "every second matrix": lambda a: (a(8, 9, 20)[::2], a(4, 20, 17)),
    "two axes of batches": lambda a: (a(2, 3, 9, 20), a(2, 3, 20, 17)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_products_of_the_library(case: str, dtype: str) -> None:
    seeds = itertools.count()
    a, b = CASES[case](lambda *shape: normal(*shape, seed=next(seeds), dtype=dtype))
    seeds = itertools.count()
    x, y = CASES[case](lambda *shape: mx.array(normal(*shape, seed=next(seeds), dtype=dtype)))
    z = x @ y
    assert products(lambda: mx.eval(z)) == 1
    want = a.astype(np.float64) @ b.astype(np.float64)
    room = 1e-5 if dtype == "float32" else 2e-2
    np.testing.assert_allclose(np.array(z), want, rtol=room, atol=room)


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.complex64])
def test_what_the_library_lacks_is_text(dtype: mx.Dtype) -> None:
    a, b = normal(33, 20), normal(20, 17, seed=1)
    z = mx.array(a).astype(dtype) @ mx.array(b).astype(dtype)
    assert products(lambda: mx.eval(z)) == 0
    room = 0.2 if dtype == mx.bfloat16 else 1e-4
    np.testing.assert_allclose(np.array(z.astype(mx.float32)), a @ b, atol=room)


def test_a_broadcast_batch_is_text() -> None:
    a, b = normal(9, 20), normal(4, 20, 17, seed=1)
    z = mx.array(a) @ mx.array(b)
    assert products(lambda: mx.eval(z)) == 0
    np.testing.assert_allclose(z, a @ b, rtol=1e-4, atol=1e-4)


def test_convolutions_of_one_tap_are_products() -> None:
    x, w, g = (
        normal(2, 7, 5, 12),
        normal(9, 1, 1, 12, seed=1),
        normal(2, 7, 5, 9, seed=2),
    )

    def of(x: mx.array, w: mx.array) -> mx.array:
        return mx.conv2d(x, w)

    ax, aw, ag = mx.array(x), mx.array(w), mx.array(g)
    y = of(ax, aw)
    assert products(lambda: mx.eval(y)) == 1
    np.testing.assert_allclose(y, x @ w[:, 0, 0].T, rtol=1e-4, atol=1e-4)
    _, (dx, dw) = mx.vjp(of, [ax, aw], [ag])
    assert products(lambda: mx.eval(dx, dw)) == 2
    np.testing.assert_allclose(dx, g @ w[:, 0, 0], rtol=1e-4, atol=1e-4)
    want = np.einsum("nhwf,nhwc->fc", g, x)
    np.testing.assert_allclose(np.array(dw)[:, 0, 0], want, rtol=1e-4, atol=1e-4)


# Shapes of input and weight, options, and the products of forward, input's and weight's gradient:
# one for each part of UNFOLDED bytes, where float32 is unfolded.
CONVOLUTIONS: dict[str, tuple] = {
    "one axis": ((2, 19, 4), (5, 3, 4), {"padding": 1}, (1, 1, 1)),
    "words of two": ((2, 19, 6), (10, 3, 6), {"stride": 2}, (1, 1, 1)),
    "two axes": (
        (2, 9, 8, 6),
        (4, 3, 2, 6),
        {"stride": (2, 1), "padding": (1, 0), "kernel_dilation": (1, 2)},
        (2, 5, 2),
    ),
    "many parts": ((3, 12, 11, 4), (8, 3, 3, 4), {"padding": 1}, (13, 24, 12)),
    "mirrored": ((2, 7, 6, 3), (4, 3, 2, 3), {"padding": 1, "flip": True}, (2, 3, 2)),
    "three axes": ((1, 5, 6, 4, 3), (2, 2, 3, 2, 3), {"stride": (1, 2, 1)}, (1, 4, 1)),
    "one tap in steps": ((2, 7, 9, 3), (5, 1, 1, 3), {"stride": (2, 3)}, (1, 1, 1)),
    "one channel": ((2, 30, 1), (1, 5, 1), {"kernel_dilation": 3}, (1, 1, 1)),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_convolutions_of_the_library(case: str, dtype: str) -> None:
    input_shape, weight_shape, options, parts = CONVOLUTIONS[case]
    x, w = normal(*input_shape, dtype=dtype), normal(*weight_shape, seed=1, dtype=dtype)

    def of(x: mx.array, w: mx.array) -> mx.array:
        return mx.conv_general(x, w, **options)

    with mx.stream(mx.cpu):
        want = of(mx.array(x), mx.array(w))
        g = normal(*want.shape, seed=2, dtype=dtype)
        _, gradients = mx.vjp(of, [mx.array(x), mx.array(w)], [mx.array(g)])
        mx.eval(want, gradients)
    y = of(mx.array(x), mx.array(w))
    _, (dx, dw) = mx.vjp(of, [mx.array(x), mx.array(w)], [mx.array(g)])
    asked = [products(lambda z=z: mx.eval(z)) for z in (y, dx, dw)]
    if dtype == "float32":
        assert asked == list(parts)
    assert min(asked) > 0
    room = 1e-4 if dtype == "float32" else 3e-2
    for mine, theirs in zip((y, dx, dw), (want, *gradients), strict=True):
        np.testing.assert_allclose(np.array(mine), np.array(theirs), rtol=room, atol=room)


@pytest.mark.parametrize("case", ["groups", "padding of one side", "elements apart", "too long"])
def test_other_convolutions_are_text_and_are_looked_at(case: str) -> None:
    x, w = normal(2, 9, 8, 6), normal(4, 3, 2, 3 if case == "groups" else 6, seed=1)
    options = {
        "groups": {"stride": (2, 1), "padding": (1, 0), "kernel_dilation": (1, 2), "groups": 2},
        "padding of one side": {"padding": ([1, 0], [0, 1])},
        "elements apart": {"input_dilation": 2},
        "too long": {},
    }[case]
    if case == "too long":  # not even a row fits
        x, w = normal(1, 1, 3, UNFOLDED // 4), normal(2, 1, 2, UNFOLDED // 4, seed=1)

    def of(x: mx.array, w: mx.array) -> mx.array:
        return mx.conv_general(x, w, **options)

    with mx.stream(mx.cpu):
        want = of(mx.array(x), mx.array(w))
        g = normal(*want.shape, seed=2)
        _, gradients = mx.vjp(of, [mx.array(x), mx.array(w)], [mx.array(g)])
        mx.eval(want, gradients)
    y = of(mx.array(x), mx.array(w))
    _, (dx, dw) = mx.vjp(of, [mx.array(x), mx.array(w)], [mx.array(g)])
    assert products(lambda: mx.eval(y)) == 0
    if case != "too long":
        assert products(lambda: mx.eval(dx, dw)) == 0
    for mine, theirs in zip((y, dx, dw), (want, *gradients), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def test_a_recording_shows_what_is_unfolded() -> None:
    x, w, g = normal(3, 12, 11, 4), normal(8, 3, 3, 4, seed=1), normal(3, 10, 9, 8, seed=2)
    with recorded() as log:
        _, gradients = mx.vjp(mx.conv2d, [mx.array(x), mx.array(w)], [mx.array(g)])
        mx.eval(mx.conv2d(mx.array(x), mx.array(w)), gradients)
    groups = {g["label"]: g for plan in log.plans() for g in plan["groups"]}
    forward, backward, weight = (groups["convolution" + x] for x in SUFFIXES)
    assert "kernel void unfold(" in forward["text"] and "unfold(" in weight["text"]
    assert "kernel void unfold_gradient(" in backward["text"]
    assert forward["text"].endswith(
        "convolution of 9 taps, unfolded in 9 parts of up to 4.6 kB\n"
        "MPSMatrixMultiplication: 1 x (32, 36) @ (36, 8) float32, right transposed\n"
        "MPSMatrixMultiplication: 1 x (14, 36) @ (36, 8) float32, right transposed"
    )
    assert "its weight turned in 1.2 kB\n" in backward["text"]
    assert [g["scratch"] for g in (forward, backward, weight)] == [
        32 * 36 * 4,
        17 * 72 * 4 + 9 * 8 * 4 * 4,
        270 * 4 * 4,
    ]
    assert not any("simdgroup_multiply" in g["text"] for g in groups.values())


def test_wrong_sums_of_an_unfolded_convolution_are_noticed_and_told() -> None:
    x, w = normal(2, 14, 9, 5), normal(7, 2, 3, 5, seed=1)
    with mx.stream(mx.cpu):
        want = mx.conv2d(mx.array(x), mx.array(w))
        mx.eval(want)
    inject(SUMS, times=1000)
    z = mx.conv2d(mx.array(x), mx.array(w))
    told = r"^metal: convolution of 6 taps, unfolded in .*\nMPSMatrix[^;]*gives wrong sums"
    with pytest.warns(RuntimeWarning, match=told):
        mx.eval(z)
    inject(SUMS, times=0, after=1 << 40)
    np.testing.assert_allclose(z, want, rtol=1e-4, atol=1e-4)
    again = mx.conv2d(mx.array(x), mx.array(w))
    assert products(lambda: mx.eval(again)) == 0


def test_a_product_of_a_part_that_the_library_refuses_makes_all_of_it_text() -> None:
    x, w = normal(2, 14, 8, 5), normal(7, 2, 3, 5, seed=1)
    with mx.stream(mx.cpu):
        want = mx.conv2d(mx.array(x), mx.array(w))
        mx.eval(want)
    inject(PRODUCT, after=1)
    z = mx.conv2d(mx.array(x), mx.array(w))
    assert products(lambda: mx.eval(z)) == 0
    np.testing.assert_allclose(z, want, rtol=1e-4, atol=1e-4)


def test_unfolded_convolutions_in_flight() -> None:
    x, w = normal(2, 14, 7, 5), normal(5, 3, 3, 5, seed=1)
    with mx.stream(mx.cpu):
        inner = mx.tanh(mx.conv2d(mx.tanh(mx.array(x)), mx.array(w)))
        want = mx.conv2d(inner, mx.array(w))
        mx.eval(want)
    ax, aw = mx.array(x), mx.array(w)
    mx.eval(mx.conv2d(mx.tanh(mx.conv2d(mx.tanh(ax), aw)), aw))  # the looks
    with held():
        z = mx.conv2d(mx.tanh(mx.conv2d(mx.tanh(ax), aw)), aw)
        mx.async_eval(z)
    np.testing.assert_allclose(z, want, rtol=1e-4, atol=1e-4)


def test_an_operand_at_any_element_is_unfolded() -> None:
    """Words of several elements need an address that is a multiple of them."""
    flat, w = normal(1 + 2 * 9 * 8 * 4), normal(3, 2, 2, 4, seed=1)
    with mx.stream(mx.cpu):
        want = mx.conv2d(mx.array(flat[1:].reshape(2, 9, 8, 4)), mx.array(w))
        mx.eval(want)
    whole = mx.array(flat)
    mx.eval(whole)
    z = mx.conv2d(whole[1:].reshape(2, 9, 8, 4), mx.array(w))
    assert products(lambda: mx.eval(z)) > 1
    np.testing.assert_allclose(z, want, rtol=1e-4, atol=1e-4)


def test_wrong_sums_of_the_library_are_noticed_and_told() -> None:
    a, b = normal(37, 21), normal(21, 19, seed=1)
    inject(SUMS, times=100)
    z = mx.array(a) @ mx.array(b)
    with pytest.warns(
        RuntimeWarning, match=r"metal: MPSMatrixMultiplication: 1 x \(37, 21\).*wrong"
    ):
        mx.eval(z)
    inject(SUMS, times=0, after=1 << 40)
    np.testing.assert_allclose(z, a @ b, rtol=1e-4, atol=1e-4)
    # Never asked again, and the recording shows what runs instead.
    with recorded() as log:
        again = mx.array(a) @ mx.array(b)
        assert products(lambda: mx.eval(again)) == 0
    assert any("a_tile" in str(plan) for plan in log.plans())
    other = mx.array(a) @ mx.array(normal(21, 18))
    assert products(lambda: mx.eval(other)) == 1


def test_a_product_that_the_library_refuses_is_text() -> None:
    a, b = normal(38, 21), normal(21, 19, seed=1)
    inject(PRODUCT)
    z = mx.array(a) @ mx.array(b)
    assert products(lambda: mx.eval(z)) == 0
    np.testing.assert_allclose(z, a @ b, rtol=1e-4, atol=1e-4)


# A text that has been right once is not looked at again: each of these has its own.


def test_wrong_sums_of_a_text_are_noticed_and_another_takes_its_place() -> None:
    x, w = normal(2, 19, 4, dtype="float16"), normal(6, 3, 2, seed=1, dtype="float16")
    ax, aw = mx.array(x), mx.array(w)
    with mx.stream(mx.cpu):
        want = mx.conv1d(mx.array(x), mx.array(w), groups=2)
        mx.eval(want)
    inject(TILES)
    with pytest.warns(RuntimeWarning, match=r"metal: kernel \w+ gives wrong sums") as told:
        z = mx.conv1d(ax, aw, groups=2)
        mx.eval(z)
    assert len(told) == 1
    np.testing.assert_allclose(np.array(z), np.array(want), rtol=1e-2, atol=1e-2)
    with recorded() as log:
        mx.eval(mx.conv1d(ax, aw, groups=2))
    texts = str(log.plans())
    assert "a_tile" in texts and "simdgroup_multiply" not in texts


@pytest.fixture
def with_epilogues() -> Iterator[None]:
    """Epilogues go into the text of products and convolutions, which then no library does."""
    number = _core._device_named("metal")
    before = _core._epilogue_work(number, 1 << 20)
    yield
    _core._epilogue_work(number, before)


def bfloat(*shape: int, seed: int = 0) -> mx.array:
    return mx.array(normal(*shape, seed=seed)).astype(mx.bfloat16)


def half(*shape: int, seed: int = 0) -> mx.array:
    return mx.array(normal(*shape, seed=seed, dtype="float16"))


def numbers(*values: int) -> mx.array:
    return mx.array(np.array(values, dtype=np.int32))


def of_codes(x: mx.array, w: mx.array, **options: int) -> mx.array:
    words, scales, biases = mx.quantize(w, **options)
    return mx.quantized_matmul(x, words, scales, biases, transpose=True, **options)


def gradient(of: Callable[..., mx.array], number: int) -> Callable[..., mx.array]:
    return lambda x, w, g: mx.vjp(of, [x, w], [g])[1][number]


def spaced(x: mx.array, w: mx.array) -> mx.array:
    return mx.conv_general(x, w, input_dilation=2, padding=1)


# What is computed and its inputs. A text that has been right once is not looked at again, and sizes
# are no part of it: no two rows, and no other test of this file, have the same dtype and layout.
TEXTS: dict[str, tuple[Callable[..., mx.array], Callable[[], list[mx.array]]]] = {
    "epilogue": (
        lambda a, b: mx.maximum(a @ b, 0),
        lambda: [half(37, 21), half(21, 19, seed=1)],
    ),
    "epilogue over its own factor": (
        lambda a, b: mx.tanh(a.T @ b) + a.T,
        lambda: [half(35, 35), half(35, 35, seed=1)],
    ),
    "convolution with an epilogue": (
        lambda x, w, b: mx.maximum(mx.conv2d(x, w) + b, 0),
        lambda: [half(2, 7, 8, 3), half(5, 2, 3, 3, seed=1), half(5, seed=2)],
    ),
    "weight's gradient with an epilogue": (
        lambda x, w, g: w - gradient(mx.conv2d, 1)(x, w, g) * 0.125,
        lambda: [half(2, 7, 8, 3), half(5, 2, 3, 3, seed=1), half(2, 6, 6, 5, seed=2)],
    ),
    "depth in parts with an epilogue": (
        lambda a, b: mx.tanh(a @ b.T) + 1,
        lambda: [half(9, 3000), half(11, 3000, seed=1)],
    ),
    "gather_mm": (
        lambda a, b: mx.gather_mm(a, b, numbers(1, 0, 2, -1), numbers(2, 2, 0, 1)),
        lambda: [half(3, 40, 21), half(4, 21, 19, seed=1)],
    ),
    "segmented_mm": (
        lambda a, b: mx.segmented_mm(a, b, mx.array([[0, 5], [5, 30], [2, 4]], dtype=mx.uint32)),
        lambda: [half(37, 30), half(30, 19, seed=1)],
    ),
    "quantized_matmul": (of_codes, lambda: [bfloat(70, 64), bfloat(33, 64, seed=1)]),
    "gather_qmm": (
        lambda x, w: mx.gather_qmm(x, *mx.quantize(w), numbers(1, 0, 1), numbers(2, 0, 1)),
        lambda: [bfloat(2, 70, 64), bfloat(3, 33, 64, seed=1)],
    ),
    "batch of no library": (
        lambda a, b: a[:, None] @ b.swapaxes(-1, -2),
        lambda: [half(3, 9, 20), half(2, 17, 20, seed=1)],
    ),
    "input dilation": (spaced, lambda: [half(2, 7, 8, 3), half(5, 2, 3, 3, seed=1)]),
    "input's gradient of input dilation": (
        gradient(spaced, 0),
        lambda: [half(2, 7, 8, 3), half(5, 2, 3, 3, seed=1), half(2, 14, 15, 5, seed=2)],
    ),
    "weight's gradient of input dilation": (
        gradient(spaced, 1),
        lambda: [bfloat(2, 7, 8, 3), bfloat(5, 2, 3, 3, seed=1), bfloat(2, 14, 15, 5, seed=2)],
    ),
    "padding of one side": (
        lambda x, w: mx.conv_general(x, w, padding=([1, 0], [0, 1]), stride=(1, 2)),
        lambda: [bfloat(2, 7, 8, 3), bfloat(5, 2, 3, 3, seed=1)],
    ),
    "views": (
        lambda x, w: mx.conv1d(x.swapaxes(1, 2), w.swapaxes(0, 2)),
        lambda: [bfloat(2, 4, 19), bfloat(4, 3, 5, seed=1)],
    ),
}


@pytest.mark.usefixtures("with_epilogues")
@pytest.mark.parametrize("case", TEXTS)
def test_wrong_sums_of_any_text_are_noticed_and_told_once(case: str) -> None:
    of, inputs = TEXTS[case]
    with mx.stream(mx.cpu):
        wide = [x.astype(mx.float32) for x in inputs()]
        want = of(*wide)
        mx.eval(want)
    operands = inputs()
    mx.eval(operands)
    inject(TILES)
    with pytest.warns(RuntimeWarning, match=r"metal: kernel \w+ gives wrong sums") as told:
        got = of(*operands)
        mx.eval(got)
    assert len(told) == 1
    room = 3e-2 * float(mx.max(mx.abs(want)))
    np.testing.assert_allclose(np.array(got.astype(mx.float32)), np.array(want), atol=room)
    with recorded() as log:
        again = of(*operands)
        mx.eval(again)
    np.testing.assert_array_equal(
        np.array(again.astype(mx.float32)), np.array(got.astype(mx.float32))
    )
    texts = str(log.plans())
    assert "a_tile" in texts and "simdgroup_multiply" not in texts


def test_wrong_sums_of_the_library_over_decoded_codes_are_noticed() -> None:
    x, w = mx.array(normal(70, 64)), mx.array(normal(33, 64, seed=1))
    with mx.stream(mx.cpu):
        want = of_codes(x, w)
        mx.eval(want)
    inject(SUMS, times=100)
    with pytest.warns(
        RuntimeWarning, match=r"metal: MPSMatrixMultiplication: 1 x \(70, 64\).*wrong"
    ):
        got = of_codes(x, w)
        mx.eval(got)
    inject(SUMS, times=0, after=1 << 40)
    np.testing.assert_allclose(np.array(got), np.array(want), rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("with_epilogues")
def test_an_epilogue_over_no_right_text_at_all_is_an_error() -> None:
    a, b = bfloat(20, 33), bfloat(20, 17, seed=1)
    mx.eval(a, b)
    inject(TILES, times=100)
    z = mx.maximum(a.T @ b, 0)
    with pytest.raises(mx.DeviceError, match=r"metal: kernel matmul: every text of it gives wrong"):
        mx.eval(z)
    inject(TILES, times=0, after=1 << 40)
    with pytest.warns(RuntimeWarning, match="gives wrong sums"):  # with the next result
        assert (mx.ones(3) + 1).tolist() == [2, 2, 2]


def test_no_right_text_at_all_is_an_error() -> None:
    x = mx.array(normal(1, 5, 6, 4, 3)).astype(mx.bfloat16)
    w = mx.array(normal(2, 2, 3, 2, 3, seed=1)).astype(mx.bfloat16)
    mx.eval(x, w)
    inject(TILES, times=100)
    z = mx.conv3d(x, w)
    with pytest.raises(mx.DeviceError, match=r"metal: kernel \w+: every text of it gives wrong"):
        mx.eval(z)
    inject(TILES, times=0, after=1 << 40)
    with pytest.warns(RuntimeWarning, match="gives wrong sums"):  # with the next result
        assert (mx.ones(3) + 1).tolist() == [2, 2, 2]


def test_complex_products_are_looked_at_too() -> None:
    """They have one text, which takes no matrices of the SIMD-groups."""
    parts = [normal(31, 23, seed=k) for k in range(4)]
    a, b = parts[0] + 1j * parts[1], parts[2] + 1j * parts[3]
    x, y = mx.array(a), mx.array(b)
    mx.eval(x, y)
    inject(TILES, times=100)
    z = x.T @ y
    with pytest.raises(mx.DeviceError, match=r"metal: kernel matmul: every text of it gives wrong"):
        mx.eval(z)
    inject(TILES, times=0, after=1 << 40)
    with pytest.warns(RuntimeWarning, match="gives wrong sums"):  # with the next result
        assert (mx.ones(3) + 1).tolist() == [2, 2, 2]
    # Other strides are another text, which is right.
    other = x @ y.T
    np.testing.assert_allclose(np.array(other), a @ b.T, rtol=1e-4, atol=1e-4)


def test_zeros_prove_nothing_and_are_right() -> None:
    x = mx.zeros((41, 22))
    for _ in range(6):
        z = x @ mx.zeros((22, 23))
        mx.eval(z)
        assert not np.array(z).any()


def test_a_product_in_flight() -> None:
    a, b = normal(16, 16), normal(16, 16, seed=1)
    x, y = mx.array(a), mx.array(b)
    mx.eval(mx.tanh(mx.tanh(x) @ y))
    with held():
        z = mx.tanh(mx.tanh(x) @ y)
        mx.async_eval(z)
        again = mx.tanh(z) @ z
    np.testing.assert_allclose(z, np.tanh(np.tanh(a) @ b), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(again, np.tanh(np.array(z)) @ np.array(z), rtol=1e-4, atol=1e-4)


def test_a_product_has_a_time() -> None:
    x = mx.array(normal(16, 16))
    mx.eval(x, x @ x)
    with recorded() as log:
        mx.eval(mx.tanh(x @ x))
    assert len(log.of("launch")) >= 1
    assert any("MPSMatrixMultiplication" in str(plan) for plan in log.plans())

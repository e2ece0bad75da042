"""Quantized matrices against mlx.core and NumPy: the same words and scales, products, errors."""

from __future__ import annotations

import itertools
from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest
from arrays import check, check_derivatives, check_vmap, name_of, ours, rng, to_numpy
from hypothesis import given
from hypothesis import strategies as st

BITS, GROUPS = (1, 2, 3, 4, 5, 6, 8), (32, 64, 128)
AFFINE = [("affine", g, b) for g, b in itertools.product(GROUPS, BITS)]
FLOATING = [("mxfp4", 32, 4), ("mxfp8", 32, 8), ("nvfp4", 16, 4)]
FORMATS = [*AFFINE, *FLOATING]
DTYPES = ("float32", "float16", "bfloat16")
LOOSE = {"float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


def how(q: tuple[str, int, int]) -> dict[str, Any]:
    return {"mode": q[0], "group_size": q[1], "bits": q[2]}


def both(a: np.ndarray, dtype: str = "float32") -> tuple[mx.array, omx.array]:
    return mx.array(a, dtype=getattr(mx, dtype)), omx.array(a, dtype=getattr(omx, dtype))


def matrix(shape: tuple[int, ...], seed: int = 0, kind: str = "normal") -> np.ndarray:
    g = rng(seed)
    a = g.standard_normal(shape).astype(np.float32)
    if kind == "positive":
        return np.abs(a) + 1
    if kind == "negative":
        return -np.abs(a) - 1
    if kind == "constant":
        return np.full(shape, g.uniform(-3, 3), np.float32)
    if kind == "zero":
        return np.zeros(shape, np.float32)
    if kind == "sparse":
        return a * (g.random(shape) < 0.05)
    if kind == "steps":
        return g.integers(-4, 5, shape).astype(np.float32)
    if kind == "wide":
        return (a * 10.0 ** g.uniform(-6, 6, shape)).astype(np.float32)
    return a


KINDS = ("normal", "positive", "negative", "constant", "zero", "sparse", "steps", "wide")


def same_bits(mine: mx.array, other: omx.array) -> None:
    assert name_of(mine) == name_of(other)
    assert tuple(mine.shape) == tuple(other.shape)
    np.testing.assert_array_equal(to_numpy(mine), to_numpy(other))


@pytest.mark.parametrize("q", FORMATS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_words_and_scales_are_mlx(q: Any, dtype: str) -> None:
    for i, kind in enumerate(KINDS):
        a = matrix((7, 256), i, kind)
        a = np.clip(a, -6e4, 6e4) if dtype == "float16" else a
        x, y = both(a, dtype)
        mine, other = mx.quantize(x, **how(q)), omx.quantize(y, **how(q))
        assert len(mine) == len(other)
        for m, o in zip(mine, other, strict=True):
            same_bits(m, o)


@given(st.data())
def test_random_groups_are_mlx(data: st.DataObject) -> None:
    q = data.draw(st.sampled_from(FORMATS))
    number = st.floats(-1e4, 1e4, width=16) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.25, 2.5])
    values = data.draw(st.lists(number, min_size=1, max_size=40))
    a = np.resize(np.array(values, np.float32), (2, 128))
    x, y = both(a)
    for m, o in zip(mx.quantize(x, **how(q)), omx.quantize(y, **how(q)), strict=True):
        same_bits(m, o)


@pytest.mark.parametrize("q", FORMATS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dequantize(q: Any, dtype: str) -> None:
    x, y = both(matrix((3, 5, 256), 1), dtype)
    mine, other = mx.quantize(x, **how(q)), omx.quantize(y, **how(q))
    got = mx.dequantize(*mine, **how(q))
    want = omx.dequantize(*other, **how(q))
    assert name_of(got) == name_of(want)
    check(got, to_numpy(want), {"bfloat16": 1.6e-2, "float16": 2e-3}.get(name_of(got), 1e-6))
    for d in ("float32", "float16", "bfloat16"):
        mine_d = mx.dequantize(*mine, **how(q), dtype=getattr(mx, d))
        assert name_of(mine_d) == d
        check(mine_d, to_numpy(got), 1.6e-2 if "bfloat16" in (d, name_of(got)) else 2e-3)


def test_dequantize_of_strided_views() -> None:
    w, s, b = mx.quantize(mx.array(matrix((8, 3, 256), 2)), bits=3, group_size=32)
    whole = to_numpy(mx.dequantize(w, s, b, bits=3, group_size=32))
    views = [lambda x: x[::-2], lambda x: mx.swapaxes(x, 0, 1), lambda x: x[3:4], lambda x: x[:0]]
    for view in views:
        got = mx.dequantize(view(w), view(s), view(b), bits=3, group_size=32)
        check(got, to_numpy(view(mx.array(whole))), 0)
    turned = [mx.contiguous(x.T).T for x in (w[:, 0], s[:, 0], b[:, 0])]
    check(mx.dequantize(*turned, bits=3, group_size=32), whole[:, 0], 0)


@pytest.mark.parametrize("q", FORMATS, ids=str)
@pytest.mark.parametrize("transpose", [True, False])
def test_product(q: Any, transpose: bool) -> None:
    """Every number of rows that some loop or block is made for, against the decoded matrix."""
    shape = (136, 256) if transpose else (256, 128)
    codes = mx.quantize(mx.array(matrix(shape, 3)), **how(q))
    full = to_numpy(mx.dequantize(*codes, **how(q), dtype=mx.float32)).astype(np.float64)
    full = full.T if transpose else full
    for rows in (1, 2, 3, 5, 8, 15, 81, 90):
        x = matrix((rows, 256), rows)
        got = mx.quantized_matmul(mx.array(x), *codes, transpose=transpose, **how(q))
        check(got, x @ full, 2e-5 * np.abs(x @ full).max(), f"{rows} rows")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scales", DTYPES)
def test_product_is_mlx(dtype: str, scales: str) -> None:
    w, v = both(matrix((72, 192), 4), scales)
    for bits, transpose, rows in itertools.product((2, 4, 6, 8), (True, False), (1, 6, 33)):
        x, y = both(matrix((rows, 192 if transpose else 72), rows), dtype)
        got = mx.quantized_matmul(x, *mx.quantize(w, bits=bits), transpose=transpose, bits=bits)
        want = omx.quantized_matmul(y, *omx.quantize(v, bits=bits), transpose=transpose, bits=bits)
        assert name_of(got) == name_of(want)
        wide = to_numpy(want)
        check(got, wide, LOOSE[name_of(want)] * max(1.0, float(np.abs(wide).max())))


def test_large_products() -> None:
    """Sizes at which work is split over threads and depth over blocks."""
    codes = mx.quantize(mx.array(matrix((512, 2304), 5)), group_size=128)
    full = to_numpy(mx.dequantize(*codes, group_size=128)).astype(np.float64)
    for rows, transpose in itertools.product((1, 9, 70, 300), (True, False)):
        x = matrix((rows, 2304 if transpose else 512), 6)
        want = x @ (full.T if transpose else full)
        got = mx.quantized_matmul(mx.array(x), *codes, transpose=transpose, group_size=128)
        check(got, want, 1e-5 * np.abs(want).max())


LEADS = [((), ()), ((3,), ()), ((), (2,)), ((2,), (2,)), ((3, 1), (1, 2)), ((4, 2), (2,))]


@pytest.mark.parametrize("lead", LEADS, ids=str)
def test_batches_broadcast(lead: Any) -> None:
    x, w = matrix((*lead[0], 3, 64), 7), matrix((*lead[1], 5, 64), 8)
    codes = mx.quantize(mx.array(w), bits=8)
    full = to_numpy(mx.dequantize(*codes, bits=8))
    got = mx.quantized_matmul(mx.array(x), *codes, bits=8)
    check(got, x @ np.swapaxes(full, -1, -2), 2e-5)
    w = matrix((*lead[1], 3, 64), 9)
    codes = mx.quantize(mx.array(w), bits=8)
    full = to_numpy(mx.dequantize(*codes, bits=8))
    y = np.ascontiguousarray(np.swapaxes(x, -1, -2))
    got = mx.quantized_matmul(mx.array(y), *codes, bits=8, transpose=False)
    check(got, y @ full, 2e-5)


def test_small_and_strided_factors() -> None:
    codes = mx.quantize(mx.array(matrix((6, 64), 9)))
    full = to_numpy(mx.dequantize(*codes))
    x = mx.array(matrix((4, 128), 10))
    for view in (
        x[:, ::2],
        x[::-1, 64:],
        x[:, 63::-1],
        x[:0, :64],
        mx.broadcast_to(x[:1, :64], (3, 64)),
    ):
        check(mx.quantized_matmul(view, *codes), to_numpy(view) @ full.T, 2e-5)
    tall = mx.contiguous(x[:, :64].T).T
    check(mx.quantized_matmul(tall, *codes), to_numpy(tall) @ full.T, 2e-5)
    check(mx.quantized_matmul(x[0, :64], *codes), to_numpy(x[0, :64]) @ full.T, 2e-5)
    turned = [mx.contiguous(c.T).T for c in codes]
    check(mx.quantized_matmul(x[:, :64], *turned), to_numpy(x[:, :64]) @ full.T, 2e-5)
    none = mx.quantize(mx.zeros((0, 64)))
    assert mx.quantized_matmul(x[:, :64], *none).shape == (4, 0)
    empty = mx.quantized_matmul(mx.zeros((3, 0)), *none, transpose=False)
    assert empty.tolist() == np.zeros((3, 64)).tolist()
    whole = mx.quantized_matmul(mx.ones((2, 64), dtype=mx.int32), *codes)
    assert whole.dtype == mx.float32


# --- derivatives, batching ------------------------------------------------------------------------


@pytest.mark.parametrize("q", [("affine", 32, 3), ("affine", 64, 4), ("affine", 64, 8)], ids=str)
def test_derivatives(q: Any) -> None:
    w = mx.array(matrix((6, 64), 1), dtype=mx.float64)
    words, scales, biases = mx.quantize(w, **how(q))
    x = mx.array(matrix((3, 64), 2), dtype=mx.float64)
    y = mx.array(matrix((2, 6), 3), dtype=mx.float64)
    check_derivatives(
        lambda x, s, b: mx.quantized_matmul(x, words, s, b, **how(q)), x, scales, biases
    )
    check_derivatives(
        lambda y, s, b: mx.quantized_matmul(y, words, s, b, transpose=False, **how(q)),
        y, scales, biases,
    )  # fmt: skip
    check_derivatives(lambda s, b: mx.dequantize(words, s, b, **how(q)), scales, biases)


@pytest.mark.parametrize("gathered", [False, True])
@pytest.mark.parametrize("transpose", [True, False])
def test_derivatives_in_float32(gathered: bool, transpose: bool) -> None:
    """The row's own rules, which float64 does not use, against those of plain products."""
    q = ("affine", 32, 4)
    words, scales, biases = mx.quantize(mx.array(matrix((3, 32, 32), 1)), **how(q))
    x = mx.array(matrix((3, 4, 32), 2))
    lhs, rhs = mx.array([2, 0, 0, 1]), mx.array([1, 1, 0, 1])

    def ours_of(x: mx.array, s: mx.array, b: mx.array) -> mx.array:
        if gathered:
            at = {"lhs_indices": lhs, "rhs_indices": rhs}
            return mx.gather_qmm(x, words, s, b, transpose=transpose, **at, **how(q))
        return mx.quantized_matmul(x, words, s, b, transpose=transpose, **how(q))

    def plain(x: mx.array, s: mx.array, b: mx.array) -> mx.array:
        codes = mx.dequantize(words, mx.ones_like(s), mx.zeros_like(b), **how(q))
        w = mx.unflatten(codes, -1, (-1, 32)) * s[..., None] + b[..., None]
        w = mx.flatten(w, -2)
        w = mx.swapaxes(w, -1, -2) if transpose else w
        return x[lhs] @ w[rhs] if gathered else x @ w

    primals = [x, scales, biases]
    tangents = [mx.array(matrix(tuple(p.shape), 5 + i)) for i, p in enumerate(primals)]
    (a,), (da,) = mx.jvp(ours_of, primals, tangents)
    (b,), (db,) = mx.jvp(plain, primals, tangents)
    check(a, b, 1e-4)
    check(da, db, 1e-4)
    ct = mx.array(matrix(tuple(a.shape), 9))
    for mine, want in zip(
        mx.vjp(ours_of, primals, [ct])[1], mx.vjp(plain, primals, [ct])[1], strict=True
    ):
        check(mine, want, 1e-4)


@pytest.mark.parametrize("q", FLOATING, ids=str)
def test_derivative_by_x_of_other_modes(q: Any) -> None:
    codes = mx.quantize(mx.array(matrix((6, 64), 1)), **how(q))
    full = mx.dequantize(*codes, **how(q), dtype=mx.float32)
    x, ct = mx.array(matrix((3, 64), 2)), mx.array(matrix((3, 6), 3))
    _, (got,) = mx.vjp(lambda x: mx.quantized_matmul(x, *codes, **how(q)), [x], [ct])
    check(got, to_numpy(ct) @ to_numpy(full), 1e-5)


def test_codes_are_constants() -> None:
    w, s, b = mx.quantize(mx.array(matrix((6, 64), 1)))
    x = mx.ones((1, 64))
    total = lambda w: mx.sum(mx.quantized_matmul(x, w, s, b))
    _, (ct,) = mx.vjp(total, [w], [mx.array(1.0)])
    assert ct.dtype == mx.uint32
    assert not to_numpy(ct).any()


def test_derivative_of_scales() -> None:
    """Scales are differentiable by the matrix, as in MLX."""
    a = matrix((3, 64), 4)
    mine = mx.grad(lambda w: mx.sum(mx.quantize(w)[1]))(mx.array(a))
    other = omx.grad(lambda w: omx.sum(omx.quantize(w)[1]))(omx.array(a))
    check(mine, to_numpy(other), 1e-5)


@pytest.mark.parametrize("q", [("affine", 32, 5), ("mxfp8", 32, 8), ("nvfp4", 16, 4)], ids=str)
def test_vmap(q: Any) -> None:
    kw = how(q)
    w = mx.array(matrix((4, 4, 64), 1))
    words, scales, *rest = mx.quantize(w, **kw)
    for part in range(2 + len(rest)):
        check_vmap(lambda w, part=part: mx.quantize(w, **kw)[part], w, axes=(1,))
    biases = rest[0] if rest else None

    def decoded(w: mx.array, s: mx.array, *b: mx.array) -> mx.array:
        return mx.dequantize(w, s, *b, **kw)

    check_vmap(decoded, words, scales, *rest, axes=tuple([0] * (2 + len(rest))))
    check_vmap(
        decoded, words, scales[0], *[r[0] for r in rest], axes=(0, *[None] * (1 + len(rest)))
    )
    x = mx.array(matrix((4, 4, 64), 2))

    def times(x: mx.array, w: mx.array, s: mx.array) -> mx.array:
        b = None if biases is None else biases[0]
        return mx.quantized_matmul(x, w, s, b, **kw)

    for axes in ((0, None, None), (None, 0, 0), (1, 0, 0), (0, None, 0)):
        use = [v[0] if a is None else v for v, a in zip((x, words, scales), axes, strict=True)]
        check_vmap(times, *use, axes=axes, tolerance=2e-5)
    check_vmap(lambda x: mx.quantized_matmul(x, words, scales, biases, **kw), x[:, 0], axes=(0,),
               tolerance=2e-5)  # fmt: skip


def test_vmap_of_gathered() -> None:
    words, scales, biases = mx.quantize(mx.array(matrix((3, 2, 4, 64), 1)))
    x = mx.array(matrix((3, 2, 1, 64), 2))
    lhs, rhs = mx.array([[0, 1], [1, -1], [0, 0]]), mx.array([[1, 0], [0, 0], [-2, 1]])

    def f(x: mx.array, w: mx.array, s: mx.array, b: mx.array, i: mx.array, j: mx.array) -> mx.array:
        return mx.gather_qmm(x, w, s, b, i, j)

    every = (x, words, scales, biases, lhs, rhs)
    for axes in itertools.product((0, None), (0, None), (0, None), (0, None)):
        pick = (axes[0], axes[1], axes[1], axes[1], axes[2], axes[3])
        if all(a is None for a in pick):
            continue
        use = [v if a == 0 else v[0] for v, a in zip(every, pick, strict=True)]
        check_vmap(f, *use, axes=pick, tolerance=2e-5)


# --- gathered products ----------------------------------------------------------------------------

INDICES = [
    (None, [0, 1, 1, 0]),
    ([0, 1, 3], [1, 1, 0]),
    ([[0], [3]], [[0, 1, 1]]),
    ([2], [0]),
    (None, None),
    ([0, 1, 2, 3], None),
    ([3, 2, 1, 0], [1, 1, 1, 1]),
    ([0, 0, 0], [1, 1, 1]),
]


@pytest.mark.parametrize("indices", INDICES, ids=str)
@pytest.mark.parametrize("q", [("affine", 64, 4), ("mxfp4", 32, 4)], ids=str)
@pytest.mark.parametrize("rows", [1, 3])
def test_gather_qmm_is_mlx(indices: Any, q: Any, rows: int) -> None:
    matrices = 4 if indices[1] is None else 2
    x, y = both(matrix((4, rows, 64), 1))
    w, v = both(matrix((matrices, 6, 64), 2))
    mine = {n: None if i is None else mx.array(i) for n, i in zip("lr", indices, strict=True)}
    other = {
        n: None if i is None else omx.array(i, dtype=omx.uint32)
        for n, i in zip("lr", indices, strict=True)
    }
    got = mx.gather_qmm(
        x, *mx.quantize(w, **how(q)), lhs_indices=mine["l"], rhs_indices=mine["r"], **how(q)
    )
    want = omx.gather_qmm(
        y, *omx.quantize(v, **how(q)), lhs_indices=other["l"], rhs_indices=other["r"], **how(q)
    )  # fmt: skip
    check(got, to_numpy(want), 2e-5)


def test_experts() -> None:
    """As mixtures of experts use it: one row for each of many tokens, sorted and not."""
    g = rng(3)
    w = matrix((5, 64, 128), 4)
    codes = mx.quantize(mx.array(w))
    full = to_numpy(mx.dequantize(*codes))
    tokens = matrix((70, 1, 128), 5)
    for chosen in (np.sort(g.integers(0, 5, 70)), g.integers(0, 5, 70)):
        got = mx.gather_qmm(mx.array(tokens), *codes, rhs_indices=ours(chosen), sorted_indices=True)
        check(got, tokens @ np.swapaxes(full[chosen], -1, -2), 5e-5)
    pairs = g.integers(0, 5, (70, 2))
    got = mx.gather_qmm(
        mx.array(tokens[:, None]), *codes, rhs_indices=ours(pairs),
        lhs_indices=mx.arange(70).reshape(70, 1),
    )  # fmt: skip
    check(got, tokens[:, None] @ np.swapaxes(full[pairs], -1, -2), 5e-5)


# --- products of two rounded factors --------------------------------------------------------------


@pytest.mark.parametrize("q", FLOATING, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_qqmm(q: Any, dtype: str) -> None:
    x, w = (
        mx.array(matrix(s, i), dtype=getattr(mx, dtype)) for i, s in enumerate([(3, 64), (8, 64)])
    )

    def rounded(a: mx.array) -> np.ndarray:
        return to_numpy(mx.dequantize(*mx.quantize(a, **how(q)), **how(q), dtype=mx.float32))

    want = rounded(x) @ rounded(w).T
    codes = mx.quantize(w, **how(q))
    assert mx.qqmm(x, w, **how(q)).dtype == x.dtype
    check(mx.qqmm(x, w, **how(q)), want, LOOSE[dtype] * 10)
    check(mx.qqmm(x, *codes, **how(q)), want, LOOSE[dtype] * 10)
    check(mx.qqmm(x[0], *codes, **how(q)), want[0], LOOSE[dtype] * 10)
    rhs = mx.array([1, 0, 1])
    many = mx.array(matrix((3, 2, 64), 4))
    weights = mx.array(matrix((2, 8, 64), 5))
    a, b = rounded(many), rounded(weights)
    want = a @ np.swapaxes(b[[1, 0, 1]], -1, -2)
    check(mx.gather_qqmm(many, weights, rhs_indices=rhs, **how(q)), want, 1e-4)
    check(
        mx.gather_qqmm(many, *mx.quantize(weights, **how(q)), rhs_indices=rhs, **how(q)), want, 1e-4
    )


def test_derivatives_pass_the_rounding() -> None:
    x, w, ct = (mx.array(matrix(s, i)) for i, s in enumerate([(3, 64), (8, 64), (3, 8)]))
    _, (dx, dw) = mx.vjp(lambda x, w: mx.qqmm(x, w), [x, w], [ct])
    how_q = {"mode": "nvfp4", "dtype": mx.float32}
    wq = mx.dequantize(*mx.quantize(w, mode="nvfp4"), **how_q)
    xq = mx.dequantize(*mx.quantize(x, mode="nvfp4"), **how_q)
    check(dx, to_numpy(ct) @ to_numpy(wq), 1e-5)
    check(dw, to_numpy(ct).T @ to_numpy(xq), 1e-5)
    check_vmap(lambda x: mx.qqmm(x, w), mx.array(matrix((4, 3, 64), 6)), axes=(1,), tolerance=1e-5)


@pytest.mark.parametrize("scale", [0.5, 3.3, 700.0])
def test_global_scale(scale: float) -> None:
    a = matrix((16, 64), 3)
    g, o = mx.array(scale), omx.array(scale)
    mine = mx.quantize(mx.array(a), mode="nvfp4", global_scale=g)
    other = omx.quantize(omx.array(a), mode="nvfp4", global_scale=o)
    for m, v in zip(mine, other, strict=True):
        same_bits(m, v)
    got = mx.dequantize(*mine, mode="nvfp4", global_scale=g, dtype=mx.float32)
    want = omx.dequantize(*other, mode="nvfp4", global_scale=o, dtype=omx.float32)
    same_bits(got, want)
    x = matrix((3, 64), 4)
    y = mx.gather_qmm(mx.array(x[None]), *[m[None] for m in mine], mode="nvfp4", global_scale=g)
    check(y, (x @ to_numpy(got).T)[None], 1e-3)
    rx = to_numpy(
        mx.dequantize(*mx.quantize(mx.array(x), mode="nvfp4"), mode="nvfp4", dtype=mx.float32)
    )
    check(mx.qqmm(mx.array(x), *mine, global_scale_w=g), rx @ to_numpy(got).T, 1e-3)
    check(mx.qqmm(mx.array(x), mx.array(a), global_scale_w=g), rx @ to_numpy(got).T, 1e-3)


# --- eight-bit floats -----------------------------------------------------------------------------


def test_fp8_is_mlx() -> None:
    half = np.arange(65536, dtype=np.uint16).view(np.float16)
    same_bits(mx.to_fp8(mx.array(half)), omx.to_fp8(omx.array(half)))
    bits = rng(1).integers(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32)
    wide = bits.view(np.float32)
    same_bits(mx.to_fp8(mx.array(wide)), omx.to_fp8(omx.array(wide)))
    codes = np.arange(256, dtype=np.uint8)
    for dtype in DTYPES:
        mine = mx.from_fp8(mx.array(codes), dtype=getattr(mx, dtype))
        other = omx.from_fp8(omx.array(codes), dtype=getattr(omx, dtype))
        same_bits(mine, other)
    assert mx.from_fp8(mx.array(codes)).dtype == mx.bfloat16
    assert not to_numpy(
        mx.grad(lambda x: mx.sum(mx.from_fp8(mx.to_fp8(x), mx.float32)))(mx.ones(3))
    ).any()


@pytest.mark.parametrize("q", FORMATS, ids=str)
def test_what_is_no_number(q: Any) -> None:
    """Infinities and NaN: some value, never a crash; other groups are not touched."""
    a = matrix((3, 256), 2)
    a[0, 3], a[1, 200] = np.inf, np.nan
    codes = mx.quantize(mx.array(a), **how(q))
    clean = mx.quantize(mx.array(matrix((3, 256), 2)), **how(q))
    got, want = (mx.dequantize(*c, **how(q), dtype=mx.float32) for c in (codes, clean))
    np.testing.assert_array_equal(to_numpy(got)[2], to_numpy(want)[2])
    np.testing.assert_array_equal(to_numpy(got)[0, 128:], to_numpy(want)[0, 128:])

"""Compositions against mlx.core: values, shapes, dtypes, and the errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

oracle = pytest.importorskip("mlx.core")


def rows(m: Any) -> Any:
    return m.array([[3.0, 1.0, 2.0], [-4.0, 5.5, 0.25]])


def whole(m: Any) -> Any:
    return m.array([[3, 1, 2], [-4, 5, 0]])


def noise(m: Any, *shape: int) -> Any:
    return m.array(np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32))


# Each case is written once and run with both libraries.
CASES = """
m.arange(3) | m.arange(3.0) | m.arange(0, 3, 0.5) | m.arange(1, 10, None) | m.arange(5, 2)
m.arange(5, 2, -1) | m.arange(stop=5) | m.arange(5, None, 2) | m.arange(1, step=2, stop=9)
m.arange(2**33, 2**33 + 2) | m.arange(3, dtype=m.float16) | m.arange(0, 3, 0.5, dtype=m.int32)
m.arange(1.5, 6, 1, m.int32) | m.arange(0.1, 2.0, 0.3) | m.arange(-3, 3, dtype=m.bfloat16)
m.linspace(0, 1, 5) | m.linspace(0, 1, 5, False) | m.linspace(0, 10, 5, dtype=m.int32)
m.linspace(0, 1, 1) | m.linspace(0, 1, 0) | m.linspace(-2, 7.5, 31)
m.full((2,), 3) | m.full((2,), 3.5) | m.full((2,), True) | m.full(3, m.array([1, 2, 3]))
m.full_like(whole(m), 2.5)
m.full_like(whole(m), 2.5, m.float32) | m.identity(3) | m.identity(2, m.int32)
m.tri(3) | m.tri(2, 4, 1) | m.tri(3, 2, -1, m.int32) | m.tril(rows(m)) | m.triu(rows(m), 1)
m.tril(noise(m, 2, 3, 4), -1) | m.triu(whole(m), -1)
m.diag(m.array([1, 2])) | m.diag(m.array([1, 2]), 1) | m.diag(m.array([1.5, 2]), -2)
m.diag(rows(m)) | m.diag(rows(m), -1) | m.diag(rows(m), 2)
m.meshgrid(m.arange(3), m.arange(2)) | m.meshgrid(m.arange(3), m.arange(2), indexing="ij")
m.meshgrid(m.arange(3), m.arange(2), m.arange(4), sparse=True) | m.meshgrid(m.arange(3))
m.hanning(6) | m.hamming(5) | m.blackman(7) | m.bartlett(6) | m.bartlett(5) | m.hanning(1)
m.hanning(0)
m.concatenate([rows(m), whole(m)]) | m.concatenate([rows(m), rows(m)], axis=-1)
m.concatenate([rows(m), m.ones((1,))], axis=None) | m.concat([m.array([1]), m.array([2])])
m.stack([rows(m), rows(m)]) | m.stack([rows(m), rows(m)], axis=-1)
m.stack([m.array([1]), m.array([2])], axis=None)
m.split(m.arange(6), 3) | m.split(m.arange(6), [2, 4]) | m.split(rows(m), [1], -1)
m.split(m.arange(6), (2, 9)) | m.split(m.arange(6), []) | m.unstack(rows(m), axis=1)
m.unstack(rows(m)) | m.repeat(rows(m), 2) | m.repeat(rows(m), 2, 0) | m.repeat(rows(m), 3, -1)
m.tile(m.array([1, 2]), 2) | m.tile(m.array([1, 2]), (2, 2)) | m.tile(rows(m), (2,))
m.tile(rows(m), (2, 1, 2)) | m.roll(rows(m), 1) | m.roll(rows(m), -2, 1)
m.roll(rows(m), (1, 1), (0, 1)) | m.roll(rows(m), 1, (0, 1)) | m.roll(rows(m), (1, 2))
m.roll(rows(m), (1, 2), 1)
m.pad(m.array([1, 2]), 1) | m.pad(m.array([1, 2]), (1, 2)) | m.pad(rows(m), (1,))
m.pad(rows(m), [(1, 0), (0, 2)]) | m.pad(whole(m), 1, constant_values=7)
m.pad(m.array([1, 2, 3]), 2, "edge") | m.pad(m.array([1, 2, 3]), 2, "reflect")
m.pad(m.array([1, 2, 3]), 5, "reflect") | m.pad(m.array([1, 2, 3]), 5, "symmetric")
m.pad(rows(m), [(1, 2), (2, 1)], "reflect") | m.pad(rows(m), [(0, 2), (2, 0)], "edge")
m.broadcast_arrays(m.ones((2, 1)), m.ones((3,))) | m.atleast_1d(m.array(1))
m.atleast_2d(m.array([1, 2]), m.array(3)) | m.atleast_3d(m.array([1, 2]))
m.atleast_3d(rows(m)) | m.atleast_3d(m.array(3)) | m.atleast_2d(noise(m, 2, 3, 4))
m.slice(whole(m), m.array(1), (1,), (2, 2)) | m.slice(whole(m), m.array([1, 0]), (0, 1), (1, 2))
m.slice_update(m.zeros((3, 3)), m.ones((1, 2)), m.array([1, 1]), (0, 1))
m.slice_update(m.zeros((3, 3)), m.ones((3, 1)), m.array(2), (1,))
m.clip(whole(m), 2, None) | m.clip(whole(m), None, 2) | m.clip(whole(m), 0.5, 3.5)
m.clip(rows(m), m.array([0.0, 1, 2]), 3) | m.round(rows(m)) | m.round(rows(m), 1)
m.round(m.array([1.255, 2.5]), 2) | m.round(m.array([125, 255]), -1)
m.round(m.array([125.0, 255]), -1) | m.round(whole(m), 2)
m.divmod(whole(m), 3) | m.divmod(rows(m), -2.0)
m.nan_to_num(m.array([float("nan"), float("inf"), -float("inf"), 2]))
m.nan_to_num(m.array([float("nan"), float("inf"), -float("inf")]), 1.0, 2.0, 3.0)
m.nan_to_num(m.array([float("inf"), 1]).astype(m.float16)) | m.nan_to_num(whole(m), nan=3)
m.isclose(m.array([1.0, float("nan"), float("inf")]), m.array([1.0 + 1e-7, float("nan"), 1.0]))
m.isclose(m.array([float("nan"), float("inf")]), m.array([float("nan"), float("inf")]),
    equal_nan=True)
m.allclose(rows(m), rows(m) + 1e-7) | m.allclose(rows(m), whole(m))
m.array_equal(whole(m), whole(m)) | m.array_equal(m.array([1]), m.array([1, 1]))
m.array_equal(m.array([float("nan")]), m.array([float("nan")]), equal_nan=True)
m.array_equal(m.array(1), 1)
m.count_nonzero(whole(m)) | m.count_nonzero(whole(m), axis=0, keepdims=True)
m.minmax(rows(m)) | m.minmax(rows(m), axis=1) | m.diff(rows(m)) | m.diff(rows(m), axis=0)
m.diff(m.array([1, 4, 9, 16]), n=2) | m.diff(m.array([1, 4]), n=5)
m.diff(m.array([True, False, True])) | m.median(rows(m)) | m.median(whole(m), axis=0)
m.median(rows(m), axis=1, keepdims=True) | m.median(noise(m, 2, 3, 5), axis=(0, 2))
m.median(rows(m).astype(m.float16)) | m.sort(m.topk(noise(m, 5, 8), 3))
m.sort(m.topk(rows(m), 2, None)) | m.topk(rows(m), 3) | m.sort(m.topk(rows(m), 1, 0), 0)
m.unique(m.array([2, 1, 2, 3, 1]), 3) | m.unique(m.array([2, 1, 2, 3, 1]), 5)
m.unique(m.array([2, 1, 2, 3, 1]), 4, True, True, True, fill_value=0)
m.unique(m.array([[2, 1], [2, 3]]), 2, True, True, False) | m.unique(rows(m), 3)
m.tensordot(noise(m, 2, 3, 4), noise(m, 3, 4, 5)) | m.tensordot(rows(m), rows(m), 0)
m.tensordot(noise(m, 2, 3, 4), noise(m, 4, 3, 5), [[1, 2], [1, 0]])
m.inner(rows(m), rows(m)) | m.inner(m.array(2), whole(m)) | m.outer(rows(m), m.array([1.0, 2]))
m.kron(whole(m), m.array([[1, 10]])) | m.kron(m.array([1, 2]), whole(m))
m.vecdot(whole(m), whole(m)) | m.vecdot(rows(m), rows(m), axis=0)
m.vecdot(m.array([1j, 2]), m.array([1j, 4])) | m.trace(whole(m)) | m.trace(rows(m), 1)
m.trace(noise(m, 3, 4, 5), 0, 1, 2) | m.trace(whole(m), dtype=m.float32)
m.convolve(m.array([1.0, 2, 3]), m.array([0.0, 1, 0.5]))
m.convolve(m.array([1.0, 2, 3, 4]), m.array([0.0, 1, 0.5]), "same")
m.convolve(m.array([1.0, 2, 3, 4]), m.array([3.0, 1]), "same")
m.convolve(m.array([2.0, 1]), m.array([1.0, 2, 3]), "valid")
m.einsum("ii->i", noise(m, 3, 3)) | m.einsum("ii", noise(m, 3, 3)) | m.einsum("ij->ji", rows(m))
m.einsum("ij->", whole(m)) | m.einsum("i,j", m.array([1, 2]), m.array([3, 4]))
m.einsum("ij,jk", noise(m, 2, 3), noise(m, 3, 4)) | m.einsum("ij,kj->ik", rows(m), rows(m))
m.einsum("...ij,...jk->...ik", noise(m, 2, 2, 3), noise(m, 3, 4))
m.einsum("bij,bjk->bik", noise(m, 4, 2, 3), noise(m, 4, 3, 2))
m.einsum("ij,jk,kl->il", noise(m, 2, 3), noise(m, 3, 4), noise(m, 4, 5))
m.einsum("bhqd,bhkd->bhqk", noise(m, 2, 3, 4, 5), noise(m, 2, 3, 6, 5))
m.einsum("ijk,jil->kl", noise(m, 2, 3, 4), noise(m, 3, 2, 5))
m.einsum("i,i,i->i", *[m.arange(3)] * 3)
m.linalg.norm(whole(m)) | m.linalg.norm(rows(m), "fro") | m.linalg.norm(rows(m), 1)
m.linalg.norm(rows(m), -float("inf"), axis=(0, 1), keepdims=True) | m.linalg.norm(rows(m), axis=1)
m.linalg.norm(rows(m), 3, axis=0) | m.linalg.norm(rows(m), 0, axis=1, keepdims=True)
m.linalg.norm(rows(m), float("inf"), axis=1) | m.linalg.norm(noise(m, 2, 3, 4), axis=(0, 2))
m.linalg.norm(rows(m), 2) | m.linalg.norm(rows(m), "nuc") | m.linalg.norm(rows(m), -2, (0, 1), True)
m.linalg.norm(noise(m, 2, 3, 4), 2, axis=(0, 2)) | m.matrix_norm(rows(m), "nuc", axis=(1, 0))
m.linalg.norm(m.array([1 + 2j, 3j])) | m.linalg.norm(m.array([1, 2]), 1)
m.linalg.cross(m.array([1, 2, 3]), m.array([4, 5, 6])) | m.linalg.cross(rows(m), rows(m) * 2 + 1)
m.linalg.cross(m.array([1, 2]), m.array([4, 5, 6]))
"""


def expressions() -> list[str]:
    lines = re.sub(r"\n {4}", " ", CASES).strip().splitlines()
    return [e.strip() for line in lines for e in line.split(" | ")]


def same(got: Any, expected: Any, tolerance: float = 2e-6) -> None:
    if isinstance(expected, (list, tuple)):
        assert len(got) == len(expected)
        for g, e in zip(got, expected, strict=True):
            same(g, e, tolerance)
        return
    assert tuple(got.shape) == tuple(expected.shape)
    assert str(got.dtype).rsplit(".", 1)[-1] == str(expected.dtype).rsplit(".", 1)[-1]
    if got.dtype == mx.bfloat16:
        got, expected = got.astype(mx.float32), expected.astype(oracle.float32)
    np.testing.assert_allclose(
        np.array(got), np.array(expected), rtol=tolerance, atol=tolerance, equal_nan=True
    )


@pytest.mark.parametrize("text", expressions())
def test_as_mlx(text: str) -> None:
    run: Callable[[Any], Any] = eval("lambda m: " + text, globals())
    same(run(mx), run(oracle))


FAULTS = [
    ("m.arange(0, 1, 0)", "step"),
    ("m.arange(0, float('inf'))", "length"),
    ("m.tril(m.ones((3,)))", r"\(3,\)"),
    ("m.diag(m.ones((2, 2, 2)))", r"\(2, 2, 2\)"),
    ("m.meshgrid(m.arange(2), indexing='a')", "'a'"),
    ("m.split(m.arange(7), 3)", "3 sections"),
    ("m.roll(m.ones((2, 2)), (1,), (0, 1))", "1 shifts for 2 axes"),
    ("m.pad(m.ones((2,)), -1)", "negative"),
    ("m.pad(m.ones((2,)), 1, 'wrap')", "wrap"),
    ("m.pad(m.ones((2,)), [(1, 1), (1, 1)])", "2 pairs"),
    ("m.broadcast_shapes((2, 1), (3, 2))", r"\(2, 1\) and \(3, 2\)"),
    ("m.broadcast_shapes()", "at least one"),
    ("m.clip(m.ones((2,)), None, None)", "a_min"),
    ("m.diff(m.ones((2,)), n=-1)", "negative"),
    ("m.median(m.zeros((0,)))", "no elements"),
    ("m.topk(m.ones((3,)), 5)", "k=5"),
    ("m.convolve(m.ones((3,)), m.ones((2,)), 'x')", "'x'"),
    ("m.einsum('ij,jk->iz', m.ones((2, 3)), m.ones((3, 4)))", "'z'"),
    ("m.einsum('ij,jk', m.ones((2, 3)))", "2 terms"),
    ("m.einsum('ij,jk', m.ones((2, 3)), m.ones((4, 4)))", "sizes 3 and 4"),
    ("m.einsum('ijk', m.ones((2, 3)))", "does not fit"),
    ("m.inner(m.ones((3,)), m.ones((2,)))", "3 != 2"),
    ("m.tensordot(m.ones((3,)), m.ones((2,)), 1)", "sizes differ"),
    ("m.conv2d(m.ones((1, 3, 3)), m.ones((1, 3, 3)))", "4 axes"),
    ("m.linalg.norm(m.ones((2,)), 'nuc')", "nuc"),
    ("m.linalg.norm(m.ones((2, 2)), 3)", "no order 3 of a matrix"),
    ("m.linalg.cross(m.ones((4,)), m.ones((4,)))", "got 4"),
    ("m.unique(m.ones((2,)), -1)", "size"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        eval("lambda m: " + text, globals())(mx)


@st.composite
def convolutions(draw: Any) -> dict[str, Any]:
    rank = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 2])) if rank < 3 else 1
    each = lambda low, high: draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))
    kernel, dilation = each(1, 3), each(1, 2)
    space = [
        d * (k - 1) + 1 + draw(st.integers(0, 4)) for k, d in zip(kernel, dilation, strict=True)
    ]
    return {
        "x": (draw(st.integers(1, 2)), *space, 2 * groups),
        "w": (2 * groups, *kernel, 2),
        "stride": each(1, 3),
        "padding": each(0, 2),
        "dilation": dilation,
        "groups": groups,
        "output_padding": each(0, 1),
    }


@given(convolutions())
def test_convolutions(case: dict[str, Any]) -> None:
    rank = len(case["x"]) - 2
    options = {k: tuple(case[k]) for k in ("stride", "padding", "dilation")}
    if rank == 1:
        options = {k: v[0] for k, v in options.items()}

    def run(m: Any) -> Any:
        x, w = noise(m, *case["x"]), noise(m, *case["w"])
        out = [getattr(m, f"conv{rank}d")(x, w, **options, groups=case["groups"])]
        flipped = m.conv_general(
            x, w, padding=(case["padding"], case["output_padding"]), groups=case["groups"],
            input_dilation=case["stride"], flip=True,
        )  # fmt: skip
        return [*out, flipped]

    same(run(mx), run(oracle), 1e-4)


@given(convolutions())
def test_transposed_convolutions(case: dict[str, Any]) -> None:
    rank = len(case["x"]) - 2
    extra = [min(p, s - 1) for p, s in zip(case["output_padding"], case["stride"], strict=True)]
    options: dict[str, Any] = {k: tuple(case[k]) for k in ("stride", "padding", "dilation")}
    options["output_padding"] = tuple(extra)
    shape = case["x"][:-1]
    # Where the padding is wider than the kernel, mlx.core cuts the input before it spreads it.
    reach = [d * (k - 1) for d, k in zip(case["dilation"], case["w"][1:-1], strict=True)]
    options["padding"] = tuple(min(p, r) for p, r in zip(case["padding"], reach, strict=True))
    if rank == 1:
        options = {k: v[0] for k, v in options.items()}

    def run(m: Any) -> Any:
        x, w = noise(m, *shape, 2), noise(m, *case["w"])
        return getattr(m, f"conv_transpose{rank}d")(x, w, **options)

    same(run(mx), run(oracle), 1e-4)


DTYPES = [
    "bool_", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "bfloat16", "float32", "float64", "complex64",
]  # fmt: skip
CATEGORIES = [c.name for c in mx.DtypeCategory]
KINDS = ["bool", "signed integer", "unsigned integer", "integral", "real floating",
         "complex floating", "numeric"]  # fmt: skip


def test_dtype_relations() -> None:
    for a in DTYPES + CATEGORIES:
        for b in DTYPES + CATEGORIES:
            got = mx.issubdtype(getattr(mx, a), getattr(mx, b))
            assert got == oracle.issubdtype(getattr(oracle, a), getattr(oracle, b)), (a, b)
    for a in DTYPES:
        own, theirs = getattr(mx, a), getattr(oracle, a)
        for kind in KINDS:
            assert mx.isdtype(own, kind) == oracle.isdtype(theirs, kind), (a, kind)
        for b in DTYPES:
            promoted = mx.result_type(own, getattr(mx, b))
            expected = oracle.result_type(theirs, getattr(oracle, b))
            assert str(promoted).split(".")[-1] == str(expected).split(".")[-1], (a, b)
            assert mx.can_cast(own, getattr(mx, b)) == oracle.can_cast(theirs, getattr(oracle, b))
    assert mx.isdtype(mx.int8, ("bool", mx.int8))
    with pytest.raises(ValueError, match="kind"):
        mx.isdtype(mx.int8, "x")
    with pytest.raises(ValueError, match="at least one"):
        mx.result_type()


def test_limits() -> None:
    for name in ("float16", "bfloat16", "float32", "float64", "complex64"):
        own, theirs = mx.finfo(getattr(mx, name)), oracle.finfo(getattr(oracle, name))
        for field in ("bits", "eps", "max", "min", "smallest_normal"):
            assert getattr(own, field) == getattr(theirs, field), (name, field)
        assert repr(own) == repr(theirs)
    for name in DTYPES[1:9]:
        own, theirs = mx.iinfo(getattr(mx, name)), oracle.iinfo(getattr(oracle, name))
        assert (own.min, own.max, repr(own)) == (theirs.min, theirs.max, repr(theirs))
    with pytest.raises(ValueError, match="int32"):
        mx.finfo(mx.int32)
    with pytest.raises(ValueError, match="float32"):
        mx.iinfo(mx.float32)


def test_einsum_path() -> None:
    operands = lambda m: [m.ones(s) for s in ((2, 3), (3, 4), (4, 5))]
    text = "ij,jk,kl->il"
    assert mx.einsum_path(text, *operands(mx)) == oracle.einsum_path(text, *operands(oracle))


@pytest.mark.parametrize("name", ["int32", "uint16", "complex64"])
def test_bits_under_arithmetic(name: str) -> None:
    def run(m: Any) -> Any:
        x = noise(m, 3, 4)
        dtype = getattr(m, name)
        return [m.view(y, dtype) + m.view(y, dtype) for y in (x, x + 1, x.T.reshape(3, 4))]

    same(run(mx), run(oracle))


def test_rope() -> None:
    for traditional in (False, True):
        for dims in (8, 6):
            for shape in ((2, 5, 8), (2, 3, 5, 8)):
                for offset in (3, lambda m: m.array([1, 4])):

                    def run(m: Any) -> Any:
                        at = offset(m) if callable(offset) else offset
                        return m.fast.rope(
                            noise(m, *shape), dims, traditional=traditional, base=10000.0,
                            scale=0.5, offset=at,
                        )  # fmt: skip

                    same(run(mx), run(oracle), 1e-5)

    def by_rates(m: Any) -> Any:
        rates = m.array([1.0, 3.0, 9.0, 27.0])
        return m.fast.rope(
            noise(m, 1, 4, 8), 8, traditional=False, base=None, scale=1.0, offset=0, freqs=rates
        )

    same(by_rates(mx), by_rates(oracle), 1e-5)
    with pytest.raises(ValueError, match="exactly one"):
        mx.fast.rope(mx.ones((1, 2, 4)), 4, traditional=False, base=None, scale=1.0, offset=0)


MASKS = {
    "none": lambda m: None,
    "causal": lambda m: "causal",
    "boolean": lambda m: m.array(np.random.default_rng(0).random((5, 7)) > 0.3),
    "added": lambda m: noise(m, 2, 1, 5, 7),
    "by head": lambda m: noise(m, 4, 5, 7),
    "full": lambda m: noise(m, 2, 4, 5, 7),
}


@pytest.mark.parametrize("name", sorted(MASKS))
@pytest.mark.parametrize("groups", [4, 2, 1])
def test_attention(name: str, groups: int) -> None:
    for sinks in (False, True):

        def run(m: Any) -> Any:
            return m.fast.scaled_dot_product_attention(
                noise(m, 2, 4, 5, 8), noise(m, 2, groups, 7, 8), noise(m, 2, groups, 7, 8) + 1,
                scale=0.3, mask=MASKS[name](m), sinks=m.array([0.1, 0.2, -1, 2]) if sinks else None,
            )  # fmt: skip

        same(run(mx), run(oracle), 1e-5)


def test_fast_norms_and_loss() -> None:
    def run(m: Any) -> Any:
        x, w, b = noise(m, 3, 16), noise(m, 16), noise(m, 16) + 1
        return [
            m.fast.rms_norm(x, w, 1e-5),
            m.fast.rms_norm(x, None, 1e-5),
            m.fast.layer_norm(x, w, b, 1e-5),
            m.fast.layer_norm(x, None, None, 1e-5),
            m.fast.cross_entropy(x, m.array([1, 15, 0])),
        ]

    same(run(mx), run(oracle), 1e-5)


@pytest.mark.parametrize("traditional", [False, True])
@pytest.mark.parametrize("offset", [0, 7, 100_000])
def test_rope_is_its_formula(traditional: bool, offset: int) -> None:
    """To the bit on the CPU: angles by the rows that a program would write it with. Compilers of
    kernel text may contract a product and a sum."""
    x = noise(mx, 2, 3, 50, 20)
    half = 8
    places = (mx.arange(50, dtype=mx.float32) + float(offset)) * 0.7
    rates = mx.exp(mx.arange(half, dtype=mx.float32) * (-np.log(10000.0) / half))
    angle = mx.expand_dims(places, -1) * rates
    cos, sin = mx.cos(angle), mx.sin(angle)
    step = slice(0, 16, 2) if traditional else slice(0, 8)
    next_step = slice(1, 16, 2) if traditional else slice(8, 16)
    a, b = x[..., step], x[..., next_step]
    parts = [a * cos - b * sin, a * sin + b * cos]
    turned = mx.stack(parts, -1).flatten(-2, -1) if traditional else mx.concatenate(parts, -1)
    want = mx.concatenate([turned, x[..., 16:]], -1)
    got = mx.fast.rope(x, 16, traditional=traditional, base=10000.0, scale=0.7, offset=offset)
    if mx.default_device() == mx.Device(mx.cpu):
        assert mx.array_equal(got, want)
    assert mx.allclose(got, want, rtol=0, atol=1e-6)

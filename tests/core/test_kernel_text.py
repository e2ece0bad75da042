"""Kernels as text: what a device that compiles source is given, in both dialects."""

from __future__ import annotations

import lamina.core as mx
import numpy as np
import pytest
from arrays import DTYPES, sample
from kernel_compilers import complaints
from lamina import _core

DIALECTS = ["msl", "cuda"]


NEAR = 2**31 - 2**18  # indices are 32 bits wide below it


def steps(
    *arrays: mx.array, dialect: str, vector_bytes: int = 16, index_limit: int = NEAR
) -> list[dict]:
    mx.eval(*arrays)
    return _core._kernel_texts(dialect, vector_bytes, index_limit)


def sources(
    *arrays: mx.array, dialect: str, vector_bytes: int = 16, index_limit: int = NEAR
) -> list[str]:
    found = steps(*arrays, dialect=dialect, vector_bytes=vector_bytes, index_limit=index_limit)
    return [launch["source"] for step in found for launch in step["launches"]]


def has_dtype(dialect: str, dtype: str) -> bool:
    return dialect == "cuda" or dtype != "float64"


SPELLED = [
    (dialect, dtype) for dialect in DIALECTS for dtype in DTYPES if has_dtype(dialect, dtype)
]


def ready(*arrays: mx.array) -> tuple[mx.array, ...]:
    mx.eval(*arrays)
    return arrays


# ---- every formula


def formula_results(dtype: str) -> list[mx.array]:
    """Every elementwise row that takes the dtype, applied to it."""
    x, y = ready(sample(dtype, (70_000,), seed=1), sample(dtype, (70_000,), seed=2))
    condition = x == y
    out = []
    for row in _core._registry():
        if row["kind"] != "elementwise":
            continue
        operands = [x, y][: row["arity"]]
        if row["name"] == "select":
            out.append(mx.where(condition, x, y))
            continue
        try:
            out.append(getattr(mx, row["name"])(*operands))
        except TypeError:
            continue  # the row refuses the dtype
    assert len(out) > 15
    return out


@pytest.mark.parametrize(("dialect", "dtype"), SPELLED)
def test_every_formula_compiles(dialect, dtype):
    results = formula_results(dtype)
    found = []
    for start in range(0, len(results), 20):
        found += sources(*results[start : start + 20], dialect=dialect)
    assert complaints(found, dialect) == ""


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_cast_compiles(dialect):
    found = []
    for dtype in DTYPES:
        (x,) = ready(sample(dtype, (500,)))
        if has_dtype(dialect, dtype):
            targets = [d for d in DTYPES if d != dtype and has_dtype(dialect, d)]
            found += sources(*(x.astype(getattr(mx, d)) for d in targets), dialect=dialect)
    assert complaints(found, dialect) == ""


# ---- shapes of kernels

REDUCTIONS = ["sum", "prod", "min", "max", "all", "any", "argmin", "argmax"]


@pytest.mark.parametrize(("dialect", "dtype"), SPELLED)
def test_every_reduction_compiles(dialect, dtype):
    (x,) = ready(sample(dtype, (40, 24, 48)))
    found = []
    for name in REDUCTIONS:
        for axes in (2, 0, 1, None):
            found += sources(getattr(mx, name)(x, axis=axes), dialect=dialect)
    assert complaints(found, dialect) == ""


@pytest.mark.parametrize("index_limit", [NEAR, 1], ids=["near", "far"])
@pytest.mark.parametrize("vector_bytes", [1, 16])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_shapes_of_kernels_compile(dialect, vector_bytes, index_limit):
    a, b, c = ready(mx.ones((256, 512)), mx.ones((512,)), mx.ones((256, 1)))
    h = mx.ones((256, 512), dtype=mx.float16)
    mx.eval(h)
    found = []
    for y in (
        a * b + c,
        mx.transpose(a) + 1.0,
        a[::2, ::-3] * 2.0,
        mx.arange(100_000) * 3,
        mx.softmax(a, axis=-1),
        mx.softmax(h, axis=-1),
        mx.softmax(a[:, :33], axis=-1),
        mx.fast.layer_norm(a, b, b, 1e-5),
        mx.mean(a * a, axis=1),
        mx.sum(mx.ones((3, 40_000)), axis=1),
        mx.argmax(mx.ones((40_000, 8)), axis=0),
        mx.concatenate([a, a], axis=1) + 1.0,
        h + a,
    ):
        found += sources(y, dialect=dialect, vector_bytes=vector_bytes, index_limit=index_limit)
    assert complaints(found, dialect) == ""


# ---- structured operations


def structured(dtype: str) -> list[mx.array]:
    x, y = ready(sample(dtype, (12, 2100), seed=1), sample(dtype, (12, 2100), seed=2))
    rows = mx.array(np.array([3, -1, 0, 3], np.int32))
    along = mx.array(np.zeros((12, 5), np.int32))
    mx.eval(rows, along)
    out = [mx.take(x, rows, axis=0), mx.take_along_axis(x, along, axis=1)]
    out += [mx.put_along_axis(x, along, y[:, :5], axis=1), x.view(mx.uint8)]
    joins = (
        ["add", "multiply"] if dtype == "complex64" else ["add", "multiply", "maximum", "minimum"]
    )
    out += [getattr(x.at[rows], join)(y[:4]) for join in joins]
    out += [mx.cumprod(x, axis=1), mx.cummax(x, axis=0), mx.cumsum(x, axis=1, reverse=True)]
    out += [mx.cumsum(mx.concatenate([x.reshape(-1), x.reshape(-1)]), inclusive=False)]
    out += [mx.sort(x, axis=1), mx.argsort(x, axis=1), mx.sort(x, axis=0)]
    out += [mx.searchsorted(mx.sort(x.reshape(-1)), y[0])]
    if dtype in ("float16", "bfloat16", "float32", "float64", "complex64"):
        out += [x @ y.T, x.T @ y, x @ y[0], x[0] @ y.T, mx.logcumsumexp(x, axis=1)]
    return out


@pytest.mark.parametrize(("dialect", "dtype"), SPELLED)
def test_structured_operations_compile(dialect, dtype):
    found = []
    for y in structured(dtype):
        found += sources(y, dialect=dialect)
    assert complaints(found, dialect) == ""


@pytest.mark.parametrize("dialect", DIALECTS)
def test_structured_operations_that_reach_far_compile(dialect):
    found = []
    for dtype in ("float32", "int8"):
        for y in structured(dtype):
            found += sources(y, dialect=dialect, index_limit=1)
    assert complaints(found, dialect) == ""


@pytest.mark.parametrize("dialect", DIALECTS)
def test_far_offsets_have_64_bits(dialect):
    """The texts for the same program below and at the offset from which indices are wide."""
    (x,) = ready(mx.ones((300, 70)))
    for program in (
        lambda: x * 2 + 1,
        lambda: x[:, ::-3] * 2,
        lambda: mx.sum(x * x, axis=0),
        lambda: mx.softmax(x, axis=1),
        lambda: mx.sort(x, axis=1),
        lambda: mx.cumsum(x, axis=1),
    ):
        near = sources(program(), dialect=dialect, index_limit=10**6)
        far = sources(program(), dialect=dialect, index_limit=70)
        assert near and len(near) == len(far)
        for text, wide in [(t, False) for t in near] + [(t, True) for t in far]:
            body = text.split("struct Block")[1]
            assert ("long" in body) == wide, body
    (y,) = ready(mx.zeros((10_000,)))
    reaches = 10_000
    (near,) = sources(y + 1.0, dialect=dialect, index_limit=reaches + 1)
    (far,) = sources(y + 1.0, dialect=dialect, index_limit=reaches)
    assert "const int i " in near and "const long i " in far


@pytest.mark.parametrize("dialect", DIALECTS)
def test_convolutions_compile(dialect):
    found = []
    for dtype in (mx.float32, mx.float16):
        x, w = ready(mx.ones((2, 9, 8, 4), dtype=dtype), mx.ones((6, 3, 3, 2), dtype=dtype))

        def conv(a: mx.array, b: mx.array) -> mx.array:
            return mx.conv2d(a, b, stride=2, padding=(1, 2), dilation=2, groups=2)

        y = conv(x, w)
        found += sources(y, dialect=dialect)
        for gradient in mx.vjp(conv, [x, w], [mx.ones(y.shape, dtype=dtype)])[1]:
            found += sources(gradient, dialect=dialect)
        (u,) = ready(mx.ones((2, 5, 6, 7, 4), dtype=dtype))
        found += sources(mx.conv3d(u, mx.ones((3, 2, 2, 2, 4), dtype=dtype)), dialect=dialect)
    found += sources(mx.random.uniform(shape=(999,)), dialect=dialect)
    assert complaints(found, dialect) == ""


def test_every_row_has_text():
    """Structured operations of the registry: a GPU runs them all, where its dtypes allow it."""
    rows = [r for r in _core._registry() if r["kind"] == "call"]
    assert rows
    assert [r["name"] for r in rows if not r["text"]] == []


# ---- properties of texts


@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_text_serves_all_sizes_and_scalars(dialect):
    def source(n: int, factor: float) -> list[str]:
        (x,) = ready(mx.zeros((n,)))
        return sources(x * factor + 1.0, dialect=dialect)

    assert source(100_000, 2.0) == source(300_001, 5.0)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_full_width_loads_only_where_addresses_allow(dialect):
    (x,) = ready(mx.ones((100_000,)))
    (wide,) = steps(x + 1.0, dialect=dialect)
    assert [alignment for _, _, alignment in wide["launches"][0]["buffers"]] == [16, 16]
    (narrow,) = steps(x + 1.0, dialect=dialect, vector_bytes=1)
    assert [alignment for _, _, alignment in narrow["launches"][0]["buffers"]] == [4, 4]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_constant_block_is_bound_whole(dialect, rank):
    """A structure with a 64-bit field ends in padding, which the device reads too."""
    (x,) = ready(mx.ones((12,) * (rank + 1), dtype=mx.int64))
    for strided in (x[..., ::2], mx.swapaxes(x, 0, 1)[..., ::3]):
        (step,) = steps(strided * 3, dialect=dialect)
        assert "long s0;" in step["launches"][0]["source"]
        assert len(step["launches"][0]["block"]) % 8 == 0


def test_unknown_dialect_is_named():
    mx.eval(mx.zeros((4,)) + 1)
    with pytest.raises(ValueError, match="no dialect 'spirv'"):
        _core._kernel_texts("spirv")


def test_float64_is_refused_where_the_device_has_none():
    (x,) = ready(mx.zeros((8,), dtype=mx.float64))
    mx.eval(mx.exp(x))
    with pytest.raises(TypeError, match=r"exp: float64 is no dtype of this device\n.*float32"):
        _core._kernel_texts("msl")
    (step,) = _core._kernel_texts("cuda")
    assert "double" in step["launches"][0]["source"]

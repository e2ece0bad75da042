"""The namespace of the array API standard beside `array_api_strict`, which has nothing else."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import array_api_strict as strict
import lamina.core as mx
import numpy as np
import pytest
import signatures
from arrays import check_derivatives, check_vmap, normal64, to_numpy

xp: Any = mx.ones(1).__array_namespace__(api_version="2024.12")
# Of a later edition, of that library itself, and a dtype that lamina has not.
NOT_HERE = {"isin", "complex128", "ArrayAPIStrictFlags"} | {
    f"{verb}_array_api_strict_flags" for verb in ("get", "set", "reset")
}
NAMES = [
    *(n for n in strict.__all__ if n not in NOT_HERE),
    *(f"{part}.{n}" for part in ("linalg", "fft") for n in getattr(strict, part).__all__),
]


def named(space: Any, name: str) -> Any:
    for part in name.split("."):
        space = getattr(space, part)
    return space


@pytest.mark.parametrize("name", NAMES)
def test_every_name_takes_the_standards_parameters(name: str) -> None:
    theirs, ours = named(strict, name), named(xp, name)
    if not callable(theirs) or inspect.isclass(theirs):
        return
    form = signatures.form_of(ours)
    assert form is not None
    got = [parameter for parameter, *_ in form]
    asked = inspect.signature(theirs).parameters.values()
    by_name = [p.name for p in asked if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    # `x` of astype and the like is given by position only.
    assert [n for n in by_name if n not in got and n not in ("x", "arrays", "axes")] == []
    assert len(got) >= len(by_name)


FLOATS = np.random.default_rng(0).uniform(-2, 2, (3, 4)).astype(np.float32)
INTS = np.array([[3, 1, 2, 1], [0, 5, 5, -2]], np.int32)
MANY = np.random.default_rng(1).uniform(-1, 1, (2, 3, 3)).astype(np.float32)
BYTES = np.array([100, 100, 100], np.int8)

# As text, with x for the namespace; f, i, m and b are the arrays above.
PROGRAMS = [
    "x.asarray([1, 2], dtype=x.int16)",
    "x.asarray(3.5, dtype=x.float32)",
    "x.asarray(f, copy=True)",
    "x.asarray(True)",
    "x.arange(5, dtype=x.int32)",
    "x.arange(1, 8, 3, dtype=x.int64)",
    "x.arange(3.0, dtype=x.float32)",
    "x.linspace(0, 1, 5, dtype=x.float32)",
    "x.linspace(0, 1, num=4, endpoint=False, dtype=x.float32)",
    "x.eye(3, dtype=x.float32)",
    "x.eye(2, 4, k=1, dtype=x.int32)",
    "x.full((2, 3), fill_value=7, dtype=x.int32)",
    "x.full(2, 1.5, dtype=x.float32)",
    "x.full_like(i, fill_value=2)",
    "x.full_like(f, 2, dtype=x.int8)",
    "x.zeros((2, 0), dtype=x.float32)",
    "x.zeros(3, dtype=x.bool)",
    "x.ones((2,), dtype=x.uint8)",
    "x.zeros_like(i)",
    "x.ones_like(i, dtype=x.float32)",
    "x.empty((2, 3), dtype=x.int32) * 0",
    "x.empty_like(f).shape",
    "x.astype(f, x.int32, copy=False)",
    "x.astype(i, x.bool)",
    "x.tril(f, k=1)",
    "x.sum(i)",
    "x.sum(b)",
    "x.sum(b, dtype=x.int8)",
    "x.sum(f, axis=(0, 1), keepdims=True)",
    "x.sum(f, axis=0, dtype=x.float32)",
    "x.prod(i, axis=1, dtype=x.float32)",
    "x.mean(f, axis=-1)",
    "x.var(f, axis=0, correction=1)",
    "x.std(f, correction=0.5, keepdims=True)",
    "x.max(i, axis=1)",
    "x.any(i > 4, axis=0)",
    "x.clip(f, -1, 1)",
    "x.clip(f, min=0)",
    "x.clip(i, max=x.asarray(2, dtype=x.int32))",
    "x.clip(i)",
    "x.reshape(f, (2, -1), copy=True)",
    "x.reshape(f, (12,))",
    "x.diff(i)",
    "x.diff(i, axis=0, n=1, prepend=i[:1, :], append=i[:1, :] * 2)",
    "x.cumulative_sum(i, axis=1)",
    "x.cumulative_sum(b)",
    "x.cumulative_sum(f, axis=0, include_initial=True)",
    "x.cumulative_sum(b, dtype=x.float32, include_initial=True)",
    "x.cumulative_prod(i, axis=-1, include_initial=True)",
    "x.argmax(i)",
    "x.argmin(i, axis=1, keepdims=True)",
    "x.argsort(i)",
    "x.argsort(i, axis=1, descending=True)",
    "x.argsort(i, axis=0, descending=True)",
    "x.sort(i, axis=0)",
    "x.sort(f, axis=1, descending=True, stable=False)",
    "x.searchsorted(x.asarray([1, 3, 5]), x.asarray([0, 3, 9]), side='right')",
    "x.searchsorted(x.asarray([5, 1, 3]), x.asarray([0, 3]), sorter=x.asarray([1, 2, 0]))",
    "x.take(i, x.asarray([3, 0]), axis=1)",
    "x.permute_dims(f, axes=(1, 0))",
    "x.concat([f, f], axis=None)",
    "x.matrix_transpose(m)",
    "x.vecdot(f, f)",
    "x.tensordot(f, f, axes=((0, 1), (0, 1)))",
    "x.count_nonzero(i)",
    "x.unique_values(i)",
    "x.nonzero(i)",
    "x.isdtype(f.dtype, 'real floating')",
    "x.linalg.diagonal(m)",
    "x.linalg.diagonal(f, offset=1)",
    "x.linalg.diagonal(m, offset=-5)",
    "x.linalg.trace(m)",
    "x.linalg.trace(i, offset=-1)",
    "x.linalg.trace(b[:, None] * x.eye(3, dtype=x.int8), dtype=x.float32)",
    "x.linalg.vector_norm(f)",
    "x.linalg.vector_norm(f, axis=1, ord=1, keepdims=True)",
    "x.linalg.vector_norm(m, axis=(0, 2), ord=x.inf)",
    "x.linalg.vector_norm(f, axis=0, ord=-x.inf)",
    "x.linalg.vector_norm(f, ord=3)",
    "x.linalg.vector_norm(c, axis=0)",
    "x.linalg.matrix_norm(m)",
    "x.linalg.matrix_norm(m, ord='nuc')",
    "x.linalg.matrix_norm(f, ord=2, keepdims=True)",
    "x.linalg.matrix_norm(m, ord=1)",
    "x.linalg.matrix_norm(m, ord=-x.inf)",
    "x.linalg.matrix_power(m, 5)",
    "x.linalg.matrix_power(m, 0)",
    "x.linalg.matrix_power(m, -2)",
    "x.linalg.matrix_rank(m)",
    "x.linalg.matrix_rank(f[:, :1] @ f[:1, :])",
    "x.linalg.matrix_rank(m, rtol=0.9)",
    "x.linalg.matrix_rank(m * 0)",
    "x.linalg.matrix_transpose(m)",
    "x.linalg.matmul(f, x.permute_dims(f, (1, 0)))",
    "x.linalg.outer(b, b)",
    "x.linalg.tensordot(f, f, axes=0)",
    "x.linalg.vecdot(c, c, axis=-2)",
    "x.linalg.cross(m[0, :, :], m[1, :, :])",
    "x.linalg.det(m)",
    "x.linalg.inv(m)",
    "x.linalg.solve(m, m[:, :, :1])",
    "x.linalg.svdvals(f)",
    "x.linalg.cholesky(x.matmul(m, x.matrix_transpose(m)) + x.eye(3, dtype=x.float32), upper=True)",
    "x.linalg.pinv(f)",
    "x.linalg.pinv(f, rtol=0.5)",
    "x.linalg.pinv(m, rtol=x.asarray([0.1, 0.6], dtype=x.float32))",
    "x.linalg.qr(f, mode='complete')[0].shape",
    "x.linalg.qr(f)[1].shape",
    "x.linalg.svd(f, full_matrices=False).U.shape",
    "x.linalg.svd(f).Vh.shape",
    "x.fft.hfft(c)",
    "x.fft.hfft(c, n=7, axis=0, norm='ortho')",
    "x.fft.hfft(c, norm='forward')",
    "x.fft.ihfft(f)",
    "x.fft.ihfft(f, n=6, norm='forward')",
    "x.fft.ihfft(f, axis=0, norm='ortho')",
    "x.fft.fftfreq(6, d=0.5, dtype=x.float32)",
    "x.fft.rfftfreq(5, dtype=x.float32)",
    "x.fft.fft(c, norm='ortho')",
]
COMPLEX = (FLOATS + 1j * FLOATS[::-1]).astype(np.complex64)


def plain(value: Any) -> list[np.ndarray]:
    if isinstance(value, tuple) and not all(isinstance(v, int) for v in value):
        return [a for part in value for a in plain(part)]
    return [to_numpy(value) if isinstance(value, mx.array) else np.asarray(value)]


def run(program: str, space: Any, make: Any) -> list[np.ndarray]:
    arrays = {"f": FLOATS, "i": INTS, "m": MANY, "b": BYTES, "c": COMPLEX}
    names = {"x": space, **{n: make(a) for n, a in arrays.items() if f"{n}" in program}}
    return plain(eval(program, names))


@pytest.mark.parametrize("program", PROGRAMS)
def test_as_the_strict_implementation(program: str) -> None:
    ours = run(program, xp, xp.asarray)
    theirs = run(program, strict, strict.asarray)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        # Default integers have 32 bits here, and 64 there.
        assert a.dtype == b.dtype or (a.dtype.kind, b.dtype) == ("i", np.int64)
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_a_complete_basis() -> None:
    for shape in [(4, 2), (2, 4), (3, 3), (2, 5, 3)]:
        x = mx.random.normal(shape)
        q, r = xp.linalg.qr(x, mode="complete")
        m, n = shape[-2:]
        assert q.shape == (*shape[:-2], m, m)
        assert r.shape == (*shape[:-2], m, n)
        np.testing.assert_allclose(q @ r, x, atol=1e-5)
        np.testing.assert_allclose(q.mT @ q, np.broadcast_to(np.eye(m), q.shape), atol=1e-5)
        assert np.allclose(np.tril(np.array(r), -1), 0)


@pytest.mark.parametrize(("axis", "size"), list(itertools.product([0, 1], [1, 2, 7, 50])))
def test_descending_keeps_equal_ones_in_order(axis: int, size: int) -> None:
    a = np.random.default_rng(size).integers(0, 3, (size, size)).astype(np.int32)
    want = np.argsort(-a, axis, kind="stable")
    np.testing.assert_array_equal(xp.argsort(mx.array(a), axis=axis, descending=True), want)


DERIVABLE = {
    "matrix_norm": lambda x: mx.linalg.matrix_norm(x),
    "matrix_norm nuc": lambda x: mx.linalg.matrix_norm(x, ord="nuc"),
    "vector_norm": lambda x: mx.linalg.vector_norm(x, axis=-1),
    "vector_norm 3": lambda x: mx.linalg.vector_norm(x, ord=3),
    "matrix_power": lambda x: mx.linalg.matrix_power(x, 3),
    "matrix_power -1": lambda x: mx.linalg.matrix_power(x, -1),
    "diagonal": lambda x: mx.linalg.diagonal(x, offset=1) ** 2,
    "trace": lambda x: mx.linalg.trace(x @ x),
    "matrix_transpose": lambda x: mx.linalg.matrix_transpose(x) ** 2,
    "hfft": lambda x: mx.fft.hfft(x) ** 2,
    "ihfft": lambda x: mx.abs(mx.fft.ihfft(x)) ** 2,
    "pinv": lambda x: xp.linalg.pinv(x, rtol=1e-3),
}


@pytest.mark.parametrize("name", sorted(DERIVABLE))
def test_transforms(name: str) -> None:
    f = DERIVABLE[name]
    if "fft" not in name:  # which has no float64
        check_derivatives(f, normal64((3, 3)) + 3 * mx.eye(3, dtype=mx.float64), tolerance=1e-5)
    x = mx.random.normal((3, 3), key=mx.random.key(3)) + 2 * mx.eye(3)
    check_vmap(f, mx.stack([x, x + 1], 1), axes=(1,), tolerance=1e-4)
    batch = mx.stack([x, x.T + 1, x * 0.5 + mx.eye(3)])
    rows = mx.stack([f(row) for row in batch])
    np.testing.assert_allclose(mx.vmap(f)(batch), rows, rtol=1e-4, atol=1e-4)
    slopes = mx.stack([mx.grad(lambda y: f(y).sum())(row) for row in batch])
    got = mx.vmap(mx.grad(lambda y: f(y).sum()))(batch)
    np.testing.assert_allclose(got, slopes, rtol=1e-3, atol=1e-3)


def test_what_lamina_has_besides_is_there() -> None:
    assert xp.array is mx.array
    assert xp.softmax is mx.softmax
    assert {"softmax", "asarray"} <= set(dir(xp))
    with pytest.raises(AttributeError, match=r"lamina.array_api.*'softmaks'"):
        xp.softmaks  # noqa: B018


def test_devices() -> None:
    cpu = mx.Device(mx.cpu)
    assert xp.zeros(2, device=cpu).tolist() == [0, 0]
    assert xp.asarray([1, 2], device=cpu).device == cpu
    with pytest.raises(TypeError, match=r"arange: device must be a Device, got 'cpu' \(str\)"):
        xp.arange(3, device="cpu")


REFUSED = [
    ("x.linalg.qr(f, mode='full')", "qr: mode must be 'reduced' or 'complete', got 'full'"),
    ("x.linalg.matrix_power(f, 2)", r"matrix_power: needs square matrices, got shape \(3, 4\)"),
    ("x.linalg.matrix_power(m, 0.5)", "matrix_power: n must be an int, got 0.5"),
    ("x.linalg.matrix_norm(b)", r"matrix_norm: needs matrices, got shape \(3,\)"),
    ("x.linalg.diagonal(b)", r"diagonal: needs matrices, got shape \(3,\)"),
    ("x.linalg.vector_norm(f, axis=2)", "vector_norm: axis 2 is out of bounds"),
    ("x.linalg.vector_norm(f, axis=(0, -2))", r"vector_norm: axes \(0, -2\) name one twice"),
    ("x.cumulative_sum(f)", r"cumulative_sum: shape \(3, 4\) has several axes: say which"),
    ("x.asarray([1], copy=False)", "asarray: list cannot be adopted without a copy"),
]


@pytest.mark.parametrize(("program", "message"), REFUSED)
def test_refusals(program: str, message: str) -> None:
    with pytest.raises((ValueError, TypeError, IndexError), match=message):
        run(program, xp, xp.asarray)

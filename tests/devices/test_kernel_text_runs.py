"""Kernels as text, run on software Metal under its rules: results against the CPU's."""

from __future__ import annotations

from collections.abc import Callable

import lamina.core as mx
import numpy as np
import pytest
from lamina import _core, soft_metal

rng = np.random.default_rng(11)


def f32(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def i32(low: int, high: int, *shape: int) -> np.ndarray:
    return rng.integers(low, high, shape).astype(np.int32)


def run_program(step: dict, operands: list[np.ndarray]) -> None:
    """Every launch of a step in order; operands by position, as the launches bind them."""
    temporaries = [np.full(n, 0xA5, np.uint8) for n in step["temporaries"]]
    for launch in step["launches"]:
        assert not any(at >= 0 for at in launch["scalar_at"])
        buffers: dict[int, object] = {}
        for i, (operand, _, _) in enumerate(launch["buffers"]):
            buffers[i] = operands[operand] if operand >= 0 else temporaries[-1 - operand]
        buffers[len(buffers)] = launch["block"]
        pipeline = soft_metal.Library(launch["source"]).pipeline(launch["name"], {}, 0)
        pipeline.run(buffers, tuple(launch["groups"]), launch["threads"][0], in_threads=False)


def on_soft_metal(
    f: Callable[..., mx.array],
    inputs: list[np.ndarray],
    order: list[int],
    vector_bytes: int,
    index_limit: int = 1 << 30,
) -> tuple[np.ndarray, np.ndarray]:
    """The result of the one step that `f` is, on software Metal and on the CPU."""
    arrays = [mx.array(i) for i in inputs]
    mx.eval(arrays)
    y = f(*arrays)
    mx.eval(y)
    (step,) = _core._kernel_texts("msl", vector_bytes, index_limit)
    want = np.array(y)
    got = np.zeros_like(want)
    run_program(step, [*(inputs[i].copy() for i in order), got])
    return got, want


def check(
    f: Callable[..., mx.array],
    *inputs: np.ndarray,
    order: list[int] | None = None,
    tolerance: float = 1e-5,
) -> None:
    order = order or list(range(len(inputs)))
    # The last has indices of 64 bits, as if the operands were large.
    for vector_bytes, index_limit in ((16, 1 << 30), (1, 1 << 30), (16, 1)):
        got, want = on_soft_metal(f, list(inputs), order, vector_bytes, index_limit)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def test_elementwise() -> None:
    a, b, c = f32(260, 256), f32(256), f32(260, 1)
    check(lambda x, y: x * y + x, a, a[::-1].copy())
    check(lambda x, y, z: mx.exp(x) * y + z, a, b, c)
    check(lambda x, y: mx.transpose(x) * y, a, f32(256, 260))
    check(lambda x, y: x[:, ::2] - y, a, f32(260, 128))
    half = a.astype(np.float16)
    check(lambda x, y: x * y, half, half, tolerance=1e-3)


TILES = [(64, 64, 16), (32, 32, 16), (32, 64, 16), (64, 32, 32), (32, 32, 32), (16, 48, 8)]


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("shapes", [((70, 45), (45, 50)), ((3, 33, 17), (3, 17, 65))])
def test_products_in_tiles_of_any_size(tile: tuple[int, ...], shapes: tuple) -> None:
    a, b = (f32(*shape) for shape in shapes)
    want = a @ b
    mx.eval(x := mx.array(a), y := mx.array(b))
    z = x @ y
    mx.eval(z)
    (step,) = _core._kernel_texts("msl", tile=tile)
    got = np.zeros_like(want)
    run_program(step, [a, b, got])
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    assert "simdgroup_multiply_accumulate" in step["launches"][0]["source"]
    # The same without SIMD-group matrices, which has one tile only.
    (step,) = _core._kernel_texts("msl", tile=tile, simd_matrices=False)
    got = np.zeros_like(want)
    run_program(step, [a, b, got])
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    assert "simdgroup" not in step["launches"][0]["source"].split("void matmul")[1]


def test_products_in_tiles_and_parts_of_the_depth() -> None:
    a, b = f32(20, 1500), f32(1500, 24)
    mx.eval(x := mx.array(a), y := mx.array(b))
    z = x @ y
    mx.eval(z)
    for tile in TILES:
        (step,) = _core._kernel_texts("msl", tile=tile)
        assert len(step["launches"]) == 2
        got = np.zeros((20, 24), np.float32)
        run_program(step, [a, b, got])
        np.testing.assert_allclose(got, a @ b, rtol=1e-3, atol=1e-3)


FUNCTIONS = ["exp", "expm1", "log1p", "erf", "erfinv", "sigmoid", "tanh", "arctanh", "sinh", "sign"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    x = np.linspace(-0.99, 0.99, 401, dtype=np.float32)
    check(getattr(mx, name), x)


@pytest.mark.parametrize("name", ["floor_divide", "remainder", "left_shift", "right_shift"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
def test_integers(name: str, dtype: type) -> None:
    x = rng.integers(0 if dtype == np.uint8 else -100, 100, 500).astype(dtype)
    y = rng.integers(0 if dtype == np.uint8 else -9, 10, 500).astype(dtype)
    check(getattr(mx, name), x, y)


COMPLEX = ["exp", "log", "sqrt", "sin", "tanh", "arcsin", "arccos", "arctan", "arccosh", "log1p"]


@pytest.mark.parametrize("name", COMPLEX)
def test_complex(name: str) -> None:
    z = (f32(300) * 2 + 1j * f32(300) * 2).astype(np.complex64)
    check(getattr(mx, name), z, tolerance=3e-5)


SHAPES = [(300, 128), (4000, 8), (3, 40_000), (20, 33, 16), (700, 101)]


@pytest.mark.parametrize("name", ["sum", "max", "argmin"])
@pytest.mark.parametrize("axis", [0, 1, -1, None])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reductions(name: str, axis: int | None, shape: tuple[int, ...]) -> None:
    x = np.round(f32(*shape) * 4)
    check(lambda a: getattr(mx, name)(a, axis=axis), x)


@pytest.mark.parametrize("shape", [(100, 10), (9, 1000), (4, 1001), (3, 4096), (2, 16384)], ids=str)
def test_rows(shape: tuple[int, ...]) -> None:
    check(lambda a: mx.softmax(a, axis=-1), f32(*shape))


def test_nan_is_found() -> None:
    x = np.round(f32(60, 33))
    x[3, 5] = x[3, 9] = np.nan
    check(lambda a: mx.argmax(a, axis=1), x)
    check(lambda a: mx.max(a, axis=1), x)


@pytest.mark.parametrize("m,k,n", [(64, 64, 64), (100, 37, 50), (3, 5, 7), (64, 3000, 64)])
def test_products(m: int, k: int, n: int) -> None:
    check(lambda a, b: a @ b, f32(m, k), f32(k, n), tolerance=1e-3)


def test_more_products() -> None:
    check(lambda a, b: a @ b, f32(3, 2, 30, 40), f32(2, 40, 50), order=[0, 1], tolerance=1e-4)
    half = f32(40, 40).astype(np.float16)
    check(lambda a, b: a @ b, half, half, tolerance=2e-2)
    z = (f32(20, 20) + 1j * f32(20, 20)).astype(np.complex64)
    check(lambda a, b: a @ b, z, z, tolerance=1e-4)
    check(lambda a, b: a @ b, f32(300, 400), f32(400), tolerance=1e-4)
    check(lambda a, b: a @ b, f32(400), f32(400, 300), tolerance=1e-4)


SCANS = ["cumsum", "cumprod", "cummax", "cummin", "logcumsumexp"]


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("inclusive", [False, True])
def test_scans(name: str, reverse: bool, inclusive: bool) -> None:
    scan = getattr(mx, name)
    for shape, axis in (((3, 700), 1), ((20_001,), 0), ((50, 600), 0)):
        x = f32(*shape) * 0.01 + (1 if name == "cumprod" else 0)
        check(
            lambda a, axis=axis: scan(a, axis=axis, reverse=reverse, inclusive=inclusive),
            x,
            tolerance=1e-3,
        )


@pytest.mark.parametrize("dtype", ["f4", "f2", "i4", "u1", "i8", "u4", "?"])
def test_sorting(dtype: str) -> None:
    x = (f32(3, 2500) * 50).astype(dtype)
    check(lambda a: mx.sort(a, axis=1), x)
    check(lambda a: mx.argsort(a, axis=1), x)
    check(lambda a: mx.argsort(a, axis=0), x[:, :30].copy())


def test_sorting_complex() -> None:
    """By real part, then by imaginary part, those with a NaN last: one key of 64 bits."""
    parts = np.array([np.nan, -np.inf, -1, 0, 1, np.inf], np.float32)
    every = np.array([complex(re, im) for re in parts for im in parts], np.complex64)
    x = rng.permutation(np.tile(every, 40)).reshape(1, -1)
    check(lambda a: mx.sort(a, axis=1), x)
    check(lambda a: mx.argsort(a, axis=1), x)


def test_sums_are_accurate() -> None:
    """A thread's sum is made of blocks: it does not lose what one running total would."""
    for shape, axis in (((1 << 22,), 0), ((1 << 17, 24), 0), ((2, 1 << 20), 1)):
        x = np.full(shape, 0.1, np.float32)
        got, _ = on_soft_metal(lambda a, axis=axis: mx.sum(a, axis=axis), [x], [0], 16)
        want = np.float64(np.float32(0.1)) * shape[axis]
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_indexing() -> None:
    x, rows = f32(50, 64), i32(-50, 50, 33)
    check(lambda a, i: mx.take(a, i, axis=0), x, rows)
    check(lambda a, i: mx.take_along_axis(a, i, axis=1), f32(5, 20), i32(-20, 20, 5, 7))
    put = [f32(5, 20), i32(-20, 20, 5, 7), f32(5, 7)]
    check(lambda a, i, v: mx.put_along_axis(a, i, v, axis=1), *put)
    check(lambda a, v: mx.searchsorted(a, v), np.sort(f32(500)), f32(77))


@pytest.mark.parametrize("join", ["add", "multiply", "maximum", "minimum"])
@pytest.mark.parametrize("dtype", ["f4", "f2", "i4", "i1", "i8", "u2"])
def test_scatters(join: str, dtype: str) -> None:
    x, v = (rng.integers(0, 4, s).astype(dtype) for s in ((50, 6), (33, 6)))
    # Operands of a scatter: array, updates, indices.
    check(lambda a, i, u: getattr(a.at[i], join)(u), x, i32(0, 50, 33), v, order=[0, 2, 1])


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": 1}, {"groups": 2, "padding": (1, 2), "dilation": 2}]
)
def test_convolutions(options: dict) -> None:
    x, w = f32(2, 12, 11, 4), f32(6, 3, 3, 4 // options.get("groups", 1))

    def conv(a: mx.array, b: mx.array) -> mx.array:
        return mx.conv2d(a, b, **options)

    ct = f32(*conv(mx.array(x), mx.array(w)).shape)
    check(conv, x, w, tolerance=1e-4)
    gradient_x = lambda c, b: mx.vjp(lambda a: conv(a, b), [mx.array(x)], [c])[1][0]
    gradient_w = lambda a, c: mx.vjp(lambda b: conv(a, b), [mx.array(w)], [c])[1][0]
    check(gradient_x, ct, w, tolerance=1e-4)
    check(gradient_w, x, ct, tolerance=1e-3)


def test_random_bits_are_the_cpus() -> None:
    key = np.array([7, 9], np.uint32)
    for shape, width in (((1001,), 4), ((77, 3), 1), ((50,), 2)):
        got, want = on_soft_metal(
            lambda k, shape=shape, width=width: _core.random_bits(list(shape), width, k),
            [key],
            [0],
            16,
        )
        np.testing.assert_array_equal(got, want)

"""Views, joins, creation, and every linear family under the transforms."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import lamina.core as mx
import numpy as np
import pytest
from arrays import (
    DTYPES,
    check,
    check_derivatives,
    check_vmap,
    name_of,
    normal64,
    options,
    rng,
    sample,
    stale,
    to_numpy,
)

# --- views --------------------------------------------------------------------------------------


def random_view(g: np.random.Generator, x: mx.array, a: np.ndarray) -> tuple[mx.array, np.ndarray]:
    kind = g.integers(9)
    n = a.ndim
    if kind == 0 and n:
        order = [int(i) for i in g.permutation(n)]
        return mx.transpose(x, order), a.transpose(order)
    if kind == 1:
        sizes, left = [], a.size
        if left == 0:
            return mx.reshape(x, (0, 3)), a.reshape(0, 3)
        while left > 1 and len(sizes) < 4:
            d = int(g.choice([k for k in range(1, left + 1) if left % k == 0]))
            sizes.append(d)
            left //= d
        sizes.append(left)
        return mx.reshape(x, sizes), a.reshape(sizes)
    if kind == 2 and n:
        cut = []
        for d in a.shape:
            step = int(g.choice([1, 1, 2, 3, -1, -2]))
            lo, hi = sorted(int(v) for v in g.integers(0, d + 1, 2))
            cut.append(slice(lo, hi, step) if step > 0 else slice(hi, lo if lo else None, step))
        return x[tuple(cut)], a[tuple(cut)]
    if kind == 3 and n:
        axis = int(g.integers(n))
        return mx.flip(x, axis), np.flip(a, axis)
    if kind == 4 and n < 5:
        axis = int(g.integers(n + 1))
        y, b = mx.expand_dims(x, axis), np.expand_dims(a, axis)
        if a.size < 2000:
            shape = [int(g.integers(1, 4)) if i == axis else d for i, d in enumerate(b.shape)]
            return mx.broadcast_to(y, shape), np.broadcast_to(b, shape)
        return y, b
    if kind == 5 and n and a.size:
        flat = np.ascontiguousarray(a).reshape(-1)
        m = a.size
        k, step = int(g.integers(1, m + 1)), int(g.choice([0, 1, 2, -1]))
        k = k if step == 0 else min(k, (m - 1) // abs(step) + 1)
        off = (k - 1) * -step if step < 0 else 0
        s = flat.itemsize
        return (
            mx.as_strided(x, (k, 2), (step, 0), off),
            np.lib.stride_tricks.as_strided(flat[off:], (k, 2), (step * s, 0)),
        )
    if kind == 6:
        return mx.squeeze(x), np.squeeze(a)
    if kind == 7 and n >= 2:
        k = int(g.integers(-1, 2))
        return mx.diagonal(x, k), np.diagonal(a, k)
    if n:
        i = int(g.integers(n))
        return mx.moveaxis(x, i, 0), np.moveaxis(a, i, 0)
    return x, a


@pytest.mark.parametrize("seed", range(60))
def test_view_chains(seed: int) -> None:
    """Chains of views, alone, inside fused kernels and reduced, against NumPy."""
    g = rng(seed)
    a = g.integers(-50, 50, tuple(int(d) for d in g.integers(1, 9, g.integers(1, 4)))).astype(
        np.int32
    )
    x = mx.array(a)
    for _ in range(6):
        x, a = random_view(g, x, a)
        if g.integers(4) == 0:
            x, a = x * 3 - 1, a * 3 - 1
    check(mx.sum(x), a.sum(dtype=np.int32))
    check(x * x + 1, a * a + 1)
    check(x, a)
    check(mx.contiguous(x), a)


def test_diagonal() -> None:
    x = sample("float32", (4, 6, 5), 1)
    for k, (i, j) in itertools.product((-5, -2, 0, 1, 3, 6), ((0, 1), (1, 2), (2, 0), (-1, -2))):
        check(mx.diagonal(x, k, i, j), np.diagonal(to_numpy(x), k, i, j))
    check_derivatives(lambda v: mx.diagonal(v, 1), normal64((4, 5)), second=False)


VIEWS: dict[str, Callable[[mx.array], mx.array]] = {
    "transpose": lambda x: mx.transpose(x, (2, 0, 1)),
    "reshape": lambda x: mx.reshape(x, (6, -1)),
    "reshape of transpose": lambda x: mx.reshape(mx.transpose(x), (-1,)),
    "broadcast": lambda x: mx.broadcast_to(x[:, :1], (3, 5, 4)),
    "slice": lambda x: x[::-1, 1:, ::2],
    "int": lambda x: x[1, :, None],
    "flip": lambda x: mx.flip(x, (0, 2)),
    "squeeze": lambda x: mx.squeeze(x[:, :1], 1),
    "strided": lambda x: mx.as_strided(x, (5, 3), (2, 1), 1),
    "swap": lambda x: mx.swapaxes(x, 0, 2),
    "unflatten": lambda x: mx.unflatten(x, 2, (2, 2)),
    "concatenate": lambda x: mx.concatenate([x, x[:, :2] * 2], axis=1),
    "stack": lambda x: mx.stack([x, x * x], axis=1),
    "split": lambda x: mx.split(x, [1, 2], axis=2)[1] * 3,
    "pad": lambda x: mx.pad(x, ((1, 0), (0, 2), (1, 1)), constant_values=2),
    "pad edge": lambda x: mx.pad(x, ((1, 0), (0, 2), (1, 1)), mode="edge"),
    "repeat": lambda x: mx.repeat(x, 2, axis=1),
    "tile": lambda x: mx.tile(x, (2, 1, 2)),
    "roll": lambda x: mx.roll(x, 1, 1),
    "take": lambda x: mx.take(x, mx.array([2, 0, 0, -1]), axis=2),
    "gather": lambda x: x[mx.array([[0, 1], [2, 0]]), :, mx.array([1, 3])],
    "along": lambda x: mx.take_along_axis(x, mx.array(np.arange(12).reshape(3, 1, 4) % 2), axis=1),
    "sort": lambda x: mx.sort(x, axis=2),
    "partition": lambda x: mx.sort(mx.partition(x, 1, axis=2)[..., :1], axis=2),
    "topk": lambda x: mx.sort(mx.topk(x, 2, axis=2), axis=2),
    "softmax": lambda x: mx.softmax(x, axis=1),
    "softmax all": lambda x: mx.softmax(x),
    "tri": lambda x: mx.tril(x),
    "where": lambda x: mx.where(x > 0, x, 2 * x),
    "median": lambda x: mx.median(x, axis=2),
    "diff": lambda x: mx.diff(x, axis=2),
    "depends": lambda x: mx.depends(x, [x * 2]),
    "clip": lambda x: mx.clip(x, -0.5, 0.5) * x,
}


@pytest.mark.parametrize("name", VIEWS)
def test_linear_families(name: str) -> None:
    """Derivatives of both modes and orders, and vmap over each axis."""
    f = VIEWS[name]
    check_derivatives(f, normal64((3, 2, 4), 8), tolerance=1e-5)
    batch = sample("float32", (3, 5, 2, 4), 9)
    check_vmap(f, mx.moveaxis(batch, 1, 0), axes=(0,))
    check_vmap(f, mx.moveaxis(batch, 1, 3), axes=(-1,))


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool_", "complex64", "float16", "uint8"])
def test_joins(dtype: str) -> None:
    x, y = sample(dtype, (4, 5), 1), sample(dtype, (3, 5), 2)
    a, b = to_numpy(x), to_numpy(y)
    check(mx.concatenate([x, y, x[:0], x]), np.concatenate([a, b, a[:0], a]))
    check(mx.concatenate([x.T, y.T], axis=1), np.concatenate([a.T, b.T], axis=1))
    check(mx.concatenate([x[:, ::-1], y], axis=None), np.concatenate([a[:, ::-1], b], axis=None))
    check(mx.stack([x, x[::-1]], axis=-1), np.stack([a, a[::-1]], axis=-1))
    for got, want in zip(
        mx.split(x, [1, 1, 3], axis=1), np.split(a, [1, 1, 3], axis=1), strict=True
    ):
        check(got, want)
    check(mx.pad(x, ((2, 1), (0, 3))), np.pad(a, ((2, 1), (0, 3))))
    for mode in ("edge", "reflect", "symmetric"):
        check(mx.pad(x, 3, mode=mode), np.pad(a, 3, mode=mode))
    check(mx.roll(x, (1, -2), (0, 1)), np.roll(a, (1, -2), (0, 1)))
    check(mx.tile(x, (2, 1, 3)), np.tile(a, (2, 1, 3)))
    check(mx.repeat(x, 3, axis=0), np.repeat(a, 3, axis=0))


def test_concatenate_promotes() -> None:
    y = mx.concatenate([mx.array([1, 2]), mx.array([0.5])])
    assert y.dtype == mx.float32
    check(y, [1, 2, 0.5])


# --- creation -----------------------------------------------------------------------------------


def test_creation() -> None:
    check(mx.arange(7), np.arange(7))
    check(mx.arange(2, 9, 3), np.arange(2, 9, 3))
    check(mx.arange(5, -3, -2), np.arange(5, -3, -2))
    check(mx.arange(0.0, 1.0, 0.1), np.arange(0.0, 1.0, 0.1), 1e-6)
    check(mx.linspace(-1, 3, 11), np.linspace(-1, 3, 11), 1e-6)
    check(mx.linspace(0, 1, 1), [0.0])
    for n, m, k in itertools.product((0, 1, 4), (None, 3, 6), (-2, 0, 1)):
        check(mx.eye(n, m, k), np.eye(n, m, k))
        check(mx.tri(n, m, k), np.tri(n, m, k))
    x = sample("float32", (3, 4, 5), 1)
    for k in (-2, 0, 3):
        check(mx.tril(x, k), np.tril(to_numpy(x), k))
        check(mx.triu(x, k), np.triu(to_numpy(x), k))
    check(mx.full((2, 3), mx.array([1, 2, 3])), np.full((2, 3), [1, 2, 3]))
    for dtype in DTYPES:
        assert name_of(mx.zeros((2,), getattr(mx, dtype))) == dtype
        check(mx.ones((2, 0), getattr(mx, dtype)), np.ones((2, 0)))


# --- the whole lot, fused against unfused -------------------------------------------------------


@pytest.mark.parametrize("name", VIEWS)
def test_families_fused_is_unfused(name: str) -> None:
    x = sample("float32", (3, 2, 4), 11)

    def f() -> mx.array:
        y = VIEWS[name](mx.exp(x) - 1)
        return mx.sum(y * y + y, axis=0)

    fused = f()
    mx.eval(fused)
    with options(fuse=False, donate=False, verify=True):
        check(f(), to_numpy(fused), 1e-5)


def test_row_repeated_before_it_is_read() -> None:
    """A vector repeated over a tile that is cut along other axes."""
    a, d, b = mx.full((6, 1, 8), 2.0) + 0, mx.full((8,), 3.0) + 0, mx.full((6, 1, 16, 1), 5.0) + 0
    mx.eval(a, b, d)
    for value in (7.0, np.nan, 11.0):
        stale(value)
        check(mx.maximum(a, d) * b, np.full((6, 6, 16, 8), 15.0))


@pytest.mark.parametrize("seed", range(40))
def test_repeated_values_in_tiles(seed: int) -> None:
    """Values that vary along some axes of a tile only are computed before what reads them."""
    g = rng(seed)
    shape = tuple(int(d) for d in g.choice([1, 2, 3, 6, 8, 16, 33], g.integers(3, 6)))
    if np.prod(shape) > 200_000:
        shape = shape[:3]

    def part(k: int) -> mx.array:
        kept = g.integers(0, 2, len(shape))
        return sample("float32", tuple(d if s else 1 for d, s in zip(shape, kept, strict=True)), k)

    xs = [part(k) for k in range(5)]
    mx.eval(xs)
    a = [to_numpy(x).astype(np.float64) for x in xs]
    for fill in (np.nan, 7.0):
        stale(fill)
        y = mx.maximum(xs[0], xs[1]) * mx.tanh(xs[2] - xs[3]) + xs[4]
        check(y, np.maximum(a[0], a[1]) * np.tanh(a[2] - a[3]) + a[4], 1e-5)
        check(mx.sum(y * xs[0], axis=0), (to_numpy(y) * a[0]).sum(0), 1e-4)

"""Matrix products, convolutions, softmax and norms."""

from __future__ import annotations

from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest
from arrays import (
    TOLERANCE,
    check,
    check_derivatives,
    check_vmap,
    last_plan,
    name_of,
    normal64,
    options,
    reduced,
    sample,
    theirs,
    to_numpy,
    wide,
)

# --- products -----------------------------------------------------------------------------------

PRODUCTS = [
    ((3, 4), (4, 5)),
    ((4,), (4,)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((1, 1), (1, 1)),
    ((0, 4), (4, 5)),
    ((3, 0), (0, 5)),
    ((3, 4), (4, 0)),
    ((65, 130), (130, 67)),
    ((1, 300), (300, 40)),
    ((2, 2, 1, 7), (2, 2, 7, 1)),
]


@pytest.mark.parametrize("shapes", PRODUCTS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "complex64"])
def test_matmul(dtype: str, shapes: Any) -> None:
    x, y = (sample(dtype, s, i) for i, s in enumerate(shapes))
    check(x @ y, np.matmul(wide(x), wide(y)), 30 * TOLERANCE[dtype])


def test_matmul_layouts() -> None:
    x, y = sample("float32", (8, 20, 30), 1), sample("float32", (8, 30, 20), 2)
    a, b = to_numpy(x), to_numpy(y)
    t = (0, 2, 1)
    check(mx.transpose(x, t) @ mx.transpose(y, t), a.transpose(t) @ b.transpose(t), 1e-4)
    check(x[:, ::2, ::-1] @ y[:, ::-1], a[:, ::2, ::-1] @ b[:, ::-1], 1e-4)
    check(mx.broadcast_to(x[:1], (8, 20, 30)) @ y, np.broadcast_to(a[:1], (8, 20, 30)) @ b, 1e-4)
    check(
        mx.broadcast_to(x[0, :1], (20, 30)) @ y[0], np.broadcast_to(a[0, :1], (20, 30)) @ b[0], 1e-4
    )
    check(x[1] @ y[0], a[1] @ b[0], 1e-4)


@pytest.mark.parametrize("shapes", PRODUCTS[:9], ids=str)
def test_matmul_derivatives(shapes: Any) -> None:
    x, y = (normal64(s, i) for i, s in enumerate(shapes))
    check_derivatives(mx.matmul, x, y)


def test_matmul_vmap() -> None:
    x, y = sample("float32", (3, 4, 3), 1), sample("float32", (3, 3, 5), 2)
    check_vmap(mx.matmul, x, y[0], axes=(0, None))
    check_vmap(mx.matmul, x[0], y, axes=(None, 0))
    check_vmap(mx.matmul, x, y, axes=(0, 0))
    check_vmap(mx.matmul, mx.moveaxis(x, 0, 2), mx.moveaxis(y, 0, 1), axes=(2, 1))
    check_vmap(lambda u: u @ mx.ones((4,)), sample("float32", (3, 2, 4), 1), axes=(0,))
    check_vmap(lambda u: mx.ones((4,)) @ u, sample("float32", (4, 3, 2), 1), axes=(1,))


def test_addmm() -> None:
    for c_shape in ((3, 5), (5,), (1, 5), (3, 1), ()):
        c, x, y = normal64(c_shape, 1), normal64((3, 4), 2), normal64((4, 5), 3)
        got = mx.addmm(c, x, y, alpha=0.5, beta=-2.0)
        check(got, 0.5 * (wide(x) @ wide(y)) - 2 * wide(c), 1e-12)
        check_derivatives(lambda c, x, y: mx.addmm(c, x, y, 0.5, 2.0), c, x, y)
    with options(fuse=False):
        x = sample("float32", (17, 19), 1)
        apart = mx.addmm(x[:, :17], x, mx.transpose(x))
        mx.eval(apart)
    check(mx.addmm(x[:, :17], x, mx.transpose(x)), to_numpy(apart), 1e-5)


def test_epilogues() -> None:
    """What follows a product is computed with it, whatever its size, unless it is a library's."""
    for m, k, n in ((1, 8, 8), (64, 64, 64), (130, 70, 33), (257, 16, 5)):
        x, y, b = (
            sample("float32", (m, k), 1),
            sample("float32", (k, n), 2),
            sample("float32", (n,), 3),
        )
        z = mx.tanh(x @ y + b) * 2
        check(z, np.tanh(wide(x) @ wide(y) + wide(b)) * 2, 2e-5)
        kinds = {g["label"]: g["kind"] for g in last_plan()["groups"]}
        expected = {"matmul+add+tanh+multiply": "call"}
        if m > 1 and last_plan()["device"] == "cuda":  # the product is a library's
            expected = {"matmul": "call", "add+tanh+multiply": "map"}
        assert kinds == expected
        s = mx.sum(mx.maximum(x @ y, 0), axis=1)
        check(s, np.maximum(wide(x) @ wide(y), 0).sum(1), 1e-4)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 100, 60), (3, 60, 400)),
        ((3, 100, 60), (1, 60, 400)),
        ((1, 100, 60), (5, 60, 400)),
        ((2, 4, 150, 30), (2, 4, 30, 150)),
        ((2, 4, 150, 30), (1, 4, 30, 150)),
        ((5, 3, 0), (5, 0, 4)),
    ],
)
def test_epilogues_of_batches(left: Any, right: Any) -> None:
    """Parts of the batch take their matrices of both factors."""
    x, y = sample("float32", left, 1), sample("float32", right, 2)
    want = wide(x) @ wide(y)
    mx.eval(x, y)
    check(mx.exp(-mx.abs(x @ y)), np.exp(-np.abs(want)), 2e-5)
    b = sample("float32", (*left[:-2], 1, right[-1]), 3)
    check(mx.maximum(x @ y + b, 0), np.maximum(want + wide(b), 0), 2e-5)


# --- convolution --------------------------------------------------------------------------------

CONVOLUTIONS = [
    ("conv1d", (2, 9, 4), (6, 3, 4), {}),
    ("conv1d", (2, 9, 4), (6, 3, 2), {"stride": 2, "padding": 2, "groups": 2}),
    ("conv2d", (2, 8, 7, 3), (4, 3, 3, 3), {}),
    ("conv2d", (1, 8, 7, 3), (4, 3, 2, 3), {"stride": (2, 1), "padding": (1, 2)}),
    ("conv2d", (2, 9, 9, 4), (4, 3, 3, 4), {"dilation": 2, "padding": 2}),
    ("conv2d", (2, 8, 8, 4), (6, 3, 3, 2), {"groups": 2, "padding": 1}),
    ("conv2d", (2, 8, 8, 4), (4, 3, 3, 1), {"groups": 4, "padding": 1}),
    ("conv2d", (2, 5, 5, 8), (16, 1, 1, 8), {}),
    ("conv3d", (1, 5, 4, 6, 2), (3, 2, 2, 3, 2), {"padding": 1}),
    (
        "conv_general",
        (1, 6, 6, 2),
        (3, 3, 3, 2),
        {"input_dilation": 2, "padding": ([1, 0], [2, 1])},
    ),
    ("conv_general", (1, 6, 6, 2), (3, 2, 3, 2), {"flip": True, "stride": 2}),
]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(case: Any) -> None:
    name, xs, ws, options_ = case
    x, w = sample("float32", xs, 1), sample("float32", ws, 2)
    f = lambda u, v: getattr(mx, name)(u, v, **options_)
    want = getattr(omx, name)(theirs(to_numpy(x)), theirs(to_numpy(w)), **options_)
    check(f(x, w), np.array(want), 2e-5)
    reverse = lambda d: mx.flip(mx.transpose(d), tuple(range(d.ndim)))
    check(f(reverse(reverse(x)), w), np.array(want), 2e-5)


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution_derivatives(case: Any) -> None:
    name, xs, ws, options_ = case
    x, w = normal64(xs, 1), normal64(ws, 2)
    check_derivatives(lambda u, v: getattr(mx, name)(u, v, **options_), x, w, tolerance=1e-5)


def test_convolution_vmap() -> None:
    x, w = sample("float32", (3, 2, 6, 6, 4), 1), sample("float32", (3, 4, 3, 3, 4), 2)
    f = lambda u, v: mx.conv2d(u, v, padding=1)
    check_vmap(f, x, w[0], axes=(0, None), tolerance=1e-4)
    check_vmap(f, x[0], w, axes=(None, 0), tolerance=1e-4)
    check_vmap(f, x, w, axes=(0, 0), tolerance=1e-4)
    check_vmap(lambda u: mx.grad(lambda v: f(u, v).sum())(w[0]), x, axes=(0,), tolerance=1e-3)


def test_convolution_16_bit() -> None:
    for dtype in ("float16", "bfloat16"):
        x, w = sample(dtype, (2, 8, 8, 4), 1), sample(dtype, (8, 3, 3, 4), 2)
        want = omx.conv2d(
            omx.array(to_numpy(x).astype(np.float32)),
            omx.array(to_numpy(w).astype(np.float32)),
            padding=1,
        )
        y = mx.conv2d(x, w, padding=1)
        assert name_of(y) == dtype
        check(y, np.array(want), 5e-2 if dtype == "float16" else 3e-1)


# --- row functions ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize(
    "shape,axis",
    [((5, 33), -1), ((5, 33), 0), ((4, 3, 5), (0, 2)), ((2, 20_001), -1), ((3, 1), -1)],
)
def test_softmax(dtype: str, shape: Any, axis: Any) -> None:
    x = sample(dtype, shape, 1, -4, 4)
    a = wide(x)
    e = np.exp(a - a.max(axis=axis, keepdims=True))
    y = mx.softmax(x, axis=axis)
    assert name_of(y) == dtype
    check(y, e / e.sum(axis=axis, keepdims=True), 5 * TOLERANCE[dtype])
    check(mx.logsumexp(x, axis=axis), reduced("logsumexp", a, axis, False), 5 * TOLERANCE[dtype])


def test_softmax_special() -> None:
    x = mx.array([[0, -np.inf, 0], [1e4, 0, 1e4], [-np.inf, -np.inf, 1]])
    check(mx.softmax(x, axis=-1), [[0.5, 0, 0.5], [0.5, 0, 0.5], [0, 0, 1]])
    low = mx.full((3,), -np.inf)
    assert mx.logsumexp(low).item() == -np.inf
    assert mx.logsumexp(mx.array([np.inf, 1])).item() == np.inf
    assert mx.softmax(mx.zeros((3, 0)), axis=-1).shape == (3, 0)


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_norms(name: str) -> None:
    f = getattr(mx.fast, name)
    weights = [normal64((6,), 2), normal64((6,), 3)][: 2 if name == "layer_norm" else 1]
    for x in (normal64((4, 6), 1), normal64((2, 3, 6), 4)):
        a = wide(x)
        c = a - a.mean(-1, keepdims=True) if name == "layer_norm" else a
        want = c / np.sqrt((c * c).mean(-1, keepdims=True) + 1e-3) * wide(weights[0])
        if name == "layer_norm":
            want = want + wide(weights[1])
        check(f(x, *weights, 1e-3), want, 1e-10)
        check_derivatives(lambda v, *w: f(v, *w, 1e-3), x, *weights, tolerance=1e-5)
        none = [None] * len(weights)
        check_derivatives(lambda v: f(v, *none, 1e-3), x, tolerance=1e-5)
    w32 = [sample("float32", (6,), i) for i in range(len(weights))]
    batch = sample("float32", (3, 4, 6), 5)
    check_vmap(lambda v: f(v, *w32, 1e-3), batch, axes=(1,), tolerance=1e-5)
    stacked = [mx.stack([w] * 3) * mx.array([[1.0], [2.0], [3.0]]) for w in w32]
    check_vmap(
        lambda v, *w: f(v, *w, 1e-3), batch, *stacked, axes=(0,) * (1 + len(w32)), tolerance=1e-5
    )
    half = sample("float16", (4, 6), 1)
    assert f(half, *[w.astype(mx.float16) for w in w32], 1e-3).dtype == mx.float16

"""The worked examples of docs/custom-primitives.md against formulas and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lamina
import lamina.core as mx
import numpy as np
import pytest
from arrays import last_plan, to_numpy
from lamina.workbench.analysis.memory import memory as memory_of
from plugins import example


@pytest.fixture(scope="module")
def flash() -> Any:
    return lamina.primitives.load(example("flash_attention"))


@pytest.fixture(scope="module")
def blocks() -> Any:
    return lamina.primitives.load(example("block_sparse"))


def normal(*shape: int, seed: int = 0) -> mx.array:
    return mx.array(np.random.default_rng(seed).standard_normal(shape).astype("f"))


def plain(q: mx.array, k: mx.array, v: mx.array, scale: float, causal: bool) -> Any:
    scores = scale * q @ mx.swapaxes(k, -1, -2)
    if causal:
        rows, keys = scores.shape[-2:]
        scores = mx.where(mx.tri(rows, keys, keys - rows, mx.bool_), scores, -mx.inf)
    return mx.softmax(scores, -1) @ v, mx.logsumexp(scores, -1)


def check_directions(f: Callable[..., mx.array], xs: list[mx.array], rtol: float) -> None:
    """The gradient's product with a direction against a central difference along it."""
    grads = mx.grad(f, argnums=list(range(len(xs))))(*xs)
    for i, x in enumerate(xs):
        t = normal(*x.shape, seed=40 + i)
        h = 1e-2
        sides = []
        for sign in (1, -1):
            moved = [*xs]
            moved[i] = x + sign * h * t
            sides.append(f(*moved).item())
        numeric = (sides[0] - sides[1]) / (2 * h)
        exact = float(mx.sum(grads[i] * t).item())
        assert abs(numeric - exact) <= rtol * max(1, abs(exact)), (i, numeric, exact)


SHAPES = [
    ((1, 1, 1, 1), 1),
    ((2, 3, 40, 16), 40),
    ((1, 2, 33, 8), 130),
    ((1, 1, 70, 64), 100),
    ((2, 2, 5, 7), 3),
]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("shape", "keys"), SHAPES)
def test_attention_is_the_formula(flash: Any, shape: Any, keys: int, causal: bool) -> None:
    if causal and keys < shape[2]:
        causal, keys = True, shape[2] + 3
    q, scale = normal(*shape), shape[-1] ** -0.5
    k, v = (normal(*shape[:2], keys, shape[-1], seed=s) for s in (1, 2))
    out, lse = flash.attention(q, k, v, scale=scale, causal=causal)
    expected = plain(q, k, v, scale, causal)
    np.testing.assert_allclose(to_numpy(out), to_numpy(expected[0]), rtol=1e-4, atol=2e-6)
    np.testing.assert_allclose(to_numpy(lse), to_numpy(expected[1]), rtol=1e-5, atol=2e-6)


def test_attention_reads_views(flash: Any) -> None:
    qkv = normal(2, 20, 3, 4, 8)  # batch, time, which, heads, width
    q, k, v = (mx.transpose(qkv[:, :, i], (0, 2, 1, 3)) for i in range(3))
    out, _ = flash.attention(q, k, v, scale=0.5)
    np.testing.assert_allclose(
        to_numpy(out), to_numpy(plain(q, k, v, 0.5, False)[0]), rtol=1e-4, atol=2e-6
    )


def test_rows_that_see_no_key(flash: Any) -> None:
    q, k = normal(1, 1, 6, 4), normal(1, 1, 2, 4, seed=1)
    out, lse = flash.attention(q, k, k, causal=True)
    assert to_numpy(out)[0, 0, :4].tolist() == [[0] * 4] * 4
    assert np.isneginf(to_numpy(lse)[0, 0, :4]).all()
    expected = plain(q[:, :, 4:], k, k, 1.0, True)[0]
    np.testing.assert_allclose(to_numpy(out)[0, 0, 4:], to_numpy(expected)[0, 0], rtol=1e-4)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_gradients(flash: Any, causal: bool) -> None:
    q, k, v = normal(2, 2, 37, 8), normal(2, 2, 70, 8, seed=1), normal(2, 2, 70, 8, seed=2)
    weight, row = normal(2, 2, 37, 8, seed=3), normal(2, 2, 37, seed=4)

    def loss(attend: Any) -> Callable[..., mx.array]:
        def f(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
            out, lse = attend(q, k, v)
            return mx.sum(weight * out) + mx.sum(row * lse)

        return f

    fast = loss(lambda q, k, v: flash.attention(q, k, v, scale=0.3, causal=causal))
    slow = loss(lambda q, k, v: plain(q, k, v, 0.3, causal))
    for a, b in zip(
        mx.grad(fast, argnums=[0, 1, 2])(q, k, v),
        mx.grad(slow, argnums=[0, 1, 2])(q, k, v),
        strict=True,
    ):
        np.testing.assert_allclose(to_numpy(a), to_numpy(b), rtol=2e-4, atol=2e-5)
    check_directions(fast, [q, k, v], rtol=2e-2)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_forward_derivative(flash: Any, causal: bool) -> None:
    """Against the formula's, and against the gradient's product with the same direction."""
    q, k, v = normal(2, 2, 9, 8), normal(2, 2, 12, 8, seed=1), normal(2, 2, 12, 8, seed=2)
    tangents = [normal(*x.shape, seed=5 + i) for i, x in enumerate((q, k, v))]
    fast = lambda q, k, v: list(flash.attention(q, k, v, scale=0.3, causal=causal))
    slow = lambda q, k, v: list(plain(q, k, v, 0.3, causal))
    values, moved = mx.jvp(fast, [q, k, v], tangents)
    for a, b in zip(moved, mx.jvp(slow, [q, k, v], tangents)[1], strict=True):
        np.testing.assert_allclose(to_numpy(a), to_numpy(b), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        to_numpy(values[0]), to_numpy(slow(q, k, v)[0]), rtol=1e-4, atol=1e-6
    )
    grads = mx.grad(lambda *x: mx.sum(fast(*x)[0]), argnums=[0, 1, 2])(q, k, v)
    along = sum(mx.sum(g * t).item() for g, t in zip(grads, tangents, strict=True))
    np.testing.assert_allclose(mx.sum(moved[0]).item(), along, rtol=1e-3)


def test_rows_that_see_no_key_have_no_tangent(flash: Any) -> None:
    q, k = normal(1, 1, 6, 4), normal(1, 1, 2, 4, seed=1)
    f = lambda q: flash.attention(q, k, k, causal=True)[0]
    _, (moved,) = mx.jvp(f, [q], [mx.ones(q.shape)])
    assert to_numpy(moved)[0, 0, :4].tolist() == [[0] * 4] * 4
    assert np.isfinite(to_numpy(moved)).all()


def test_scores_are_never_in_memory(flash: Any) -> None:
    """The plan's peak, and what a recording of the run saw allocated."""
    n, d = 1024, 16
    q, k, v = (normal(1, 2, n, d, seed=s) for s in range(3))
    mx.eval(q, k, v)
    scores = 2 * n * n * 4

    def peak(attend: Any, backward: bool) -> tuple[int, int]:
        f = mx.grad(lambda *x: mx.sum(attend(*x)), argnums=[0, 1, 2]) if backward else attend
        with lamina.profile(ceilings=False) as p:
            mx.eval(f(q, k, v))
        return last_plan()["memory"]["peak_bytes"], memory_of(p.recording).peak.bytes

    for backward in (False, True):
        fast = peak(lambda *x: flash.attention(*x, scale=0.25)[0], backward)
        slow = peak(lambda *x: plain(*x, 0.25, False)[0], backward)
        assert max(fast) < scores / 4 < scores < min(slow)


def test_attention_counts_its_work(flash: Any) -> None:
    q = normal(1, 2, 32, 8)
    mx.eval(flash.attention(q, q, q, causal=True))
    (launch,) = last_plan()["launches"]
    array, pairs = 4 * 2 * 32 * 8, 32 * 33 // 2
    assert launch["name"] == "call flash.attention"
    assert (launch["reads"], launch["writes"]) == (3 * array, array + 4 * 2 * 32)
    assert launch["flops"] == 2 * pairs * (4 * 8 + 4)


def test_attention_misuse(flash: Any) -> None:
    q = normal(1, 1, 4, 8)
    with pytest.raises(mx.ShapeError, match=r"flash\.attention: q, k and v need 4 axes, got \(4,"):
        flash.attention(q[0, 0], q, q)
    with pytest.raises(mx.ShapeError, match=r"shapes do not fit: q \(1, 1, 4, 8\), k \(1, 1, 4, 4"):
        flash.attention(q, q[..., :4], q)
    with pytest.raises(mx.DtypeError, match="q, k and v must be float32"):
        flash.attention(q.astype(mx.float16), q, q)
    with pytest.raises(mx.TraceError, match=r"flash\.attention_backward has no derivative"):
        mx.grad(lambda x: mx.sum(mx.grad(lambda y: mx.sum(flash.attention(y, q, q)[0]))(x)))(q)


# --- block-sparse products ------------------------------------------------------------------------


def sparse(rows: int, columns: int, size: int, seed: int = 0) -> tuple[mx.array, ...]:
    """Values, columns, starts and the same matrix dense."""
    random = np.random.default_rng(seed)
    there = random.random((rows, columns)) < 0.4
    at = np.argwhere(there)
    values = random.standard_normal((len(at), size, size)).astype("f")
    dense = np.zeros((rows, size, columns, size), "f")
    for block, (r, c) in zip(values, at, strict=True):
        dense[r, :, c] = block
    starts = np.concatenate([[0], np.cumsum(there.sum(1))]).astype("i")
    whole = mx.array(dense.reshape(rows * size, columns * size))
    return mx.array(values), mx.array(at[:, 1].astype("i")), mx.array(starts), whole


@pytest.mark.parametrize(
    ("rows", "columns", "size", "n"), [(1, 1, 1, 1), (5, 7, 4, 9), (8, 3, 16, 33)]
)
def test_block_product_is_the_dense_one(
    blocks: Any, rows: int, columns: int, size: int, n: int
) -> None:
    values, at, starts, dense = sparse(rows, columns, size, seed=rows)
    x = normal(columns * size, n)
    y = blocks.matmul(values, at, starts, x)
    np.testing.assert_allclose(to_numpy(y), to_numpy(dense @ x), rtol=1e-4, atol=1e-5)
    turned = blocks.matmul(values, at, starts, mx.swapaxes(normal(n, columns * size), 0, 1))
    expected = dense @ mx.swapaxes(normal(n, columns * size), 0, 1)
    np.testing.assert_allclose(to_numpy(turned), to_numpy(expected), rtol=1e-4, atol=1e-5)


def test_block_product_gradients(blocks: Any) -> None:
    values, at, starts, dense = sparse(6, 5, 4)
    x, weight = normal(20, 7), normal(24, 7, seed=1)

    def fast(values: mx.array, x: mx.array) -> mx.array:
        return mx.sum(weight * blocks.matmul(values, at, starts, x))

    dv, dx = mx.grad(fast, argnums=[0, 1])(values, x)
    full = to_numpy(weight @ mx.swapaxes(x, 0, 1)).reshape(6, 4, 5, 4)
    rows = np.repeat(np.arange(6), np.diff(to_numpy(starts)))
    expected = full[rows, :, to_numpy(at)]
    np.testing.assert_allclose(to_numpy(dv), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        to_numpy(dx), to_numpy(mx.swapaxes(dense, 0, 1) @ weight), rtol=1e-4, atol=1e-5
    )
    check_directions(fast, [values, x], rtol=2e-2)
    forward = mx.jvp(lambda v, x: blocks.matmul(v, at, starts, x), [values, x], [values, x])
    np.testing.assert_allclose(to_numpy(forward[1][0]), 2 * to_numpy(forward[0][0]), rtol=1e-4)


def test_block_product_over_a_batch(blocks: Any) -> None:
    values, at, starts, dense = sparse(4, 4, 3)
    x = normal(5, 12, 2)
    y = mx.vmap(lambda x: blocks.matmul(values, at, starts, x))(x)
    np.testing.assert_allclose(to_numpy(y), to_numpy(dense @ x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("columns", "starts", "error", "message"),
    [
        ([0, 9], [0, 1, 2], mx.BoundsError, "block 1 lies in block column 9 of 3"),
        ([0, -1], [0, 1, 2], mx.BoundsError, "block 1 lies in block column -1 of 3"),
        ([0, 1], [0, 1, 5], mx.ArgumentError, "starts must go from 0 to the number of blocks, 2"),
        ([0, 1], [0, 2, 1, 2], mx.ArgumentError, "starts must not fall; they do after block row 1"),
    ],
)
def test_block_structure_is_checked(
    blocks: Any, columns: list[int], starts: list[int], error: Any, message: str
) -> None:
    structure = mx.array(columns, dtype=mx.int32), mx.array(starts, dtype=mx.int32)
    with pytest.raises(error, match=f"blocks.matmul: {message}"):
        mx.eval(blocks.matmul(normal(2, 2, 2), *structure, normal(6, 3)))


def test_block_misuse(blocks: Any) -> None:
    at, starts = mx.array([0, 1]), mx.array([0, 1, 2])
    with pytest.raises(mx.ShapeError, match="they must be square and divide the 7 rows of x"):
        blocks.matmul(normal(2, 2, 2), at, starts, normal(7, 3))
    with pytest.raises(mx.DtypeError, match="columns and starts must be int32"):
        blocks.matmul(normal(2, 2, 2), normal(2), starts, normal(6, 3))
    with pytest.raises(mx.ShapeError, match="dy has 5 rows, 4 are needed"):
        blocks.x_gradient(normal(2, 2, 2), at, starts, normal(5, 3), rows=6)

"""Random numbers against mlx.core: bit for bit, or to the last bits of erfinv and log."""

from __future__ import annotations

import threading
from typing import Any

import lamina.core as mx
import numpy as np
import pytest

oracle = pytest.importorskip("mlx.core")

SEEDS = [0, 1, 7, 2**40 + 5]
SHAPES = [(), (1,), (5,), (0, 3), (513, 3), (2, 3, 4)]
EXACT = {"bernoulli", "categorical", "permutation", "randint", "uniform"}
FLOATS = ["float32", "float16", "bfloat16"]


def bits(x: Any) -> np.ndarray:
    """The bytes of an array of either library."""
    own = mx if isinstance(x, mx.array) else oracle
    if x.dtype == own.bfloat16:
        x = own.view(x, own.uint16)
    return np.array(x)


def check(name: str, *args: Any, seed: int = 0, **kwargs: Any) -> None:
    """Both libraries draw the same bits; arguments may hold arrays made by `lambda m: ...`."""

    def draw(m: Any) -> Any:
        given = [a(m) if callable(a) else a for a in args]
        named = {k: v(m) if callable(v) else v for k, v in kwargs.items()}
        return getattr(m.random, name)(*given, key=m.random.key(seed), **named)

    got, expected = draw(mx), draw(oracle)
    assert tuple(got.shape) == tuple(expected.shape)
    assert str(got.dtype).rsplit(".", 1)[-1] == str(expected.dtype).rsplit(".", 1)[-1]
    if name in EXACT:
        np.testing.assert_array_equal(bits(got), bits(expected))
        return
    # The logarithm and erfinv of the two libraries differ in the last bits.
    wide = "complex64" if got.dtype == mx.complex64 else "float32"
    a, b = np.array(got.astype(getattr(mx, wide))), np.array(expected.astype(getattr(oracle, wide)))
    eps = {mx.bfloat16: 2.0**-7, mx.float16: 2.0**-10}.get(got.dtype, 2.0**-20)
    np.testing.assert_allclose(a, b, rtol=eps, atol=eps)


def dtype(name: str) -> Any:
    return lambda m: getattr(m, name)


@pytest.mark.parametrize("seed", SEEDS)
def test_key_and_split(seed: int) -> None:
    np.testing.assert_array_equal(bits(mx.random.key(seed)), bits(oracle.random.key(seed)))
    for num in (1, 2, 5):
        got = mx.random.split(mx.random.key(seed), num)
        expected = oracle.random.split(oracle.random.key(seed), num)
        np.testing.assert_array_equal(bits(got), bits(expected))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FLOATS)
def test_floats(shape: tuple[int, ...], name: str) -> None:
    for seed in SEEDS:
        check("uniform", shape=shape, dtype=dtype(name), seed=seed)
        check("uniform", -2.5, 3.0, shape, dtype(name), seed=seed)
        check("normal", shape, dtype(name), seed=seed)
        check("normal", shape, dtype(name), 1.5, 0.3, seed=seed)
        check("truncated_normal", -1.0, 2.0, shape, dtype(name), seed=seed)


@pytest.mark.parametrize("name", FLOATS)
def test_logarithms(name: str) -> None:
    check("gumbel", (64, 3), dtype(name))
    check("laplace", (64, 3), dtype(name))
    check("laplace", (64, 3), dtype(name), 0.5, 2.0)


def test_complex_normal() -> None:
    check("normal", (33,), dtype("complex64"))
    check("normal", (4, 5), dtype("complex64"), 1.0, 0.5)


@pytest.mark.parametrize("shape", SHAPES)
def test_integers_and_booleans(shape: tuple[int, ...]) -> None:
    for seed in SEEDS:
        check("randint", -5, 100, shape, seed=seed)
        check("randint", 0, 7, shape, dtype("uint8"), seed=seed)
        check("bernoulli", 0.3, shape, seed=seed)
        check("permutation", 257, seed=seed)


def test_broadcast_parameters() -> None:
    low = lambda m: m.array([[0.0], [1.0]])
    check("uniform", low, 3.0, (2, 5))
    check("normal", (2, 5), loc=low, scale=lambda m: m.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    check("bernoulli", lambda m: m.array([0.1, 0.5, 0.9]))
    check("bernoulli", lambda m: m.array([0.1, 0.5, 0.9]), (4, 3))
    check("truncated_normal", low, lambda m: m.array([2.0, 3.0]))
    check("randint", lambda m: m.array([0, 10]), lambda m: m.array([5, 20]), (3, 2))


def test_permutation_of_arrays() -> None:
    check("permutation", lambda m: m.arange(24).reshape(4, 6))
    check("permutation", lambda m: m.arange(24).reshape(4, 6), 1)


def test_categorical() -> None:
    logits = lambda m: m.arange(24).reshape(4, 6).astype(m.float32) * 0.1
    for axis in (-1, 0):
        check("categorical", logits, axis)
        check("categorical", logits, axis, num_samples=7)
    check("categorical", logits, -1, (3, 4))
    check("categorical", logits, 0, (2, 6))


@pytest.mark.parametrize("shape", [(20,), (1, 20), (20, 1), (1, 1, 20), (1, 5000), (1, 1)])
@pytest.mark.parametrize("seed", SEEDS)
def test_one_categorical_distribution(shape: tuple[int, ...], seed: int) -> None:
    """A single distribution is drawn from in another way than several."""
    numbers = np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * 2
    logits = lambda m: m.array(numbers)
    axis = int(np.argmax(shape))
    check("categorical", logits, axis, seed=seed)
    check("categorical", logits, axis - len(shape), seed=seed)
    check("categorical", logits, axis, seed=seed, num_samples=3)
    check("categorical", logits, axis, (*(s for s in shape[1:] if s == 1), 2, 1), seed=seed)
    half = lambda m: m.array(numbers).astype(m.float16)
    check("categorical", half, axis, seed=seed, num_samples=50)


def test_impossible_places_are_not_drawn() -> None:
    logits = mx.array([[-mx.inf, 1.0, -mx.inf, 0.0, -mx.inf]])
    drawn = mx.random.categorical(logits, num_samples=1000, key=mx.random.key(1))
    assert set(drawn.flatten().tolist()) == {1, 3}


def test_categorical_refuses() -> None:
    with pytest.raises(ValueError, match="not both"):
        mx.random.categorical(mx.zeros((3,)), shape=(2,), num_samples=2)
    with pytest.raises(IndexError, match="axis 3"):
        mx.random.categorical(mx.zeros((3,)), 3)


COVARIANCE = np.array([[2.0, 0.5, 0.1], [0.5, 1.0, 0.2], [0.1, 0.2, 0.7]], "f")
BATCHES = [((3,), (3, 3), ()), ((3,), (3, 3), (5,)), ((4, 3), (3, 3), ()), ((3,), (4, 3, 3), ())]
BATCHES += [((5, 1, 3), (4, 3, 3), ()), ((5, 1, 3), (4, 3, 3), (2, 5, 4)), ((4, 3), (3, 3), (1,))]


@pytest.mark.parametrize(("means", "covariances", "shape"), BATCHES)
def test_multivariate_normal(
    means: tuple[int, ...], covariances: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    """MLX's numbers, up to rounding: the root of a covariance is unique, and so is its product."""
    mean = np.random.default_rng(1).normal(size=means).astype("f")
    cov = np.broadcast_to(COVARIANCE, covariances).copy()

    def draw(m: Any) -> Any:
        key = m.random.key(7)
        return m.random.multivariate_normal(m.array(mean), m.array(cov), list(shape), key=key)

    with oracle.stream(oracle.cpu):
        want = np.array(draw(oracle))
    got = np.array(draw(mx))
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_multivariate_normal_has_its_moments() -> None:
    mean = mx.array([1.0, -2.0, 0.5])
    x = np.array(mx.random.multivariate_normal(mean, mx.array(COVARIANCE), [100_000]))
    np.testing.assert_allclose(x.mean(0), [1, -2, 0.5], atol=0.03)
    np.testing.assert_allclose(np.cov(x.T), COVARIANCE, atol=0.05)
    low_rank = mx.array([[1.0, 1.0], [1.0, 1.0]])
    y = np.array(mx.random.multivariate_normal(mx.zeros(2), low_rank, [50]))
    np.testing.assert_allclose(y[:, 0], y[:, 1], atol=1e-3)
    indefinite = mx.array([[1.0, 2.0], [2.0, 1.0]])
    assert np.isnan(np.array(mx.random.multivariate_normal(mx.zeros(2), indefinite))).all()


def test_multivariate_normal_has_gradients() -> None:
    """By the covariance too, also where its eigenvalues are equal."""
    key, step = mx.random.key(3), 1e-2
    direction = mx.array([[0.3, 0.2], [0.2, -0.1]])

    def f(cov: mx.array) -> mx.array:
        return mx.sum(mx.random.multivariate_normal(mx.zeros(2), cov, [20], key=key) ** 3)

    for cov in (mx.eye(2) * 2, mx.array([[2.0, 0.5], [0.5, 1.0]])):
        slope = (f(cov + step * direction) - f(cov - step * direction)) / (2 * step)
        by_gradient = mx.sum(mx.grad(f)(cov) * direction)
        by_tangent = mx.jvp(f, [cov], [direction])[1][0]
        assert abs(float(slope - by_gradient)) < 2e-2 * (1 + abs(float(slope)))
        assert abs(float(by_tangent - by_gradient)) < 1e-3 * (1 + abs(float(slope)))


def test_multivariate_normal_refuses() -> None:
    draw, eye = mx.random.multivariate_normal, mx.eye(2)
    with pytest.raises(ValueError, match="multivariate_normal: the dtype must be float32, got flo"):
        draw(mx.zeros(2), eye, dtype=mx.float16)
    for mean, cov in ((mx.array(1.0), eye), (mx.zeros(2), mx.zeros(2)), (mx.zeros(3), eye)):
        with pytest.raises(ValueError, match=r"multivariate_normal: mean .* and cov .* do not"):
            draw(mean, cov)
    with pytest.raises(ValueError, match=r"do not broadcast to shape \(3,\)"):
        draw(mx.zeros((5, 2)), eye, [3])


def test_global_state() -> None:
    mx.random.seed(11)
    oracle.random.seed(11)
    for _ in range(5):
        got, expected = mx.random.uniform(shape=(3,)), oracle.random.uniform(shape=(3,))
        np.testing.assert_array_equal(bits(got), bits(expected))
        np.testing.assert_array_equal(bits(mx.random.state[0]), bits(oracle.random.state[0]))
    kept = mx.random.state[0]
    first = bits(mx.random.uniform(shape=(4,)))
    mx.random.state[0] = kept
    np.testing.assert_array_equal(bits(mx.random.uniform(shape=(4,))), first)


def test_threads_never_share_a_key() -> None:
    mx.random.seed(3)
    drawn: list[bytes] = []

    def draw() -> None:
        for _ in range(20):
            drawn.append(bits(mx.random.uniform(shape=(4,))).tobytes())

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(set(drawn)) == 80


def test_errors() -> None:
    with pytest.raises(TypeError, match="seed"):
        mx.random.key(-1)
    with pytest.raises(ValueError, match="floating"):
        mx.random.uniform(shape=(2,), dtype=mx.int32)
    with pytest.raises(ValueError, match="integer"):
        mx.random.randint(0, 2, (2,), mx.float32)
    with pytest.raises(ValueError, match="broadcast"):
        mx.random.uniform(mx.zeros((3,)), 1.0, (2,))
    with pytest.raises(ValueError, match="key"):
        mx.random.uniform(shape=(2,), key=mx.zeros((2,)))

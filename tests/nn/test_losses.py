"""Losses against NumPy formulas, against MLX, and by their gradients."""

from __future__ import annotations

import inspect
import math

import lamina.core as mx
import mlx.core as omx
import mlx.nn as onn
import numpy as np
import pytest
from lamina import nn
from oracle import close, normal, ours, theirs, to_numpy

X, Y = normal(4, 5), normal(4, 5, seed=1)
LABELS = np.array([0, 1, 4, 2], np.int32)
SIGNS = np.sign(normal(4, 5, seed=2)).astype(np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).astype(np.float32)


P, Q = softmax(Y), softmax(normal(4, 5, seed=3))
LOG_P, LOG_Q = np.log(P), np.log(Q)
ROWS = np.abs(normal(4, seed=4))

CASES = [
    ("cross_entropy", (X, LABELS), {}),
    ("cross_entropy", (X, LABELS), {"label_smoothing": 0.2, "reduction": "mean"}),
    ("cross_entropy", (X, P), {"label_smoothing": 0.2}),
    ("cross_entropy", (X, P, ROWS), {"reduction": "sum"}),
    ("cross_entropy", (np.ascontiguousarray(X.T), LABELS), {"axis": 0}),
    ("binary_cross_entropy", (X, P), {}),
    ("binary_cross_entropy", (P, Q), {"with_logits": False, "reduction": "none"}),
    ("binary_cross_entropy", (X, P, Q), {"reduction": "sum"}),
    ("l1_loss", (X, Y), {}),
    ("mse_loss", (X, Y), {}),
    ("mse_loss", (X, Y), {"reduction": "none"}),
    ("nll_loss", (LOG_P, LABELS), {}),
    ("gaussian_nll_loss", (X, Y, P), {}),
    ("gaussian_nll_loss", (X, Y, P), {"full": True, "reduction": "none"}),
    ("kl_div_loss", (LOG_P, LOG_Q), {}),
    ("kl_div_loss", (LOG_P, LOG_Q), {"axis": 0, "reduction": "mean"}),
    ("smooth_l1_loss", (X, Y), {"beta": 0.3}),
    ("smooth_l1_loss", (X, Y), {"reduction": "sum"}),
    ("triplet_loss", (X, Y, P), {}),
    ("triplet_loss", (X, Y, P), {"p": 1, "axis": 0, "margin": 0.3}),
    ("hinge_loss", (X, SIGNS), {}),
    ("huber_loss", (X, Y), {"delta": 0.6}),
    ("log_cosh_loss", (X, Y), {"reduction": "mean"}),
    ("cosine_similarity_loss", (X, Y), {}),
    ("cosine_similarity_loss", (X, Y), {"axis": 0, "reduction": "sum"}),
    ("margin_ranking_loss", (X, Y, SIGNS), {"margin": 0.2}),
]


@pytest.mark.parametrize(("name", "arrays", "kwargs"), CASES)
def test_value_and_gradient_as_mlx(name, arrays, kwargs):
    loss, oracle = getattr(nn.losses, name), getattr(onn.losses, name)
    close(loss(*ours(arrays), **kwargs), oracle(*theirs(arrays), **kwargs), 2e-5)
    grad = mx.grad(lambda x, *rest: mx.sum(loss(x, *rest, **kwargs)))(*ours(arrays))
    expected = omx.grad(lambda x, *rest: omx.sum(oracle(x, *rest, **kwargs)))(*theirs(arrays))
    close(grad, expected, 1e-4)


@pytest.mark.parametrize("name", sorted({case[0] for case in CASES}))
def test_signature(name):
    def parameters(f):
        return [(p.name, p.default) for p in inspect.signature(f).parameters.values()]

    assert parameters(getattr(nn.losses, name)) == parameters(getattr(onn.losses, name))


def test_every_loss_is_covered():
    # Every public name is covered.
    public = {n for n, f in vars(nn.losses).items() if inspect.isfunction(f) and n[0] != "_"}
    assert public == {case[0] for case in CASES}
    assert len(public) == 14


def by_hand() -> dict[str, np.ndarray]:
    d = X - Y
    log_z = np.log(np.exp(X).sum(-1))
    return {
        "cross_entropy": log_z - X[np.arange(4), LABELS],
        "l1_loss": np.abs(d).mean(),
        "mse_loss": (d * d).mean(),
        "hinge_loss": np.maximum(1 - X * Y, 0),
        "huber_loss": np.where(np.abs(d) <= 1, d * d / 2, np.abs(d) - 0.5),
        "log_cosh_loss": np.log(np.cosh(d)),
        "kl_div_loss": (np.exp(Y) * (Y - X)).sum(-1),
        "cosine_similarity_loss": (X * Y).sum(1)
        / (np.linalg.norm(X, axis=1) * np.linalg.norm(Y, axis=1)),
        "smooth_l1_loss": np.where(np.abs(d) < 1, d * d / 2, np.abs(d) - 0.5).mean(),
        "binary_cross_entropy": (np.log1p(np.exp(X)) - X * Y).mean(),
    }


@pytest.mark.parametrize("name", sorted(by_hand()))
def test_formula(name):
    second = LABELS if name == "cross_entropy" else Y
    actual = to_numpy(getattr(nn.losses, name)(mx.array(X), mx.array(second)))
    np.testing.assert_allclose(actual, by_hand()[name], rtol=2e-5, atol=2e-5)


def test_cross_entropy_survives_huge_logits():
    logits = mx.array([[1e4, 0.0], [-1e4, 0.0]])
    close(nn.losses.cross_entropy(logits, mx.array([0, 0])), np.array([0, 1e4], np.float32))


def test_binary_cross_entropy_is_finite_at_certainty():
    loss = nn.losses.binary_cross_entropy(
        mx.array([0.0, 1.0]), mx.array([1.0, 0.0]), with_logits=False, reduction="none"
    )
    close(loss, np.array([100, 100], np.float32))


def test_cross_entropy_learns_a_label():
    logits = mx.zeros((1, 3))
    for _ in range(50):
        grad = mx.grad(lambda z: mx.sum(nn.losses.cross_entropy(z, mx.array([2]))))(logits)
        logits = logits - grad
    assert int(mx.argmax(logits).item()) == 2
    assert float(nn.losses.cross_entropy(logits, mx.array([2])).item()) < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: nn.losses.mse_loss(x, x, reduction="x"), "reduction 'none', 'mean' or 'sum'"),
        (
            lambda x: nn.losses.mse_loss(x, x[:2]),
            r"equal shapes, got predictions \(4, 5\), targets",
        ),
        (lambda x: nn.losses.l1_loss(x, x[:2]), "l1_loss: expected equal shapes"),
        (
            lambda x: nn.losses.cross_entropy(x, mx.array([0])),
            r"targets of shape \(4,\) or \(4, 5\)",
        ),
        (
            lambda x: nn.losses.cross_entropy(x, mx.array([0] * 4), label_smoothing=1.0),
            r"label_smoothing in \[0, 1\), got 1.0",
        ),
        (
            lambda x: nn.losses.cross_entropy(x, mx.array([0] * 4), weights=mx.ones((3,))),
            r"weights of the loss's shape \(4,\), got \(3,\)",
        ),
        (lambda x: nn.losses.gaussian_nll_loss(x, x, x[:1]), r"vars \(1, 5\)"),
        (lambda x: nn.losses.margin_ranking_loss(x, x, x[:1]), "margin_ranking_loss: expected"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(mx.array(X))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_differences_of_16_bits_round_once(dtype: str) -> None:
    """log(1 + e**-3) has its bits though logsumexp, near 2, has not."""
    logits = mx.array([[2.0, -1.0], [-1.0, 2.0]], getattr(mx, dtype))
    exact = math.log1p(math.exp(-3))
    close = 2**-8 if dtype == "bfloat16" else 2**-11
    one_hot = mx.array([[1.0, 0.0], [0.0, 1.0]], getattr(mx, dtype))
    for loss in (
        nn.losses.cross_entropy(logits, mx.array([0, 1])),
        nn.losses.cross_entropy(logits, one_hot),
        -mx.diag(nn.log_softmax(logits)),
    ):
        assert loss.dtype == logits.dtype
        np.testing.assert_allclose(np.array(loss.astype(mx.float32)), exact, rtol=close)

"""QR: the factors multiply to the matrix, Q is orthonormal, R is triangular."""

from __future__ import annotations

import lamina.core as mx
import numpy as np
import pytest


@pytest.mark.parametrize(
    "shape", [(1, 1), (5, 3), (3, 5), (4, 4), (2, 3, 6, 4), (0, 3, 3), (40, 30)]
)
def test_qr(shape: tuple[int, ...]) -> None:
    a = np.random.default_rng(0).normal(size=shape).astype("f")
    q, r = (np.array(x) for x in mx.linalg.qr(mx.array(a)))
    np.testing.assert_allclose(q @ r, a, atol=1e-5)
    eye = np.broadcast_to(np.eye(q.shape[-1], dtype="f"), (*shape[:-2], q.shape[-1], q.shape[-1]))
    np.testing.assert_allclose(np.swapaxes(q, -1, -2) @ q, eye, atol=1e-5)
    np.testing.assert_array_equal(np.tril(r, -1), 0)


def test_qr_of_a_rank_deficient_matrix() -> None:
    a = np.ones((4, 3), "f")
    q, r = (np.array(x) for x in mx.linalg.qr(mx.array(a)))
    np.testing.assert_allclose(q @ r, a, atol=1e-6)


def test_qr_under_vmap() -> None:
    a = mx.array(np.random.default_rng(1).normal(size=(3, 4, 2)).astype("f"))
    q, r = mx.vmap(lambda x: mx.linalg.qr(x))(a)
    np.testing.assert_allclose(np.array(q @ r), np.array(a), atol=1e-5)


def test_qr_refuses_vectors_and_integers() -> None:
    with pytest.raises(ValueError, match=r"qr: needs 2 axes or more, got \(3,\)"):
        mx.linalg.qr(mx.zeros(3))
    with pytest.raises(TypeError, match="qr: needs float32 or float64, got int32"):
        mx.linalg.qr(mx.zeros((3, 3), dtype=mx.int32))

"""Linear algebra: derivatives of both modes and orders, and batching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from arrays import check_derivatives, check_vmap, normal64, ours, rng, to_numpy
from lamina import _core

Array = np.ndarray


def normal(dtype: str, shape: tuple[int, ...], seed: int = 0) -> Array:
    g = rng(seed)
    a = g.standard_normal(shape)
    if dtype == "complex64":
        a = a + 1j * g.standard_normal(shape)
    return a.astype(dtype)


def adjoint(a: Array) -> Array:
    return np.conj(np.swapaxes(a, -1, -2))


def near(actual: Any, expected: Array, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=tolerance, atol=tolerance)


def sym(x: mx.array) -> mx.array:
    return (x + mx.swapaxes(x, -1, -2)) / 2


def spd(x: mx.array) -> mx.array:
    return x @ mx.swapaxes(x, -1, -2) + mx.eye(x.shape[-1], dtype=x.dtype)


def shifted(x: mx.array) -> mx.array:
    return x / 4 + 2 * mx.eye(x.shape[-1], dtype=x.dtype)


L = mx.linalg
SMOOTH: dict[str, tuple[Callable[[mx.array], mx.array], tuple[int, ...]]] = {
    "inv": (lambda x: L.inv(shifted(x)), (3, 3)),
    "pinv tall": (L.pinv, (4, 2)),
    "pinv wide": (L.pinv, (2, 4)),
    "det": (L.det, (3, 3)),
    "slogdet": (lambda x: L.slogdet(shifted(x))[1], (3, 3)),
    "cholesky": (lambda x: L.cholesky(spd(x)), (3, 3)),
    "cholesky upper": (lambda x: L.cholesky(spd(x), upper=True), (3, 3)),
    "cholesky_inv": (lambda x: L.cholesky_inv(shifted(x)), (3, 3)),
    "tri_inv": (lambda x: L.tri_inv(shifted(x)), (3, 3)),
    "tri_inv upper": (lambda x: L.tri_inv(shifted(x), True), (3, 3)),
    "solve a": (lambda x: L.solve(shifted(x), mx.ones((3, 2), dtype=x.dtype)), (3, 3)),
    "solve both": (lambda x: L.solve(shifted(x), x[:, :2]), (3, 3)),
    "solve vector": (lambda x: L.solve(shifted(x), x[0]), (3, 3)),
    "solve_triangular": (lambda x: L.solve_triangular(shifted(x), x * x), (3, 3)),
    "solve_triangular upper": (
        lambda x: L.solve_triangular(shifted(x), x * x, upper=True),
        (3, 3),
    ),
    "eigh values": (lambda x: L.eigh(sym(x))[0], (3, 3)),
    "eigh vectors": (lambda x: L.eigh(sym(x))[1], (3, 3)),
    "eigh upper": (lambda x: L.eigh(sym(x), "U")[1] * L.eigh(sym(x), "U")[0], (3, 3)),
    "eigvalsh": (lambda x: L.eigvalsh(sym(x)), (3, 3)),
    "svdvals": (L.svdvals, (3, 4)),
    "svd square u": (lambda x: L.svd(x)[0], (3, 3)),
    "svd square all": (lambda x: L.svd(x)[0] @ L.svd(x)[2] * L.svd(x)[1], (3, 3)),
    # Which vectors of the null space are given is LAPACK's choice: only their projector counts.
    "svd tall": (lambda x: L.svd(x)[0][:, 2:] @ L.svd(x)[0][:, 2:].T + L.svd(x)[0][:, :1], (4, 2)),
    "svd wide": (lambda x: L.svd(x)[2][2:].T @ L.svd(x)[2][2:] + L.svd(x)[2][:1], (2, 4)),
    "qr q": (lambda x: L.qr(x)[0], (4, 3)),
    "qr r": (lambda x: L.qr(x)[1], (3, 3)),
    "qr wide": (lambda x: L.qr(x)[0] @ L.qr(x)[1] ** 2, (2, 4)),
    "lu": (lambda x: L.lu_factor(x)[0], (3, 3)),
    "lu tall": (lambda x: L.lu(x)[1] @ L.lu(x)[2] ** 2, (4, 2)),
    "lu wide": (lambda x: L.lu(x)[1] @ L.lu(x)[2] ** 2, (2, 4)),
    "root": (lambda x: _core._matrix_sqrt(spd(x)), (3, 3)),
    "norm 2": (lambda x: L.norm(x, 2), (3, 4)),
    "norm nuc": (lambda x: L.norm(x, "nuc"), (3, 4)),
    "batch": (lambda x: L.inv(shifted(x)) @ L.cholesky(spd(x)), (2, 3, 3)),
    "batch of svd": (lambda x: L.svd(x)[0] * L.svd(x)[1][..., None, :], (2, 3, 3)),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives(name: str) -> None:
    f, shape = SMOOTH[name]
    check_derivatives(f, normal64(shape, 12), tolerance=2e-5)


def test_derivatives_of_systems() -> None:
    check_derivatives(L.solve, normal64((2, 3, 3), 1), normal64((3, 2), 2), tolerance=1e-4)
    check_derivatives(
        lambda a, b: L.solve_triangular(shifted(a), b), normal64((3, 3), 1), normal64((2, 3, 1), 2)
    )


@pytest.mark.parametrize("name", SMOOTH)
def test_batching(name: str) -> None:
    f, shape = SMOOTH[name]
    x = normal64((*shape, 3), 5)
    check_vmap(f, x, axes=(-1,), tolerance=1e-9)
    check_vmap(f, mx.moveaxis(x, -1, 1), axes=(1,), tolerance=1e-9)
    gradient = mx.grad(lambda v: mx.sum(f(v) ** 2))
    check_vmap(gradient, x, axes=(-1,), tolerance=1e-7)


def test_batching_of_one_side() -> None:
    a, b = normal64((4, 3, 3), 1), normal64((4, 3, 2), 2)
    for f in (L.solve, L.solve_triangular):
        check_vmap(f, a, b[0], axes=(0, None), tolerance=1e-8)
        check_vmap(f, a[0], b, axes=(None, 0), tolerance=1e-8)
        check_vmap(f, a, b, axes=(0, 0), tolerance=1e-8)


def invariants(la: Any, swap: Callable[..., Any]) -> dict[str, Callable[[Any], Any]]:
    """Functions of a complex matrix that do not depend on the phases of vectors."""

    def hermitian(a: Any) -> Any:
        return a + swap(a)

    def eig(a: Any) -> Any:
        w, v = la.eig(a)
        return (v * w**2) @ la.inv(v)

    def svd(a: Any) -> Any:
        u, s, vh = la.svd(a)
        return (u * s**2) @ vh

    def eigh(a: Any) -> Any:
        w, v = la.eigh(hermitian(a))
        return (v * w**3) @ swap(v)

    def qr(a: Any) -> Any:
        q, r = la.qr(a)
        return q @ r @ r

    return {
        "inv": la.inv,
        "solve": lambda a: la.solve(a, a @ a),
        "det": la.det,
        "slogdet": lambda a: la.slogdet(a)[1] * la.slogdet(a)[0],
        "pinv": lambda a: la.pinv(a[:, :2]),
        "cholesky": lambda a: la.cholesky(a @ swap(a)),
        "eig": eig,
        "eigh": eigh,
        "svd": svd,
        "qr": qr,
    }


OURS = invariants(mx.linalg, lambda a: mx.conjugate(mx.swapaxes(a, -1, -2)))
NUMPYS = invariants(np.linalg, adjoint)


@pytest.mark.parametrize("name", OURS)
def test_complex_derivatives(name: str) -> None:
    """jvp against NumPy's differences in double precision; vjp is its adjoint."""
    a, t = normal("complex64", (3, 3), 21), normal("complex64", (3, 3), 22)
    f = OURS[name]
    outs, tangents = mx.jvp(f, [ours(a)], [ours(t)])
    wide, step = a.astype(np.complex128), 1e-6 * t.astype(np.complex128)
    want = (NUMPYS[name](wide + step) - NUMPYS[name](wide - step)) / 2e-6
    scale = 1 + np.abs(want).max()
    np.testing.assert_allclose(to_numpy(tangents[0]) / scale, want / scale, atol=2e-4)
    ct = ours(normal("complex64", tuple(outs[0].shape), 23).astype(to_numpy(outs[0]).dtype))
    (back,) = mx.vjp(f, [ours(a)], [ct])[1]
    left = np.sum(np.conj(to_numpy(ct)) * to_numpy(tangents[0])).real
    right = np.sum(np.conj(to_numpy(back)) * t).real
    assert abs(left - right) <= 2e-4 * (1 + np.abs(want).sum()), name


def real_product(ct: Any, x: Any) -> mx.array:
    return mx.sum(mx.real(mx.conjugate(ct) * x))


def more(la: Any, swap: Callable[..., Any], core: Any) -> dict[str, Callable[[Any], Any]]:
    """Functions of any shape, and of single vectors, that do not depend on phases either."""

    def svd(a: Any) -> Any:
        u, s, vh = la.svd(a)
        return (u[:, : len(s)] * s**2) @ vh[: len(s)]

    def squares(v: Any) -> Any:
        return core.real(v * core.conj(v))

    return {
        "pinv wide": la.pinv,
        "pinv tall": la.pinv,
        "svd wide": svd,
        "svd tall": svd,
        "svd vectors": lambda a: squares(la.svd(a)[0]) + squares(la.svd(a)[2]),
        "svdvals": lambda a: la.svd(a)[1],
        "eigh vectors": lambda a: squares(la.eigh(a + swap(a))[1]),
        "eigvalsh": lambda a: la.eigvalsh(a + swap(a)),
        "eig vectors": lambda a: squares(la.eig(a)[1])[:1].sum(),
        "eigvals": lambda a: (la.eigvals(a) ** 3).sum(),
        "qr tall": lambda a: la.qr(a)[0] @ la.qr(a)[1] ** 2,
        "norm nuc": lambda a: la.norm(a, "nuc"),
        "batch": lambda a: la.inv(core.stack([a, a @ a])),
    }


def eliminated(a: Array) -> Array:
    """LU without exchanges: of a matrix with a heavy diagonal."""
    low, up = np.eye(len(a), dtype=a.dtype), a.copy()
    for k in range(len(a)):
        low[k + 1 :, k] = up[k + 1 :, k] / up[k, k]
        up[k + 1 :] -= low[k + 1 :, k : k + 1] * up[k : k + 1]
    return low + up - np.eye(len(a))


# What NumPy does not have, by definition.
TRIANGULAR: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "solve_triangular": (
        lambda a: L.solve_triangular(a, a @ a),
        lambda a: np.linalg.solve(np.tril(a), a @ a),
    ),
    "tri_inv": (L.tri_inv, lambda a: np.linalg.inv(np.tril(a))),
    "cholesky upper": (
        lambda a: L.cholesky(a @ mx.conj(a).T, upper=True),
        lambda a: adjoint(np.linalg.cholesky(a @ adjoint(a))),
    ),
    "cholesky_inv": (
        L.cholesky_inv,
        lambda a: np.linalg.inv(np.tril(a) @ adjoint(np.tril(a))),
    ),
    "lu": (lambda a: L.lu_factor(a)[0], eliminated),
}
SHAPES = {"wide": (2, 3), "tall": (3, 2), "nuc": (2, 3)}
OURS_MORE = more(mx.linalg, lambda a: mx.conj(a).T, mx)
NUMPYS_MORE = more(np.linalg, adjoint, np)
SECOND = {
    **{name: (f, NUMPYS[name]) for name, f in OURS.items()},
    **{name: (f, NUMPYS_MORE[name]) for name, f in OURS_MORE.items()},
    **TRIANGULAR,
}


@pytest.mark.parametrize("name", SECOND)
def test_complex_second_order(name: str) -> None:
    """Four ways to the second derivative against NumPy's differences in double precision."""
    f, reference = SECOND[name]
    shape = SHAPES.get(name.rpartition(" ")[2], (3, 3))
    heavy = np.diag([2, 3.5, 5])[: shape[0], : shape[1]]
    a = (normal("complex64", shape, 21) / 3 + heavy).astype(np.complex64)
    t, u = normal("complex64", shape, 22), normal("complex64", shape, 24)
    out = to_numpy(f(ours(a)))
    ct = normal("complex64" if np.iscomplexobj(out) else "float32", out.shape, 23)

    def value(x: Array) -> float:
        return float(np.sum(np.conj(ct) * reference(x)).real)

    wide, h = a.astype(np.complex128), 2e-4
    ends = [(i, k) for i in (1, -1) for k in (1, -1)]
    want = sum(i * k * value(wide + h * (i * t + k * u)) for i, k in ends) / (4 * h * h)

    def by_reverse(x: mx.array) -> mx.array:
        return real_product(ours(t), mx.vjp(f, [x], [ours(ct)])[1][0])

    def by_forward(x: mx.array) -> mx.array:
        return real_product(ours(ct), mx.jvp(f, [x], [ours(t)])[1][0])

    first = (value(wide + h * t) - value(wide - h * t)) / (2 * h)
    size = 1 + abs(want) + np.abs(out).max()
    for slope in (by_reverse, by_forward):
        (at,), (forward,) = mx.jvp(slope, [ours(a)], [ours(u)])
        assert abs(at.item() - first) < 1e-3 * (1 + abs(first) + np.abs(out).max())
        back = real_product(ours(u), mx.grad(slope)(ours(a)))
        assert abs(forward.item() - want) < 2e-3 * size, (slope.__name__, "forward")
        assert abs(back.item() - want) < 2e-3 * size, (slope.__name__, "reverse")


def test_eig_of_a_real_matrix_is_differentiable() -> None:
    a, t = normal("float32", (4, 4), 2), normal("float32", (4, 4), 3)

    def f(x: mx.array) -> mx.array:
        w, v = mx.linalg.eig(x)
        return mx.sum(mx.real(w * w)) + mx.sum(mx.abs(v[:1]) ** 2)

    def reference(x: Array) -> float:
        w, v = np.linalg.eig(x)
        return float(np.sum((w * w).real) + np.sum(np.abs(v[:1]) ** 2))

    wide, step = a.astype(np.float64), 1e-6 * t.astype(np.float64)
    want = (reference(wide + step) - reference(wide - step)) / 2e-6
    assert abs(float(mx.jvp(f, [ours(a)], [ours(t)])[1][0]) - want) < 1e-3 * (1 + abs(want))
    gradient = mx.grad(f)(ours(a))
    assert gradient.dtype == mx.float32
    assert abs(float(np.sum(to_numpy(gradient) * t)) - want) < 1e-3 * (1 + abs(want))
    values = mx.grad(lambda x: mx.sum(mx.real(mx.linalg.eigvals(x) ** 2)))(ours(a))
    near(values, 2 * a.T, 1e-4)  # the sum of the squares is tr(A A)


def test_gradients_where_values_repeat() -> None:
    """Equal singular values and eigenvalues: what does not tell them apart has a gradient."""
    eye = mx.eye(3, dtype=mx.float64) * 2
    near(mx.grad(lambda x: mx.sum(mx.linalg.svd(x)[1]))(eye), np.eye(3))
    near(mx.grad(lambda x: mx.sum(mx.linalg.eigh(x)[0]))(eye), np.eye(3))
    near(mx.grad(mx.linalg.det)(mx.zeros((2, 2), dtype=mx.float64)), np.zeros((2, 2)))
    singular = np.diag([1.0, 2.0, 0.0])
    near(mx.grad(mx.linalg.det)(ours(singular)), np.diag([0.0, 0.0, 2.0]))

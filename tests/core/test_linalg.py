"""Linear algebra: values, derivatives of both modes and orders, batching, layouts, mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest
from arrays import (
    check,
    name_of,
    options,
    ours,
    rng,
    theirs,
    to_numpy,
)
from lamina import _core

Array = np.ndarray
DTYPES = ["float32", "float64", "complex64"]
SQUARE = [(1, 1), (2, 2), (5, 5), (3, 4, 4), (2, 3, 3, 3), (0, 3, 3), (0, 0), (2, 0, 0), (37, 37)]
RECTANGULAR = [(1, 3), (4, 1), (5, 3), (3, 5), (2, 6, 4), (2, 4, 6), (0, 2, 3), (3, 0), (0, 3)]
TOLERANCE = {"float32": 2e-4, "float64": 1e-11, "complex64": 2e-4}


def normal(dtype: str, shape: tuple[int, ...], seed: int = 0) -> Array:
    g = rng(seed)
    a = g.standard_normal(shape)
    if dtype == "complex64":
        a = a + 1j * g.standard_normal(shape)
    return a.astype(dtype)


def adjoint(a: Array) -> Array:
    return np.conj(np.swapaxes(a, -1, -2))


def regular(dtype: str, shape: tuple[int, ...], seed: int = 0) -> Array:
    """Well conditioned."""
    return (normal(dtype, shape, seed) / 4 + 2 * np.eye(*shape[-2:])).astype(dtype)


def positive(dtype: str, shape: tuple[int, ...], seed: int = 0) -> Array:
    a = normal(dtype, shape, seed)
    return (a @ adjoint(a) + np.eye(shape[-1])).astype(dtype)


def triangular(dtype: str, shape: tuple[int, ...], seed: int = 0) -> Array:
    """Both triangles filled; a function must read one only."""
    return (normal(dtype, shape, seed) / 4 + 2 * np.eye(shape[-1])).astype(dtype)


def product(*factors: Array) -> Array:
    out = factors[0]
    for f in factors[1:]:
        out = out @ f
    return out


def scaled(u: Array, s: Array, vh: Array) -> Array:
    k = s.shape[-1]
    return (u[..., :k] * s[..., None, :]) @ vh[..., :k, :]


def eye_like(a: Array) -> Array:
    return np.broadcast_to(np.eye(a.shape[-1]), a.shape)


# Results that are determined: name -> (function, sample, NumPy's).
DETERMINED: dict[str, tuple[Callable[..., Any], Callable[..., Array], Callable[[Array], Any]]] = {
    "inv": (lambda la, a: la.inv(a), regular, np.linalg.inv),
    "pinv": (lambda la, a: la.pinv(a), regular, np.linalg.pinv),
    "det": (lambda la, a: la.det(a), regular, np.linalg.det),
    "slogdet": (lambda la, a: la.slogdet(a), regular, lambda a: tuple(np.linalg.slogdet(a))),
    "cholesky": (lambda la, a: la.cholesky(a), positive, np.linalg.cholesky),
    "cholesky upper": (
        lambda la, a: la.cholesky(a, upper=True),
        positive,
        lambda a: adjoint(np.linalg.cholesky(a)),
    ),
    "cholesky_inv": (
        lambda la, a: la.cholesky_inv(a),
        triangular,
        lambda a: np.linalg.inv(np.tril(a) @ adjoint(np.tril(a))),
    ),
    "cholesky_inv upper": (
        lambda la, a: la.cholesky_inv(a, True),
        triangular,
        lambda a: np.linalg.inv(adjoint(np.triu(a)) @ np.triu(a)),
    ),
    "tri_inv": (lambda la, a: la.tri_inv(a), triangular, lambda a: np.linalg.inv(np.tril(a))),
    "tri_inv upper": (
        lambda la, a: la.tri_inv(a, True),
        triangular,
        lambda a: np.linalg.inv(np.triu(a)),
    ),
    "solve_triangular": (
        lambda la, a: la.solve_triangular(a, a),
        triangular,
        lambda a: np.linalg.solve(np.tril(a), a),
    ),
    "solve_triangular upper": (
        lambda la, a: la.solve_triangular(a, a, upper=True),
        triangular,
        lambda a: np.linalg.solve(np.triu(a), a),
    ),
    "solve": (lambda la, a: la.solve(a, a * a), regular, lambda a: np.linalg.solve(a, a * a)),
    "eigvalsh": (lambda la, a: la.eigvalsh(a), positive, np.linalg.eigvalsh),
    "svdvals": (lambda la, a: la.svdvals(a), normal, lambda a: np.linalg.svd(a, compute_uv=False)),
    "svd values": (
        lambda la, a: la.svd(a, compute_uv=False),
        normal,
        lambda a: np.linalg.svd(a, compute_uv=False),
    ),
    "nuclear norm": (
        lambda la, a: la.norm(a, "nuc", axis=(-2, -1)),
        normal,
        lambda a: np.linalg.svd(a, compute_uv=False).sum(-1),
    ),
}


# Factorisations: pairs of what must be equal, whatever signs the vectors have.
def svd_facts(a: Array, u: Array, s: Array, vh: Array) -> list[tuple[Array, Array]]:
    return [
        (scaled(u, s, vh), a),
        (adjoint(u) @ u, eye_like(u)),
        (vh @ adjoint(vh), eye_like(vh)),
        (s, np.linalg.svd(a, compute_uv=False)),
    ]


def qr_facts(a: Array, q: Array, r: Array) -> list[tuple[Array, Array]]:
    inner = adjoint(q) @ q
    return [(q @ r, a), (inner, eye_like(inner)), (np.tril(r, -1), np.zeros_like(r))]


def eigh_facts(a: Array, w: Array, v: Array) -> list[tuple[Array, Array]]:
    return [
        (a @ v, v * w[..., None, :]),
        (adjoint(v) @ v, eye_like(v)),
        (w, np.linalg.eigvalsh(a)),
    ]


def eig_facts(a: Array, w: Array, v: Array) -> list[tuple[Array, Array]]:
    lengths = np.linalg.norm(v, axis=-2)
    both = zip(w.reshape(-1, w.shape[-1]), a.reshape(-1, *a.shape[-2:]), strict=True)
    traces = np.array([x.sum() - np.trace(y) for x, y in both if len(x)])
    return [
        (a @ v, v * w[..., None, :]),
        (lengths, np.ones_like(lengths)),
        (traces, np.zeros_like(traces)),
    ]


def lu_facts(a: Array, p: Array, l: Array, u: Array) -> list[tuple[Array, Array]]:  # noqa: E741
    k = l.shape[-1]
    rows = np.take_along_axis(l, p[..., None].astype(np.int64), -2)
    return [
        (rows @ u, a),
        (np.triu(l), np.broadcast_to(np.eye(*l.shape[-2:]), l.shape)),
        (np.tril(u[..., :k], -1), np.zeros_like(u[..., :k])),
    ]


FACTORED: dict[str, tuple[Callable[..., Any], Callable[..., Array], Callable[..., Any]]] = {
    "svd": (lambda la, a: la.svd(a), normal, svd_facts),
    "qr": (lambda la, a: la.qr(a), normal, qr_facts),
    "eigh": (lambda la, a: la.eigh(a), positive, eigh_facts),
    "eig": (lambda la, a: la.eig(a), normal, eig_facts),
    "lu": (lambda la, a: la.lu(a), normal, lu_facts),
}
ANY_SHAPE = {"svd", "qr", "lu", "svdvals", "svd values", "nuclear norm", "pinv"}


def shapes_of(name: str) -> list[tuple[int, ...]]:
    return SQUARE + RECTANGULAR if name in ANY_SHAPE else SQUARE


def close(actual: Any, expected: Array, dtype: str, context: Any) -> None:
    a = to_numpy(actual)
    assert a.shape == expected.shape, context
    scale = 1 + (np.max(np.abs(expected), initial=0) if expected.size else 0)
    t = TOLERANCE[dtype] * float(scale)
    np.testing.assert_allclose(a, expected, rtol=0, atol=t, err_msg=str(context))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", DETERMINED)
def test_values(name: str, dtype: str) -> None:
    f, make, reference = DETERMINED[name]
    for shape in shapes_of(name):
        a = make(dtype, shape, 3)
        wide = a.astype(np.complex128 if dtype == "complex64" else np.float64)
        got = f(mx.linalg, ours(a))
        if name.startswith("svd") and 0 in shape[-2:]:
            want: Any = np.zeros((*shape[:-2], 0))
        else:
            want = reference(wide)
        pairs = zip(got, want, strict=True) if isinstance(got, tuple) else [(got, want)]
        for one, other in pairs:
            close(one, np.asarray(other), dtype, (name, shape))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FACTORED)
def test_factorisations(name: str, dtype: str) -> None:
    f, make, facts = FACTORED[name]
    loose = "complex64" if name == "eig" else dtype  # its results are complex64 always
    for shape in shapes_of(name):
        a = make(dtype, shape, 5)
        parts = f(mx.linalg, ours(a))
        if 0 in shape[-2:]:
            assert all(np.isfinite(to_numpy(p)).all() for p in parts)
            continue
        wide = a.astype(np.complex128 if dtype == "complex64" else np.float64)
        for got, want in facts(wide, *[to_numpy(p) for p in parts]):
            close(got, want, loose, (name, shape))


@pytest.mark.parametrize("name", [n for n in DETERMINED | FACTORED if n != "svdvals"])
def test_results_are_mlx(name: str) -> None:
    """Shapes and dtypes as MLX's, and values where they are determined."""
    f, make, _ = (DETERMINED | FACTORED)[name]
    for shape in ((4, 4), (2, 3, 3), *(((5, 3), (3, 5)) if name in ANY_SHAPE else ())):
        for dtype in ("float32", "float64"):
            a = make(dtype, shape, 1)
            got = f(mx.linalg, ours(a))
            with omx.stream(omx.cpu):
                want = f(omx.linalg, theirs(a))
            one = got if isinstance(got, tuple) else (got,)
            other = want if isinstance(want, (tuple, list)) else (want,)
            assert [(tuple(x.shape), name_of(x)) for x in one] == [
                (tuple(x.shape), name_of(x)) for x in other
            ], (name, shape)
            if name in DETERMINED:
                # MLX's determinants are sums of logarithms, in float32.
                near = "float32" if "det" in name else dtype
                for x, y in zip(one, other, strict=True):
                    close(x, to_numpy(y), near, (name, shape))


@pytest.mark.parametrize("name", DETERMINED | FACTORED)
def test_layouts(name: str) -> None:
    """Transposed, strided, reversed and repeated views give what their copies give."""
    f, make, _ = (DETERMINED | FACTORED)[name]
    base = make("float32", (4, 4), 2)
    wide = np.zeros((3, 8, 9), "f")
    wide[1, ::2, 8:0:-2] = base
    views = {
        "transposed": (ours(base).T, base.T),
        "strided": (ours(wide)[1, ::2, 8:0:-2], base),
        "repeated": (mx.broadcast_to(ours(base), (3, 4, 4)), np.broadcast_to(base, (3, 4, 4))),
        "moved": (
            mx.moveaxis(ours(np.stack([base, base + np.eye(4, dtype="f")], -1)), -1, 0),
            np.stack([base, base + np.eye(4, dtype="f")]),
        ),
    }
    for kind, (view, plain) in views.items():
        got, want = f(mx.linalg, view), f(mx.linalg, ours(plain))
        pairs = zip(got, want, strict=True) if isinstance(got, tuple) else [(got, want)]
        for one, other in pairs:
            close(one, to_numpy(other), "float32", (name, kind))


def test_named_tuples() -> None:
    a = ours(regular("float32", (3, 3)))
    assert mx.linalg.svd(a)._fields == ("U", "S", "Vh")
    assert mx.linalg.qr(a)._fields == ("Q", "R")
    assert mx.linalg.eigh(a)._fields == mx.linalg.eig(a)._fields
    assert mx.linalg.eig(a)._fields == ("eigenvalues", "eigenvectors")
    assert mx.linalg.lu(a)._fields == ("P", "L", "U")
    assert mx.linalg.lu_factor(a)._fields == ("LU", "pivots")
    assert mx.linalg.slogdet(a)._fields == ("sign", "logabsdet")
    u, s, vh = mx.linalg.svd(a)
    mx.eval(mx.linalg.svd(a))
    close((u * s) @ vh, to_numpy(a), "float32", "unpacked")
    out = mx.vmap(mx.linalg.qr)(a[None])
    assert out._fields == ("Q", "R")


def test_lu_factor_pivots() -> None:
    for shape in ((4, 4), (6, 3), (3, 6), (2, 5, 5)):
        a = normal("float64", shape, 4)
        factors, pivots = (to_numpy(x) for x in mx.linalg.lu_factor(ours(a)))
        p, lower, upper = (to_numpy(x) for x in mx.linalg.lu(ours(a)))
        k = min(shape[-2:])
        rebuilt = np.tril(factors[..., :k], -1) + np.eye(shape[-2], k)
        np.testing.assert_array_equal(rebuilt, lower)
        np.testing.assert_array_equal(np.triu(factors[..., :k, :]), upper)
        for index in np.ndindex(shape[:-2]):
            order = np.arange(shape[-2])
            for i, j in enumerate(pivots[index]):
                order[[i, j]] = order[[j, i]]
            np.testing.assert_array_equal(p[index][order], np.arange(shape[-2]))


def test_singular_determinants() -> None:
    ones = mx.ones((3, 3))
    check(mx.linalg.det(ones), np.float32(0))
    sign, log = mx.linalg.slogdet(ones)
    assert (float(sign), float(log)) == (0.0, -np.inf)
    for dtype, want in (("float16", "float16"), ("int32", "float32"), ("bfloat16", "bfloat16")):
        d = mx.linalg.det(mx.array([[2, 1], [0, 3]], dtype=getattr(mx, dtype)))
        assert (name_of(d), float(d)) == (want, 6.0)
    a = normal("complex64", (3, 3))
    sign, log = (to_numpy(x) for x in mx.linalg.slogdet(ours(a)))
    np.testing.assert_allclose(sign * np.exp(log), np.linalg.det(a), rtol=1e-4)


def test_pinv_of_low_rank() -> None:
    g = rng(3)
    a = (g.standard_normal((6, 2)) @ g.standard_normal((2, 5))).astype("float64")
    close(mx.linalg.pinv(ours(a)), np.linalg.pinv(a, rcond=1e-10), "float64", "rank 2")
    check(mx.linalg.pinv(mx.zeros((2, 3))), np.zeros((3, 2), "f"))


def test_root() -> None:
    for dtype in DTYPES:
        a = positive(dtype, (2, 4, 4), 6)
        root = to_numpy(_core._matrix_sqrt(ours(a)))
        close(root @ root, a, dtype, dtype)
    assert np.isnan(to_numpy(_core._matrix_sqrt(ours(np.diag([1.0, -1.0]))))).any()


def test_systems_broadcast() -> None:
    a, b = regular("float64", (2, 1, 3, 3)), normal("float64", (4, 3, 2))
    for f in (mx.linalg.solve, mx.linalg.solve_triangular):
        matrix = a if f is mx.linalg.solve else np.tril(a)
        close(f(ours(a), ours(b)), np.linalg.solve(matrix, b), "float64", "batches")
        v = b[0, :, 0]
        want = np.linalg.solve(matrix, np.broadcast_to(v[:, None], (2, 1, 3, 1)))[..., 0]
        close(f(ours(a), ours(v)), want, "float64", "a vector")
        close(f(ours(a[0, 0]), ours(b)), np.linalg.solve(matrix[0, 0], b), "float64", "one matrix")


L = mx.linalg

# --- mistakes -----------------------------------------------------------------------------------

NEEDS_SQUARE = ["inv", "cholesky", "cholesky_inv", "tri_inv", "eigh", "eigvalsh", "eig", "eigvals"]
ALL = [*NEEDS_SQUARE, "svd", "svdvals", "qr", "lu", "lu_factor", "pinv", "det", "slogdet"]


@pytest.mark.parametrize("name", ALL)
def test_wrong_rank_and_dtype(name: str) -> None:
    f, op = getattr(mx.linalg, name), "lu" if name == "lu_factor" else name
    with pytest.raises(mx.ShapeError, match=rf"^{op}: needs 2 axes or more, got \(3,\)"):
        f(mx.zeros((3,)))
    if name in ("det", "slogdet"):
        return
    with pytest.raises(
        mx.DtypeError, match=rf"^{op}: needs float32, float64 or complex64, got int"
    ):
        f(mx.zeros((3, 3), dtype=mx.int32))


@pytest.mark.parametrize("name", [*NEEDS_SQUARE, "det", "slogdet"])
def test_not_square(name: str) -> None:
    with pytest.raises(mx.ShapeError, match=rf"^{name}: needs square matrices, got \(2, 3\)"):
        getattr(mx.linalg, name)(mx.zeros((2, 3)))


def batch_with(bad: Array, at: int = 1) -> mx.array:
    a = np.broadcast_to(np.eye(2), (3, 2, 2)).astype("f").copy()
    a[at] = bad
    return ours(a)


SINGULAR = np.array([[1, 2], [2, 4]], "f")
NUMBERS: list[tuple[str, Callable[[], Any]]] = [
    ("inv: the matrix (2, 2) is singular: its pivot 1 is zero", lambda: L.inv(ours(SINGULAR))),
    (
        "inv: matrix 1 of the batch (3, 2, 2) is singular",
        lambda: L.inv(batch_with(SINGULAR)),
    ),
    ("solve: the matrix (2, 2) is singular", lambda: L.solve(ours(SINGULAR), mx.ones(2))),
    ("tri_inv: the matrix (2, 2) is singular: its pivot 0", lambda: L.tri_inv(mx.zeros((2, 2)))),
    (
        "solve_triangular: matrix 2 of the batch (3, 2, 2) is singular",
        lambda: L.solve_triangular(batch_with(np.zeros((2, 2)), 2), mx.ones(2)),
    ),
    (
        "cholesky: the matrix (2, 2) is not positive definite: its leading minor of order 2",
        lambda: L.cholesky(ours(np.array([[1, 2], [2, 1]], "f"))),
    ),
    (
        "svd: matrix 1 of the batch (3, 2, 2) has NaN or infinite elements",
        lambda: L.svd(batch_with(np.full((2, 2), np.nan)))[1],
    ),
    ("eigh: the matrix (2, 2) has NaN", lambda: L.eigh(mx.full((2, 2), float("nan")))[0]),
    ("eigvals: the matrix (2, 2) has NaN or", lambda: L.eigvals(mx.full((2, 2), float("inf")))),
    ("eigvalsh: the matrix (2, 2) has NaN", lambda: L.eigvalsh(mx.full((2, 2), float("nan")))),
]


@pytest.mark.parametrize(("message", "mistake"), NUMBERS, ids=[m for m, _ in NUMBERS])
def test_numbers_that_do_not_allow_it(message: str, mistake: Callable[[], Any]) -> None:
    with pytest.raises(mx.LinAlgError) as caught:
        mx.eval(mistake())
    assert str(caught.value).startswith(message)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("name", ["inv", "qr", "lu", "det", "tri_inv", "cholesky"])
def test_nan_stays_nan(name: str) -> None:
    """Where LAPACK computes on, NaN goes in and comes out."""
    out = getattr(L, name)(mx.full((3, 3), float("nan")))
    last = out[-1] if isinstance(out, tuple) else out
    assert np.isnan(to_numpy(last)).any()


def test_a_failed_factorisation_stays_failed() -> None:
    x = L.inv(ours(SINGULAR))
    for _ in range(2):
        with pytest.raises(mx.LinAlgError, match="singular"):
            mx.eval(x)
    check(L.inv(mx.eye(2)), np.eye(2, dtype="f"))


@pytest.mark.parametrize("f", [L.solve, L.solve_triangular], ids=["solve", "solve_triangular"])
def test_systems_that_do_not_fit(f: Callable[..., Any]) -> None:
    with pytest.raises(
        mx.ShapeError, match=r"\(3, 3\) matrices need 3 rows on the right, got \(2,"
    ):
        f(mx.eye(3), mx.ones((2, 3)))
    with pytest.raises(mx.ShapeError, match="need 3 rows on the right, got"):
        f(mx.eye(3), mx.array(1.0))
    with pytest.raises(mx.ShapeError, match=r"batches do not broadcast: \(2, 3, 3\) and \(4, 3, 1"):
        f(mx.zeros((2, 3, 3)), mx.ones((4, 3, 1)))
    with pytest.raises(mx.ShapeError, match="square"):
        f(mx.zeros((2, 3)), mx.ones((3, 1)))
    with pytest.raises(mx.DtypeError, match="got int32"):
        f(mx.zeros((2, 2), dtype=mx.int32), mx.zeros((2, 2), dtype=mx.int32))


def test_names_of_triangles_and_orders() -> None:
    with pytest.raises(ValueError, match="eigh: UPLO must be 'L' or 'U', got 'X'"):
        L.eigh(mx.eye(2), "X")
    for f in (lambda: L.norm(mx.eye(2), axis=7), lambda: L.norm(mx.eye(2), 2, axis=[0, -3])):
        with pytest.raises(IndexError, match=r"norm: axis -?\d is out of bounds for shape \(2"):
            f()
    with pytest.raises(ValueError, match=r"norm: axes \(0, -2\) name one twice"):
        L.norm(mx.eye(2), 2, axis=[0, -2])
    with pytest.raises(IndexError, match=r"cross: axis 4 is out of bounds for shape \(3,\)"):
        L.cross(mx.ones(3), mx.ones(3), axis=4)
    with pytest.raises(ValueError, match="norm: there is no order 3 of a matrix"):
        L.norm(mx.eye(2), 3)
    a = ours(np.array([[1.0, 2.0], [7.0, 3.0]]))
    for triangle, other in (("L", 7.0), ("U", 2.0)):
        want = np.linalg.eigvalsh(np.array([[1.0, other], [other, 3.0]]))
        close(L.eigvalsh(a, triangle), want, "float64", triangle)
        close(L.eigh(a, triangle.lower())[0], want, "float64", triangle)


def test_without_a_library() -> None:
    """The interface imports and multiplies; a factorisation says what is missing."""
    program = (
        "import lamina.core as mx\n"
        "print((mx.eye(2) @ mx.eye(2)).tolist())\n"
        "try:\n    mx.eval(mx.linalg.inv(mx.eye(2), stream=mx.cpu))\n"
        "except mx.DeviceError as e:\n    print(e)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "LAMINA_LAPACK": "/nowhere/liblapack.so"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "[[1.0, 0.0], [0.0, 1.0]]" in run.stdout
    assert "linalg: no LAPACK library, tried /nowhere/liblapack.so" in run.stdout
    assert "Set LAMINA_LAPACK" in run.stdout


@pytest.mark.parametrize("n", [300, 700])
def test_large_matrices(n: int) -> None:
    a = regular("float32", (n, n), 9)
    x = to_numpy(mx.linalg.inv(ours(a)))
    assert np.abs(x @ a - np.eye(n)).max() < 1e-2
    b = positive("float32", (n, n), 8) / n
    lower = to_numpy(mx.linalg.cholesky(ours(b)))
    assert np.abs(lower @ lower.T - b).max() < 1e-4


def test_many_small_matrices() -> None:
    a = regular("float32", (5000, 3, 3), 9)
    close(mx.linalg.inv(ours(a)), np.linalg.inv(a.astype(np.float64)), "float32", "5000")


def test_fused_is_unfused() -> None:
    x = ours(normal("float32", (3, 4, 4), 3))

    def f() -> mx.array:
        u, s, vh = mx.linalg.svd(mx.tanh(x) * 2)
        return mx.sum(mx.exp((u * s[..., None, :]) @ vh) + mx.linalg.det(x)[:, None, None], axis=0)

    want = to_numpy(f())
    with options(fuse=False, donate=False, verify=True):
        check(f(), want, 1e-4)


def test_the_namespace_is_importable() -> None:
    program = "import lamina.core.linalg as la; import lamina.core as mx; assert la is mx.linalg"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_rows_are_whole() -> None:
    assert not _core._registry_verify()
    rows = {r["name"]: r for r in _core._registry()}
    names = "qr svd svdvals eigh eigvalsh eig eigvals cholesky lu_factor inv tri_inv solve"
    for name in (*names.split(), "solve_triangular", "pinv", "det", "slogdet"):
        assert rows[name]["differentiable"], name

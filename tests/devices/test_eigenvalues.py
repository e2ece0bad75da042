"""Eigenvalues and vectors of matrices that are hard on an iteration, and what is exact in them."""

from __future__ import annotations

import lamina.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from present import TEXT

Matrix = npt.NDArray[np.complex128]
N = 12
RANDOM = np.random.default_rng(5)
NORMAL = RANDOM.standard_normal((N, N))
POWERS = np.diag(10.0 ** np.arange(-6, 6))
PAIRS = np.kron(np.eye(4), [[0.0, 1.0], [-1.0, 0.0]])

# Name -> a matrix, and whether float32 is enough to tell its eigenvalues.
MATRICES: dict[str, tuple[npt.NDArray[np.float64], bool]] = {
    "normal numbers": (NORMAL, True),
    "one": (NORMAL[:1, :1], True),
    "two real": (np.array([[1.0, 2.0], [3.0, 4.0]]), True),
    "two conjugates": (np.array([[1.0, 2.0], [-3.0, 4.0]]), True),
    "wider than a SIMD-group": (RANDOM.standard_normal((40, 40)), True),
    "symmetric": (NORMAL + NORMAL.T, True),
    "antisymmetric": (NORMAL - NORMAL.T, True),
    "zero": (np.zeros((N, N)), True),
    "a multiple of one": (3 * np.eye(N), True),
    "ones": (np.ones((N, N)), True),
    "of rank one": (np.outer(np.arange(1, N + 1), np.arange(N, 0, -1)), True),
    "a cycle, whose shifts lead nowhere": (np.roll(np.eye(N), 1, 0), True),
    "a Jordan block": (np.eye(N) + np.eye(N, k=1), True),
    "equal pairs": (PAIRS, True),
    "equal pairs without vectors of their own": (PAIRS + np.eye(8, k=2), False),
    "rows of far other sizes than columns": (POWERS @ NORMAL @ np.linalg.inv(POWERS), False),
    "huge": (1e30 * NORMAL, True),
    "tiny": (1e-30 * NORMAL, True),
    "numbers of 40 powers of ten": (np.diag(10.0 ** np.arange(-20, 20, 4.0)), True),
}


@pytest.fixture(params=["cpu", *TEXT])
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> mx.Device:
    if request.param != "cpu":
        monkeypatch.setenv("LAMINA_GPU", request.param)
    device: mx.Device = mx.cpu if request.param == "cpu" else mx.gpu
    return device


def decomposed(a: npt.NDArray[np.generic], stream: mx.Device) -> tuple[Matrix, Matrix, Matrix]:
    x = mx.array(a)
    w, v = mx.linalg.eig(x, stream=stream)
    alone = mx.linalg.eigvals(x, stream=stream)
    return tuple(np.array(y).astype(np.complex128) for y in (w, v, alone))  # type: ignore[return-value]


def farthest(found: Matrix, wanted: Matrix) -> float:
    """From each eigenvalue to the nearest of the others, either way."""
    gaps = np.abs(np.subtract.outer(found, wanted))
    return float(max(gaps.min(axis=1).max(), gaps.min(axis=0).max()))


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("name", MATRICES)
def test_they_decompose_the_matrix(name: str, dtype: type, stream: mx.Device) -> None:
    a, determined = MATRICES[name]
    given = a.astype(dtype)
    if dtype is np.complex64:
        given = given * np.complex64(0.6 + 0.8j)
    wide = given.astype(np.complex128)
    scale = np.abs(wide).max() or 1.0
    w, v, alone = decomposed(given, stream)
    np.testing.assert_allclose(wide @ v / scale, v * w / scale, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(v, axis=0), 1, rtol=0, atol=1e-6)
    if determined:
        wanted = np.linalg.eigvals(wide)
        for values in (w, alone):
            assert farthest(values, wanted) <= 1e-5 * np.abs(wanted).max()


def test_what_is_exact(stream: mx.Device) -> None:
    """Conjugates, real values with real vectors, and the largest element of a vector."""
    w, v, alone = decomposed(NORMAL.astype(np.float32), stream)
    for values in (w, alone):
        assert sorted(values, key=lambda z: (z.real, z.imag)) == sorted(
            values.conj(), key=lambda z: (z.real, z.imag)
        )
    real = w.imag == 0
    assert 0 < real.sum() < N
    assert (v[:, real].imag == 0).all()
    largest = np.take_along_axis(v, np.abs(v).argmax(axis=0)[None], 0)
    assert (largest.imag == 0).all()
    for k in np.flatnonzero(w.imag > 0):
        (other,) = np.flatnonzero(w == w[k].conj())
        assert (v[:, other] == v[:, k].conj()).all()


@pytest.mark.parametrize("lower", [False, True])
def test_a_triangle_has_its_diagonal(lower: bool, stream: mx.Device) -> None:
    """However near one another, and whichever way the triangle lies."""
    a = NORMAL.astype(np.float32)
    a = np.tril(a) if lower else np.triu(a)
    w, _, alone = decomposed(a, stream)
    for values in (w, alone):
        assert sorted(values.real) == sorted(np.diag(a).astype(np.float64))
        assert (values.imag == 0).all()


def test_a_batch_of_layouts(stream: mx.Device) -> None:
    a = RANDOM.standard_normal((2, 3, 5, 5)).astype(np.float32)
    x = mx.array(a)
    w, v = mx.linalg.eig(mx.swapaxes(x, 2, 3)[:, ::2], stream=stream)
    wide = np.swapaxes(a, 2, 3)[:, ::2].astype(np.complex128)
    np.testing.assert_allclose(
        wide @ np.array(v), np.array(v) * np.array(w)[..., None, :], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("f", ["eig", "eigvals", "eigh", "eigvalsh"])
def test_the_matrix_that_is_not_finite_is_named(f: str, stream: mx.Device) -> None:
    a = np.ones((3, 2, 2), np.float32)
    a[1, 1, 0] = np.nan
    with pytest.raises(mx.LinAlgError, match=f"{f}: matrix 1 of the batch .*NaN"):
        mx.eval(getattr(mx.linalg, f)(mx.array(a), stream=stream))
    assert mx.linalg.eigvals(mx.eye(2), stream=stream).tolist() == [1, 1]


# What a Hermitian matrix is made of where MATRICES' own symmetric part says too little.
WILKINSON = np.diag(np.abs(np.arange(21) - 10.0)) + np.eye(21, k=1) + np.eye(21, k=-1)
HERMITIAN: dict[str, npt.NDArray[np.float64]] = {
    **{name: a for name, (a, _) in MATRICES.items()},
    "a tridiagonal one whose largest values are as good as equal": WILKINSON,
    "zeros on the diagonal": np.eye(N, k=1),
    "turned over": np.fliplr(np.eye(N)),
    "descending": np.diag(10.0 ** -np.arange(N)) @ NORMAL @ np.diag(10.0 ** -np.arange(N)),
    "ascending": np.diag(10.0 ** np.arange(-N, 0)) @ NORMAL @ np.diag(10.0 ** np.arange(-N, 0)),
    "of several SIMD-groups": RANDOM.standard_normal((70, 70)),
}


@pytest.mark.parametrize("name", HERMITIAN)
@pytest.mark.parametrize("dtype", [np.float32, np.complex64, np.float64])
def test_hermitian_matrices(name: str, dtype: type, stream: mx.Device) -> None:
    """Real ascending values, unit vectors at right angles, and what they are vectors of."""
    a = HERMITIAN[name].astype(np.complex128)
    if dtype is np.complex64:
        a = a * (0.6 + 0.8j)
    whole = a + a.conj().T
    given = (whole if dtype is np.complex64 else whole.real).astype(dtype)
    wide, x = given.astype(np.complex128), mx.array(given, dtype=getattr(mx, given.dtype.name))
    w, v = (np.array(y) for y in mx.linalg.eigh(x, stream=stream))
    alone = np.array(mx.linalg.eigvalsh(x, stream=stream))
    wanted = np.linalg.eigvalsh(wide)
    size, places = np.abs(wanted).max() or 1.0, 1e-14 if dtype is np.float64 else 4e-6
    for values in (w, alone):
        assert (np.diff(values.real) >= 0).all()
        np.testing.assert_allclose(values / size, wanted / size, rtol=0, atol=places)
    vectors = v.astype(np.complex128)
    ones = np.eye(len(wide))
    np.testing.assert_allclose(vectors.conj().T @ vectors, ones, rtol=0, atol=2 * places)
    np.testing.assert_allclose(wide @ vectors / size, vectors * w / size, rtol=0, atol=2 * places)


def test_a_batch_of_hermitian_layouts(stream: mx.Device) -> None:
    """Of each matrix the triangle that UPLO names is read, and no element of the other."""
    a = RANDOM.standard_normal((2, 4, 5, 5)).astype(np.float32)
    x = mx.swapaxes(mx.array(a), 2, 3)[:, ::2]
    given = np.swapaxes(a, 2, 3)[:, ::2].astype(np.float64)
    for triangle, k in (("L", -1), ("U", 1)):
        part = np.tril(given, -1) if k < 0 else np.triu(given, 1)
        whole = part + np.swapaxes(part, -1, -2) + given * np.eye(5)
        w, v = (np.array(y) for y in mx.linalg.eigh(x, triangle, stream=stream))
        np.testing.assert_allclose(w, np.linalg.eigvalsh(whole), rtol=0, atol=1e-5)
        np.testing.assert_allclose(whole @ v, v * w[..., None, :], rtol=0, atol=1e-5)


def test_columns_of_numbers_that_have_no_reciprocal(stream: mx.Device) -> None:
    """Reflections of them are those of the column made larger."""
    a = (RANDOM.standard_normal((6, 4)) * 1e-39).astype(np.float32)
    q, r = (np.array(y).astype(np.float64) for y in mx.linalg.qr(mx.array(a), stream=stream))
    np.testing.assert_allclose(q.T @ q, np.eye(4), rtol=0, atol=1e-5)
    np.testing.assert_allclose(q @ r / 1e-39, a / 1e-39, rtol=0, atol=1e-4)

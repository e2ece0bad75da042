"""Products of gathered matrices, masked blocks and segments, and the Hadamard transform."""

from __future__ import annotations

import itertools
from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest
from arrays import TOLERANCE, check, check_derivatives, check_vmap, normal64, rng, sample, to_numpy

FLOATING = ["float32", "float16", "bfloat16", "float64"]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return rng(seed).standard_normal(shape).astype(np.float32)


# --- gathered -------------------------------------------------------------------------------------

INDICES = [
    (None, [0, 1, 1, 0]),
    ([0, 1, 3], [1, 1, 0]),
    ([[0], [3]], [[0, 1, 1]]),
    ([0, 1, 2, 3], [1, 1, 1, 1]),
    ([3, 2, 1, 0], [0, 0, 1, 1]),
    (2, 1),
    (-1, -2),
    ([], []),
]


def picked(a: np.ndarray, indices: Any) -> np.ndarray:
    flat = a.reshape(-1, *a.shape[-2:])
    return flat if indices is None else flat[np.array(indices, np.int64)]


@pytest.mark.parametrize("indices", INDICES, ids=str)
@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("rows", [1, 3])
def test_gather_mm(indices: Any, dtype: str, rows: int) -> None:
    a, b = sample(dtype, (2, 2, rows, 5), 1), sample(dtype, (2, 5, 7), 2)
    lhs, rhs = (None if i is None else mx.array(i, dtype=mx.int32) for i in indices)
    want = picked(to_numpy(a).astype(np.float64), indices[0]) @ picked(to_numpy(b), indices[1])
    if indices[0] is None:
        lhs = mx.arange(4)
    check(mx.gather_mm(a, b, lhs, rhs), want, 30 * TOLERANCE[dtype])
    turned = mx.swapaxes(mx.contiguous(mx.swapaxes(b, -1, -2)), -1, -2)
    check(mx.gather_mm(a[..., ::-1], turned[:, ::-1], lhs, rhs), want, 30 * TOLERANCE[dtype])


def test_gather_mm_is_mlx() -> None:
    a, b = normal(4, 3, 5), normal(2, 5, 6, seed=1)
    for lhs, rhs in INDICES[:6]:
        mine = [None if i is None else mx.array(i) for i in (lhs, rhs)]
        other = [None if i is None else omx.array(i, dtype=omx.uint32) for i in (lhs, rhs)]
        want = omx.gather_mm(omx.array(a), omx.array(b), *other)
        check(mx.gather_mm(mx.array(a), mx.array(b), *mine), to_numpy(want), 1e-5)


def test_experts() -> None:
    """Many single rows: neighbours with the same matrix are one product."""
    g = rng(2)
    tokens, experts = normal(90, 1, 64), normal(5, 64, 96, seed=1)
    for chosen in (np.sort(g.integers(0, 5, 90)), g.integers(0, 5, 90)):
        got = mx.gather_mm(
            mx.array(tokens), mx.array(experts), rhs_indices=mx.array(chosen), sorted_indices=True
        )
        check(got, tokens @ experts[chosen], 1e-4)
    one = mx.gather_mm(mx.array(tokens[:1]), mx.array(experts), mx.zeros(4, dtype=mx.uint32),
                       mx.array([2, 2, 2, 0]))  # fmt: skip
    check(one, tokens[0] @ experts[[2, 2, 2, 0]], 1e-4)


def test_gather_mm_transforms() -> None:
    a, b = normal64((3, 2, 4), 1), normal64((2, 4, 5), 2)
    lhs, rhs = mx.array([0, 2, 2, 1]), mx.array([1, 1, 0, 1])
    check_derivatives(lambda a, b: mx.gather_mm(a, b, lhs, rhs), a, b)
    check_derivatives(lambda a, b: mx.gather_mm(a, b, None, mx.array([[1], [0]])), a, b)
    x, y = sample("float32", (4, 3, 2, 4), 3), sample("float32", (4, 2, 4, 5), 4)
    i, j = mx.array([[0, 1], [2, -1], [0, 0], [1, 1]]), mx.array([[1, 0], [0, -2], [1, 1], [0, 0]])
    every = (x, y, i, j)
    for axes in itertools.product((0, None), repeat=4):
        if any(axis == 0 for axis in axes):
            use = [v if axis == 0 else v[0] for v, axis in zip(every, axes, strict=True)]
            check_vmap(mx.gather_mm, *use, axes=axes, tolerance=1e-5)
    # The kernels of a GPU have nobody to tell.
    with mx.stream(mx.cpu), pytest.raises(IndexError, match="gather_mm: index"):
        mx.eval(mx.vmap(lambda x: mx.gather_mm(x, y[0], mx.array([3]), mx.array([0])))(x))


# --- masked ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 64, 7])
@pytest.mark.parametrize("kind", ["bool_", "float32"])
@pytest.mark.parametrize("which", [(1, 0, 0), (0, 1, 1), (1, 1, 1), (0, 0, 1), (0, 0, 0)], ids=str)
def test_block_masked_mm(size: int, kind: str, which: tuple[int, ...]) -> None:
    m, k, n = 70, 100, 40
    a, b = normal(2, m, k), normal(k, n, seed=1)

    def blocks(rows: int, columns: int, seed: int) -> np.ndarray:
        shape = (-(-rows // size), -(-columns // size))
        mask = rng(seed).random(shape).astype(np.float32)
        return mask > 0.5 if kind == "bool_" else mask

    masks = [blocks(m, n, 1), blocks(m, k, 2), blocks(k, n, 3)]
    spread = [np.kron(mask, np.ones((size, size))) for mask in masks]
    left = a * spread[1][:m, :k] if which[1] else a
    right = b * spread[2][:k, :n] if which[2] else b
    want = left @ right
    want = want * spread[0][:m, :n] if which[0] else want
    given = [mx.array(mask) if w else None for mask, w in zip(masks, which, strict=True)]
    check(mx.block_masked_mm(mx.array(a), mx.array(b), size, *given), want, 1e-4)
    if size != 7:
        others = [omx.array(mask) if w else None for mask, w in zip(masks, which, strict=True)]
        other = omx.block_masked_mm(omx.array(a), omx.array(b), size, *others)
        check(mx.block_masked_mm(mx.array(a), mx.array(b), size, *given), to_numpy(other), 1e-4)


def test_block_masked_mm_transforms() -> None:
    a, b = normal64((5, 6), 1), normal64((6, 3), 2)
    masks = [normal64(s, i) for i, s in enumerate([(3, 2), (3, 3), (3, 2)])]
    check_derivatives(lambda a, b, *m: mx.block_masked_mm(a, b, 2, *m), a, b, *masks)
    x = sample("float32", (3, 5, 6), 1)
    keep = mx.array(rng(1).random((3, 3)) > 0.5)
    check_vmap(
        lambda x: mx.block_masked_mm(x, b.astype(mx.float32), 2, mask_lhs=keep), x, axes=(0,)
    )
    cleared = mx.block_masked_mm(
        mx.full((2, 2), np.nan), mx.ones((2, 2)), 2, mask_lhs=mx.array([[False]])
    )
    assert cleared.tolist() == [[0, 0], [0, 0]]
    row = mx.block_masked_mm(mx.ones(4), mx.ones((4, 3)), 2, mask_out=mx.array([[True, False]]))
    assert row.tolist() == [4, 4, 0]


# --- segments -------------------------------------------------------------------------------------

SEGMENTS = [
    [[0, 10], [10, 50], [50, 100]],
    [0, 100],
    [[[3, 4]], [[7, 7]]],
    [[90, 100], [0, 20], [5, 60]],
]


@pytest.mark.parametrize("segments", SEGMENTS, ids=str)
@pytest.mark.parametrize("dtype", FLOATING)
def test_segmented_mm(segments: Any, dtype: str) -> None:
    a, b = sample(dtype, (7, 100), 1), sample(dtype, (100, 9), 2)
    x, y = to_numpy(a).astype(np.float64), to_numpy(b).astype(np.float64)
    pairs = np.array(segments).reshape(-1, 2)
    want = np.stack([x[:, i:j] @ y[i:j] for i, j in pairs])
    want = want.reshape(*np.array(segments).shape[:-1], 7, 9)
    for kind in (mx.uint32, mx.int64):
        got = mx.segmented_mm(a, b, mx.array(segments, dtype=kind))
        check(got, want, 60 * TOLERANCE[dtype])
    check(
        mx.segmented_mm(a[:, ::-1], b[::-1], mx.array([[0, 100]])),
        (x @ y)[None],
        60 * TOLERANCE[dtype],
    )


def test_segmented_mm_is_mlx() -> None:
    a, b, s = normal(7, 100), normal(100, 9, seed=1), np.array(SEGMENTS[0], np.uint32)
    want = omx.segmented_mm(omx.array(a), omx.array(b), omx.array(s))
    check(mx.segmented_mm(mx.array(a), mx.array(b), mx.array(s)), to_numpy(want), 1e-4)


def test_segmented_mm_transforms() -> None:
    a, b = normal64((3, 8), 1), normal64((8, 2), 2)
    for segments in ([[0, 3], [2, 8], [4, 4]], [1, 5], [[[0, 8]], [[1, 2]]]):
        s = mx.array(segments)
        check_derivatives(lambda a, b, s=s: mx.segmented_mm(a, b, s), a, b)
    x, y = sample("float32", (3, 4, 8), 1), sample("float32", (3, 8, 2), 2)
    s = mx.array([[[0, 3], [2, 8]], [[0, 8], [4, 4]], [[1, 2], [7, 8]]])
    for axes in ((0, None, None), (None, 0, None), (0, 0, 0), (None, None, 0)):
        use = [v if a == 0 else v[0] for v, a in zip((x, y, s), axes, strict=True)]
        check_vmap(mx.segmented_mm, *use, axes=axes, tolerance=1e-5)


# --- Hadamard -------------------------------------------------------------------------------------

SIZES = [1, 2, 4, 8, 64, 128, 1024, 8192, 12, 24, 96, 20, 40, 28, 56, 28 * 128, 12 * 1024]


@pytest.mark.parametrize("size", SIZES)
def test_hadamard_is_mlx(size: int) -> None:
    a = normal(3, 2, size)
    for scale in (None, 0.5):
        got = mx.hadamard_transform(mx.array(a), scale)
        want = omx.hadamard_transform(omx.array(a), scale)
        check(got, to_numpy(want), 1e-5 * max(1, float(np.abs(to_numpy(want)).max())))
    exact = mx.hadamard_transform(mx.array(a, dtype=mx.float64))
    again = mx.hadamard_transform(exact)
    if size & (size - 1) == 0:  # then the matrix is symmetric
        check(again, a.astype(np.float64), 1e-9)
    check(mx.sum(exact * exact), (a.astype(np.float64) ** 2).sum(), 1e-9)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32", "bool_"])
def test_hadamard_of_other_dtypes(dtype: str) -> None:
    x = sample(dtype, (5, 96), 1)
    got = mx.hadamard_transform(x)
    want = mx.hadamard_transform(x.astype(mx.float32))
    assert got.dtype == (x.dtype if "float" in dtype else mx.float32)
    check(got, to_numpy(want), {"bfloat16": 1e-2, "float16": 1e-3}.get(dtype, 1e-6))


def test_hadamard_transforms() -> None:
    x = normal64((2, 24), 1)
    check_derivatives(mx.hadamard_transform, x)
    check_derivatives(lambda x: mx.hadamard_transform(x, 2.0), x)
    check_vmap(mx.hadamard_transform, sample("float32", (4, 3, 8), 1), axes=(0,), tolerance=1e-5)
    check_vmap(mx.hadamard_transform, sample("float32", (4, 8, 3), 1), axes=(2,), tolerance=1e-5)
    check(mx.hadamard_transform(sample("float32", (8, 4), 2).T), to_numpy(
        mx.hadamard_transform(mx.contiguous(sample("float32", (8, 4), 2).T))), 1e-6)  # fmt: skip


# --- errors ---------------------------------------------------------------------------------------

A, B = mx.ones((2, 4, 6)), mx.ones((3, 6, 5))
WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "gather inner": (
        lambda: mx.gather_mm(A, B[:, :5]),
        ValueError,
        r"gather_mm: inner sizes differ: \(2, 4, 6\) @ \(3, 5, 5\), 6 != 5",
    ),
    "gather axes": (
        lambda: mx.gather_mm(A[0, 0], B),
        ValueError,
        r"needs 2 axes or more on both sides: \(6,\)",
    ),
    "gather whole": (
        lambda: mx.gather_mm(A.astype(mx.int32), B.astype(mx.int32)),
        TypeError,
        "gather_mm: needs a floating or complex dtype, got int32",
    ),
    "gather all": (
        lambda: mx.gather_mm(A, B),
        ValueError,
        r"lhs_indices \(2,\) and rhs_indices \(3,\) do not broadcast\nIndices that are left out",
    ),
    "gather floats": (
        lambda: mx.gather_mm(A, B, mx.array([0.0])),
        TypeError,
        "lhs_indices must be integers, got float32",
    ),
    "gather index": (
        lambda: mx.eval(mx.gather_mm(A, B, mx.array([0]), mx.array([3]))),
        IndexError,
        "index 3 is out of bounds for axis 0 with size 3",
    ),
    "masked block": (
        lambda: mx.block_masked_mm(A[0], B[0], 0),
        ValueError,
        "block_size must be positive, got 0",
    ),
    "masked shape": (
        lambda: mx.block_masked_mm(A[0], B[0], 2, mx.ones((2, 2))),
        ValueError,
        r"mask_out \(2, 2\) does not fit \(4, 5\) in blocks of 2\nGive it the shape \(2, 3\)",
    ),
    "masked no array": (
        lambda: mx.block_masked_mm(A, B, 2, 3),
        TypeError,
        r"mask_out must be an array or None, got 3",
    ),
    "segment axes": (
        lambda: mx.segmented_mm(A, B[0], mx.array([0, 1])),
        ValueError,
        r"a and b must have 2 axes: \(2, 4, 6\)",
    ),
    "segment inner": (
        lambda: mx.segmented_mm(A[0], B[0, :5], mx.array([0, 1])),
        ValueError,
        r"inner sizes differ: \(4, 6\) @ \(5, 5\), 6 != 5",
    ),
    "segment pairs": (
        lambda: mx.segmented_mm(A[0], B[0], mx.array([0])),
        ValueError,
        r"segments must be pairs, \(..., 2\), got \(1,\)",
    ),
    "segment floats": (
        lambda: mx.segmented_mm(A[0], B[0], mx.array([0.0, 1.0])),
        TypeError,
        "segments must be integers, got float32",
    ),
    "segment end": (
        lambda: mx.eval(mx.segmented_mm(A[0], B[0], mx.array([0, 7]))),
        IndexError,
        "a segment ends at 7, out of bounds for a summed axis of size 6",
    ),
    "segment begin": (
        lambda: mx.eval(mx.segmented_mm(A[0], B[0], mx.array([-1, 2]))),
        IndexError,
        "a segment ends at -1",
    ),
    "hadamard size": (
        lambda: mx.hadamard_transform(mx.ones((2, 6))),
        ValueError,
        r"the last axis of \(2, 6\) is not m \* 2\^k for m = 1, 12, 20 or 28",
    ),
    "hadamard empty": (
        lambda: mx.hadamard_transform(mx.ones((2, 0))),
        ValueError,
        r"\(2, 0\) is not m",
    ),
    "hadamard complex": (
        lambda: mx.hadamard_transform(mx.ones((2,), dtype=mx.complex64)),
        TypeError,
        "x must be real, got complex64",
    ),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_wrong_calls_are_explained(case: str) -> None:
    call, kind, message = WRONG[case]
    # Indices are checked on the CPU only.
    with mx.stream(mx.cpu), pytest.raises(kind, match=message):
        call()

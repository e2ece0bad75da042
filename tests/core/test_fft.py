"""Fourier transforms: sizes, axes, norms, layouts, accuracy, derivatives, batching, mistakes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest
from arrays import check, check_vmap, name_of, options, ours, rng, theirs, to_numpy
from lamina import _core

Array = np.ndarray
ONE = ["fft", "ifft", "rfft", "irfft"]
MANY = ["fftn", "ifftn", "rfftn", "irfftn", "fft2", "ifft2", "rfft2", "irfft2"]
# Powers of two, products of small primes, primes that are radices, primes that are not, squares of
# such, and sizes on either side of where another way is taken.
SIZES = [*range(1, 34), 37, 60, 61, 64, 67, 97, 100, 101, 121, 127, 128, 134, 169, 210, 256, 289]
SIZES += [333, 361, 509, 512, 1000, 1009, 1024, 2048, 2049, 2187, 3125, 3721, 4096, 4489, 5040]
LONG = [10007, 16384, 30030, 65536, 65537, 100_000, 2 * 10007, 3**10, 1 << 18, (1 << 18) - 1]
ISAS = ["baseline", "avx2"]


def sample(name: str, shape: tuple[int, ...], seed: int = 0) -> Array:
    g = rng(seed)
    a = g.standard_normal(shape)
    if name[0] == "r":
        return a.astype("f")
    return (a + 1j * g.standard_normal(shape)).astype("complex64")


def wide(a: Array) -> Array:
    return a.astype(np.complex128 if a.dtype.kind == "c" else np.float64)


def error(got: Any, want: Array) -> float:
    a = to_numpy(got)
    assert a.shape == want.shape
    assert a.dtype == (np.complex64 if want.dtype.kind == "c" else np.float32)
    scale = float(np.linalg.norm(want.ravel()))
    return float(np.linalg.norm((a - want).ravel())) / (scale or 1)


def bound(n: int) -> float:
    return 5e-7 * max(1.0, np.log2(n))


@pytest.mark.parametrize("name", ONE)
def test_sizes(name: str) -> None:
    """Against NumPy in double precision, for one transform and for batches of several widths."""
    for n in SIZES:
        for batch in ((), (3,), (2, 17)):
            points = n // 2 + 1 if name == "irfft" else n
            a = sample(name, (*batch, points), n)
            want = getattr(np.fft, name)(wide(a), n)
            assert error(getattr(mx.fft, name)(ours(a), n), want) <= bound(n), (n, batch)


@pytest.mark.parametrize("n", LONG)
def test_long_sizes(n: int) -> None:
    for name in ONE:
        a = sample(name, (n // 2 + 1 if name == "irfft" else n,), n)
        want = getattr(np.fft, name)(wide(a), n)
        assert error(getattr(mx.fft, name)(ours(a), n), want) <= bound(n), name


@pytest.mark.parametrize("n", [1 << 20, 1_000_003])
def test_a_million_points(n: int) -> None:
    a = sample("fft", (n,), 1)
    assert error(mx.fft.fft(ours(a)), np.fft.fft(wide(a))) <= bound(n)
    x = a.real.copy()
    assert error(mx.fft.rfft(ours(x)), np.fft.rfft(wide(x))) <= bound(n)


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
def test_one_axis(name: str, norm: str) -> None:
    """Every axis, cut and filled up."""
    a = sample(name, (5, 6, 7), 2)
    for axis, n in itertools.product((0, 1, 2, -1, -3), (None, 1, 4, 6, 11)):
        want = getattr(np.fft, name)(wide(a), n, axis, norm)
        got = getattr(mx.fft, name)(ours(a), n, axis, norm)
        assert error(got, want) < 2e-6, (axis, n)
        with omx.stream(omx.cpu):
            assert error(got, to_numpy(getattr(omx.fft, name)(theirs(a), n, axis, norm))) < 2e-6


@pytest.mark.parametrize("name", MANY)
def test_many_axes(name: str) -> None:
    a = sample(name, (4, 5, 6, 3), 3)
    two = name.endswith("2")
    choices: list[tuple[Any, Any]] = [(None, (1, 2)), ((3, 7), (0, 2)), ((8, 2), (-1, -2))]
    if not two:
        choices += [(None, None), (None, (2,)), (None, (3, 0, 1)), ((2, 3), None)]
    for (s, axes), norm in itertools.product(choices, ("backward", "ortho", "forward")):
        got = getattr(mx.fft, name)(ours(a), s, axes, norm)
        if s is not None and axes is None:
            axes = tuple(range(-len(s), 0))
        want = getattr(np.fft, name)(wide(a), s, axes, norm)
        assert error(got, want) < 2e-6, (s, axes, norm)
        with omx.stream(omx.cpu):
            assert error(got, to_numpy(getattr(omx.fft, name)(theirs(a), s, axes, norm))) < 2e-6
    if two:
        assert error(getattr(mx.fft, name)(ours(a)), getattr(np.fft, name)(wide(a))) < 2e-6


def test_no_axes() -> None:
    a = sample("fft", (2, 3))
    check(mx.fft.fftn(ours(a), axes=[]), a)
    for name in ("rfftn", "irfftn"):
        with pytest.raises(ValueError, match=f"{name}: needs an axis"):
            getattr(mx.fft, name)(ours(a), axes=[])


@pytest.mark.parametrize("name", ONE)
def test_layouts(name: str) -> None:
    base = sample(name, (12, 18, 5), 4)
    x = ours(base)
    views = {
        "transposed": (mx.transpose(x), base.T),
        "strided": (x[::2, ::-3, 1:], base[::2, ::-3, 1:]),
        "repeated": (
            mx.broadcast_to(x[:, :1], (12, 20, 5)),
            np.broadcast_to(base[:, :1], (12, 20, 5)),
        ),
        "moved": (mx.moveaxis(x, 0, 2), np.moveaxis(base, 0, 2)),
        "neighbours": (mx.transpose(x, (2, 0, 1)), base.transpose(2, 0, 1)),
    }
    for (kind, (view, plain)), axis in itertools.product(views.items(), (0, 1, 2)):
        want = getattr(np.fft, name)(wide(plain), axis=axis)
        assert error(getattr(mx.fft, name)(view, axis=axis), want) < 2e-6, (kind, axis)


@pytest.mark.parametrize("name", ONE)
def test_dtypes_are_mlx(name: str) -> None:
    for dtype in ("bool_", "int32", "float16", "bfloat16", "float32", "float64", "complex64"):
        a = mx.array([1, 0, 1, 1]).astype(getattr(mx, dtype))
        got = getattr(mx.fft, name)(a)
        with omx.stream(omx.cpu):
            want = getattr(omx.fft, name)(omx.array([1, 0, 1, 1]).astype(getattr(omx, dtype)))
        assert name_of(got) == name_of(want)
        check(got, to_numpy(want), 1e-6)


def test_empty_batches() -> None:
    for name, points in (("fft", 4), ("rfft", 3), ("irfft", 6)):
        assert getattr(mx.fft, name)(mx.zeros((0, 4))).shape == (0, points)


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets(isa: str) -> None:
    """The loops of older processors, in a process of their own."""
    program = (
        "import numpy as np, lamina.core as mx\n"
        "g = np.random.default_rng(0)\n"
        "for n in (8, 15, 49, 67, 1000, 1001, 4096, 10007):\n"
        "    for count in (1, 20):\n"
        "        a = (g.normal(size=(count, n)) + 1j * g.normal(size=(count, n))).astype('F')\n"
        "        w = np.fft.fft(a.astype('D'))\n"
        "        e = np.linalg.norm(np.array(mx.fft.fft(mx.array(a))) - w) / np.linalg.norm(w)\n"
        "        assert e < 5e-7 * np.log2(n), (n, count, e)\n"
        "        x = np.array(mx.fft.irfft(mx.fft.rfft(mx.array(a.real)), n))\n"
        "        assert np.abs(x - a.real).max() < 2e-5, (n, count)\n"
    )
    subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "LAMINA_ISA": isa}, check=True
    )


# --- derivatives and batching -------------------------------------------------------------------

LINEAR: dict[str, tuple[Callable[[mx.array], mx.array], str]] = {
    "fft": (lambda x: mx.fft.fft(x, axis=0), "c"),
    "fft cut": (lambda x: mx.fft.fft(x, 3, axis=1, norm="ortho"), "c"),
    "ifft filled": (lambda x: mx.fft.ifft(x, 9, axis=1), "c"),
    "fft of real": (lambda x: mx.fft.fft(x), "r"),
    "rfft even": (lambda x: mx.fft.rfft(x, axis=1), "r"),
    "rfft odd": (lambda x: mx.fft.rfft(x, axis=0), "r"),
    "irfft even": (lambda x: mx.fft.irfft(x, 6, axis=1), "c"),
    "irfft odd": (lambda x: mx.fft.irfft(x, 7, axis=0), "c"),
    "irfft 1": (lambda x: mx.fft.irfft(x, 1), "c"),
    "irfft 2": (lambda x: mx.fft.irfft(x, 2), "c"),
    "fftn": (lambda x: mx.fft.fftn(x), "c"),
    "rfft2": (lambda x: mx.fft.rfft2(x, (4, 5)), "r"),
    "irfft2": (lambda x: mx.fft.irfft2(x), "c"),
    "shifts": (lambda x: mx.fft.ifftshift(mx.fft.fftshift(x, 0)), "c"),
    "stft": (lambda x: mx.fft.stft(x, 4, 2, window=mx.array([0.5, 1, 1, 0.5])), "r"),
    "istft": (lambda x: mx.fft.istft(x, 8, 3, window=mx.ones(8) * 0.5), "c"),
}


def inner(a: Any, b: Any) -> float:
    return float(np.sum(np.conj(wide(to_numpy(a))) * wide(to_numpy(b))).real)


@pytest.mark.parametrize("name", LINEAR)
def test_linear(name: str) -> None:
    """The tangent is the function of the tangent, the cotangent its adjoint, both at any order."""
    f, kind = LINEAR[name]
    a, t = (ours(sample("rfft" if kind == "r" else "fft", (5, 6), k)) for k in (1, 2))
    outs, tangents = mx.jvp(f, [a], [t])
    check(tangents[0], to_numpy(f(t)), 1e-5)
    ct = ours(sample("fft", tuple(outs[0].shape), 3)) if outs[0].dtype == mx.complex64 else None
    ct = ours(sample("rfft", tuple(outs[0].shape), 3)) if ct is None else ct
    (back,) = mx.vjp(f, [a], [ct])[1]
    assert back.dtype == a.dtype
    assert abs(inner(ct, tangents[0]) - inner(back, t)) < 1e-4 * (1 + abs(inner(back, t)))

    def energy(x: mx.array) -> mx.array:
        return mx.sum(mx.abs(f(x)) ** 2)

    # Of |F x|^2 the slope along t is 2 <F x, F t>, and the slope of that 2 <F u, F t>.
    assert abs(inner(mx.grad(energy)(a), t) - 2 * inner(outs[0], f(t))) < 1e-3 * (
        1 + inner(f(a), f(a))
    )
    hessian = mx.vjp(lambda x: mx.jvp(mx.grad(energy), [x], [t])[1], [a], [t])[1]
    assert all(np.isfinite(to_numpy(h)).all() for h in hessian)
    second = mx.jvp(mx.grad(energy), [a], [t])[1][0]
    want = 2 * inner(f(t), f(t))
    assert abs(inner(second, t) - want) < 1e-3 * (1 + abs(want))


@pytest.mark.parametrize("name", LINEAR)
def test_batching(name: str) -> None:
    f, kind = LINEAR[name]
    x = ours(sample("rfft" if kind == "r" else "fft", (5, 3, 6), 7))
    check_vmap(f, x, axes=(1,), tolerance=1e-5)
    check_vmap(f, mx.moveaxis(x, 1, 2), axes=(-1,), tolerance=1e-5)
    gradient = mx.grad(lambda v: mx.sum(mx.abs(f(v)) ** 2))
    check_vmap(gradient, x, axes=(1,), tolerance=1e-3)


def test_gradient_of_a_convolution() -> None:
    """By way of transforms and directly."""
    x, w = ours(sample("rfft", (64,), 1)), ours(sample("rfft", (9,), 2))

    def by_transform(w: mx.array) -> mx.array:
        product = mx.fft.rfft(x, 72) * mx.fft.rfft(w, 72)
        return mx.sum(mx.fft.irfft(product, 72) ** 3)

    direct = mx.grad(lambda w: mx.sum(mx.convolve(x, w) ** 3))(w)
    close = to_numpy(mx.grad(by_transform)(w))
    np.testing.assert_allclose(close, to_numpy(direct), rtol=1e-3, atol=1e-2)


def test_fused_is_unfused() -> None:
    x = ours(sample("rfft", (6, 30), 5))

    def f() -> mx.array:
        y = mx.fft.rfft(mx.tanh(x) * 2, axis=0)
        return mx.fft.irfft(y * 2 - 1, 6, axis=0) + mx.sum(x)

    want = to_numpy(f())
    with options(fuse=False, donate=False, verify=True):
        check(f(), want, 1e-5)


# --- frequencies, short-time --------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 8, 33])
def test_frequencies(n: int) -> None:
    for d in (1.0, 0.25):
        check(mx.fft.fftfreq(n, d), np.fft.fftfreq(n, d).astype("f"))
        check(mx.fft.rfftfreq(n, d), np.fft.rfftfreq(n, d).astype("f"))
    a = sample("rfft", (n, 4), n)
    for axes in (None, 0, (1,), (0, 1)):
        check(mx.fft.fftshift(ours(a), axes), np.fft.fftshift(a, axes))
        check(mx.fft.ifftshift(ours(a), axes), np.fft.ifftshift(a, axes))


HANN = np.hanning(32).astype("f")
SHORT: list[dict[str, Any]] = [
    {"n_fft": 32},
    {"n_fft": 32, "hop_length": 10},
    {"n_fft": 32, "win_length": 20},
    {"n_fft": 31, "hop_length": 7},
    {"n_fft": 32, "window": HANN},
    {"n_fft": 40, "window": HANN, "center": False},
    {"n_fft": 32, "norm": "ortho"},
    {"n_fft": 32, "norm": "forward", "onesided": False},
    {"n_fft": 32, "pad_mode": "constant"},
    {"n_fft": 32, "pad_mode": "edge"},
]


def given(options: dict[str, Any], make: Callable[[Array], Any]) -> dict[str, Any]:
    return {k: make(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}


@pytest.mark.parametrize("choice", range(len(SHORT)))
@pytest.mark.parametrize("shape", [(200,), (2, 3, 150)], ids=str)
def test_stft_is_mlx(choice: int, shape: tuple[int, ...]) -> None:
    keywords = SHORT[choice]
    for kind in ("rfft", "fft"):
        a = sample(kind, shape, 3)
        if kind == "fft" and "onesided" in keywords:
            continue
        got = mx.fft.stft(ours(a), **given(keywords, ours))
        with omx.stream(omx.cpu):
            want = to_numpy(omx.fft.stft(theirs(a), **given(keywords, theirs)))
        assert error(got, want) < 2e-6
    back = {k: v for k, v in keywords.items() if k != "pad_mode"}
    a = sample("rfft", shape, 4)
    spectrum = to_numpy(mx.fft.stft(ours(a), **given(keywords, ours)))
    for length in (None, shape[-1], 90, 400):
        got = mx.fft.istft(ours(spectrum), length=length, **given(back, ours))
        with omx.stream(omx.cpu):
            want = to_numpy(omx.fft.istft(theirs(spectrum), length=length, **given(back, theirs)))
        # Where a window's edge is nearly zero the quotient has few digits.
        np.testing.assert_allclose(to_numpy(got), want, atol=2e-4, err_msg=str(length))


def test_stft_round_trip() -> None:
    x = sample("rfft", (2, 1000), 8)
    for keywords in (SHORT[0], SHORT[1], SHORT[3], SHORT[6]):
        spectrum = mx.fft.stft(ours(x), **keywords)
        check(mx.fft.istft(spectrum, length=1000, **keywords), x, 1e-5)


# --- mistakes -----------------------------------------------------------------------------------


def a() -> mx.array:
    return mx.ones((2, 4))


MISTAKES: list[tuple[type[Exception], str, Callable[[], Any]]] = [
    (ValueError, "fft: needs a size of 1 or more along axis 1, got 0", lambda: mx.fft.fft(a(), 0)),
    (ValueError, "irfft: needs a size of 1 or more", lambda: mx.fft.irfft(mx.ones((1,)))),
    (ValueError, "Say how many real numbers", lambda: mx.fft.irfft(mx.ones((1,)))),
    (ValueError, "size of 1 or more along axis 1, got 0", lambda: mx.fft.fft(mx.ones((2, 0)))),
    (ValueError, "ifftn: needs a size of 1 or more", lambda: mx.fft.ifftn(mx.ones((0, 3)))),
    (
        mx.ShapeError,
        "ifft: axis -1 of (2, 0) is empty",
        lambda: _core._fft(mx.ones((2, 0)), -1, True, 1.0),
    ),
    (
        mx.ShapeError,
        "irfft: 8 real numbers come from 5 points, got (2, 4)",
        lambda: _core._irfft(a(), -1, 8, 1.0),
    ),
    (ValueError, "norm must be 'backward', 'ortho' or", lambda: mx.fft.ifft(a(), norm="x")),
    (
        IndexError,
        "rfft: axis 3 is out of bounds for shape (2, 4)",
        lambda: mx.fft.rfft(a(), axis=3),
    ),
    (IndexError, "fft: axis -1 is out of", lambda: mx.fft.fft(mx.array(1.0))),
    (ValueError, "fftn: axes (0, -2) name one twice", lambda: mx.fft.fftn(a(), axes=[0, -2])),
    (ValueError, "fft2: 1 sizes for 2 axes", lambda: mx.fft.fft2(a(), [3])),
    (ValueError, "fftfreq: n must be 1 or more, got 0", lambda: mx.fft.fftfreq(0)),
    (ValueError, "rfftfreq: n must be 1 or more, got -2", lambda: mx.fft.rfftfreq(-2)),
    (IndexError, "fftshift: axis 2", lambda: mx.fft.fftshift(a(), 2)),
    (ValueError, "stft: needs an axis of samples", lambda: mx.fft.stft(mx.array(1.0))),
    (ValueError, "stft: n_fft must be 1 or more", lambda: mx.fft.stft(a(), 0)),
    (ValueError, "stft: hop_length must be 1 or", lambda: mx.fft.stft(a(), 4, 0)),
    (
        ValueError,
        "stft: 4 samples are too few for n_fft=8",
        lambda: mx.fft.stft(a(), 8, center=False),
    ),
    (
        ValueError,
        "a window of 9 is longer than n_fft=4",
        lambda: mx.fft.stft(a(), 4, window=mx.ones(9)),
    ),
    (ValueError, "a window of 9 is longer", lambda: mx.fft.stft(a(), 4, win_length=9)),
    (ValueError, "the window must have one axis", lambda: mx.fft.stft(a(), 4, window=a())),
    (ValueError, "pad_mode must be", lambda: mx.fft.stft(a(), 4, pad_mode="wrap")),
    (ValueError, "istft: needs axes of", lambda: mx.fft.istft(mx.ones(3))),
    (ValueError, "istft: needs a frame or more", lambda: mx.fft.istft(mx.ones((3, 0)))),
    (ValueError, "length must not be negative", lambda: mx.fft.istft(mx.ones((3, 2)), length=-1)),
]


@pytest.mark.parametrize(("kind", "message", "mistake"), MISTAKES, ids=[m for _, m, _ in MISTAKES])
def test_mistakes(kind: type[Exception], message: str, mistake: Callable[[], Any]) -> None:
    with pytest.raises(kind) as caught:
        mx.eval(mistake())
    assert message in str(caught.value)


def test_the_namespace_is_importable() -> None:
    program = "import lamina.core.fft as f; import lamina.core as mx; assert f is mx.fft"
    subprocess.run([sys.executable, "-c", program], check=True)

"""Discrete Fourier transforms of any size along any axes, and the short-time transform.

Complex results are complex64, real ones float32. Transforms run on the CPU and have derivatives of
both modes and all orders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lamina import _core as _c
from lamina._arguments import explain
from lamina._core import array
from lamina._shaping import pad

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfft2",
    "irfftn",
    "istft",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
    "stft",
]


def _axis(op: str, axis: int, a: array) -> int:
    if not -a.ndim <= axis < a.ndim:
        raise _c.AxisError(f"{op}: axis {axis} is out of bounds for shape {tuple(a.shape)}")
    return axis % a.ndim


def _scale(op: str, norm: str, count: int, inverse: bool) -> float:
    """The factor of a transform over `count` points; sizes of 0 are refused where they are used."""
    count = max(count, 1)
    if norm not in ("backward", "ortho", "forward"):
        raise _c.ArgumentError(f"{op}: norm must be 'backward', 'ortho' or 'forward', got {norm!r}")
    if norm == "ortho":
        return 1 / math.sqrt(count)
    return 1 / count if inverse == (norm == "backward") else 1.0


def _resized(op: str, a: array, axis: int, n: int) -> array:
    """`a` with its axis cut to n, or filled up with zeros."""
    size = a.shape[axis]
    if n < 1:
        raise _c.ShapeError(f"{op}: needs a size of 1 or more along axis {axis}, got {n}")
    if size > n:
        return _c._split(a, [n], axis)[0]
    if size < n:
        return _c._pad(a, [axis], [0], [n - size], _c.array(0, dtype=a.dtype))
    return a


def _plan(
    op: str, a: array, s: Sequence[int] | None, axes: Sequence[int] | None, half: bool
) -> tuple[list[int], list[int]]:
    """Axes and the sizes of the transform along them; `half`: a holds half of the last one."""
    if axes is None:
        axes = range(a.ndim) if s is None else range(a.ndim - len(s), a.ndim)
    where = [_axis(op, axis, a) for axis in axes]
    if len(set(where)) != len(where):
        raise _c.ArgumentError(f"{op}: axes {tuple(axes)} name one twice")
    if s is not None:
        if len(s) != len(where):
            raise _c.ShapeError(f"{op}: {len(s)} sizes for {len(where)} axes")
        return where, list(s)
    sizes = [a.shape[axis] for axis in where]
    if half and sizes:
        sizes[-1] = 2 * (sizes[-1] - 1)
    return where, sizes


def _complex(op: str, a: array, s: Any, axes: Any, norm: str, inverse: bool) -> array:
    where, sizes = _plan(op, a, s, axes, False)
    scale = _scale(op, norm, math.prod(sizes), inverse)
    x = a.astype(_c.complex64)
    for axis, n in zip(reversed(where), reversed(sizes), strict=True):
        x = _c._fft(_resized(op, x, axis, n), axis, inverse, scale)
        scale = 1.0
    return x


def _from_real(op: str, a: array, s: Any, axes: Any, norm: str) -> array:
    where, sizes = _plan(op, a, s, axes, False)
    if not where:
        raise _c.ShapeError(f"{op}: needs an axis, got shape {tuple(a.shape)} and no axes")
    scale = _scale(op, norm, math.prod(sizes), False)
    x = _c.real(a) if a.dtype == _c.complex64 else a.astype(_c.float32)
    x = _c._rfft(_resized(op, x, where[-1], sizes[-1]), where[-1], scale)
    for axis, n in zip(reversed(where[:-1]), reversed(sizes[:-1]), strict=True):
        x = _c._fft(_resized(op, x, axis, n), axis, False, 1.0)
    return x


def _to_real(op: str, a: array, s: Any, axes: Any, norm: str) -> array:
    where, sizes = _plan(op, a, s, axes, True)
    if not where:
        raise _c.ShapeError(f"{op}: needs an axis, got shape {tuple(a.shape)} and no axes")
    scale = _scale(op, norm, math.prod(sizes), True)
    x = a.astype(_c.complex64)
    for axis, n in zip(where[:-1], sizes[:-1], strict=True):
        x = _c._fft(_resized(op, x, axis, n), axis, True, 1.0)
    n = sizes[-1]
    if n < 1:
        raise _c.ShapeError(
            f"{op}: needs a size of 1 or more along axis {where[-1]}, got {n}\n"
            "Say how many real numbers there are: a size of one point alone does not tell"
        )
    return _c._irfft(_resized(op, x, where[-1], n // 2 + 1), where[-1], n, scale)


def _one(n: int | None) -> list[int] | None:
    return None if n is None else [n]


def fft(
    a: array, n: int | None = None, axis: int = -1, norm: str = "backward", stream: Any = None
) -> array:
    """The transform along `axis`, cut or filled with zeros to `n` points first; complex64.

    `norm` says which direction is divided by n: "backward" the inverse, "forward" this one, "ortho"
    both by its root.
    """
    return _complex("fft", a, _one(n), [axis], norm, False)


def ifft(
    a: array, n: int | None = None, axis: int = -1, norm: str = "backward", stream: Any = None
) -> array:
    """The inverse of `fft`."""
    return _complex("ifft", a, _one(n), [axis], norm, True)


def rfft(
    a: array, n: int | None = None, axis: int = -1, norm: str = "backward", stream: Any = None
) -> array:
    """The first n // 2 + 1 points of the transform of real numbers; the others are conjugates.

    Of complex numbers the real part is transformed.
    """
    return _from_real("rfft", a, _one(n), [axis], norm)


def irfft(
    a: array, n: int | None = None, axis: int = -1, norm: str = "backward", stream: Any = None
) -> array:
    """The inverse of `rfft`: `n` real numbers, 2 * (points - 1) if not given; float32."""
    return _to_real("irfft", a, _one(n), [axis], norm)


def hfft(
    a: array, n: int | None = None, axis: int = -1, norm: str = "backward", stream: Any = None
) -> array:
    """The transform, which is real, of half of a Hermitian signal; n as in `irfft`."""
    return irfft(_c.conjugate(a.astype(_c.complex64)), n, axis, _OTHER_WAY.get(norm, norm))


def ihfft(
    a: array, n: int | None = None, axis: int = -1, norm: str = "backward", stream: Any = None
) -> array:
    """The inverse of `hfft`: half of the Hermitian signal whose transform the real `a` is."""
    return _c.conjugate(rfft(a, n, axis, _OTHER_WAY.get(norm, norm)))


# Factors that a transform has and its inverse lacks.
_OTHER_WAY = {"backward": "forward", "forward": "backward"}


def fftn(
    a: array,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: str = "backward",
    stream: Any = None,
) -> array:
    """The transform over `axes`: all, or the last ``len(s)``; `s` are the sizes along them."""
    return _complex("fftn", a, s, axes, norm, False)


def ifftn(
    a: array,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: str = "backward",
    stream: Any = None,
) -> array:
    """The inverse of `fftn`."""
    return _complex("ifftn", a, s, axes, norm, True)


def rfftn(
    a: array,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: str = "backward",
    stream: Any = None,
) -> array:
    """The transform of real numbers over `axes`; along the last one s[-1] // 2 + 1 points."""
    return _from_real("rfftn", a, s, axes, norm)


def irfftn(
    a: array,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: str = "backward",
    stream: Any = None,
) -> array:
    """The inverse of `rfftn`; `s` are sizes of the result."""
    return _to_real("irfftn", a, s, axes, norm)


def fft2(
    a: array,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = [-2, -1],
    norm: str = "backward",
    stream: Any = None,
) -> array:
    """The transform over two axes."""
    return _complex("fft2", a, s, axes, norm, False)


def ifft2(
    a: array,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = [-2, -1],
    norm: str = "backward",
    stream: Any = None,
) -> array:
    """The inverse of `fft2`."""
    return _complex("ifft2", a, s, axes, norm, True)


def rfft2(
    a: array,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = [-2, -1],
    norm: str = "backward",
    stream: Any = None,
) -> array:
    """The transform of real numbers over two axes; half of the points along the last."""
    return _from_real("rfft2", a, s, axes, norm)


def irfft2(
    a: array,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = [-2, -1],
    norm: str = "backward",
    stream: Any = None,
) -> array:
    """The inverse of `rfft2`."""
    return _to_real("irfft2", a, s, axes, norm)


# --- frequencies ---------------------------------------------------------------------------------


def _check_length(op: str, n: int) -> None:
    if n < 1:
        raise _c.ArgumentError(f"{op}: n must be 1 or more, got {n}")


def fftfreq(n: int, d: float = 1.0, stream: Any = None) -> array:
    """The frequencies of the points of `fft` for samples `d` apart, float32."""
    _check_length("fftfreq", n)
    half = (n + 1) // 2
    up = _c._arange(0, half, 1, _c.float32)
    return _c._concatenate([up, _c._arange(-(n // 2), 0, 1, _c.float32)], 0) / (n * d)


def rfftfreq(n: int, d: float = 1.0, stream: Any = None) -> array:
    """The frequencies of the points of `rfft` of `n` samples `d` apart, float32."""
    _check_length("rfftfreq", n)
    return _c._arange(0, n // 2 + 1, 1, _c.float32) / (n * d)


def _rolled(op: str, a: array, axes: int | Sequence[int] | None, back: bool) -> array:
    which = range(a.ndim) if axes is None else [axes] if isinstance(axes, int) else axes
    for axis in which:
        at = _axis(op, axis, a)
        half = a.shape[at] // 2
        a = _c._roll(a, -half if back else half, at)
    return a


def fftshift(a: array, axes: int | Sequence[int] | None = None, stream: Any = None) -> array:
    """`a` with the frequency 0 moved to the middle of `axes`, of all if not given."""
    return _rolled("fftshift", a, axes, False)


def ifftshift(a: array, axes: int | Sequence[int] | None = None, stream: Any = None) -> array:
    """The inverse of `fftshift`."""
    return _rolled("ifftshift", a, axes, True)


# --- the short-time transform --------------------------------------------------------------------


def _window(
    op: str, window: array | None, win_length: int | None, n_fft: int, hop: int | None
) -> tuple[array, int]:
    """The window, filled with zeros on both sides to n_fft, and the step between frames."""
    if n_fft < 1:
        raise _c.ArgumentError(f"{op}: n_fft must be 1 or more, got {n_fft}")
    step = n_fft // 4 if hop is None else hop
    if step < 1:
        raise _c.ArgumentError(f"{op}: hop_length must be 1 or more, got {step}")
    if window is None:
        length = n_fft if win_length is None else win_length
        if length < 1:
            raise _c.ArgumentError(f"{op}: win_length must be 1 or more, got {length}")
        window = _c.ones([length]) if length <= n_fft else None
    elif window.ndim != 1:
        raise _c.ShapeError(f"{op}: the window must have one axis, got shape {tuple(window.shape)}")
    else:
        length = max(window.size, win_length or 0)
    if window is None or length > n_fft:
        raise _c.ArgumentError(f"{op}: a window of {length} is longer than n_fft={n_fft}")
    before = (n_fft - window.size) // 2
    after = n_fft - window.size - before
    zero = _c.array(0, dtype=window.dtype)
    return _c._pad(window, [0], [before], [after], zero), step


def stft(
    x: array,
    n_fft: int = 2048,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: array | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    norm: str = "backward",
    onesided: bool | None = None,
    stream: Any = None,
) -> array:
    """Transforms of overlapping frames of the last axis, complex64: (..., frequencies, frames).

    Frames of `n_fft` values begin `hop_length` apart (n_fft // 4 if not given) and are multiplied
    by `window`, which is centred in them (ones of size `win_length` if not given). `center` pads
    both ends by n_fft // 2 so that frame t is centred at t * hop_length. `onesided` gives the first
    n_fft // 2 + 1 frequencies only, by default of real input.
    """
    if x.ndim < 1:
        raise _c.ShapeError("stft: needs an axis of samples, got shape ()")
    w, step = _window("stft", window, win_length, n_fft, hop_length)
    if center:
        if pad_mode not in ("reflect", "constant", "edge", "symmetric"):
            raise _c.ArgumentError(
                f"stft: pad_mode must be 'reflect', 'constant' or 'edge', got {pad_mode!r}"
            )
        edges = [(0, 0)] * (x.ndim - 1) + [(n_fft // 2, n_fft // 2)]
        x = pad(x, edges, pad_mode)  # type: ignore[arg-type]
    size = x.shape[-1]
    if size < n_fft:
        raise _c.ShapeError(f"stft: {size} samples are too few for n_fft={n_fft}")
    batch = list(x.shape[:-1])
    strides = [math.prod(x.shape[i + 1 :]) for i in range(x.ndim)]
    shape = [*batch, (size - n_fft) // step + 1, n_fft]
    frames = _c.as_strided(x, shape, [*strides[:-1], step, 1]) * w
    half = x.dtype != _c.complex64 if onesided is None else onesided
    if half:
        out = _from_real("stft", frames, None, [-1], norm)
    else:
        out = _complex("stft", frames, None, [-1], norm, False)
    return _c.swapaxes(out, -1, -2)


def _overlapped(frames: array, step: int) -> array:
    """The sum of frames (..., count, size) that begin `step` apart: (..., samples)."""
    count, size = frames.shape[-2:]
    starts = _c.expand_dims(_c._arange(0, count, 1, _c.int32) * step, 1)
    places = starts + _c._arange(0, size, 1, _c.int32)
    total = _c.zeros([*frames.shape[:-2], (count - 1) * step + size], frames.dtype)
    return total._scatter_item((..., places), frames, "add")


def istft(
    stft_matrix: array,
    n_fft: int | None = None,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: array | None = None,
    center: bool = True,
    norm: str = "backward",
    onesided: bool | None = None,
    length: int | None = None,
    stream: Any = None,
) -> array:
    """The signal (..., samples), float32, whose `stft` is (..., frequencies, frames).

    Frames are multiplied by the window, added up, and divided by the sum of the windows' squares;
    where that is zero the signal is. `n_fft` is 2 * (frequencies - 1) if not given, or their number
    where not `onesided`. `length` cuts the result or fills it with zeros.
    """
    op = "istft"
    if stft_matrix.ndim < 2:
        raise _c.ShapeError(
            f"{op}: needs axes of frequencies and frames, got shape {tuple(stft_matrix.shape)}"
        )
    half = onesided is None or onesided
    points, count = stft_matrix.shape[-2:]
    size = n_fft if n_fft is not None else 2 * (points - 1) if half else points
    w, step = _window(op, window, win_length, size, hop_length)
    if count < 1:
        raise _c.ShapeError(f"{op}: needs a frame or more, got shape {tuple(stft_matrix.shape)}")
    spectrum = _c.swapaxes(stft_matrix, -1, -2)
    if half:
        frames = _to_real(op, spectrum, [size], [-1], norm)
    else:
        frames = _c.real(_complex(op, spectrum, [size], [-1], norm, True))
    signal = _overlapped(frames * w, step)
    weight = _overlapped(_c.broadcast_to(_c.square(w), [count, size]), step)
    heard = weight > 1e-10
    signal = _c.where(heard, signal / _c.where(heard, weight, 1.0), 0.0)
    first = size // 2 if center else 0
    last = signal.shape[-1] - (first if length is None else 0)
    part = signal[..., first : max(first, last)]
    return part if length is None else _fitted(part, length)


def _fitted(signal: array, length: int) -> array:
    if length < 0:
        raise _c.ArgumentError(f"istft: length must not be negative, got {length}")
    missing = max(0, length - signal.shape[-1])
    filled = _c._pad(signal, [signal.ndim - 1], [0], [missing], _c.array(0, dtype=signal.dtype))
    return filled[..., :length]


explain(globals(), __all__)

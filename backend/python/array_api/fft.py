"""The standard's extension of Fourier transforms."""

from __future__ import annotations

from typing import Any

from lamina.array_api._device import placed
from lamina.core import array
from lamina.core import fft as _fft
from lamina.core.fft import (
    fft,
    fftn,
    fftshift,
    hfft,
    ifft,
    ifftn,
    ifftshift,
    ihfft,
    irfft,
    irfftn,
    rfft,
    rfftn,
)

__all__ = [
    "fft",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfftn",
    "rfft",
    "rfftfreq",
    "rfftn",
]


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> array:
    """The frequencies of `fft` over n samples `d` apart: 0 up, then those below 0."""
    made = placed("fftfreq", device, lambda: _fft.fftfreq(n, d))
    return made if dtype is None else made.astype(dtype)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> array:
    """The frequencies of `rfft` over n samples `d` apart."""
    made = placed("rfftfreq", device, lambda: _fft.rfftfreq(n, d))
    return made if dtype is None else made.astype(dtype)

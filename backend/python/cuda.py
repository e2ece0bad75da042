"""Queries about CUDA under the names of `mlx.core.cuda`."""

from __future__ import annotations

from lamina import _core as _c

__all__ = ["is_available"]


def is_available() -> bool:
    """Whether this machine has a CUDA device and the libraries lamina needs for it."""
    try:
        _c._device_named("cuda")
    except _c.DeviceError:
        return False
    return True

"""Queries about Metal under the names of `mlx.core.metal`.

Those on memory are the functions of `lamina.core` of the same names.
"""

from __future__ import annotations

from typing import Any

from lamina import _core as _c
from lamina._core import (
    clear_cache,
    get_active_memory,
    get_cache_memory,
    get_peak_memory,
    reset_peak_memory,
    set_cache_limit,
    set_memory_limit,
)
from lamina._runtime import device_info as _device_info
from lamina._runtime import set_wired_limit

__all__ = [
    "clear_cache",
    "device_info",
    "get_active_memory",
    "get_cache_memory",
    "get_peak_memory",
    "is_available",
    "kernel_times",
    "reset_peak_memory",
    "set_cache_limit",
    "set_memory_limit",
    "set_wired_limit",
    "start_capture",
    "stop_capture",
]


def is_available() -> bool:
    """Whether this machine has a Metal device."""
    try:
        _c._device_named("metal")
    except _c.DeviceError:
        return False
    return True


def _needs_metal(call: str) -> None:
    if not is_available():
        raise _c.DeviceError(
            f"metal.{call}: no Metal device runs here\n"
            "Record with lamina.workbench, which works on every device"
        )


def kernel_times() -> dict[str, int]:
    """How many launches of recordings had their time of what: `counters` of the GPU,
    `command_buffers` that a launch had to itself (all products of the system's library, and every
    launch where the GPU gives no counters), or `none`, where the system gave no time.
    """
    _needs_metal("kernel_times()")
    return dict(_c._metal_figures()["kernel_times"])


def device_info() -> dict[str, Any]:
    """Name, architecture and memory of the default device, also where that is not Metal's."""
    return _device_info()


def start_capture(path: str) -> None:
    """Records all GPU work until `stop_capture` into a new `.gputrace` document for Xcode.

    The process must have been started with `MTL_CAPTURE_ENABLED=1`. Raises DeviceError where that
    is not so, the path exists, a capture is under way, or there is no Metal.
    """
    _needs_metal(f"start_capture({path!r})")
    _c._metal_start_capture(path)


def stop_capture() -> None:
    """Ends the recording that `start_capture` began."""
    _needs_metal("stop_capture()")
    _c._metal_stop_capture()

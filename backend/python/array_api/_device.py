"""`device=` of the standard's functions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import lamina.core as mx
from lamina._arguments import shown

T = TypeVar("T")


def on(op: str, device: Any) -> AbstractContextManager[Any]:
    """What is built inside is built on `device`, if one is given."""
    if device is None:
        return nullcontext()
    if not isinstance(device, (mx.Device, mx.DeviceType)):
        raise TypeError(f"{op}: device must be a Device, got {shown(device)}")
    return mx.stream(device)


def placed(op: str, device: Any, make: Callable[[], T]) -> T:
    """What `make` returns, built on `device`."""
    with on(op, device):
        return make()

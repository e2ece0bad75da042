"""Devices and streams: one CPU device here; every stream runs in order on it."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lamina import _core as _c

__all__ = [
    "Device",
    "DeviceType",
    "Stream",
    "cpu",
    "default_device",
    "default_stream",
    "device_count",
    "device_info",
    "gpu",
    "is_available",
    "new_stream",
    "set_default_device",
    "set_default_stream",
    "stream",
    "synchronize",
]


class DeviceType(enum.Enum):
    """Kinds of device."""

    cpu = 0
    gpu = 1

    def __repr__(self) -> str:
        return f"DeviceType.{self.name}"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Device):
            return other.type is self
        return self is other

    def __hash__(self) -> int:
        return hash(self.name)


cpu = DeviceType.cpu
gpu = DeviceType.gpu


class Device:
    """A device by kind and index."""

    def __init__(self, type: DeviceType, index: int = 0) -> None:
        self.type = type
        self.index = index

    def __repr__(self) -> str:
        return f"Device({self.type.name}, {self.index})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DeviceType):
            return self.type is other
        return isinstance(other, Device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))


class Stream:
    """A queue of work on a device; the CPU has one, so all its streams are in order."""

    def __init__(self, device: Device, index: int) -> None:
        self.device = device
        self.index = index

    def __repr__(self) -> str:
        return f"Stream({self.device}, {self.index})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self.device, self.index) == (
            other.device,
            other.index,
        )

    def __hash__(self) -> int:
        return hash((self.device, self.index))


_default_stream = Stream(Device(cpu), 0)
_next_stream = 1


def _device_of(device: Any, op: str) -> Device:
    d = device.device if isinstance(device, Stream) else device
    d = Device(d) if isinstance(d, DeviceType) else d
    if not isinstance(d, Device):
        raise TypeError(
            f"{op}: expected a Device, DeviceType or Stream, got {type(device).__name__}"
        )
    if d.type is not cpu or d.index != 0:
        raise ValueError(f"{op}: {d} is not available; this build runs on Device(cpu, 0)")
    return d


def default_device() -> Device:
    """The device operations run on."""
    return _default_stream.device


def set_default_device(device: Any) -> None:
    """Chooses the device operations run on; ValueError if it is not available."""
    _device_of(device, "set_default_device")


def default_stream(device: Any) -> Stream:
    """The device's default stream."""
    _device_of(device, "default_stream")
    return _default_stream


def set_default_stream(stream: Stream) -> None:
    """Makes a stream its device's default."""
    global _default_stream
    _device_of(stream, "set_default_stream")
    _default_stream = stream


def new_stream(device: Any) -> Stream:
    """A new stream on the device."""
    global _next_stream
    d = _device_of(device, "new_stream")
    _next_stream += 1
    return Stream(d, _next_stream - 1)


@contextmanager
def stream(s: Any) -> Iterator[None]:
    """Operations inside run on the stream or device `s`."""
    _device_of(s, "stream")
    yield


def synchronize(stream: Any = None) -> None:
    """Waits for a stream's work; evaluations on the CPU are done when their call returns."""
    if stream is not None:
        _device_of(stream, "synchronize")


def is_available(device: Any) -> bool:
    """Whether the device can be used."""
    try:
        _device_of(device, "is_available")
    except ValueError:
        return False
    return True


def device_count(device_type: DeviceType) -> int:
    """How many devices of a kind there are."""
    return 1 if device_type is cpu else 0


def device_info(d: Any = None) -> dict[str, str | int]:
    """Name, architecture and memory of a device."""
    if d is not None:
        _device_of(d, "device_info")
    machine = _c._machine()
    return {
        "device_name": machine["cpu"],
        "architecture": machine["isa"],
        "memory_size": machine["memory"],
        "threads": machine["threads"],
    }

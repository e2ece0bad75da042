"""Devices and streams: where operations run.

An array's operation belongs to the device that was chosen when it was written: by `stream=`, by
`with mx.stream(...)` on this thread, or by the default device. A device runs what it is given in
order, so streams of one device are names for one queue.
"""

from __future__ import annotations

import enum
import functools
import importlib.util
import inspect
import operator
import os
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lamina import _core as _c

__all__ = [
    "Device",
    "DeviceType",
    "Stream",
    "StreamContext",
    "ThreadLocalStream",
    "clear_streams",
    "cpu",
    "default_device",
    "default_stream",
    "device_count",
    "device_info",
    "gpu",
    "is_available",
    "new_stream",
    "new_thread_local_stream",
    "new_thread_unsafe_stream",
    "set_default_device",
    "set_default_stream",
    "set_wired_limit",
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

    @property
    def _lamina_device(self) -> int:
        return 0 if self is DeviceType.cpu else _c._gpu()


cpu = DeviceType.cpu
gpu = DeviceType.gpu


class Device:
    """A device by kind and index."""

    __slots__ = ("index", "type")

    def __init__(self, type: DeviceType, index: int = 0) -> None:
        if not isinstance(type, DeviceType):
            raise TypeError(f"Device: type must be mx.cpu or mx.gpu, got {type!r}")
        try:
            self.index = operator.index(index)
        except TypeError:
            raise TypeError(f"Device: index must be an int, got {index!r}") from None
        self.type = type

    def __repr__(self) -> str:
        return f"Device({self.type.name}, {self.index})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DeviceType):
            return self.type is other
        return isinstance(other, Device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    @property
    def _lamina_device(self) -> int:
        if self.index:
            raise _c.DeviceError(f"{self} is not available: lamina uses one device of each kind")
        return self.type._lamina_device


class Stream:
    """A queue of work on a device."""

    __slots__ = ("device", "index")

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

    @property
    def _lamina_device(self) -> int:
        return self.device._lamina_device


class ThreadLocalStream:
    """A stream of its own in every thread that uses it."""

    __slots__ = ("_streams", "device")

    def __init__(self, device: Device) -> None:
        self.device = device
        self._streams = threading.local()

    def _here(self) -> Stream:
        if not hasattr(self._streams, "stream"):
            self._streams.stream = new_stream(self.device)
        stream: Stream = self._streams.stream
        return stream

    def __repr__(self) -> str:
        return f"ThreadLocalStream({self.device})"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    @property
    def _lamina_device(self) -> int:
        return self.device._lamina_device


class _Streams:
    """The default stream of each kind of device, and the next stream's number."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        with self.lock:
            self.default = {kind: Stream(Device(kind), kind.value) for kind in DeviceType}
            self.next = len(DeviceType)

    def new(self, device: Device) -> Stream:
        with self.lock:
            self.next += 1
            return Stream(device, self.next - 1)


_streams = _Streams()


def _device_of(given: Any, op: str) -> Device:
    """The Device of a Device, DeviceType or Stream that opens."""
    device = given.device if isinstance(given, (Stream, ThreadLocalStream)) else given
    device = Device(device) if isinstance(device, DeviceType) else device
    if not isinstance(device, Device):
        raise TypeError(
            f"{op}: expected a Device, DeviceType or Stream, got {type(given).__name__}"
        )
    _c._device_info(device._lamina_device)
    return device


def _kind(number: int) -> DeviceType:
    return gpu if number else cpu


def default_device() -> Device:
    """The device operations run on where nothing else is said."""
    return Device(_kind(_c._default_device()))


def set_default_device(device: Any) -> None:
    """Chooses the device operations run on; DeviceError if it is not available."""
    _c._set_default_device(_device_of(device, "set_default_device")._lamina_device)


def default_stream(device: Any) -> Stream:
    """The device's default stream."""
    return _streams.default[_device_of(device, "default_stream").type]


def set_default_stream(stream: Stream) -> None:
    """Makes a stream its device's default; TypeError for anything but a Stream."""
    if not isinstance(stream, Stream):
        raise TypeError(
            f"set_default_stream: expected a Stream, got {stream!r}\n"
            "mx.new_stream(device) makes one, mx.set_default_device(device) chooses a device"
        )
    _streams.default[_device_of(stream, "set_default_stream").type] = stream


def new_stream(device: Any) -> Stream:
    """A new stream on the device."""
    return _streams.new(_device_of(device, "new_stream"))


def new_thread_unsafe_stream(device: Any) -> Stream:
    """A new stream on the device; safe here, as any stream."""
    return _streams.new(_device_of(device, "new_thread_unsafe_stream"))


def new_thread_local_stream(device: Any) -> ThreadLocalStream:
    """A stream that is another one in every thread."""
    return ThreadLocalStream(_device_of(device, "new_thread_local_stream"))


def clear_streams() -> None:
    """Waits for all work; every device's default stream is its first again."""
    _c._wait_for_devices()
    _streams.clear()


class StreamContext:
    """Operations inside run on the stream or device `s`, on this thread."""

    def __init__(self, s: Any) -> None:
        _device_of(s, "stream")
        self._stream = s
        self._before: list[tuple[int, DeviceType, Stream | None]] = []

    def __enter__(self) -> None:
        device = _device_of(self._stream, "stream")
        chosen = self._stream
        chosen = chosen._here() if isinstance(chosen, ThreadLocalStream) else chosen
        stream = None
        if isinstance(chosen, Stream):
            stream, _streams.default[device.type] = _streams.default[device.type], chosen
        number = _c._swap_device_scope(device._lamina_device)
        self._before.append((number, device.type, stream))

    def __exit__(self, *failure: object) -> None:
        number, kind, stream = self._before.pop()
        _c._swap_device_scope(number)
        if stream is not None:
            _streams.default[kind] = stream


def stream(s: Any) -> StreamContext:
    """A context in which operations run on the stream or device `s`."""
    return StreamContext(s)


def synchronize(stream: Any = None) -> None:
    """Waits for a stream's work, or the default one's."""
    if stream is not None:
        _device_of(stream, "synchronize")
    _c._wait_for_devices()


def is_available(device: Any) -> bool:
    """Whether the device can be used."""
    return _opens(device, "is_available")


def _opens(device: Any, op: str) -> bool:
    try:
        _device_of(device, op)
    except _c.DeviceError:
        return False
    return True


def device_count(device_type: DeviceType) -> int:
    """How many devices of a kind there are."""
    return int(_opens(device_type, "device_count"))


def device_info(d: Any = None) -> dict[str, str | int]:
    """Name, architecture and memory of a device, or of the default one."""
    number = _c._default_device() if d is None else _device_of(d, "device_info")._lamina_device
    info = _c._device_info(number)
    found: dict[str, str | int] = {
        "device_name": info["device_name"],
        "architecture": info["architecture"],
        "memory_size": info["memory_size"],
        "max_recommended_working_set_size": _c.get_memory_limit(device=_Numbered(number)),
        "max_buffer_length": info["memory_size"],
        "resource_limit": 1 << 20,
    }
    if number == 0:
        found["threads"] = _c._machine()["threads"]
    return found


def set_wired_limit(limit: int) -> int:
    """Most bytes that the system is asked to keep resident, on macOS 15 or newer; 0 at first.

    Returns the limit before. Other devices wire nothing: the limit is accepted and stays 0.
    """
    limit = _c._bytes("set_wired_limit", limit)
    return _c._metal_set_wired_limit(limit) if "metal" in _c._device_names() else 0


class _Numbered:
    """A device by its number in the core."""

    def __init__(self, number: int) -> None:
        self._lamina_device = number


def _streamed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with the nodes it builds on the device that its `stream` names."""
    parameters = inspect.signature(function).parameters
    names = list(parameters)
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
    positional = parameters["stream"].kind is not inspect.Parameter.KEYWORD_ONLY
    at = names.index("stream") if positional and not variadic else None

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if at is not None and len(args) > at:
            chosen = args[at]
        elif not kwargs:  # as nearly always
            return function(*args)
        else:
            chosen = kwargs.get("stream")
        if chosen is None:
            return function(*args, **kwargs)
        with StreamContext(chosen):
            return function(*args, **kwargs)

    call._lamina_streamed = True  # type: ignore[attr-defined]
    return call


def bind_streams(face: dict[str, Any]) -> None:
    """Every Python function of the face with a `stream` parameter obeys it."""
    for name, value in list(face.items()):
        if not isinstance(value, types.FunctionType) or hasattr(value, "_lamina_streamed"):
            continue
        if "stream" in inspect.signature(value).parameters and name not in __all__:
            face[name] = _streamed(value)


def _library_folders() -> list[str]:
    """LAMINA_CUDA_PATH, and where packages such as `nvidia-cuda-nvrtc` keep their libraries."""
    named = [f for f in os.environ.get("LAMINA_CUDA_PATH", "").split(os.pathsep) if f]
    spec = importlib.util.find_spec("nvidia")
    roots = list(spec.submodule_search_locations or ()) if spec else []
    return named + [str(f) for root in roots for f in sorted(Path(root).glob("*/lib"))]


_c._library_folders(_library_folders())
if hasattr(_c, "MetalLibrary"):  # on Linux: it tells the core where its compiler is
    importlib.import_module("lamina.soft_metal")
_asked = os.environ.get("LAMINA_DEVICE", "")
if _asked and _asked != "cpu":
    _c._set_default_device(_c._device_named(_asked))

"""Names of the Python array API standard (2024.12) that MLX lacks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from lamina import _core as _c
from lamina import _runtime
from lamina._arguments import explain, shown
from lamina._core import Dtype, array
from lamina._dtypes import isdtype

__all__ = [
    "copysign",
    "hypot",
    "nextafter",
    "nonzero",
    "signbit",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
]

VERSION = "2024.12"
_BITS = {2: (_c.uint16, 0x8000), 4: (_c.uint32, 1 << 31), 8: (_c.uint64, 1 << 63)}


def _floating(op: str, *arrays: Any) -> Dtype:
    """The dtype the arrays promote to; TypeError unless it is a real floating one."""
    dtype = _c._promote(arrays[0].dtype, arrays[-1].dtype)
    if not isdtype(dtype, "real floating"):
        raise _c.DtypeError(f"{op}: needs real floating arrays, got {_c._dtype_name(dtype)}")
    return dtype


def _bits(x: array) -> tuple[array, int]:
    """The words of floating numbers, and the word with the sign alone."""
    unsigned, sign = _BITS[x.dtype.size]
    return _c.view(x, unsigned), sign


def signbit(x: array, /) -> array:
    """Whether the sign is set, of -0.0 and of a NaN too: bool."""
    _floating("signbit", x)
    words, sign = _bits(x)
    return words >= sign


def copysign(x1: array, x2: array, /) -> array:
    """The size of x1 with the sign of x2."""
    dtype = _floating("copysign", x1, x2)
    size = _c.abs(x1.astype(dtype))
    return _c.where(signbit(x2.astype(dtype)), -size, size)


def hypot(x1: array, x2: array, /) -> array:
    """``sqrt(x1**2 + x2**2)``, without overflow in between."""
    dtype = _floating("hypot", x1, x2)
    a, b = _c.abs(x1.astype(dtype)), _c.abs(x2.astype(dtype))
    large, small = _c.maximum(a, b), _c.minimum(a, b)
    ratio = small / _c.where(large == 0, 1, large)
    length = large * _c.sqrt(1 + ratio * ratio)
    infinite = _c.logical_or(_c.isinf(a), _c.isinf(b))
    return _c.where(infinite, float("inf"), length).astype(dtype)


def nextafter(x1: array, x2: array, /) -> array:
    """The number next to x1 on the way to x2, which it becomes where both are equal."""
    dtype = _floating("nextafter", x1, x2)
    x, to = x1.astype(dtype), x2.astype(dtype)
    shape = (x + to).shape
    x, to = _c.broadcast_to(x, shape), _c.broadcast_to(to, shape)
    words, sign = _bits(x)
    one = _c.array(1, words.dtype)
    away = (to > x) == (x > 0)
    stepped = _c.where(away, words + one, words - one)
    smallest = _c.where(to > 0, one, _c.array(sign + 1, words.dtype))
    moved = _c.view(_c.where(x == 0, smallest, stepped), dtype)
    out = _c.where(x == to, to, moved)
    return _c.where(_c.logical_or(_c.isnan(x), _c.isnan(to)), float("nan"), out).astype(dtype)


def nonzero(x: array, /) -> tuple[array, ...]:
    """Where x is not zero: the indices along each axis, int64. Evaluates x."""
    if x.ndim == 0:
        raise ValueError("nonzero: the array has no axes")
    return tuple(_c.array(places, _c.int64) for places in np.nonzero(np.asarray(x)))


class UniqueAll(NamedTuple):
    """What `unique_all` gives."""

    values: array
    indices: array
    inverse_indices: array
    counts: array


class UniqueCounts(NamedTuple):
    """What `unique_counts` gives."""

    values: array
    counts: array


class UniqueInverse(NamedTuple):
    """What `unique_inverse` gives."""

    values: array
    inverse_indices: array


def unique_all(x: array, /) -> UniqueAll:
    """The distinct elements, sorted, where each is first, which one each element is, how often.

    Every NaN is distinct. How many there are depends on the values, so x is evaluated.
    """
    values, first, inverse, counts = np.unique(
        np.asarray(x).reshape(-1),
        return_index=True,
        return_inverse=True,
        return_counts=True,
        equal_nan=False,
    )
    places = (_c.array(p, _c.int64) for p in (first, inverse.reshape(x.shape), counts))
    return UniqueAll(_c.array(values).astype(x.dtype), *places)


def unique_counts(x: array, /) -> UniqueCounts:
    """The distinct elements, sorted, and how often each occurs. Evaluates x."""
    out = unique_all(x)
    return UniqueCounts(out.values, out.counts)


def unique_inverse(x: array, /) -> UniqueInverse:
    """The distinct elements, sorted, and which of them each element is. Evaluates x."""
    out = unique_all(x)
    return UniqueInverse(out.values, out.inverse_indices)


def unique_values(x: array, /) -> array:
    """The distinct elements, sorted. Evaluates x."""
    return unique_all(x).values


_DTYPES = ["bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
_DTYPES += ["float32", "float64", "complex64"]


class NamespaceInfo:
    """What the standard asks of a library about itself."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean masks select; sizes may depend on values; any number of axes."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": None}

    def default_device(self) -> _runtime.Device:
        """The device arrays are made on."""
        return _runtime.default_device()

    def devices(self) -> list[_runtime.Device]:
        """The devices that can be used."""
        every = [_runtime.Device(_runtime.cpu), _runtime.Device(_runtime.gpu)]
        return [device for device in every if _runtime.is_available(device)]

    def default_dtypes(self, *, device: Any = None) -> dict[str, Dtype]:
        """The dtypes of arrays for which none is given."""
        return {
            "real floating": _c.float32,
            "complex floating": _c.complex64,
            "integral": _c.int32,
            "indexing": _c.int64,
        }

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, Dtype]:
        """The standard's dtypes by name, or those of a kind as `isdtype` knows it."""
        every = {name.rstrip("_"): getattr(_c, name) for name in _DTYPES}
        return {n: d for n, d in every.items() if kind is None or isdtype(d, kind)}


def namespace_info() -> NamespaceInfo:
    """The standard's questions, answered."""
    return NamespaceInfo()


def device_of(self: array) -> _runtime.Device:
    """The device that new arrays are made on; arrays move to where they are needed."""
    return _runtime.default_device()


def to_device(self: array, device: Any, /, *, stream: Any = None) -> array:
    """The array itself: its memory is copied to a device by the operations that run there."""
    if not isinstance(device, (_runtime.Device, _runtime.DeviceType)):
        raise TypeError(f"to_device: expected a Device, got {shown(device)}")
    if not _runtime.is_available(device):
        raise _c.DeviceError(f"to_device: {device} is not available")
    return self


def bind(array_type: Any, face: dict[str, Any]) -> None:
    """Put the standard's attributes on the type and the module."""
    array_type.device = property(device_of)
    array_type.to_device = to_device
    face["__array_api_version__"] = VERSION
    face["__array_namespace_info__"] = namespace_info


explain(globals(), __all__)

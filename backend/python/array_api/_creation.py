"""The standard's creation functions, and `astype`."""

from __future__ import annotations

from typing import Any

import lamina.core as mx
from lamina.array_api._device import placed
from lamina.core import array

__all__ = [
    "arange",
    "asarray",
    "astype",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "zeros",
    "zeros_like",
]


def _sizes(shape: Any) -> list[int]:
    return [shape] if isinstance(shape, int) else list(shape)


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
    """An array of `obj`: of its memory where that goes and `copy` is not True, or of its values."""
    if copy is True:
        return placed("asarray", device, lambda: mx.array(obj, dtype))
    if isinstance(obj, (bool, int, float, complex, list, tuple)):
        if copy is False:
            raise ValueError(f"asarray: {type(obj).__name__} cannot be adopted without a copy")
        return placed("asarray", device, lambda: mx.array(obj, dtype))
    return placed("asarray", device, lambda: mx.asarray(obj, dtype, copy=copy))


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> array:
    """An array over the memory of a DLPack producer."""
    return placed("from_dlpack", device, lambda: mx.from_dlpack(x, copy=copy))


def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: Any = None,
) -> array:
    """From `start`, or 0, up to `stop` without it, in steps of `step`."""
    first, last = (0, start) if stop is None else (start, stop)
    return placed("arange", device, lambda: mx.arange(first, last, step, dtype))


def linspace(
    start: Any,
    stop: Any,
    /,
    num: int,
    *,
    dtype: Any = None,
    device: Any = None,
    endpoint: bool = True,
) -> array:
    """`num` numbers, equally far apart, from `start` to `stop`, which is the last if `endpoint`."""
    dtype = mx.float32 if dtype is None else dtype
    return placed("linspace", device, lambda: mx.linspace(start, stop, num, endpoint, dtype))


def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    *,
    k: int = 0,
    dtype: Any = None,
    device: Any = None,
) -> array:
    """Ones on the k-th diagonal of (n_rows, n_cols), or (n_rows, n_rows), zeros elsewhere."""
    dtype = mx.float32 if dtype is None else dtype
    return placed("eye", device, lambda: mx.eye(n_rows, n_cols, k, dtype))


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> array:
    """`fill_value` everywhere in an array of this shape."""
    return placed("full", device, lambda: mx.full(_sizes(shape), fill_value, dtype))


def full_like(x: array, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> array:
    """`fill_value` everywhere in an array of the shape, and without `dtype` the dtype, of x."""
    return placed("full_like", device, lambda: mx.full(x.shape, fill_value, dtype or x.dtype))


def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> array:
    """Zeros, float32 if no dtype is given."""
    return full(shape, 0, dtype=mx.float32 if dtype is None else dtype, device=device)


def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> array:
    """Ones, float32 if no dtype is given."""
    return full(shape, 1, dtype=mx.float32 if dtype is None else dtype, device=device)


def zeros_like(x: array, /, *, dtype: Any = None, device: Any = None) -> array:
    """Zeros of the shape, and without `dtype` the dtype, of x."""
    return full_like(x, 0, dtype=dtype, device=device)


def ones_like(x: array, /, *, dtype: Any = None, device: Any = None) -> array:
    """Ones of the shape, and without `dtype` the dtype, of x."""
    return full_like(x, 1, dtype=dtype, device=device)


# What lies in new memory is nobody's business: zeros, which cost nothing where they are not read.
empty = zeros
empty_like = zeros_like


def astype(x: array, dtype: Any, /, *, copy: bool = True, device: Any = None) -> array:
    """X in another dtype. Arrays do not change, so that there is nothing to copy for."""
    return placed("astype", device, lambda: mx.astype(x, dtype))

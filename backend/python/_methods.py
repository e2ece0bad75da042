"""Methods of `array` that are functions of the same name, and those that need Python."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from lamina import _core
from lamina._arguments import shown
from lamina._core import array, bfloat16, uint16
from lamina._display import mimebundle

_FUNCTIONS = [
    "abs",
    "all",
    "any",
    "argmax",
    "argmin",
    "cos",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "diag",
    "diagonal",
    "exp",
    "flatten",
    "log",
    "log10",
    "log1p",
    "log2",
    "logcumsumexp",
    "logsumexp",
    "max",
    "mean",
    "min",
    "moveaxis",
    "prod",
    "reciprocal",
    "round",
    "rsqrt",
    "sin",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "sum",
    "swapaxes",
    "view",
    "unflatten",
]


def _passes_stream_on(function: Callable[..., Any]) -> Callable[..., Any]:
    # No wrapper has to look at `stream`: these two are called for every layer of a model.
    function._lamina_streamed = True  # type: ignore[attr-defined]
    return function


@_passes_stream_on
def reshape(self: array, *shape: Any, stream: Any = None) -> array:
    """The same elements under another shape."""
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], (list, tuple)) else shape
    return (
        _core.reshape(self, sizes) if stream is None else _core.reshape(self, sizes, stream=stream)
    )


@_passes_stream_on
def transpose(self: array, *axes: Any, stream: Any = None) -> array:
    """Axes in another order; reversed if none are given."""
    order: Any = axes[0] if axes and isinstance(axes[0], (list, tuple)) else axes or None
    return (
        _core.transpose(self, order)
        if stream is None
        else _core.transpose(self, order, stream=stream)
    )


def _of_spread(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(
        self: array,
        axis: Any = None,
        keepdims: bool = False,
        ddof: int = 0,
        *,
        correction: int | None = None,
        stream: Any = None,
    ) -> array:
        # The array API's name for the same.
        lost = ddof if correction is None else correction
        out: array = function(self, axis, keepdims, lost, stream=stream)
        return out

    method.__name__ = name
    method.__doc__ = function.__doc__
    return method


def conj(self: array, *, stream: Any = None) -> array:
    """Complex conjugate."""
    return _core.conjugate(self)


def to_numpy(self: array, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    # bfloat16, which NumPy lacks, is widened: that is a copy.
    wide, lent = self.dtype == bfloat16, cast(Any, self)
    out: np.ndarray = self._numpy() if wide else np.asarray(memoryview(lent))
    converts = dtype is not None and out.dtype != dtype
    if copy is False and (wide or converts):
        raise ValueError(
            f"__array__: {_core._dtype_name(self.dtype)} is not seen as "
            f"{np.dtype(dtype or np.float32)} without a copy\nUse x.view(mx.uint16) or copy=None"
        )
    if converts:
        return out.astype(dtype)
    return out.copy() if copy else out


class ArrayIterator:
    """The slices of an array along its first axis."""

    __slots__ = ("_array", "_next")

    def __init__(self, array: array) -> None:
        if array.ndim == 0:
            raise TypeError("iteration over an array with no axes")
        self._array = array
        self._next = 0

    def __iter__(self) -> ArrayIterator:
        return self

    def __next__(self) -> array:
        if self._next >= self._array.shape[0]:
            raise StopIteration
        self._next += 1
        return self._array[self._next - 1]


class ArrayLike:
    """An object that is not an array but stands for one, through its `__mlx_array__` method."""

    __slots__ = ("_object",)

    def __init__(self, arg: Any, /) -> None:
        if not hasattr(arg, "__mlx_array__"):
            raise TypeError(f"ArrayLike: the object must have __mlx_array__, got {shown(arg)}")
        self._object = arg

    def __mlx_array__(self) -> array:
        out: array = self._object.__mlx_array__()
        return out


def get_state(self: array) -> tuple[Any, ...]:
    raw = self.view(uint16)._numpy().copy() if self.dtype == bfloat16 else to_numpy(self)
    return raw, _core._dtype_name(self.dtype)


def set_state(self: array, arg: tuple[Any, ...], /) -> None:
    """Take on the value that `__getstate__` gave of another array."""
    self._become(_unpickle(*arg))


def reduce(self: array) -> tuple[Any, ...]:
    return _unpickle, get_state(self)


def namespace(self: array, api_version: str | None = None) -> types.ModuleType:
    """`lamina.array_api`: `lamina.core` under the signatures of the array API standard."""
    if api_version not in (None, *_API_VERSIONS):
        raise ValueError(
            f"__array_namespace__: api_version must be one of {', '.join(_API_VERSIONS)}, "
            f"got {api_version!r}"
        )
    import lamina.array_api  # which imports the core

    return lamina.array_api


def format_(self: array, spec: str) -> str:
    if self.ndim == 0:
        return format(self.item(), spec)
    if spec:
        raise TypeError(
            f"format: {spec!r} needs an array with no axes, this one has shape {tuple(self.shape)}"
        )
    return repr(self)


def to_bytes(self: array) -> bytes:
    return to_numpy(self.view(uint16) if self.dtype == bfloat16 else self).tobytes()


# What the standard calls its editions, as far as the names here go.
_API_VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")


def _unpickle(raw: np.ndarray, dtype: str) -> array:
    x = array(raw, _core._dtype_named(dtype if dtype != "bfloat16" else "uint16"))
    return x.view(bfloat16) if dtype == "bfloat16" else x


def _method(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: array, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    method.__name__ = name
    method.__doc__ = function.__doc__
    method.__wrapped__ = function  # type: ignore[attr-defined]
    return method


def bind(face: dict[str, Any]) -> None:
    """Bind functions of the face as methods: `x.sum(axis=0)` is `sum(x, axis=0)`."""
    for name in _FUNCTIONS:
        setattr(array, name, _method(name, face[name]))
    for name in ("std", "var"):
        setattr(array, name, _of_spread(name, face[name]))
    own: dict[str, Any] = {
        "reshape": reshape,
        "transpose": transpose,
        "conj": conj,
        "__array__": to_numpy,
        "__iter__": lambda self: ArrayIterator(self),
        "__array_namespace__": namespace,
        "__div__": lambda self, other: self / other,
        "__rdiv__": lambda self, other: other / self,
        "__getstate__": get_state,
        "__setstate__": set_state,
        "__reduce__": reduce,
        "__format__": format_,
        "__complex__": lambda self: complex(self.item()),
        "__bytes__": to_bytes,
        "_repr_mimebundle_": mimebundle,
        "__array_priority__": 100,
        "__module__": "lamina.core",
    }
    for name, value in own.items():
        setattr(array, name, value)

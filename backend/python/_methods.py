"""Methods of `array` that are functions of the same name, and those that need Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from lamina import _core
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
    "std",
    "sum",
    "swapaxes",
    "var",
    "view",
    "unflatten",
]


def reshape(self: array, *shape: Any, stream: Any = None) -> array:
    """The same elements under another shape."""
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], (list, tuple)) else shape
    return _core.reshape(self, sizes)


def transpose(self: array, *axes: Any, stream: Any = None) -> array:
    """Axes in another order; reversed if none are given."""
    if not axes:
        return _core.transpose(self)
    return _core.transpose(self, axes[0] if isinstance(axes[0], (list, tuple)) else axes)


def conj(self: array, *, stream: Any = None) -> array:
    """Complex conjugate."""
    return _core.conjugate(self)


def to_numpy(self: array, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    out = self._numpy()
    if dtype is not None and out.dtype != dtype:
        return out.astype(dtype)
    if copy:
        return out.copy()
    # The memory may be read by plans to come, so a view of it is read-only.
    out.flags.writeable = False
    return out


def iterate(self: array) -> Any:
    if self.ndim == 0:
        raise TypeError("iteration over an array with no axes")
    return (self[i] for i in range(self.shape[0]))


def reduce(self: array) -> tuple[Any, ...]:
    raw = self.view(uint16)._numpy().copy() if self.dtype == bfloat16 else to_numpy(self)
    return _unpickle, (raw, _core._dtype_name(self.dtype))


def format_(self: array, spec: str) -> str:
    return format(self.item(), spec) if spec else repr(self)


def _unpickle(raw: np.ndarray, dtype: str) -> array:
    x = array(raw, _core._dtype_named(dtype if dtype != "bfloat16" else "uint16"))
    return x.view(bfloat16) if dtype == "bfloat16" else x


def bind(face: dict[str, Any]) -> None:
    """Bind functions of the face as methods: `x.sum(axis=0)` is `sum(x, axis=0)`."""
    for name in _FUNCTIONS:
        function = face[name]

        def method(self: array, *args: Any, _f: Any = function, **kwargs: Any) -> Any:
            return _f(self, *args, **kwargs)

        method.__name__ = name
        method.__doc__ = function.__doc__
        setattr(array, name, method)
    own: dict[str, Any] = {
        "reshape": reshape,
        "transpose": transpose,
        "conj": conj,
        "__array__": to_numpy,
        "__iter__": iterate,
        "__reduce__": reduce,
        "__format__": format_,
        "__complex__": lambda self: complex(self.item()),
        "__bytes__": lambda self: to_numpy(self).tobytes(),
        "_repr_mimebundle_": mimebundle,
        "__array_priority__": 100,
        "__module__": "lamina.core",
    }
    for name, value in own.items():
        setattr(array, name, value)

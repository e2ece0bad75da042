"""The array interface: names, signatures and behaviour follow `mlx.core`.

Compiled operations come from `lamina._core`; compositions of them from the private modules beside
this one. Functions that exist as methods of `array` are bound to it here.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from lamina import _composite, _core
from lamina import _random as random  # noqa: F401
from lamina import fast as fast
from lamina import linalg as linalg
from lamina._composite import *  # noqa: F403
from lamina._core import *  # noqa: F403
from lamina._core import (
    _module_scope_pop as _module_scope_pop,
)
from lamina._core import (
    _module_scope_push as _module_scope_push,
)
from lamina._core import (
    _set_category as _set_category,
)
from lamina._core import (
    _trace_enabled as _trace_enabled,
)
from lamina._core import array as array
from lamina._creation import *  # noqa: F403
from lamina._display import mimebundle as _mimebundle
from lamina._dtypes import *  # noqa: F403
from lamina._einsum import *  # noqa: F403
from lamina._io import *  # noqa: F403
from lamina._linear import *  # noqa: F403
from lamina._runtime import *  # noqa: F403
from lamina._shaping import *  # noqa: F403

# The row of the same name knows no decimals.
round = _composite.round

pi = math.pi
e = math.e
inf = math.inf
nan = math.nan
euler_gamma = 0.5772156649015329
newaxis = None

_ALIASES = {
    "acos": "arccos",
    "acosh": "arccosh",
    "asin": "arcsin",
    "asinh": "arcsinh",
    "atan": "arctan",
    "atan2": "arctan2",
    "atanh": "arctanh",
    "pow": "power",
    "conj": "conjugate",
    "bitwise_left_shift": "left_shift",
    "bitwise_right_shift": "right_shift",
    "cumulative_sum": "cumsum",
    "cumulative_prod": "cumprod",
}
for _alias, _name in _ALIASES.items():
    globals()[_alias] = globals()[_name]


def positive(a: array, /, *, stream: Any = None) -> array:
    """A itself."""
    return a


def matrix_transpose(a: array, /, *, stream: Any = None) -> array:
    """The last two axes exchanged."""
    return a.mT


def asarray(a: Any, dtype: Any = None, *, copy: bool | None = None) -> array:
    """An array over `a`: without a copy where dtype and alignment allow and `copy` is not True.

    Memory of NumPy arrays and DLPack producers is adopted then, and later writes to it show.
    """
    if isinstance(a, array):
        return a if dtype is None else a.astype(dtype)
    if copy is not True and hasattr(a, "__dlpack__"):
        producer = a
        if isinstance(a, np.ndarray) and not a.flags.writeable:
            producer = None
        if producer is not None:
            try:
                x = _core._from_dlpack(producer, False)
                return x if dtype is None else x.astype(dtype)
            except (BufferError, TypeError):
                pass
    if copy is False:
        raise ValueError(f"asarray: {type(a).__name__} cannot be adopted without a copy")
    return array(a, dtype)


def from_dlpack(x: Any, /, *, copy: bool | None = None) -> array:
    """An array over the memory of a DLPack producer."""
    return _core._from_dlpack(x, bool(copy))


class ArrayAt:
    """`x.at[index].add(value)` and its kin: copies of x with elements joined at an index."""

    def __init__(self, x: array, index: Any = None) -> None:
        self._x = x
        self._index = index

    def __getitem__(self, indices: Any) -> ArrayAt:
        return ArrayAt(self._x, indices)

    def add(self, value: Any) -> array:
        """X with value added; repeated indices add up."""
        return self._x._scatter_item(self._index, value, "add")

    def subtract(self, value: Any) -> array:
        """X with value subtracted."""
        return self._x._scatter_item(self._index, value, "subtract")

    def multiply(self, value: Any) -> array:
        """X multiplied by value."""
        return self._x._scatter_item(self._index, value, "multiply")

    def divide(self, value: Any) -> array:
        """X divided by value."""
        return self._x._scatter_item(self._index, value, "divide")

    def maximum(self, value: Any) -> array:
        """The larger of x and value."""
        return self._x._scatter_item(self._index, value, "maximum")

    def minimum(self, value: Any) -> array:
        """The smaller of x and value."""
        return self._x._scatter_item(self._index, value, "minimum")


def _bind_methods() -> None:
    """Functions that are also methods: `x.sum(axis=0)` is `sum(x, axis=0)`."""
    plain = [
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
    for name in plain:
        function = globals()[name]

        def method(self: array, *args: Any, _f: Any = function, **kwargs: Any) -> Any:
            return _f(self, *args, **kwargs)

        method.__name__ = name
        method.__doc__ = function.__doc__
        setattr(array, name, method)

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
        return out.copy() if copy or copy is None else out

    def iterate(self: array) -> Any:
        if self.ndim == 0:
            raise TypeError("iteration over an array with no axes")
        return (self[i] for i in range(self.shape[0]))

    def reduce(self: array) -> tuple[Any, ...]:
        raw = self.view(uint16)._numpy().copy() if self.dtype == bfloat16 else to_numpy(self)  # noqa: F405
        return _unpickle, (raw, _core._dtype_name(self.dtype))

    def format_(self: array, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    array.reshape = reshape
    array.transpose = transpose
    array.conj = conj
    array.__array__ = to_numpy
    array.__iter__ = iterate
    array.__reduce__ = reduce
    array.__format__ = format_
    array.__complex__ = lambda self: complex(self.item())
    array.__bytes__ = lambda self: to_numpy(self).tobytes()
    array._repr_mimebundle_ = _mimebundle
    array.__array_priority__ = 100
    array.__module__ = "lamina.core"


def _unpickle(raw: np.ndarray, dtype: str) -> array:
    x = array(raw, _core._dtype_named(dtype if dtype != "bfloat16" else "uint16"))
    return x.view(bfloat16) if dtype == "bfloat16" else x  # noqa: F405


_bind_methods()
_core._set_package(os.path.dirname(os.path.abspath(__file__)))

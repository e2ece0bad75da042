"""The array interface: names, signatures and behaviour follow `mlx.core`.

Compiled operations come from `lamina._core`; compositions of them from the private modules beside
this one. Functions that exist as methods of `array` are bound to it here.
"""

from __future__ import annotations

import math
import os
import sys
from typing import Any

import lamina
import numpy as np
from lamina import _composite, _core, _methods, _runtime, _standard
from lamina import _random as random
from lamina import cuda as cuda
from lamina import distributed as distributed
from lamina import fast as fast
from lamina import fft as fft
from lamina import linalg as linalg
from lamina import metal as metal
from lamina._arguments import explain, shown
from lamina._compile import *  # noqa: F403
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
from lamina._dtypes import *  # noqa: F403
from lamina._einsum import *  # noqa: F403
from lamina._export import *  # noqa: F403
from lamina._io import *  # noqa: F403
from lamina._linear import *  # noqa: F403
from lamina._methods import ArrayIterator as ArrayIterator
from lamina._methods import ArrayLike as ArrayLike
from lamina._printing import *  # noqa: F403
from lamina._quantized import *  # noqa: F403
from lamina._runtime import *  # noqa: F403
from lamina._shaping import *  # noqa: F403
from lamina._standard import *  # noqa: F403

# The row of the same name knows no decimals.
round = _composite.round

pi = math.pi
e = math.e
inf = math.inf
nan = math.nan
euler_gamma = 0.5772156649015329
newaxis = None
__version__ = lamina.__version__

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


matrix_norm = linalg.norm


def matrix_transpose(a: array, /, *, stream: Any = None) -> array:
    """The last two axes exchanged."""
    return a.mT


def asarray(a: Any, dtype: Any = None, *, copy: bool | None = None) -> array:
    """An array over `a`: without a copy where dtype and alignment allow and `copy` is not True.

    Memory of NumPy arrays and DLPack producers is adopted then, and later writes to it show. As in
    `array`, NumPy's float64 is only kept where it is asked for, or where `copy` is False.
    """
    if isinstance(a, array):
        return a if dtype is None else a.astype(dtype)
    if isinstance(a, np.ndarray) and a.dtype == np.float64 and dtype is None and copy is None:
        return array(a)
    if copy is not True and hasattr(a, "__dlpack__"):
        try:
            x = _core._from_dlpack(a, copy)
            return x if dtype is None else x.astype(dtype)
        except (BufferError, TypeError):
            pass
    if copy is False:
        raise ValueError(f"asarray: {type(a).__name__} cannot be adopted without a copy")
    return array(a, dtype)


def from_dlpack(x: Any, /, *, copy: bool | None = None) -> array:
    """An array over the memory of a DLPack producer; `copy` says always (True) or never (False)."""
    if not hasattr(x, "__dlpack__"):
        raise TypeError(f"from_dlpack: x must have __dlpack__, got {shown(x)}")
    return _core._from_dlpack(x, copy)


explain(globals(), ["positive", "matrix_transpose"])


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


for _face in (globals(), vars(random), vars(linalg), vars(fft), vars(fast), vars(_methods)):
    _runtime.bind_streams(_face)
# This module is no package, yet its namespaces are imported like one's modules.
for _inner in (cuda, fast, fft, linalg, metal, random):
    sys.modules[f"{__name__}.{_inner.__name__.rpartition('.')[2].lstrip('_')}"] = _inner
_methods.bind(globals())
_standard.bind(array, globals())
_core._set_package(os.path.dirname(os.path.abspath(__file__)))

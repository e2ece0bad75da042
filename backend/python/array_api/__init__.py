"""The namespace of the array API standard, edition 2024.12: `x.__array_namespace__()`.

The functions of `lamina.core` under the standard's signatures, with `device=`; whatever else
`lamina.core` has is here too. `complex128` is not: lamina has no such dtype.
"""

from __future__ import annotations

from typing import Any

import lamina.core as _core
from lamina.array_api import fft, linalg
from lamina.array_api._creation import *  # noqa: F403
from lamina.array_api._creation import __all__ as _creation
from lamina.array_api._functions import *  # noqa: F403
from lamina.array_api._functions import __all__ as _functions
from lamina.core import bool_ as bool

__all__ = [*_creation, *_functions, "bool", "fft", "linalg"]


def __getattr__(name: str) -> Any:
    try:
        return getattr(_core, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*__all__, *dir(_core)})

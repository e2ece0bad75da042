"""Functions whose graph is kept, so that a later call does not run their Python again."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

from lamina import _core as _c
from lamina._arguments import shown
from lamina._shapeless import Calls

__all__ = ["compile", "disable_compile", "enable_compile"]

_F = TypeVar("_F", bound=Callable[..., Any])


class _Mode:
    """Whether compiled functions use their traces."""

    on = "MLX_DISABLE_COMPILE" not in os.environ


def compile(fun: _F, inputs: Any = None, outputs: Any = None, shapeless: bool = False) -> _F:
    """A function of the same results as `fun` that spares running its Python.

    The first call with arguments of one form (structure, shapes, dtypes, values of Python
    constants) runs `fun` on stand-ins and keeps the graph it builds; later calls of the form put
    that graph on their arguments. Arguments and results are arrays, constants, and lists, tuples
    and dicts of them.

    `inputs` and `outputs` are trees (lists and dicts) of arrays that `fun` reads and changes beside
    its arguments, such as ``[model.state, optimizer.state, mx.random.state]``: they are taken from
    there and written back at every call. An array that `fun` reads from elsewhere keeps the value
    it had.

    With `shapeless` one trace serves arguments of all sizes that have its ranks and dtypes: the
    calls that `fun` made are made again for new sizes, without its Python. Sizes that it passes on
    (``x.reshape(x.shape[0], -1)``, ``x / x.shape[1]``) follow the arguments. Where it took a size's
    value or decided by it, in a ``range`` or an ``if``, sizes that would have led elsewhere are
    refused.

    Raises:
        TypeError: `fun` cannot be called.
        ValueError: an argument is no array, constant or tree of them.
        TraceError: `fun` evaluates an array that depends on its arguments; or, with `shapeless`,
            the trace does not hold for these sizes.

    """
    if not callable(fun):
        raise TypeError(f"compile: fun must be callable, got {shown(fun)}")
    traces = _c._Traces(Calls if shapeless else None)

    def compiled(*args: Any, **kwargs: Any) -> Any:
        if not _Mode.on:
            return fun(*args, **kwargs)
        return traces(fun, inputs, outputs, args, kwargs)

    functools.update_wrapper(compiled, fun, updated=())
    compiled._traces = traces  # type: ignore[attr-defined]
    return compiled  # type: ignore[return-value]


def disable_compile() -> None:
    """Compiled functions run their Python at every call, as with MLX_DISABLE_COMPILE set."""
    _Mode.on = False


def enable_compile() -> None:
    """Compiled functions use their traces, also where MLX_DISABLE_COMPILE is set."""
    _Mode.on = True

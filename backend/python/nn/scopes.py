"""Tells the engine which module is being called, while a trace is recorded.

Paths are relative to the outermost module called: its own is ``""``, that of a child is the
dotted attribute path, e.g. ``"layers.0.self_attn"``.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from lamina.core import _module_scope_pop, _module_scope_push, _trace_enabled


class _Scopes(threading.local):
    def __init__(self) -> None:
        self.calls: list = []  # (module, path) from the outermost call inwards
        self.paths: dict = {}  # id of a module -> path, for modules below the outermost


_scopes = _Scopes()


def scoped(call: Callable) -> Callable:
    """Wrap a module's ``__call__`` so that a recorded call is attributed to the module's path."""
    if getattr(call, "_lamina_scoped", False):
        return call

    # Bound once here: this wrapper is on the path of every layer call, traced or not.
    enabled = _trace_enabled

    @functools.wraps(call)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        if enabled():
            return _call_in_scope(call, self, args, kwargs)
        return call(self, *args, **kwargs)

    wrapper._lamina_scoped = True  # type: ignore[attr-defined]
    return wrapper


def _path_of(module: Any) -> str:
    calls = _scopes.calls
    if not calls:
        # The structure may have changed since the last call, so it is walked again.
        paths: dict = {}
        for name, found in module.named_modules():
            paths.setdefault(id(found), name)
        _scopes.paths = paths
        return ""
    path = _scopes.paths.get(id(module))
    if path is None:  # made on the fly, or kept where modules are not looked for
        parent = calls[-1][1]
        name = type(module).__name__
        path = f"{parent}.{name}" if parent else name
    return path


def _call_in_scope(call: Callable, module: Any, args: tuple, kwargs: dict) -> Any:
    calls = _scopes.calls
    if calls and calls[-1][0] is module:  # super().__call__: still the same module
        return call(module, *args, **kwargs)
    path = _path_of(module)
    calls.append((module, path))
    _module_scope_push(path)
    try:
        return call(module, *args, **kwargs)
    finally:
        _module_scope_pop()
        calls.pop()

"""Tells the engine which module is being called, while a trace is recorded.

Paths are relative to the outermost module called: its own is ``""``, that of a child is the
dotted attribute path, e.g. ``"layers.0.self_attn"``.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import FunctionType
from typing import Any, cast

from lamina.core import _module_scope_pop, _module_scope_push, _trace_enabled


class _Scopes(threading.local):
    def __init__(self) -> None:
        self.calls: list[tuple[Any, str]] = []  # (module, path) from the outermost call inwards
        # id of an outermost module -> id of a module below it -> (its path, the keys to it).
        self.known: dict[int, dict[int, tuple[str, tuple[Any, ...]]]] = {}
        self.walked = False  # whether `known` was made anew in the outermost call under way


_scopes = _Scopes()
# Kept for as many outermost modules as one program is likely to alternate between.
_MAX_KNOWN = 16


def scoped(call: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a module's ``__call__`` so that a recorded call is attributed to the module's path."""
    if getattr(call, "_lamina_scoped", False):
        return call
    wrapper = _same_parameters(call) if isinstance(call, FunctionType) else _any_parameters(call)
    functools.update_wrapper(wrapper, call)
    wrapper._lamina_scoped = True  # type: ignore[attr-defined]
    return wrapper


def _any_parameters(call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _trace_enabled():
            return _call_in_scope(call, self, *args, **kwargs)
        return call(self, *args, **kwargs)

    return wrapper


def _same_parameters(call: FunctionType) -> Callable[..., Any]:
    """A wrapper written out with the parameters of `call`.

    It is on the path of every layer call, traced or not, and packing arguments into ``*args`` and
    ``**kwargs`` would cost several times as much as the check itself.
    """
    code = call.__code__
    positional, keyword = code.co_argcount, code.co_kwonlyargcount
    names = list(code.co_varnames[: positional + keyword])
    if not positional or "_call" in names or "_enabled" in names or "_in_scope" in names:
        return _any_parameters(call)
    first_default = positional - len(call.__defaults__ or ())
    # The real defaults are put in below; here it only matters that there is one.
    parameters = [
        f"{n}=None" if i >= first_default else n for i, n in enumerate(names[:positional])
    ]
    if code.co_posonlyargcount:
        parameters.insert(code.co_posonlyargcount, "/")
    arguments = names[:positional]
    rest = list(code.co_varnames[positional + keyword :])
    if code.co_flags & CO_VARARGS:
        parameters.append(f"*{rest[0]}")
        arguments.append(f"*{rest.pop(0)}")
    elif keyword:
        parameters.append("*")
    for name in names[positional:]:
        parameters.append(f"{name}=None" if name in (call.__kwdefaults__ or {}) else name)
        arguments.append(f"{name}={name}")
    if code.co_flags & CO_VARKEYWORDS:
        parameters.append(f"**{rest[0]}")
        arguments.append(f"**{rest[0]}")
    passed = ", ".join(arguments)
    source = (
        f"def wrapper({', '.join(parameters)}):\n"
        f"    if _enabled():\n"
        f"        return _in_scope(_call, {passed})\n"
        f"    return _call({passed})\n"
    )
    space = {
        "_call": call,
        "_enabled": _trace_enabled,
        "_in_scope": _call_in_scope,
        "__name__": __name__,
    }
    # The name keeps the frame inside this package for whoever looks for the user's own line.
    exec(compile(source, f"{__file__}:{call.__qualname__}", "exec"), space)
    wrapper = cast("FunctionType", space["wrapper"])
    wrapper.__defaults__ = call.__defaults__
    wrapper.__kwdefaults__ = call.__kwdefaults__
    return wrapper


def _keys(root: Any, path: str) -> tuple[Any, ...]:
    """The dict keys and list indices that `path` stands for; none where it cannot be followed."""
    keys: list[Any] = []
    node = root
    for part in path.split("."):
        key = int(part) if isinstance(node, list) else part
        if isinstance(node, dict) and key not in node:
            return ()
        node = node[key]
        keys.append(key)
    return tuple(keys)


def _is_at(root: Any, keys: tuple[Any, ...], module: Any) -> bool:
    node = root
    try:
        for key in keys:
            node = node[key]
    except (KeyError, IndexError, TypeError):
        return False
    return node is module


def _path_of(module: Any) -> str:
    """Path of a module about to be called.

    Paths are remembered from call to call, since walking a large model takes as long as running
    it, and each is checked where it is used: the structure may have changed.
    """
    if not _scopes.calls:
        _scopes.walked = False
        return ""
    root, parent = _scopes.calls[0][0], _scopes.calls[-1][1]
    path, keys = _scopes.known.get(id(root), {}).get(id(module), ("", ()))
    if keys and _is_at(root, keys, module):
        return path
    if not _scopes.walked:
        _scopes.walked = True
        if len(_scopes.known) >= _MAX_KNOWN:
            _scopes.known.clear()
        found: dict[int, tuple[str, tuple[Any, ...]]] = {}
        for name, below in root.named_modules()[1:]:
            found.setdefault(id(below), (name, _keys(root, name)))
        _scopes.known[id(root)] = found
        if id(module) in found:
            return found[id(module)][0]
    # Made on the fly, or kept where modules are not looked for.
    name = type(module).__name__
    return f"{parent}.{name}" if parent else name


def _call_in_scope(call: Callable[..., Any], module: Any, /, *args: Any, **kwargs: Any) -> Any:
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

"""What was wrong with a call: found from the annotations, once the call has failed.

A call that succeeds pays for nothing but the wrapper; one that fails with Python's own complaint
about a value of the wrong kind is answered by the function's name, the argument, what it may be
and what it was.
"""

from __future__ import annotations

import functools
import math
import re
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from lamina import _core
from lamina._core import Dtype, LaminaError, array

_NAMES = {
    array: "an array",
    int: "an int",
    float: "a number",
    bool: "True or False",
    str: "a str",
    Dtype: "a dtype",
    type(None): "None",
}
_PLURALS = {array: "arrays", int: "ints", float: "numbers", bool: "bools", str: "strs"}
_UNIONS = (typing.Union, types.UnionType)


def _sequence_of(hint: Any) -> Any:
    """The elements' annotation where `hint` is some sequence, else None."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (list, tuple, Sequence):
        return arguments[0] if arguments else Any
    return None


def _fits(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    if typing.get_origin(hint) in _UNIONS:
        return any(_fits(value, h) for h in typing.get_args(hint))
    element = _sequence_of(hint)
    if element is not None:
        return isinstance(value, (list, tuple)) and all(_fits(v, element) for v in value)
    if hint is int:
        return isinstance(value, (int, np.integer)) and -(2**63) <= int(value) < 2**63
    if hint is float:
        return isinstance(value, (int, float, np.number))
    return isinstance(value, hint) if hint in _NAMES else True


def _wanted(hint: Any) -> str:
    if typing.get_origin(hint) in _UNIONS:
        kinds = [_wanted(h) for h in typing.get_args(hint)]
        return " or ".join(dict.fromkeys(kinds))
    element = _sequence_of(hint)
    if element is not None:
        return f"a list of {_PLURALS.get(element, 'values')}"
    return _NAMES.get(hint, str(hint))


def shown(value: Any) -> str:
    """A value in an error message: short, with its kind."""
    kind = type(value).__name__
    if isinstance(value, (array, np.ndarray)):
        return f"{kind} of shape {tuple(value.shape)}"
    text = repr(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"{text} ({kind})"


def _complaint(function: Callable[..., Any], args: Any, kwargs: Any) -> str | None:
    """One line on the first argument that does not fit its annotation, if any."""
    import inspect  # slow to import, and rarely needed

    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return None
    hints = typing.get_type_hints(function)
    parameters = inspect.signature(function).parameters
    for name, value in bound.arguments.items():
        hint = hints.get(name, Any)
        many = parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
        for one in value if many else [value]:
            if not _fits(one, hint):
                return f"{function.__name__}: {name} must be {_wanted(hint)}, got {shown(one)}"
    return None


# What the binding library calls the kinds of arguments: what fits, in words.
_BOUND: dict[str, tuple[Callable[[Any], bool], str]] = {
    "array": (lambda x: isinstance(x, array), "an array"),
    "bool": (lambda x: isinstance(x, (bool, np.bool_)), "True or False"),
    "str": (lambda x: isinstance(x, str), "a str"),
    "typing.SupportsInt": (lambda x: hasattr(x, "__index__"), "an int"),
    "typing.SupportsFloat": (lambda x: hasattr(x, "__float__"), "a number"),
    "lamina._core.Dtype": (lambda x: isinstance(x, Dtype), "a dtype"),
    "collections.abc.Callable": (callable, "a function"),
    "collections.abc.Sequence": (lambda x: isinstance(x, (list, tuple)), "a list or tuple"),
    "tuple": (lambda x: isinstance(x, tuple), "a tuple"),
    "None": (lambda x: x is None, "None"),
}


def _misfit(value: Any, bound: str) -> str | None:
    """What an argument may be, of the kinds that the binding library lists, if it is none."""
    kinds = [k.partition("[")[0] for k in bound.split(" | ") if k != "typing.SupportsIndex"]
    if not kinds or any(k not in _BOUND or _BOUND[k][0](value) for k in kinds):
        return None
    return " or ".join(_BOUND[k][1] for k in kinds)


def _refused_by(name: str, listed: str, args: Any, kwargs: Any) -> str | None:
    """One line on a call that does not fit one listed signature, `(a: array, axis: int = 0)`."""
    import inspect  # slow to import, and rarely needed

    scope: dict[str, Any] = {"lamina": sys.modules["lamina"], "math": math}
    try:
        exec(f"from __future__ import annotations\ndef f{listed}: ...", scope)
        signature = inspect.signature(scope["f"])
    except Exception:
        return None
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        plain = [
            p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()
        ]
        takes = inspect.Signature([p for p in plain if p.name != "self"])
        return f"{name}: {error}; it takes {takes}"
    for key, value in bound.arguments.items():
        wanted = _misfit(value, signature.parameters[key].annotation)
        if wanted is None:
            continue
        hint = ""
        if wanted == "an array" and isinstance(value, (int, float, complex, list, np.ndarray)):
            hint = "\nmx.array makes one"
        return f"{name}: {key} must be {wanted}, got {shown(value)}{hint}"
    return None


def refused(text: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The message for a call that the binding library refused with `text`."""
    name = text.partition("(): incompatible ")[0]
    listed = re.findall(r"^ +\d+\. ([\w.]*)(\(.*?\))(?: -> .*)?$", text, re.MULTILINE)
    made = listed[0][0].rpartition(".")[2] if listed else ""
    if made:  # a constructor, which is given what it makes
        name, args = made, args[1:]
    said = [t for _, s in listed if (t := _refused_by(name, s, args, kwargs))]
    if said:
        return said[0]
    given = [shown(x) for x in args] + [f"{k}={shown(x)}" for k, x in kwargs.items()]
    return f"{name}: cannot be called with ({', '.join(given)})\n" + "\n".join(
        f"It takes {s}" for _, s in listed
    )


# Traces without sizes that are being made, on any thread (see _shapeless).
traces: list[Any] = []
# Functions whose calls such a trace keeps whole, by the name it keeps.
wholes: dict[str, Callable[..., Any]] = {}


def _told(name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """What a trace on this thread gives for a call that concerns it, else Ellipsis."""
    to = _core._listener()
    if to is None or not (_core._concerns(args) or _core._concerns(kwargs)):
        return ...
    return to.call(name, function, args, kwargs)


def whole(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which computes from sizes and depends on its arguments alone."""
    name = f"{function.__module__}.{function.__name__}"

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        told = _told(name, call, args, kwargs) if traces else ...
        return function(*args, **kwargs) if told is ... else told

    wholes[name] = call
    return call


def explained(function: Callable[..., Any], state: bool = False) -> Callable[..., Any]:
    """`function`, answering values of the wrong kind with a TypeError that names them.

    It is `whole` too, unless it reads or writes a `state`.
    """
    name = function.__name__
    kept = f"{function.__module__}.{name}"

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if traces and not state:
            told = _told(kept, call, args, kwargs)
            if told is not ...:
                return told
        try:
            return function(*args, **kwargs)
        except (TypeError, AttributeError, OverflowError, ValueError, IndexError) as error:
            meant = isinstance(error, LaminaError) or str(error).startswith(f"{name}:")
            complaint = None if meant else _complaint(function, args, kwargs)
            if complaint is None:
                raise
        raise TypeError(complaint)

    if not state:
        wholes[kept] = call
    return call


def explain(namespace: dict[str, Any], names: Sequence[str], state: bool = False) -> None:
    """Wrap those of `names` that are Python functions in place."""
    for name in names:
        if isinstance(namespace[name], types.FunctionType):
            namespace[name] = explained(namespace[name], state)

"""Numbers that follow sizes: what `x.shape[0]` is while a function is traced without sizes.

Arithmetic on such a number gives another one. Whatever needs its value, or decides by it, makes a
condition of the trace: a later call for which it does not hold is refused.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from lamina import _core as _c

__all__ = ["Number", "Real", "Whole", "number", "plain"]

_BINARY = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"),
    *("and_", "or_", "xor", "lshift", "rshift"),
)
_UNARY = ("neg", "pos", "abs", "invert")
_COMPARE = ("lt", "le", "eq", "ne", "gt", "ge")
# Operations that the specification of a number may name.
OPERATIONS: dict[str, Callable[..., Any]] = {
    name: getattr(operator, name) for name in (*_BINARY, *_UNARY)
}
OPERATIONS.update(round=round, trunc=math.trunc, floor=math.floor, ceil=math.ceil)
COMPARISONS: dict[str, Callable[..., Any]] = {name: getattr(operator, name) for name in _COMPARE}


class Number:
    """A number of a trace: its value here, and how it is computed from sizes."""

    __slots__ = ("spec", "trace", "value")
    value: Any

    def __init__(self, trace: Any, spec: tuple[Any, ...], value: Any) -> None:
        self.trace, self.spec, self.value = trace, spec, value

    # What asks for an int or a float by its class is content.
    @property
    def __class__(self) -> type:
        return type(self.value)

    @__class__.setter
    def __class__(self, _: type) -> None:
        raise TypeError("a number's class cannot be changed")

    def settled(self) -> Any:
        """The value itself, which becomes a condition."""
        self.trace.settle(self)
        return self.value

    def __int__(self) -> int:
        return int(self.settled())

    def __float__(self) -> float:
        return float(self.settled())

    def __complex__(self) -> complex:
        return complex(self.settled())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self.settled(), dtype)

    def __bool__(self) -> bool:
        return bool(self.trace.decide("ne", self, 0))

    def __hash__(self) -> int:
        return hash(self.settled())

    def __str__(self) -> str:
        return str(self.settled())

    def __repr__(self) -> str:
        return repr(self.settled())

    def __format__(self, spec: str) -> str:
        return format(self.settled(), spec)

    def __round__(self, digits: int | None = None) -> Any:
        return _applied("round", self, self, *([] if digits is None else [digits]))

    def __trunc__(self) -> Any:
        return _applied("trunc", self, self)

    def __floor__(self) -> Any:
        return _applied("floor", self, self)

    def __ceil__(self) -> Any:
        return _applied("ceil", self, self)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __reduce__(self) -> Any:
        return type(self.value), (self.settled(),)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.settled(), name)


class Whole(Number):
    """An int of a trace."""

    __slots__ = ()

    def __index__(self) -> int:
        return int(self.settled())


class Real(Number):
    """A float of a trace."""

    __slots__ = ()


def _is_number(x: Any) -> bool:
    return type(x) in (Whole, Real)


def number(trace: Any, spec: tuple[Any, ...], value: Any) -> Number:
    return (Whole if isinstance(value, int) else Real)(trace, spec, value)


def plain(value: Any) -> Any:
    """A tree with the values of its numbers; itself if it has none."""
    if _is_number(value):
        return value.value
    if not _c._concerns(value):
        return value
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, slice):
        return slice(plain(value.start), plain(value.stop), plain(value.step))
    if isinstance(value, (list, tuple)):
        items = [plain(v) for v in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def _applied(name: str, of: Number, *arguments: Any) -> Any:
    """The number that an operation on numbers gives."""
    for other in arguments:
        # An array, or what is repeated so many times, answers itself.
        if isinstance(other, (_c.array, str, bytes, list, tuple)):
            return NotImplemented
        if not isinstance(other, (int, float)):
            return OPERATIONS[name](*(a.settled() if _is_number(a) else a for a in arguments))
    value = OPERATIONS[name](*(plain(a) for a in arguments))
    if not of.trace.listening or not isinstance(value, (int, float)):
        return value
    specs = tuple(a.spec if _is_number(a) else ("value", a) for a in arguments)
    return number(of.trace, ("op", name, specs), value)


def _forward(name: str) -> Callable[[Number, Any], Any]:
    return lambda self, other: _applied(name, self, self, other)


def _reflected(name: str) -> Callable[[Number, Any], Any]:
    return lambda self, other: _applied(name, self, other, self)


def _comparison(name: str) -> Callable[[Number, Any], Any]:
    def compared(self: Number, other: Any) -> Any:
        if other is None or isinstance(other, (_c.array, str, bytes, list, tuple, dict)):
            return NotImplemented
        if not isinstance(other, (int, float)):
            return COMPARISONS[name](self.settled(), other)
        return self.trace.decide(name, self, other)

    return compared


for _name in _BINARY:
    _bare = _name.rstrip("_")
    setattr(Number, f"__{_bare}__", _forward(_name))
    setattr(Number, f"__r{_bare}__", _reflected(_name))
for _name in _UNARY:
    setattr(Number, f"__{_name}__", lambda self, name=_name: _applied(name, self, self))
for _name in _COMPARE:
    setattr(Number, f"__{_name}__", _comparison(_name))
_c._number_types(Whole, Real)

"""Dtype categories, their relations, and the limits of each dtype."""

from __future__ import annotations

import enum
import math
from typing import Any

from lamina import _core as _c
from lamina._core import Dtype

__all__ = [
    "DtypeCategory",
    "can_cast",
    "complexfloating",
    "finfo",
    "floating",
    "generic",
    "iinfo",
    "inexact",
    "integer",
    "isdtype",
    "issubdtype",
    "number",
    "result_type",
    "signedinteger",
    "unsignedinteger",
]


class DtypeCategory(enum.Enum):
    """A set of dtypes; `issubdtype` tells which dtypes and categories lie in it."""

    complexfloating = 0
    floating = 1
    inexact = 2
    signedinteger = 3
    unsignedinteger = 4
    integer = 5
    number = 6
    generic = 7

    def __repr__(self) -> str:
        return f"DtypeCategory.{self.name}"

    __str__ = __repr__


complexfloating = DtypeCategory.complexfloating
floating = DtypeCategory.floating
inexact = DtypeCategory.inexact
signedinteger = DtypeCategory.signedinteger
unsignedinteger = DtypeCategory.unsignedinteger
integer = DtypeCategory.integer
number = DtypeCategory.number
generic = DtypeCategory.generic

_PARENT = {
    complexfloating: inexact,
    floating: inexact,
    signedinteger: integer,
    unsignedinteger: integer,
    inexact: number,
    integer: number,
    number: generic,
}


def _name(dtype: Dtype) -> str:
    return str(_c._dtype_name(dtype))


def _category(dtype: Dtype) -> DtypeCategory:
    name = _name(dtype)
    if name.startswith("complex"):
        return complexfloating
    if "float" in name:
        return floating
    if name.startswith("uint"):
        return unsignedinteger
    return signedinteger if name.startswith("int") else generic


def issubdtype(arg1: Dtype | DtypeCategory, arg2: Dtype | DtypeCategory) -> bool:
    """Whether `arg1` lies in `arg2`; a dtype lies in itself but in no other dtype."""
    for arg in (arg1, arg2):
        if not isinstance(arg, (Dtype, DtypeCategory)):
            raise TypeError(f"issubdtype: expected dtypes or categories, got {type(arg).__name__}")
    if isinstance(arg2, Dtype):
        return bool(arg1 == arg2)
    at: DtypeCategory | None = _category(arg1) if isinstance(arg1, Dtype) else arg1
    while at is not None and at is not arg2:
        at = _PARENT.get(at)
    return at is arg2


_KINDS: dict[str, tuple[DtypeCategory, ...]] = {
    "bool": (),
    "signed integer": (signedinteger,),
    "unsigned integer": (unsignedinteger,),
    "integral": (integer,),
    "real floating": (floating,),
    "complex floating": (complexfloating,),
    "numeric": (number,),
}


def isdtype(dtype: Dtype, kind: Dtype | str | tuple[Dtype | str, ...]) -> bool:
    """Whether `dtype` is of a kind: a dtype, a name of the array API standard, or any of a tuple.

    The names are "bool", "signed integer", "unsigned integer", "integral", "real floating",
    "complex floating" and "numeric"; ValueError for another.
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, Dtype):
        return bool(dtype == kind)
    if not isinstance(kind, str):
        raise ValueError(f"isdtype: kind must be a dtype, a name or a tuple, got {kind!r}")
    if kind not in _KINDS:
        raise ValueError(f"isdtype: unknown kind {kind!r}\nThe kinds are {', '.join(_KINDS)}")
    if kind == "bool":
        return bool(dtype == _c.bool_)
    return any(issubdtype(dtype, category) for category in _KINDS[kind])


def _dtype_of(value: Any, op: str) -> Dtype:
    if isinstance(value, Dtype):
        return value
    if isinstance(value, _c.array):
        return value.dtype
    raise ValueError(f"{op}: expected arrays and dtypes, got {type(value).__name__}")


def result_type(*arrays_and_dtypes: _c.array | Dtype) -> Dtype:
    """The dtype that arrays and dtypes promote to together; ValueError without any."""
    if not arrays_and_dtypes:
        raise ValueError("result_type: needs at least one array or dtype")
    dtypes = [_dtype_of(value, "result_type") for value in arrays_and_dtypes]
    out = dtypes[0]
    for dtype in dtypes[1:]:
        out = _c._promote(out, dtype)
    return out


def can_cast(from_: _c.array | Dtype, to: Dtype) -> bool:
    """Whether promoting `from_` with `to` gives `to`."""
    return bool(_c._promote(_dtype_of(from_, "can_cast"), to) == to)


# Bits of the exponent and of the fraction.
_LAYOUT = {"float16": (5, 10), "bfloat16": (8, 7), "float32": (8, 23), "float64": (11, 52)}


class finfo:  # noqa: N801
    """The limits of a floating dtype; for complex64 those of its parts.

    Attributes: `dtype`, `bits`, `min`, `max`, `eps` (distance from 1 to the next larger number) and
    `smallest_normal`. ValueError for a dtype that is not inexact.
    """

    __slots__ = ("bits", "dtype", "eps", "max", "min", "smallest_normal")

    def __init__(self, arg: Dtype, /) -> None:
        name = _name(arg)
        if name == "complex64":
            name = "float32"
        if name not in _LAYOUT:
            raise ValueError(f"finfo: {name} is not inexact\nUse iinfo for integers")
        exponent, fraction = _LAYOUT[name]
        bias = 2 ** (exponent - 1) - 1
        self.dtype: Dtype = getattr(_c, name)
        self.bits = 1 + exponent + fraction
        self.eps = 2.0**-fraction
        self.max = math.ldexp(2.0 - self.eps, bias)
        self.min = -self.max
        self.smallest_normal = 2.0 ** (1 - bias)

    def __repr__(self) -> str:
        return f"finfo(min={self.min:g}, max={self.max:g}, dtype={_name(self.dtype)})"


class iinfo:  # noqa: N801
    """The limits of an integer dtype: `dtype`, `min` and `max`. ValueError for another dtype."""

    __slots__ = ("dtype", "max", "min")

    def __init__(self, arg: Dtype, /) -> None:
        if not issubdtype(arg, integer):
            raise ValueError(f"iinfo: {_name(arg)} is not an integer dtype\nUse finfo for floats")
        bits = arg.size * 8
        signed = issubdtype(arg, signedinteger)
        self.dtype = arg
        self.min = -(2 ** (bits - 1)) if signed else 0
        self.max = 2 ** (bits - 1) - 1 if signed else 2**bits - 1

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={_name(self.dtype)})"

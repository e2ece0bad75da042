"""The calls of a function (`_shapeless`) as JSON, for files. See docs/function-format.md."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

from lamina import _arguments
from lamina import _core as _c
from lamina._core import Dtype, array
from lamina._shapeless import (
    OPERATORS,
    Answer,
    Call,
    Calls,
    Condition,
    Transform,
    operator_named,
    short,
    slots_of,
)
from lamina._sizes import COMPARISONS, OPERATIONS

__all__ = ["described", "restored"]

_Spec = tuple[Any, ...]
_TRANSFORMS = ("vjp", "jvp", "vmap", "checkpoint", "inline")

# --- writing -------------------------------------------------------------------------------------


class _Writer:
    def __init__(self, constant: Callable[[array], int]) -> None:
        self._constant = constant

    def value(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"real": repr(value)}
        if isinstance(value, complex):
            return {"complex": [self.value(value.real), self.value(value.imag)]}
        if isinstance(value, Dtype):
            return {"dtype": _c._dtype_name(value)}
        if value is Ellipsis:
            return {"ellipsis": True}
        # Built on the device that is current when the file is used.
        if hasattr(value, "_lamina_device") or type(value).__name__ in ("Stream", "Device"):
            return None
        raise _c.TraceError(
            f"export_function: an argument of type {type(value).__name__} cannot be written to a "
            "file\nPass an array or a number"
        )

    def spec(self, spec: _Spec) -> Any:
        kind = spec[0]
        if kind == "slot":
            return {"slot": spec[1]}
        if kind == "array":
            return {"constant": self._constant(spec[1])}
        if kind == "op":
            return {"op": spec[1], "of": [self.spec(s) for s in spec[2]]}
        if kind == "dict":
            return {"dict": {str(k): self.spec(s) for k, s in spec[1].items()}}
        if kind in ("list", "tuple", "slice"):
            return {kind: [self.spec(s) for s in spec[1]]}
        return self.value(spec[1])

    def specs(self, specs: Any) -> list[Any]:
        return [self.spec(s) for s in specs]

    def step(self, step: Any) -> dict[str, Any]:
        if isinstance(step, Condition):
            result = self.value(step.result)
            return {
                "when": step.name,
                "of": self.specs(step.sides),
                "is": result,
                "text": step.text,
            }
        filled = {"first": step.first, "kinds": step.kinds}
        if isinstance(step, Call):
            return self._call(step, filled)
        # Of a custom function stays what it computes, without its rules.
        kind = "inline" if step.kind == "custom" else step.kind
        rest = {k: step.rest[k] for k in ("in_axes", "out_axes") if k in step.rest}
        if "others" in step.rest:
            rest["others"] = self.specs(step.rest["others"])
        return {
            "transform": kind,
            "calls": [self.step(s) for s in step.body],
            "inputs": step.inputs,
            "outputs": self.specs(step.outputs),
            "given": self.specs(step.given),
            **rest,
            **filled,
        }

    def _call(self, step: Call, filled: dict[str, Any]) -> dict[str, Any]:
        if step.name.startswith("_"):
            raise _c.TraceError(
                f"export_function: {step.name.split('.')[0].lstrip('_')} is registered by this "
                "program and cannot be written to a file\nExport the function without it"
            )
        out = {
            "call": step.name,
            "arguments": self.specs(step.positional[1]),
            "keywords": {k: self.spec(s) for k, s in step.keywords.items()},
            **filled,
        }
        if isinstance(step, Answer):
            out["is"] = step.expected
        return out


def described(calls: Calls, constant: Callable[[array], int]) -> dict[str, Any]:
    """Calls as plain data; `constant` gives the number of an array that they read."""
    write = _Writer(constant)
    return {"calls": [write.step(s) for s in calls.steps], "results": write.specs(calls.results)}


# --- reading -------------------------------------------------------------------------------------


def _function(name: str) -> Callable[..., Any]:
    scope, _, last = name.rpartition(".")
    if scope == "operator" and last in OPERATORS:
        return operator_named(last)
    if scope in ("core", "array") and name in _c._functions:
        found: Callable[..., Any] = _c._functions[name]
        return found
    if scope.startswith("lamina.nn") and name not in _arguments.wholes:
        importlib.import_module("lamina.nn")
    if name not in _arguments.wholes:
        raise ValueError(
            f"stored function: no operation is called {short(name)!r}\n"
            "The file comes from another version of lamina"
        )
    return _arguments.wholes[name]


class _Reader:
    def __init__(self, inputs: int, constants: list[array]) -> None:
        self._constants = constants
        self._known = set(range(inputs))

    def spec(self, data: Any) -> _Spec:
        if not isinstance(data, dict):
            return "value", data
        if "op" in data:
            return "op", self._known_name(data["op"], OPERATIONS), self.specs(data["of"])
        ((kind, inner),) = data.items()
        if kind == "slot":
            if inner not in self._known:
                raise ValueError(f"stored function: value {inner} is read before it is computed")
            return "slot", inner
        if kind == "constant":
            return "array", self._constants[inner]
        if kind == "tuple":
            return "tuple", self.specs(inner), tuple
        if kind == "dict":
            return "dict", {k: self.spec(s) for k, s in inner.items()}
        if kind in ("list", "slice"):
            return kind, self.specs(inner)
        plain: dict[str, Callable[[Any], Any]] = {
            "real": float,
            "complex": lambda c: complex(self.spec(c[0])[1], self.spec(c[1])[1]),
            "dtype": _c._dtype_named,
            "ellipsis": lambda _: ...,
        }
        return "value", plain[kind](inner)

    @staticmethod
    def _known_name(name: str, of: Any) -> str:
        if name not in of:
            raise ValueError(f"stored function: {name!r} is not known")
        return name

    def specs(self, data: Any) -> tuple[_Spec, ...]:
        return tuple(self.spec(d) for d in data)

    def steps(self, data: Any) -> list[Any]:
        return [self._step(d) for d in data]

    def _step(self, data: dict[str, Any]) -> Any:
        if "when" in data:
            name = data["when"] if data["when"] == "value" else None
            name = name or self._known_name(data["when"], COMPARISONS)
            result = self.spec(data["is"])[1]
            return Condition(name, list(self.specs(data["of"])), result, str(data["text"]))
        kinds = [(str(dtype), int(rank)) for dtype, rank in data["kinds"]]
        step = self._call(data, kinds) if "call" in data else self._transform(data, kinds)
        self._known.update(step.writes())
        return step

    def _call(self, data: dict[str, Any], kinds: list[tuple[str, int]]) -> Call:
        arguments = (
            ("tuple", self.specs(data["arguments"]), tuple),
            {k: self.spec(s) for k, s in data["keywords"].items()},
        )
        name, first = str(data["call"]), int(data["first"])
        if not any(True for spec in (arguments[0], *arguments[1].values()) for _ in slots_of(spec)):
            raise ValueError(f"stored function: {short(name)} reads no value")
        make = Answer if "is" in data else Call
        step = make(name, _function(name), arguments, first, kinds, (-1, 0))
        if isinstance(step, Answer):
            step.expected = bool(data["is"])
        return step

    def _transform(self, data: dict[str, Any], kinds: list[tuple[str, int]]) -> Transform:
        kind = self._known_name(data["transform"], _TRANSFORMS)
        given = list(self.specs(data["given"]))
        rest: dict[str, Any] = {k: list(data[k]) for k in ("in_axes", "out_axes") if k in data}
        inputs = [int(i) for i in data["inputs"]]
        self._known.update(inputs)
        body = self.steps(data["calls"])
        outputs = list(self.specs(data["outputs"]))
        if "others" in data:
            rest["others"] = list(self.specs(data["others"]))
        return Transform(kind, body, inputs, outputs, given, int(data["first"]), kinds, **rest)


def restored(data: dict[str, Any], kinds: list[tuple[str, int]], constants: list[array]) -> Calls:
    """What `described` gave. ValueError for what cannot be calls."""
    read = _Reader(len(kinds), constants)
    out = Calls()
    out.kinds = kinds
    out.steps = read.steps(data["calls"])
    out.results = list(read.specs(data["results"]))
    return out

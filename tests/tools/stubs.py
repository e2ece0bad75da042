"""Writes backend/python/_core.pyi from the compiled module; a test keeps it fresh.

A bound function's docstring opens with its signature, one for each overload. A signature that does
not parse, or a type that the stub cannot name, becomes Any. `stubs.py --write` rewrites the file.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

STUB = Path(__file__).resolve().parents[2] / "backend" / "python" / "_core.pyi"
OVERLOAD = re.compile(r"^\d+\. (?=\w+\()")
# What Python itself gives every object needs no line in a stub.
COMPARISONS = {"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"}
INHERITED = set(dir(object)) - COMPARISONS - {"__init__"}
INHERITED |= {"__dict__", "__module__", "__weakref__", "__doc__", "__qualname__"}
# Seen from Python 3.12 on.
INHERITED |= {"__buffer__", "__release_buffer__"}
BUILTINS = {"int", "float", "bool", "str", "bytes", "complex", "object", "None", "list", "tuple"}
BUILTINS |= {"dict", "set", "frozenset", "type", "slice", "memoryview", "bytearray"}
ALLOWED = {"typing": "typing", "collections": "collections.abc", "types": "types"}
MODULE = "lamina._core"
OPERAND = "array | bool | int | float | complex | numpy.ndarray[Any, Any]"
# What the data model fixes; the other slots of an array give an array.
SLOT_RESULTS = {
    "__bool__": "bool",
    "__bytes__": "bytes",
    "__complex__": "complex",
    "__contains__": "bool",
    "__delitem__": "None",
    "__float__": "float",
    "__hash__": "int",
    "__index__": "int",
    "__init__": "None",
    "__int__": "int",
    "__iter__": "collections.abc.Iterator[array]",
    "__len__": "int",
    "__repr__": "str",
    "__setitem__": "None",
}
SLOT_KEYS = {"__getitem__", "__contains__", *SLOT_RESULTS}
PROPERTY_RESULTS = {"dtype": "Dtype", "shape": "tuple[int, ...]", "at": "Any"}


class Names(ast.NodeTransformer):
    """Rewrites an annotation with the names a stub has; counts none it lacks."""

    def __init__(self, known: set[str]) -> None:
        self.known = known

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        dotted = ast.unparse(node)
        short = dotted.removeprefix(f"{MODULE}.").removeprefix("_core.")
        if short != dotted or dotted.split(".")[0] in ALLOWED:
            inside = short == dotted or short.split(".")[0] in self.known
            return ast.parse(short if inside else "Any", mode="eval").body
        return ast.Name("numpy.ndarray" if dotted == "numpy.ndarray" else "Any")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return node if node.id in BUILTINS | self.known else ast.Name("Any")


def default(node: ast.expr) -> ast.expr:
    """Literals stay; anything else is `...`."""
    try:
        ast.literal_eval(node)
    except ValueError:
        return ast.Constant(...)
    return node


def signature(line: str, known: set[str]) -> str | None:
    """`name(x: T = v) -> R` with types the stub can name, or None."""
    # pybind11 prints a default that is an object as <...>.
    line = re.sub(r"= <[^>]*>", "= ...", line)
    # pybind11 names it so only where Python has it, from 3.12 on.
    line = line.replace("collections.abc.Buffer", "Any").replace("typing_extensions.Buffer", "Any")
    try:
        function = ast.parse(f"def {line}: ...").body[0]
    except SyntaxError:
        return None
    if not isinstance(function, ast.FunctionDef):
        return None
    names, arguments = Names(known), function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    for argument in [*every, *filter(None, [arguments.vararg, arguments.kwarg])]:
        if argument.annotation is not None:
            argument.annotation = names.visit(argument.annotation)
    result = ast.unparse(names.visit(function.returns)) if function.returns else "Any"
    function.returns = ast.Name("Any" if result == "object" else result)
    arguments.defaults = [default(value) for value in arguments.defaults]
    arguments.kw_defaults = [value and default(value) for value in arguments.kw_defaults]
    return ast.unparse(function).removesuffix(":\n    ...").removesuffix(": ...")


def bare_signature(name: str, value: object, method: bool) -> str | None:
    """The signature of a slot or an elementwise function, which states names and no types."""
    try:
        parameters = list(inspect.signature(value).parameters.values())  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if method and name == "__init__":
        return "def __init__(self, *args: Any, **kwargs: Any) -> None"
    typed = []
    for parameter in parameters[method:]:
        named = parameter.kind is parameter.POSITIONAL_OR_KEYWORD and not method
        positional = parameter.kind is parameter.POSITIONAL_ONLY or named
        operand = positional and name not in SLOT_KEYS
        required = parameter.default is parameter.empty
        plain = required or isinstance(parameter.default, int | float | str | None)
        typed.append(
            parameter.replace(
                annotation="Operand" if operand and required else "Any",
                default=parameter.default if plain else None,
            )
        )
    listed = str(inspect.Signature([*parameters[:method], *typed])).replace("'", "")
    return f"def {name}{listed} -> {SLOT_RESULTS.get(name, 'array')}"


def callable_lines(name: str, value: object, known: set[str], method: bool) -> Iterator[str]:
    lines = (inspect.getdoc(value) or "").splitlines()
    overloaded = any("Overloaded function" in line for line in lines[:3])
    heads = [OVERLOAD.sub("", line) for line in lines if OVERLOAD.match(line)]
    heads = heads if overloaded and heads else lines[:1]
    found = [signature(head, known) for head in heads if head.startswith(f"{name}(")]
    found = found or [bare_signature(name, value, method)]
    if not found or None in found:
        own = "self, " if method else ""
        found = [f"def {name}({own}*args: Any, **kwargs: Any) -> Any"]
    docs = [] if overloaded else [line for line in lines if not line.startswith(f"{name}(")]
    text = textwrap.dedent("\n".join(docs)).strip()
    unique = list(dict.fromkeys(found))
    for head in unique:
        if len(unique) > 1:
            yield "@overload"
        # object's own comparisons give a bool and take any object.
        ignore = "  # type: ignore[override]" if name in {"__eq__", "__ne__"} else ""
        yield f"{head}:{ignore}" if text else f"{head}: ...{ignore}"
        if text:
            yield textwrap.indent(docstring(text), "    ")


def docstring(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    end = "\n" if "\n" in quoted or quoted.endswith('"') else ""
    return f'"""{quoted}{end}"""'


def class_lines(name: str, value: type, known: set[str]) -> Iterator[str]:
    bases = [base.__name__ for base in value.__bases__ if base.__name__ in known]
    builtin = [
        b.__name__ for b in value.__bases__ if b.__module__ == "builtins" and b is not object
    ]
    listed = ", ".join([b for b in bases + builtin if not b.startswith("pybind11")])
    yield f"class {name}({listed}):" if listed else f"class {name}:"
    body: list[str] = []
    if inspect.getdoc(value):
        body.append(docstring(inspect.getdoc(value) or ""))
    if "__new__" in vars(value) and "__init__" not in vars(value):
        body.append("def __init__(self, *args: Any, **kwargs: Any) -> None: ...")
    for inner, member in sorted(vars(value).items()):
        if inner in INHERITED or inner.startswith("_pybind11") or inner == "__entries":
            continue
        if isinstance(member, property):
            said = re.search(r"-> (.+)$", (member.fget and member.fget.__doc__) or "", re.M)
            result = PROPERTY_RESULTS.get(inner) or (said[1] if said else "Any")
            getter = signature(f"{inner}(self) -> {result}", known)
            body += ["@property", f"{getter or f'def {inner}(self) -> Any'}: ..."]
            if member.fset:
                body += [f"@{inner}.setter", f"def {inner}(self, value: Any) -> None: ..."]
        elif isinstance(member, staticmethod):
            for line in callable_lines(inner, member.__func__, known, method=False):
                body += ["@staticmethod", line] if line.startswith("def ") else [line]
        elif callable(member) and not isinstance(member, type):
            body += callable_lines(inner, member, known, method=True)
        else:
            kind = type(member).__name__
            body.append(f"{inner}: {kind if kind in BUILTINS | known else 'Any'}")
    yield textwrap.indent("\n".join(body or ["..."]), "    ")


def text() -> str:
    """The stub of the compiled module that is importable now."""
    import lamina._core as core
    import lamina.core  # binds the methods of array that are written in Python

    assert lamina.core.array is core.array
    members = {k: v for k, v in vars(core).items() if not k.startswith("__") and k != "_core"}
    known = {name for name, value in members.items() if inspect.isclass(value)}
    lines = [
        "# Generated by tests/tools/stubs.py from the compiled module: `make stubs`.",
        "# ruff: noqa",
        "import collections.abc",
        "import types",
        "import typing",
        "from typing import Any, overload",
        "",
        "import numpy",
        "",
        f"Operand: typing.TypeAlias = {OPERAND!r}",
        "",
    ]
    for name, value in sorted(members.items()):
        if inspect.isclass(value):
            lines += class_lines(name, value, known)
        elif inspect.ismodule(value):
            continue
        elif callable(value):
            lines += callable_lines(name, value, known, method=False)
        else:
            kind = type(value).__name__
            lines.append(f"{name}: {kind if kind in BUILTINS | known else 'Any'}")
    result = "\n".join(lines) + "\n"
    ast.parse(result)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the stub")
    written = text()
    if parser.parse_args().write:
        STUB.write_text(written)
    else:
        sys.stdout.write(written)

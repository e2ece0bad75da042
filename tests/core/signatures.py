"""Signatures as MLX states them (the texts in interface/) and as lamina has them."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

INTERFACE = Path(__file__).with_name("interface")
KINDS = ("function", "method", "class")
# (name, kind, default); the default is its source, or None where there is none.
Form = list[tuple[str, str, str | None]]


def stated() -> dict[str, str]:
    """Dotted name below `mlx.` -> the signature, of everything that has one."""
    out = {}
    for file in sorted(INTERFACE.glob("*.txt")):
        for line in file.read_text().splitlines():
            name, kind, signature = [*line.split("\t"), "", ""][:3]
            if kind in KINDS and "(" in signature and "(?)" not in signature:
                out[name.removeprefix("mlx.")] = signature
    return out


def _default(node: ast.expr, many: list[Any]) -> str:
    """A tuple holds the defaults of this argument and of those after it, which say \\1, \\2, ..."""
    text = ast.unparse(node)
    if text.startswith("back_"):
        return str(many[int(text.removeprefix("back_"))])
    if isinstance(node, ast.Tuple) and len(node.elts) == many[0]:
        many[:] = [ast.unparse(item) for item in node.elts]
        return str(many[0])
    return text


def form_of_text(signature: str) -> Form | None:
    """`name(a: T, *, b: U = v) -> R` as a form; None where it is no Python."""
    text = re.sub(r"\[writable=\w+\]|(?<=\w)\[\]", "", signature)
    text = re.sub(r"=\s*<.*?>(?=[,)])", "= ...", text.replace("= []", "= ()"))
    text = re.sub(r"<.*?>", "...", re.sub(r"\\(\d+)", r"back_\1", text))
    at = text.find("(")
    try:
        function = ast.parse(f"def f{text[at:]}: ...").body[0]
    except SyntaxError:
        return None
    assert isinstance(function, ast.FunctionDef)
    arguments = function.args
    given = [value for value in (*arguments.defaults, *arguments.kw_defaults) if value]
    # How many defaults such a tuple holds: Adafactor's pair of numbers is one default of nine.
    many: list[Any] = [len(given)]
    positional = [*arguments.posonlyargs, *arguments.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    out: Form = []
    for i, (argument, value) in enumerate(
        zip(positional, [*missing, *arguments.defaults], strict=True)
    ):
        kind = "only by position" if i < len(arguments.posonlyargs) else "positional"
        out.append((argument.arg, kind, _default(value, many) if value else None))
    if arguments.vararg:
        out.append((arguments.vararg.arg, "rest", None))
    for argument, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        out.append((argument.arg, "keyword", _default(value, many) if value else None))
    if arguments.kwarg:
        out.append((arguments.kwarg.arg, "named rest", None))
    return [entry for entry in out if entry[0] != "self"]


PREFIXES = ("mlx.core.", "lamina.core.", "mx.")


def spelled(default: str | None) -> str | None:
    """One spelling of a default; a function, whose text is an address, as `...`."""
    if default is None:
        return None
    for prefix in PREFIXES:
        default = default.removeprefix(prefix)
    return {"[]": "()"}.get(default, "..." if default.startswith("<") else default)


PYTHON_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "only by position",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "positional",
    inspect.Parameter.VAR_POSITIONAL: "rest",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_KEYWORD: "named rest",
}


def form_of(value: Any) -> Form | None:
    """The form of a function, method or class of lamina; None where it states none."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        doc = (getattr(value, "__doc__", None) or "").splitlines()
        return form_of_text(doc[0]) if doc and "(" in doc[0] else None
    out = []
    for p in signature.parameters.values():
        default = None if p.default is p.empty else repr(p.default)
        out.append((p.name, PYTHON_KINDS[p.kind], default))
    return [entry for entry in out if entry[0] != "self"]


def found(name: str) -> Any:
    """What lamina has under a dotted name; AttributeError where there is nothing."""
    first, *rest = name.split(".")
    value: Any = importlib.import_module(f"lamina.{first}")
    for part in rest:
        if not hasattr(value, part) and inspect.ismodule(value):
            importlib.import_module(f"{value.__name__}.{part}")
        value = getattr(value, part)
    return value


def differences(expected: Form, got: Form) -> list[str]:
    """What a call as MLX allows it would miss. More freedom, and more keywords, are no fault."""
    out = []
    places = {name: (kind, default) for name, kind, default in got}
    order = [name for name, kind, _ in got if kind in ("positional", "only by position")]
    for at, (name, kind, default) in enumerate(expected):
        if name not in places:
            out.append(f"no {name}")
            continue
        own, value = places[name]
        if default is not None and spelled(value) != spelled(default):
            out.append(f"{name}={spelled(value)}, not {spelled(default)}")
        if own != kind and not (own == "positional" and kind in ("keyword", "only by position")):
            out.append(f"{name} is {own}, not {kind}")
        if own in ("positional", "only by position") and kind != "keyword" and order[at] != name:
            out.append(f"{name} is not argument {at}")
    known = {name for name, _, _ in expected}
    out += [f"asks for {n}" for n, _, default in got if n not in known and default is None]
    return out

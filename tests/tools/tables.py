"""Writes the pages of docs/ that are read off the program; a test keeps them fresh.

operations.md and transforms.md come from the registry of the compiled core, names.md from a
comparison with MLX.
`tables.py --write` rewrites the pages; without it they are printed.
"""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "operations.md"
INTRO = """# Operations

What the core computes, read off its registry: `tests/tools/tables.py --write` writes this page and
a test compares the two. Functions of `lamina.core` that are not listed are compositions of these.

An operation without a derivative is a constant to `grad`, `vjp` and `jvp`; the table says why.
"""
# Kind in the registry -> heading and a sentence on how the scheduler treats it.
FAMILIES = {
    "elementwise": (
        "Elementwise",
        "Fused with each other and into what surrounds them; inputs broadcast. `x`, `y`, `z` are "
        "the inputs in order.",
    ),
    "cast": ("Casts", "Fused like elementwise operations."),
    "reduce": ("Reductions", "Elementwise producers are computed inside the reduction's kernel."),
    "composite": (
        "Compositions with rules of their own",
        "Taken apart by the scheduler, then fused.",
    ),
    "view": ("Views", "Cost nothing: readers fold them into their index maps."),
    "iota": ("Sources", "Made by every kernel that needs them."),
    "concatenate": ("Joins", "The pieces are written straight into their place."),
    "update": ("Updates", "In place where nobody else holds the memory."),
    "call": (
        "Structured",
        "Kernels of their own, which read and write memory; a matrix product may take an "
        "elementwise epilogue.",
    ),
    "alias": (
        "Marks",
        "The value of their input, with a meaning for the transforms or the scheduler.",
    ),
}


def formula(expression: str) -> str:
    """`($0 * $1)` as `x * y`."""
    for index, letter in enumerate("xyz"):
        expression = expression.replace(f"${index}", letter)
    if re.fullmatch(r"\([^()]*\)", expression):
        expression = expression[1:-1]
    return "`" + expression.replace("|", "\\|") + "`"


def derivative(row: Mapping[str, Any]) -> str:
    return (
        "yes"
        if row["differentiable"]
        else f"no: {row['nondifferentiable'] or 'given by its rules'}"
    )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One family. The formula column stands where there is a formula."""
    formulas = any(row.get("expr") for row in rows)
    head = ["name", *(["formula", "flops"] if formulas else []), "derivative", "what it gives"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        extra = [formula(row["expr"]), str(row["flops"])] if formulas else []
        text = row["doc"].replace("|", "\\|")
        lines.append([f"`{row['name']}`", *extra, derivative(row), text])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page() -> str:
    """The whole page. KeyError: a kind of operation that has no family here."""
    from lamina import _core

    by_kind: dict[str, list[Mapping[str, Any]]] = {kind: [] for kind in FAMILIES}
    for row in _core._registry():
        if row["kind"] != "custom":  # those are the program's, made while it runs
            by_kind[row["kind"]].append(row)
    parts = [INTRO]
    for kind, (heading, sentence) in FAMILIES.items():
        if by_kind[kind]:
            parts.append(f"## {heading}\n\n{sentence}\n\n{table(by_kind[kind])}\n")
    return "\n".join(parts)


TRANSFORMS = """# Transforms

Which transform takes which operation, read off the registry: `tests/tools/tables.py --write` writes
this page. `tests/core/test_matrix.py` tries every cell: derivatives against differences, the modes
and the ways to the second order against each other, in every floating dtype; `vmap` against a loop,
and both orders of it and a derivative; `compile`, `compile(shapeless=True)` and `export_function`,
with and without shapes, against the function itself and its derivatives to second order.

Functions of `lamina.core` that are not listed are compositions of these. An operation without a
derivative is a constant to `grad`, `vjp` and `jvp`. Results of custom functions, and of operations
that a program registers, have the rules that came with them.
"""
COLUMNS = ("vjp", "jvp", "second order", "vmap", "compile", "shapeless", "export")


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row's cells in the order of COLUMNS. ValueError: it is neither supported nor explained."""
    reason = row["nondifferentiable"]
    if (not row["differentiable"] and not reason) or row["differentiable"] != row["jvp"]:
        raise ValueError(f"{row['name']}: has no derivative and does not say why")
    if not row["vmap"] and row["kind"] != "iota":  # which has no inputs that could be batched
        raise ValueError(f"{row['name']}: cannot be batched")
    first = (
        ["yes"] * 3 if row["differentiable"] else [f"no derivative because {reason}", "no", "no"]
    )
    # What is built again, from nodes or from calls, asks nothing of the row.
    return [*first, "yes", "yes", "yes", "yes"]


def transforms() -> str:
    """The matrix of operations and transforms."""
    from lamina import _core

    results = ("custom_output", "call_result")
    head = ["name", *COLUMNS]
    parts = [TRANSFORMS]
    for kind, (heading, _) in FAMILIES.items():
        lines = [head, ["---"] * len(head)]
        for row in _core._registry():
            if row["kind"] == kind and row["name"] not in results:
                lines.append([f"`{row['name']}`", *cells(row)])
        if len(lines) > 2:
            rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
            parts.append(f"## {heading}\n\n{rows}\n")
    return "\n".join(parts)


NAMES = """# Names of MLX

What `lamina` has of MLX's public names, and what it lacks. `tests/tools/tables.py --write` writes
this page by looking at both packages, and a test compares.
"""
MODULES = ["core", "core.random", "core.linalg", "core.fast", "core.fft", "core.distributed"]
MODULES += ["core.metal", "core.cuda", "nn", "nn.losses"]
MODULES += ["nn.init", "nn.utils", "nn.layers.distributed", "optimizers", "utils"]


def public(package: str, path: str, owned: str) -> set[str] | None:
    """Public names of a module that come from below `owned`: no modules, nothing from elsewhere."""
    first, *rest = path.split(".")
    module: Any = importlib.import_module(f"{package}.{first}")
    for part in rest:
        module = getattr(module, part, None)
    if module is None:
        return None
    own = set()
    for name, value in vars(module).items():
        owner = getattr(value, "__module__", None) or owned
        if name[0] != "_" and not isinstance(value, type(re)) and owner.startswith(owned):
            own.add(name)
    return own


def names() -> str:
    """The page of names, made by comparing with MLX."""
    parts = [NAMES]
    for path in MODULES:
        theirs = public("mlx", path, f"mlx.{path}") or set()
        lacking = sorted(theirs - (public("lamina", path, "") or set()))
        line = f"## {path}\n\n{len(theirs) - len(lacking)} of {len(theirs)} names."
        if lacking:
            line += " Lacking: " + ", ".join(f"`{name}`" for name in lacking) + "."
        parts.append(line + "\n")
    return "\n".join(parts)


GENERATED: dict[Path, Callable[[], str]] = {
    PAGE: page,
    DOCS / "transforms.md": transforms,
    DOCS / "names.md": names,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the pages")
    write = parser.parse_args().write
    for path, make in GENERATED.items():
        text = make()
        if write:
            path.write_text(text, encoding="utf-8")
        else:
            print(text)


if __name__ == "__main__":
    main()

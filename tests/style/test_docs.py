"""Every public name says what it is."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator

import pytest

MODULES = [
    "lamina",
    "lamina.core",
    "lamina.core.random",
    "lamina.core.linalg",
    "lamina.core.fft",
    "lamina.core.fast",
    "lamina.nn",
    "lamina.nn.losses",
    "lamina.nn.init",
    "lamina.optimizers",
    "lamina.primitives",
    "lamina.utils",
    "lamina.workbench",
    "lamina.workbench.analysis",
    "lamina.widgets",
]


def find(name: str) -> object | None:
    """The module, or the attribute that stands for one (core.random), or None."""
    parent, _, last = name.rpartition(".")
    above = find(parent) if parent else None
    if parent and hasattr(above, last):
        return getattr(above, last)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not parent or error.name != name:
            raise
    return None


def public(module: object) -> Iterator[tuple[str, object]]:
    names = getattr(module, "__all__", None) or [n for n in vars(module) if n[0] != "_"]
    for name in names:
        value = getattr(module, name)
        owner = getattr(value, "__module__", "") or ""
        if (inspect.isclass(value) or inspect.isroutine(value)) and owner.startswith("lamina"):
            yield name, value


@pytest.mark.parametrize("name", MODULES)
def test_public_names_have_docstrings(name):
    module = find(name)
    if module is None:
        pytest.skip(f"not applicable: {name} is not provided yet")
    silent = [inner for inner, value in public(module) if not (inspect.getdoc(value) or "").strip()]
    assert not silent, f"{name}: no docstring: {', '.join(silent)}"

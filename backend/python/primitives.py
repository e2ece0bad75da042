"""Primitives of your own: shared libraries written against `lamina.h`.

`load` opens one and gives its operations; `include_dir` and `library` say where the header and the
engine's own shared object lie, for compilers and for programs without Python.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from lamina import _core
from lamina._core import _Primitive as Primitive

__all__ = ["Namespace", "Primitive", "get", "include_dir", "library", "load", "names"]


class Namespace:
    """Primitives by the part of their name behind the dot, or by the whole name in brackets."""

    def __init__(self, source: str, names: list[str]) -> None:
        self._source = source
        self._names = names

    def __getitem__(self, name: str) -> Primitive:
        if name not in self._names:
            raise KeyError(f"{self._source} has no primitive {name}; it has: {self._listed()}")
        return _core._primitive(name)

    def __getattr__(self, name: str) -> Primitive:
        found = [full for full in self._names if full.partition(".")[2] == name]
        if len(found) != 1:
            fact = "several primitives" if found else "no primitive"
            raise AttributeError(f"{self._source} has {fact} {name}; it has: {self._listed()}")
        return _core._primitive(found[0])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __dir__(self) -> list[str]:
        return [name.partition(".")[2] for name in self._names]

    def __repr__(self) -> str:
        return f"<primitives of {self._source}: {self._listed()}>"

    def _listed(self) -> str:
        return ", ".join(self._names) or "none"


def load(path: str | os.PathLike[str]) -> Namespace:
    """Opens a shared library of primitives; it stays for the life of the process."""
    file = Path(path)
    return Namespace(file.name, _core._load_primitives(str(file.resolve())))


def names() -> list[str]:
    """Full names of all primitives that are registered."""
    return _core._primitive_names()


def get(name: str) -> Primitive:
    """The registered primitive of this full name."""
    return _core._primitive(name)


def include_dir() -> str:
    """The folder of `lamina.h`."""
    return str(_shipped("include", "lamina.h").parent)


def library() -> str:
    """The engine as a shared object without Python, for programs that link it.

    A plugin must not: it is handed the engine of the process that loads it.
    """
    suffix = "dylib" if sys.platform == "darwin" else "so"
    return str(_shipped("lib", f"liblamina.{suffix}"))


def _shipped(folder: str, name: str) -> Path:
    file = Path(_core.__file__).parent / folder / name
    if not file.exists():
        raise FileNotFoundError(f"lamina was installed without {name}: {file} does not exist")
    return file

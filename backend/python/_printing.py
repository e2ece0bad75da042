"""How arrays are shown, and graphs of them drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamina import _core as _c
from lamina._arguments import shown

__all__ = [
    "PrintOptions",
    "export_to_dot",
    "get_printoptions",
    "printoptions",
    "set_printoptions",
]

_MOST = 64


class PrintOptions:
    """How floating numbers are shown: with `precision` decimals, or -1 for the default."""

    __slots__ = ("_precision",)

    def __init__(self, precision: int = -1) -> None:
        self.precision = precision

    @property
    def precision(self) -> int:
        """Decimals; -1 stands for up to six significant digits."""
        return self._precision

    @precision.setter
    def precision(self, precision: int) -> None:
        if not isinstance(precision, int) or isinstance(precision, bool):
            raise TypeError(f"printoptions: precision must be an int, got {shown(precision)}")
        if not -1 <= precision <= _MOST:
            raise ValueError(
                f"printoptions: precision must lie between 0 and {_MOST}, or be -1, got {precision}"
            )
        self._precision = precision

    def __repr__(self) -> str:
        return f"PrintOptions(precision={self.precision})"


_now = PrintOptions()


def set_printoptions(precision: int = -1) -> None:
    """Show floating numbers with `precision` decimals; -1 for up to six significant digits."""
    global _now
    _now = PrintOptions(precision)
    _c._set_print_precision(precision)


def get_printoptions() -> PrintOptions:
    """The options that hold now."""
    return PrintOptions(_now.precision)


class _PrintOptionsContext:
    """Options that hold inside a `with` block."""

    def __init__(self, precision: int) -> None:
        self._options = PrintOptions(precision)
        self._before: list[int] = []

    def __enter__(self) -> _PrintOptionsContext:
        self._before.append(_now.precision)
        set_printoptions(self._options.precision)
        return self

    def __exit__(self, *failure: object) -> None:
        set_printoptions(self._before.pop())


def printoptions(precision: int = -1) -> _PrintOptionsContext:
    """A context in which floating numbers are shown with `precision` decimals."""
    return _PrintOptionsContext(precision)


def _letters(number: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    out = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        out = chr(ord("A") + digit) + out
    return out


def _dot(outputs: list[Any], names: dict[int, str]) -> str:
    """Arrays are ellipses with dtype and shape, operations are boxes."""
    nodes = _c._graph(outputs)
    results = {_c._node_identity(x) for x in outputs}
    lines = ["digraph {"]
    unnamed = 0
    array: list[str] = []
    for at, (identity, primitive, inputs, dtype, shape) in enumerate(nodes):
        if identity in names:
            name = names[identity]
        else:
            name, unnamed = _letters(unnamed), unnamed + 1
        array.append(f'"{name}"')
        rank = "rank=source; " if primitive is None else ""
        rank = "rank=sink; " if identity in results and primitive is not None else rank
        lines.append(f'{{ {rank}"{name}" [label="{name}\\n{dtype} {shape}"]; }}')
        if primitive is not None:
            lines.append(f'{{ op{at} [label="{primitive}", shape=rectangle]; }}')
            lines += [f"{array[i]} -> op{at}" for i in inputs]
            lines.append(f'op{at} -> "{name}"')
    return "\n".join([*lines, "}", ""])


def export_to_dot(file: Any, *args: Any, **kwargs: Any) -> None:
    """Write the graph that is yet to evaluate behind the arrays `args` as DOT, for Graphviz.

    `file` is a path or has a method `write`. Keyword arguments name arrays of the graph; without
    positional ones they are what is drawn.

    Raises:
        TypeError: what is to be drawn or named is no array.

    """
    for value in (*args, *kwargs.values()):
        if not isinstance(value, _c.array):
            raise TypeError(f"export_to_dot: expected arrays, got {shown(value)}")
    outputs = list(args) or list(kwargs.values())
    text = _dot(outputs, {_c._node_identity(x): name for name, x in kwargs.items()})
    if hasattr(file, "write"):
        file.write(text)
    else:
        Path(file).write_text(text, encoding="utf-8")

"""Compiled functions that were called: how many forms of arguments their traces served."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ..recording import CompiledFunction, Recording
from .once import once
from .table import text_table


@dataclass(frozen=True)
class Compiled:
    """Functions in the order of their first calls; ``where`` is the line each begins at."""

    rows: tuple[CompiledFunction, ...]
    where: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "rows": [
                {
                    "function": row.function,
                    "where": where,
                    "shapeless": row.shapeless,
                    "calls": row.calls,
                    "traced": row.traced,
                    "forms": row.forms,
                }
                for row, where in zip(self.rows, self.where, strict=True)
            ]
        }

    def cells(self, limit: int) -> list[tuple[str, ...]]:
        """Lines of the table in ``HEAD``'s columns."""
        return [
            (
                row.function,
                str(row.calls),
                str(row.traced),
                str(row.forms),
                "all" if row.shapeless else "each its own",
                where,
            )
            for row, where in list(zip(self.rows, self.where, strict=True))[:limit]
        ]

    def to_text(self, limit: int = 10) -> str:
        if not self.rows:
            return "no compiled function was called"
        table = text_table(HEAD, self.cells(limit))
        rest = len(self.rows) - limit
        return table + (f"\nand {rest} more" if rest > 0 else "")

    __str__ = to_text


HEAD = ("compiled function", "calls", "traced", "forms", "sizes of a trace", "line")


@once
def compiled(recording: Recording) -> Compiled:
    """What the recording saw of ``mx.compile``."""
    labels = {cell.file: cell.name for cell in recording.cells}

    def where(row: CompiledFunction) -> str:
        name = labels.get(row.file) or os.path.basename(row.file)
        return f"{name}:{row.line}" if name else ""

    return Compiled(recording.compiled, tuple(where(row) for row in recording.compiled))

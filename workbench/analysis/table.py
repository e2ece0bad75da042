"""Plain tables and the few formats all text twins share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass, replace
from typing import Any, TypeVar

import numpy as np

Row = TypeVar("Row")


def format_bytes(count: float) -> str:
    """``5120 -> '5.12 kB'``: decimal units, three digits; exact below 1000."""
    return _scaled(count, ("B", "kB", "MB", "GB", "TB"))


def format_ns(ns: float) -> str:
    """``6_700_000 -> '6.7 ms'``."""
    return _scaled(ns, ("ns", "us", "ms", "s"))


def format_count(count: float) -> str:
    """``1_280_000 -> '1.28 M'``, for flops."""
    return _scaled(count, ("", "k", "M", "G", "T")).strip()


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def _scaled(value: float, units: Sequence[str]) -> str:
    size, unit = abs(value), 0
    while size >= 999.5 and unit < len(units) - 1:
        size /= 1000
        unit += 1
    digits = f"{size:.0f}" if unit == 0 and size == int(size) else f"{size:.3g}"
    return f"{'-' if value < 0 else ''}{digits} {units[unit]}"


def text_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)
) -> str:
    """Aligned columns; those in ``left`` are ragged right, the others (numbers) ragged left."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def plain(value: Any) -> Any:
    """JSON data of dataclasses, tuples, mappings and columns, at any depth."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(item) for name, item in _shallow(value).items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def summed(rows: Sequence[Row], *figures: str) -> Row:
    """The first of some rows (dataclasses) with the sums of all their ``figures``."""
    sums = {name: sum(getattr(row, name) for row in rows) for name in figures}
    return replace(rows[0], **sums)  # type: ignore[type-var]


def _shallow(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}

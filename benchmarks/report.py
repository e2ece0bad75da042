"""Rows as a markdown table, and the machine they were taken on."""

from __future__ import annotations

import datetime
import os
import platform
import re
import shlex
import statistics
import sys
from pathlib import Path

from .measure import Row
from .peers import THREADS, missing, versions

SCALE = {"ms": 1e3, "us": 1e6}


def processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def head(command: list[str]) -> str:
    import lamina.core as mx

    isa = mx._core._machine().get("isa", "?") if hasattr(mx, "_core") else "?"
    load = " ".join(f"{x:.2f}" for x in os.getloadavg()) if hasattr(os, "getloadavg") else "?"
    lines = [
        f"# lamina beside its peers, {datetime.date.today().isoformat()}",
        "",
        f"- command: `{shlex.join(command)}`",
        f"- processor: {processor()}, {os.cpu_count()} cores; {THREADS} threads; blocks for {isa}",
        f"- system: {platform.system()} {platform.release()}, Python {platform.python_version()}",
        "- versions: " + ", ".join(f"{k} {v}" for k, v in versions().items()),
        f"- load average before the run: {load}",
    ]
    lines += [f"- **MISSING: {k}** ({v}): its columns are empty" for k, v in missing.items()]
    return "\n".join(lines)


def cell(row: Row, name: str) -> str:
    s = row.samples[name]
    value = s.median * SCALE[row.unit] / row.per
    return f"{value:.3g} {row.unit}"


def verdict(row: Row) -> str:
    mine = row.samples["lamina"]
    if row.target is not None:
        value = mine.median * SCALE[row.unit] / row.per
        return f"{'met' if value <= row.target else 'MISSED'}: at most {row.target:g} {row.unit}"
    if row.rival is not None and row.rival in row.samples:
        ratio = row.ratio(row.rival)
        # A part in fifty is what two runs of the same code differ by.
        return f"{'met' if ratio >= 0.98 else 'MISSED'}: {row.rival} takes {ratio:.2f} x"
    return ""


def table(rows: list[Row]) -> str:
    names: list[str] = []
    for row in rows:
        names += [n for n in row.samples if n not in names and n != "lamina"]
    columns = ["case", "lamina", "fastest", "processor", "spread", *names, "target"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        mine = row.samples["lamina"]
        best = mine.best * SCALE[row.unit] / row.per
        work = statistics.median(mine.cpu) * SCALE[row.unit] / row.per if mine.cpu else None
        cells = [row.name, cell(row, "lamina"), f"{best:.3g}", f"{work:.3g}" if work else ""]
        cells.append(f"{100 * mine.spread:.0f}%")
        for name in names:
            cells.append(
                f"{cell(row, name)} ({row.ratio(name):.2f} x)" if name in row.samples else ""
            )
        cells.append(verdict(row))
        lines.append("| " + " | ".join(cells) + " |")
    lines += [""] + [f"- {row.name}: {row.note}" for row in rows if row.note]
    return "\n".join(lines).rstrip()


def path(folder: Path) -> Path:
    name = re.sub(r"[^a-z0-9]+", "-", processor().replace("(R)", "").lower()).strip("-")
    return folder / f"{datetime.date.today().isoformat()}-{name}.md"


def warn_missing() -> None:
    for name, why in missing.items():
        print(f"*** MISSING PEER: {name}: {why}", file=sys.stderr)

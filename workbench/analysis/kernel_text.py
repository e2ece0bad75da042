"""The source of kernels, from devices that compile it: each text once, and what compiling took."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..plan import Group
from ..recording import Recording
from .kernels import kernels as kernels_of
from .once import once
from .table import format_bytes, format_ns, plain, text_table

_BOUNDS = r"(?:__launch_bounds__\([^)]*\)\s*)?"
_ENTRIES = {
    "Metal": re.compile(r"^[ \t]*(?:\[\[\s*)?kernel\b[^;{(]*?\bvoid\s+(\w+)\s*\(", re.M),
    "CUDA C++": re.compile(rf"\b__global__\s+{_BOUNDS}void\s+{_BOUNDS}(\w+)\s*\("),
    "PTX": re.compile(r"^\s*(?:\.visible\s+)?\.entry\s+(\w+)", re.M),
}


@dataclass(frozen=True)
class Source:
    """One of the texts of a fused group; ``kernels`` are the entry points in it.

    ``times``: how many launches of the group are of this very text.
    """

    kernels: tuple[str, ...]
    text: str
    times: int = 1

    @property
    def title(self) -> str:
        """``sort_merge x 9``; empty where no entry point is known."""
        name = ", ".join(self.kernels)
        return f"{name} x {self.times}" if name and self.times > 1 else name


@dataclass(frozen=True)
class KernelText:
    """The text of one group of one plan.

    ``sources`` pairs what is launched (``sort_merge x 9``) with a position in
    ``KernelTexts.texts``, in the order of the first launches.  ``bytes`` counts each once.
    ``made``: the plan was made in this recording, and what compiling took was spent in it.
    """

    name: str
    plan: int
    group: int
    launch: int | None
    device: str
    dialect: str
    sources: tuple[tuple[str, int], ...]
    bytes: int
    compile_us: float
    made: bool

    @property
    def compiled(self) -> str:
        """``compiled in 12.3 ms``, ``from the cache``, or why there was nothing to compile."""
        return compiled_words(self.dialect, self.compile_us)


@dataclass(frozen=True)
class KernelTexts:
    """Texts of the groups that ran, those whose kernels took longest first; equal ones once."""

    rows: tuple[KernelText, ...]
    texts: tuple[str, ...]

    @property
    def compile_ns(self) -> float:
        """Spent by compilers in this recording."""
        return 1e3 * sum(row.compile_us for row in self.rows if row.made)

    @property
    def line(self) -> str:
        """One sentence on what was compiled, what came from a cache, what was there before."""
        made = [row for row in self.rows if row.made]
        compiled = [row for row in made if row.compile_us]
        kept = [row for row in made if row.dialect and not row.compile_us]
        parts = [f"{len(compiled)} compiled in {format_ns(self.compile_ns)}"] if compiled else []
        counts = (
            (len(kept), "from the cache"),
            (len(made) - len(compiled) - len(kept), "of a library"),
            (len(self.rows) - len(made), "prepared before the recording"),
        )
        parts += [f"{count} {words}" for count, words in counts if count]
        return "kernel text: " + (", ".join(parts) or "none")

    def to_dict(self) -> dict[str, Any]:
        rows = [{**plain(row), "compiled": row.compiled} for row in self.rows]
        return {"rows": rows, "texts": list(self.texts), "compile_ns": self.compile_ns}

    def cells(self, limit: int) -> list[tuple[str, ...]]:
        """Lines of the table in ``HEAD``'s columns."""
        return [
            (
                row.name,
                f"{row.device}, {row.dialect}" if row.dialect else row.device,
                ", ".join(title for title, _ in row.sources if title) or "-",
                format_bytes(row.bytes),
                row.compiled,
            )
            for row in self.rows[:limit]
        ]

    def to_text(self, limit: int = 10) -> str:
        if not self.rows:
            return "no kernel has a text: the CPU runs loops that were compiled ahead of time"
        table = text_table(HEAD, self.cells(limit), left=(0, 1, 2, 4))
        rest = len(self.rows) - limit
        return "\n".join([table, *([f"and {rest} more"] if rest > 0 else []), self.line])

    __str__ = to_text


HEAD = ("kernel", "device", "entry points", "text", "compiled")


def sources(text: str) -> tuple[Source, ...]:
    """A group's text taken apart: one source a kernel, equal ones once.

    A device compiles the kernels of a group one by one, and each source opens with the same line.
    """
    opening, _, _ = text.partition("\n")
    starts = [0]
    if opening.strip():
        again = re.compile(r"(?<=\n\n)" + re.escape(opening) + r"$", re.M)
        starts += [match.start() for match in again.finditer(text)]
    parts: list[str] = []
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        # What has no kernel of its own is the opening of what follows.
        open_ = parts and not _entries(parts[-1])
        parts.append((parts.pop() if open_ else "") + text[start:end])
    times = Counter(part.strip("\n") + "\n" for part in parts if part.strip())
    return tuple(Source(_entries(part), part, count) for part, count in times.items())


def dialect_of(text: str) -> str:
    """Language of a kernel's text; empty where it describes what a library was asked for."""
    return next((name for name, entry in _ENTRIES.items() if entry.search(text)), "")


def compiled_words(dialect: str, compile_us: float) -> str:
    """What became of a text, for a reader.  Without a language there was nothing to compile."""
    took = format_ns(round(1e3 * compile_us))
    if not dialect:
        return f"prepared in {took}" if compile_us else "nothing to compile"
    return f"compiled in {took}" if compile_us else "from the cache"


def shown_plan(description: Mapping[str, Any]) -> dict[str, Any]:
    """A plan's description as views take it: ``texts`` has each text once.

    In place of ``text`` a group has ``kernel_text``: its ``dialect``, the words ``compiled``, and
    ``sources``, each with its ``title`` and the position ``text``.  Without texts it is as it was.
    """
    texts: dict[str, int] = {}
    groups = []
    for group in description.get("groups", ()):
        row = dict(group)
        if text := row.pop("text", ""):
            dialect = dialect_of(text)
            row["kernel_text"] = {
                "dialect": dialect,
                "compiled": compiled_words(dialect, row.get("compile_us", 0.0)),
                "sources": [
                    {"title": source.title, "text": texts.setdefault(source.text, len(texts))}
                    for source in sources(text)
                ],
            }
        groups.append(row)
    return {**description, "groups": groups, "texts": list(texts)} if texts else {**description}


@once
def kernel_text(recording: Recording) -> KernelTexts:
    """Texts of every plan that ran in ``recording``."""
    first: dict[int, str] = {}
    for run in recording.runs:
        first.setdefault(run.plan, run.outcome)
    took: dict[tuple[int, int | None], int] = {
        (row.plan, row.launch): row.total_ns for row in kernels_of(recording).rows
    }
    found = [
        (plan, group)
        for plan in recording.plans.values()
        for group in plan.groups
        if group.text and plan.id in first
    ]
    found.sort(key=lambda f: (-took.get((f[0].id, f[1].launch), 0), f[0].id, f[1].id))
    # Other sizes of a plan have the same text, but where it is written for sizes.
    once = {(f[0].family, f[1].id, f[1].text): f for f in reversed(found)}
    found = [f for f in found if once[f[0].family, f[1].id, f[1].text] is f]
    texts: dict[str, int] = {}
    rows = [_row(g, p.id, p.device, first[p.id] != "hit", texts) for p, g in found]
    return KernelTexts(tuple(rows), tuple(texts))


def _row(group: Group, plan: int, device: str, made: bool, texts: dict[str, int]) -> KernelText:
    parts = sources(group.text)
    return KernelText(
        name=group.label,
        plan=plan,
        group=group.id,
        launch=group.launch,
        device=device,
        dialect=dialect_of(group.text),
        sources=tuple((part.title, texts.setdefault(part.text, len(texts))) for part in parts),
        bytes=sum(len(part.text.encode()) for part in parts),
        compile_us=group.compile_us or 0.0,
        made=made,
    )


def _entries(text: str) -> tuple[str, ...]:
    return tuple(name for entry in _ENTRIES.values() for name in entry.findall(text))

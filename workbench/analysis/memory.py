"""Memory timeline: live bytes after every allocator event, and the peak buffer by buffer.

What was live before the recording began is one labelled block that shrinks as its buffers are
freed, so the labelled bytes always add up to the allocator's own count; ``residual`` is the
difference to the allocator's counter at the end and is 0 where nothing was lost.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..plan import ACTIVATION, ARENA, Node, Plan, category_name
from ..recording import Column, Recording, Run
from .once import once
from .table import format_bytes, format_ns, percent, plain, text_table

# Field c of a free event whose buffer was adopted.
FREE_EXTERNAL = 1
BEFORE = "before the recording"


class Buffer(NamedTuple):
    """One allocation.  ``freed`` is None where it outlived the recording.

    ``external`` memory (a NumPy array's) was adopted, not allocated, and is counted apart.
    ``first`` and ``last`` are positions among the memory events; -1 means before the first.
    """

    id: int
    bytes: int
    category: str
    op: str
    name: str
    shape: tuple[int, ...]
    where: str
    module: str
    phase: str
    run: int
    node: int
    allocated: int
    freed: int | None
    external: bool
    first: int
    last: int


@dataclass(frozen=True)
class PeakPart:
    """One labelled piece of the peak; pieces never overlap."""

    bytes: int
    category: str
    op: str
    name: str
    shape: tuple[int, ...]
    where: str
    module: str
    phase: str
    buffer: int
    note: str = ""

    @property
    def title(self) -> str:
        """What a reader calls it: its name, else the operation that made it."""
        return self.name or self.op or "-"


@dataclass(frozen=True)
class Peak:
    """The moment of most live bytes; ``parts`` add up to ``bytes``, biggest first.

    ``predicted`` is what was live when the evaluation of that moment began, and what its plan
    announced to need beside it (None outside an evaluation).
    """

    t: int
    bytes: int
    run: int
    launch: int
    parts: tuple[PeakPart, ...]
    by_category: dict[str, int]
    predicted: int | None

    def grouped(self) -> tuple[tuple[PeakPart, int], ...]:
        """Parts that differ in their buffer alone as one, bytes summed, with their number."""
        sums: dict[PeakPart, tuple[int, int]] = {}
        for part in self.parts:
            key = replace(part, bytes=0, buffer=-1)
            size, count = sums.get(key, (0, 0))
            sums[key] = (size + part.bytes, count + 1)
        rows = ((replace(key, bytes=size), count) for key, (size, count) in sums.items())
        return tuple(sorted(rows, key=lambda row: -row[0].bytes))


@dataclass(frozen=True, eq=False)
class Memory:
    """``active[i]`` bytes are live from ``t[i]`` on; the columns of ``by_category`` add up to it.

    ``external`` counts adopted memory, which is no part of ``active``.
    """

    t: Column
    active: Column
    external: Column
    by_category: Mapping[str, Column]
    buffers: tuple[Buffer, ...]
    peak: Peak
    residual: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "t": self.t.tolist(),
            "active": self.active.tolist(),
            "external": self.external.tolist(),
            "by_category": {name: column.tolist() for name, column in self.by_category.items()},
            "buffers": plain(self.buffers),
            "peak": plain(self.peak),
            "residual": self.residual,
        }

    def to_text(self, limit: int = 10) -> str:
        peak = self.peak
        after = format_ns(peak.t - int(self.t[0]))
        lines = [f"peak {format_bytes(peak.bytes)}, {after} into the recording"]
        rows = [
            (name, format_bytes(count), percent(count, peak.bytes))
            for name, count in peak.by_category.items()
        ]
        if rows:
            lines += [text_table(("at the peak", "bytes", "share"), rows), ""]
        grouped = peak.grouped()
        parts = [
            (
                f"{part.title}{f' (x{count})' if count > 1 else ''}",
                format_bytes(part.bytes),
                "x".join(map(str, part.shape)),
                part.category,
                part.where,
                part.module,
                part.note,
            )
            for part, count in grouped[:limit]
        ]
        if parts:
            head = ("buffer of", "bytes", "shape", "category", "line", "module", "")
            lines.append(text_table(head, parts, left=(0, 2, 3, 4, 5, 6)))
        rest = grouped[limit:]
        if rest:
            left = format_bytes(sum(part.bytes for part, _ in rest))
            lines.append(f"and {len(rest)} smaller ({left})")
        if self.residual:
            lines.append(
                f"{format_bytes(self.residual)} differ from the allocator's own count: "
                "events were lost"
            )
        return "\n".join(lines).rstrip()

    __str__ = to_text


@once
def memory(recording: Recording) -> Memory:
    """Memory of ``recording``; one sample (the bytes live at the start) where nothing happened."""
    events = _memory_events(recording)
    buffers, before = _buffers(recording, events)
    count = len(events) + 1
    deltas: dict[str, Column] = {BEFORE: np.zeros(count, np.int64)}
    deltas[BEFORE][0] = before
    external = np.zeros(count, np.int64)
    for buffer in buffers:
        if not buffer.external and buffer.category not in deltas:
            deltas[buffer.category] = np.zeros(count, np.int64)
        column = external if buffer.external else deltas[buffer.category]
        column[buffer.first + 1] += buffer.bytes
        if buffer.freed is not None:
            column[buffer.last + 1] -= buffer.bytes
    by_category = {
        name: np.cumsum(column, dtype=np.int64) for name, column in deltas.items() if column.any()
    }
    active = np.zeros(count, np.int64)
    for column in by_category.values():
        active = active + column
    times = np.concatenate([[recording.window[0]], events["t0"]]).astype(np.int64)
    known_end = recording.memory_end.active or recording.memory_start.active
    return Memory(
        t=times,
        active=active,
        external=np.cumsum(external, dtype=np.int64),
        by_category=by_category,
        buffers=buffers,
        peak=_peak(recording, times, active, buffers, before),
        residual=int(active[-1]) - recording.memory_end.active if known_end else 0,
    )


def _memory_events(recording: Recording) -> np.ndarray[Any, Any]:
    names = {kind.name: kind.id for kind in recording.schema}
    wanted = [names[name] for name in ("alloc", "free", "adopt") if name in names]
    return recording.events[np.isin(recording.events["kind"], wanted)]


def _buffers(recording: Recording, events: np.ndarray[Any, Any]) -> tuple[tuple[Buffer, ...], int]:
    """All buffers in order of allocation, and the bytes of unknown buffers live at the start."""
    kinds = {kind.id: kind.name for kind in recording.schema}
    bound = _bindings(recording)
    before = recording.memory_start.active
    live: dict[int, tuple[int, tuple[int, ...]]] = {}
    rows: list[tuple[int, int, tuple[int, ...], int | None, int]] = []
    seen: set[int] = set()
    early_free: dict[int, tuple[int, int, int]] = {}
    for i, event in enumerate(events.tolist()):
        kind, buffer = kinds[event[0]], event[5]
        if kind == "free":
            if buffer in live:
                first, opening = live.pop(buffer)
                rows.append((first, buffer, opening, event[3], i))
            elif buffer not in seen and event[7] != FREE_EXTERNAL:
                early_free[buffer] = (event[3], i, event[6])
        else:
            live[buffer] = (i, event)
        seen.add(buffer)
    rows += [(first, buffer, opening, None, -1) for buffer, (first, opening) in live.items()]
    rows.sort(key=lambda row: row[0])
    found = []
    allocated: dict[int, int] = {}
    for first, buffer, opening, freed, last in rows:
        allocated.setdefault(buffer, opening[3])
        uses = _bound(bound, buffer, opening[3], freed)
        external = kinds[opening[0]] == "adopt"
        found.append(_buffer(recording, external, first, opening, freed, last, uses))
    old = _old_buffers(recording, bound, early_free, allocated, before)
    return (*old, *found), before - sum(b.bytes for b in old)


class Use(NamedTuple):
    """An evaluation that bound a buffer, to which node, as what."""

    t: int
    run: int
    node: int
    category: int


Bindings = Mapping[int, list[Use]]


def _bindings(recording: Recording) -> Bindings:
    bound: dict[int, list[Use]] = {}
    for _, _, run, t, _, buffer, node, _, category in recording.of_kind("bind").tolist():
        bound.setdefault(buffer, []).append(Use(t, run, node, category))
    return bound


def _bound(bound: Bindings, buffer: int, t0: int, t1: int | None) -> list[Use]:
    """The bindings in a buffer's life; ids may be used again after it."""
    uses = bound.get(buffer, ())
    return [use for use in uses if t0 <= use.t and (t1 is None or use.t <= t1)]


def _old_buffers(
    recording: Recording,
    bound: Bindings,
    early_free: Mapping[int, tuple[int, int, int]],
    allocated: Mapping[int, int],
    before: int,
) -> list[Buffer]:
    """Buffers older than the recording, known because they were read or freed in it.

    Their size is the freed one, else the leaf's own bytes, which may be less than the buffer; the
    rest of the old bytes stays unlabelled.
    """
    old = []
    for buffer in [*early_free, *(b for b in bound if b not in early_free)]:
        freed, last, size = early_free.get(buffer, (None, -1, 0))
        until = freed if freed is not None else allocated.get(buffer)
        uses = _bound(bound, buffer, recording.window[0], until)
        run_id, node_id = (uses[0].run, uses[0].node) if uses else (0, -1)
        if freed is None:
            node = _node(recording, run_id, node_id) if buffer not in allocated else None
            size = node.bytes if node else 0
        if not 0 < size <= before:
            continue
        before -= size
        opening = (0, 0, run_id, recording.window[0], 0, buffer, size, 0, node_id)
        old.append(_buffer(recording, False, -1, opening, freed, last, uses))
    return old


def _node(recording: Recording, run_id: int, node_id: int) -> Node | None:
    run = recording.run_by_id.get(run_id)
    plan = recording.plans.get(run.plan) if run else None
    return plan.node_by_id.get(node_id) if plan else None


def _buffer(
    recording: Recording,
    external: bool,
    first: int,
    opening: tuple[int, ...],
    freed: int | None,
    last: int,
    uses: list[Use],
) -> Buffer:
    _, thread, run_id, t, _, buffer, size, category, node_id = opening
    if run_id not in recording.run_by_id or (node_id < 0 and category != ARENA):
        if uses:
            run_id, node_id = uses[0].run, uses[0].node
        else:
            during = _run_at(recording, t, thread)
            run_id = during.id if during else run_id
    run = recording.run_by_id.get(run_id)
    node = _node(recording, run_id, node_id) if category != ARENA else None
    origin = recording.origin(run.plan, node.id, run) if run and node else None
    name = category_name(_sharpest(recording, category, node, uses))
    if first < 0 and name == category_name(0):
        name = BEFORE
    return Buffer(
        id=buffer,
        bytes=size,
        category=name,
        op="arena" if category == ARENA else node.op if node else "",
        name=node.name if node else "",
        shape=tuple(node.shape) if node else (),
        where=origin.where if origin else "",
        module=origin.module if origin else "",
        phase=origin.phase if origin else "",
        run=run_id,
        node=node_id,
        allocated=t,
        freed=freed,
        external=external,
        first=first,
        last=last,
    )


def _sharpest(recording: Recording, category: int, node: Node | None, uses: list[Use]) -> int:
    """A buffer may be tagged after it was made: a leaf it is later bound to knows better."""
    if 1 <= category <= ARENA:
        return category
    for use in uses:
        leaf = _node(recording, use.run, use.node)
        tagged = use.category or (leaf.category if leaf is not None else 0)
        if tagged and tagged < ARENA:
            return tagged
    return (node.category if node else 0) or category


def _peak(
    recording: Recording,
    times: Column,
    active: Column,
    buffers: tuple[Buffer, ...],
    before: int,
) -> Peak:
    at = int(np.argmax(active))
    t0 = int(times[at])
    t1 = int(times[at + 1]) if at + 1 < len(times) else recording.window[1]
    parts: list[PeakPart] = []
    known_run = known_launch = -1
    for b in buffers:
        alive = b.first < at and (b.freed is None or b.last >= at)
        if not alive or b.external:
            continue
        run = recording.run_by_id.get(b.run)
        plan = recording.plans.get(run.plan) if run else None
        if b.op == "arena" and run and plan and plan.memory.buffers:
            launch, inside = _arena(recording, b, run, plan, t0, t1)
            known_run, known_launch = run.id, launch
            parts += inside
        else:
            note = f"since {BEFORE}" if b.first < 0 and b.category != BEFORE else ""
            parts.append(
                PeakPart(
                    b.bytes,
                    b.category,
                    b.op,
                    b.name,
                    b.shape,
                    b.where,
                    b.module,
                    b.phase,
                    b.id,
                    note,
                )
            )
    if before:
        parts.append(PeakPart(before, BEFORE, "", "", (), "", "", "", -1, "allocated earlier"))
    parts.sort(key=lambda part: (-part.bytes, part.buffer, part.op))
    sums: dict[str, int] = {}
    for part in parts:
        sums[part.category] = sums.get(part.category, 0) + part.bytes
    during = recording.run_by_id.get(known_run) or _run_at(recording, t0)
    plan = recording.plans.get(during.plan) if during else None
    return Peak(
        t=t0,
        bytes=int(active[at]),
        run=during.id if during else -1,
        launch=known_launch,
        parts=tuple(parts),
        by_category=dict(sorted(sums.items(), key=lambda item: -item[1])),
        predicted=_predicted(during, plan, times, active) if during and plan else None,
    )


def _predicted(run: Run, plan: Plan, times: Column, active: Column) -> int:
    before = max(int(np.searchsorted(times, run.t0, side="left")) - 1, 0)
    return int(active[before]) + plan.memory.arena_bytes + plan.memory.output_bytes


def _run_at(recording: Recording, t: int, thread: int | None = None) -> Run | None:
    """The evaluation going on at ``t``, on ``thread`` if given."""
    at = bisect_right(recording.runs, t, key=lambda run: run.t0)
    for run in reversed(recording.runs[max(at - 8, 0) : at]):
        if run.t1 >= t and thread in (None, run.thread):
            return run
    return None


def _category(recording: Recording, plan: Plan, node: Node) -> int:
    """Of a value inside an arena; a recording of before nodes had categories tells it by phase."""
    if node.category:
        return node.category
    kept = plan.kept_for_backward(node, lambda of: recording.phase(plan.id, of))
    return ACTIVATION if kept else 0


def _arena(
    recording: Recording, arena: Buffer, run: Run, plan: Plan, t0: int, t1: int
) -> tuple[int, list[PeakPart]]:
    """The arena at its fullest launch between ``t0`` and ``t1``, cut into planned buffers.

    Bytes that two planned buffers share are charged once, to the lower one; the rest of the
    block is named as unused, so that the parts add up to it.
    """
    planned = [b for b in plan.memory.buffers if b.storage == "arena"]
    during = [la.index for la in run.launches if la.t1 > t0 and la.t0 < t1]
    steps = during or [launch.id for launch in plan.launches] or [0]

    def fill(step: int) -> int:
        return sum(b.bytes for b in planned if b.first <= step <= b.last)

    step = max(steps, key=fill)
    parts: list[PeakPart] = []
    covered = 0
    for b in sorted(planned, key=lambda b: (b.offset, -b.bytes)):
        if not b.first <= step <= b.last:
            continue
        size = min(b.offset + b.bytes, arena.bytes) - max(b.offset, covered)
        covered = max(covered, b.offset + b.bytes)
        node = plan.node_by_id.get(b.node)
        if size <= 0 or node is None:
            continue
        origin = recording.origin(plan.id, node.id, run)
        parts.append(
            PeakPart(
                bytes=size,
                category=category_name(_category(recording, plan, node)),
                op=node.op,
                name=node.name,
                shape=tuple(node.shape),
                where=origin.where if origin else "",
                module=origin.module if origin else "",
                phase=origin.phase if origin else "",
                buffer=arena.id,
                note=f"in the arena, launches {b.first} to {b.last}",
            )
        )
    unused = arena.bytes - sum(part.bytes for part in parts)
    if unused:
        parts.append(
            PeakPart(unused, "arena", "", "", (), "", "", "", arena.id, "unused at this moment")
        )
    return step, parts

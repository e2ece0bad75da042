"""Timeline: evaluations, planning, launches, copies and waits per thread, and where time went."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..recording import OUTCOMES, Recording
from .once import once
from .table import format_ns, percent, plain, text_table

SPAN_KINDS = ("eval", "plan", "launch", "copy", "sync")


class Span(NamedTuple):
    """One stretch of time on one thread.  ``depth`` counts the spans it lies within.

    ``device`` is the plan's; of a copy the two that it is between, as in ``cpu to cuda``; of a wait
    it is empty, since a wait may be for several.
    """

    kind: str
    name: str
    thread: int
    t0: int
    t1: int
    depth: int
    run: int
    plan: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which has no use here
    device: str = ""


@dataclass(frozen=True)
class Totals:
    """Nanoseconds of the window, each moment counted once even where threads overlap.

    ``other_eval`` is evaluation time outside planning, launches, copies and waits: binding,
    allocating, dispatching.  ``python`` is all time outside evaluations.
    """

    wall: int
    evals: int
    plan: int
    launch: int
    copy: int
    sync: int
    other_eval: int
    python: int


Interval = tuple[int, int]
# Start, minus the end, rank and name of the kind, thread, run, plan, detail, devices of a copy.
Row = tuple[int, int, int, str, int, int, int, int, tuple[int, int]]
NOWHERE = (-1, -1)


@dataclass(frozen=True)
class Timeline:
    spans: tuple[Span, ...]
    threads: tuple[int, ...]
    totals: Totals
    outcomes: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return {
            "spans": plain(self.spans),
            "threads": list(self.threads),
            "totals": plain(self.totals),
            "outcomes": dict(self.outcomes),
        }

    def to_text(self) -> str:
        t = self.totals
        rows = [
            (name, format_ns(ns), percent(ns, t.wall))
            for name, ns in (
                ("kernels", t.launch),
                ("planning", t.plan),
                ("copies", t.copy),
                ("waiting", t.sync),
                ("rest of evaluation", t.other_eval),
                ("Python and the rest", t.python),
            )
            if ns or name in ("kernels", "Python and the rest")
        ]
        table = text_table(("where time went", "time", "share"), rows)
        counts = ", ".join(f"{count} {name}" for name, count in self.outcomes.items())
        return f"{table}\nplan cache: {counts or 'no evaluation'}"

    __str__ = to_text


@once
def timeline(recording: Recording) -> Timeline:
    """Spans ordered by start, with totals over ``recording.window``."""
    rows: list[Row] = []
    raw: dict[str, list[Interval]] = {}
    plan_of = {run.id: run.plan for run in recording.runs}
    for rank, kind in enumerate(SPAN_KINDS):
        events = recording.of_kind(kind).tolist()
        raw[kind] = [(e[3], e[4]) for e in events]
        for _, thread, run, t0, t1, a, b, c, d in events:
            plan = a if kind in ("eval", "plan", "launch") else plan_of.get(run, -1)
            between = (c, d) if kind == "copy" else NOWHERE
            detail = b if kind == "launch" else a
            rows.append((t0, -t1, rank, kind, thread, run, plan, detail, between))
    spans = _spans(recording, rows)
    outcomes: dict[str, int] = {}
    for run in recording.runs:
        outcomes[run.outcome] = outcomes.get(run.outcome, 0) + 1
    order = [*OUTCOMES, "unknown"]
    return Timeline(
        spans=tuple(spans),
        threads=tuple(sorted({span.thread for span in spans})),
        totals=_totals(recording.window, raw),
        outcomes={name: outcomes[name] for name in order if name in outcomes},
    )


def _name(recording: Recording, kind: str, plan: int, detail: int) -> str:
    if kind == "launch":
        launch = recording.launch(plan, detail)
        return launch.name if launch else f"plan {plan} launch {detail}"
    if kind == "copy":
        return f"copy {detail} bytes"
    if kind == "sync":
        return "wait"
    return f"planning of plan {plan}" if kind == "plan" else f"evaluation of plan {plan}"


def _device(recording: Recording, kind: str, plan: int, between: tuple[int, int]) -> str:
    if kind == "copy":
        return " to ".join(map(recording.machine.device, between))
    described = recording.plans.get(plan) if kind != "sync" else None
    return described.device if described else ""


def _spans(recording: Recording, rows: list[Row]) -> list[Span]:
    """Depth from containment per thread; at equal starts the longer span is the outer one."""
    open_until: dict[int, list[int]] = {}
    names: dict[tuple[str, int, int], str] = {}
    spans = []
    devices: dict[tuple[str, int, tuple[int, int]], str] = {}
    for t0, minus_t1, _, kind, thread, run, plan, detail, between in sorted(rows):
        t1 = -minus_t1
        stack = open_until.setdefault(thread, [])
        while stack and (stack[-1] < t1 or stack[-1] <= t0):
            stack.pop()
        key = (kind, plan, detail)
        if key not in names:
            names[key] = _name(recording, *key)
        where = (kind, plan, between)
        if where not in devices:
            devices[where] = _device(recording, *where)
        index = detail if kind == "launch" else -1
        spans.append(
            Span(kind, names[key], thread, t0, t1, len(stack), run, plan, index, devices[where])
        )
        stack.append(t1)
    return spans


def _totals(window: tuple[int, int], raw: dict[str, list[tuple[int, int]]]) -> Totals:
    clipped = {kind: _merge(_clip(raw[kind], window)) for kind in SPAN_KINDS}
    inner = _merge([part for kind in SPAN_KINDS[1:] for part in clipped[kind]])
    evals = _length(clipped["eval"])
    in_eval = _length(_intersect(clipped["eval"], inner))
    busy = _merge([*clipped["eval"], *inner])
    wall = window[1] - window[0]
    return Totals(
        wall=wall,
        evals=evals,
        plan=_length(clipped["plan"]),
        launch=_length(clipped["launch"]),
        copy=_length(clipped["copy"]),
        sync=_length(clipped["sync"]),
        other_eval=evals - in_eval,
        python=wall - _length(busy),
    )


def _clip(parts: Iterable[Interval], window: Interval) -> list[Interval]:
    lo, hi = window
    return [(max(t0, lo), min(t1, hi)) for t0, t1 in parts if t1 > lo and t0 < hi]


def _merge(parts: Iterable[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for t0, t1 in sorted(parts):
        if merged and t0 <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], t1))
        else:
            merged.append((t0, t1))
    return merged


def _length(parts: Sequence[Interval]) -> int:
    return sum(t1 - t0 for t0, t1 in parts)


def _intersect(left: Sequence[Interval], right: Sequence[Interval]) -> list[Interval]:
    """Common stretches of two merged lists."""
    result = []
    i = j = 0
    while i < len(left) and j < len(right):
        lo, hi = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if lo < hi:
            result.append((lo, hi))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return result

"""Traffic ledger: bytes op by op, as run, and the least possible; which decision made which part.

``unfused`` and ``ideal`` come from the plans, ``as_run`` from what the launches really read and
wrote; ``planned`` is what the plans promised, so a difference to ``as_run`` is visible.  ``copied``
is apart from all of these: bytes that went from one device's memory to another's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..recording import Recording
from .fusion import EdgeCost, fusion
from .once import once
from .table import format_bytes, percent, plain, summed, text_table
from .transfers import HEAD, LEFT, TransferCost, transfers


@dataclass(frozen=True)
class PlanTraffic:
    """Bytes of all recorded runs of one plan, in all its sizes: ``plan`` is the first of them."""

    plan: int
    label: str
    runs: int
    unfused: int
    planned: int
    as_run: int
    ideal: int
    sizes: int = 1


@dataclass(frozen=True)
class Ledger:
    """Totals, one row per plan (most traffic first), and the decisions, biggest first.

    ``sized_anew`` counts polymorphic hits: a known plan was put on other sizes. Each size has a
    description of its own, so the bytes are exact all the same.
    """

    unfused: int
    planned: int
    as_run: int
    ideal: int
    plans: tuple[PlanTraffic, ...]
    saved: tuple[EdgeCost, ...]
    lost: tuple[EdgeCost, ...]
    sized_anew: int = 0
    transfers: tuple[TransferCost, ...] = ()

    @property
    def copied(self) -> int:
        """Bytes that went between devices."""
        return sum(row.bytes for row in self.transfers)

    def to_dict(self) -> dict[str, Any]:
        return {**plain(self), "copied": self.copied}

    def to_text(self, limit: int = 8) -> str:
        rows = [
            ("op by op", format_bytes(self.unfused), "100.0%"),
            ("as run", format_bytes(self.as_run), percent(self.as_run, self.unfused)),
            ("ideal", format_bytes(self.ideal), percent(self.ideal, self.unfused)),
        ]
        if self.copied:
            copied = (format_bytes(self.copied), percent(self.copied, self.unfused))
            rows.append(("between devices", *copied))
        parts = [text_table(("traffic", "bytes", "share"), rows)]
        if self.sized_anew:
            parts.append(f"{self.sized_anew} runs put a known plan on other sizes")
        if self.as_run != self.planned:
            parts.append(f"the plans promised {format_bytes(self.planned)}")
        if len(self.plans) > 1:
            head = ("plan", "runs", "op by op", "as run", "ideal")
            rows2 = [
                (p.label, str(p.runs), *map(format_bytes, (p.unfused, p.as_run, p.ideal)))
                for p in self.plans[:limit]
            ]
            parts.append(text_table(head, rows2))
        if self.transfers:
            rows4 = [row.cells() for row in self.transfers[:limit]]
            parts.append(text_table(HEAD, rows4, LEFT))
        for title, edges in (("saved by fusing", self.saved), ("lost by not fusing", self.lost)):
            if edges:
                rows3 = [
                    (e.pair, format_bytes(e.total_bytes), e.reason, e.where) for e in edges[:limit]
                ]
                parts.append(text_table((title, "bytes", "reason", "line"), rows3, left=(0, 2, 3)))
        return "\n\n".join(parts)

    __str__ = to_text


@once
def traffic(recording: Recording) -> Ledger:
    """The ledger of every evaluation in ``recording``; all zero where nothing was evaluated."""
    as_run: dict[int, int] = {}
    for run in recording.runs:
        moved = sum(launch.reads + launch.writes for launch in run.launches)
        as_run[run.plan] = as_run.get(run.plan, 0) + moved
    rows: list[PlanTraffic] = []
    families: dict[int, list[PlanTraffic]] = {}
    for plan_id, runs in recording.run_count.items():
        plan = recording.plans.get(plan_id)
        moved = as_run.get(plan_id, 0)
        if plan is None:
            rows.append(PlanTraffic(plan_id, f"plan {plan_id}", runs, moved, moved, moved, moved))
            continue
        t = plan.traffic
        label = f"plan {plan_id} ({len(plan.nodes)} nodes)"
        figures = (t.unfused * runs, t.fused * runs, moved, t.ideal * runs)
        families.setdefault(plan.family, []).append(PlanTraffic(plan_id, label, runs, *figures))
    rows += [_family(members) for members in families.values()]
    rows.sort(key=lambda row: (-row.as_run, row.plan))
    edges = fusion(recording)
    return Ledger(
        unfused=sum(row.unfused for row in rows),
        planned=sum(row.planned for row in rows),
        as_run=sum(row.as_run for row in rows),
        ideal=sum(row.ideal for row in rows),
        plans=tuple(rows),
        saved=tuple(edge for edge in edges.fused if edge.total_bytes),
        lost=tuple(edge for edge in edges.unfused if edge.total_bytes),
        sized_anew=sum(run.outcome == "polymorphic hit" for run in recording.runs),
        transfers=transfers(recording).rows,
    )


def _family(members: list[PlanTraffic]) -> PlanTraffic:
    """One row of the plans of one graph in several sizes."""
    row = summed(members, "runs", "unfused", "planned", "as_run", "ideal", "sizes")
    return replace(row, label=f"{row.label}, {row.sizes} sizes") if row.sizes > 1 else row

"""Every producer-consumer edge: fused, or not for exactly one reason, with its price in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..plan import Edge, Plan
from ..recording import Recording
from .once import once
from .table import format_bytes, format_ns, plain, text_table


@dataclass(frozen=True)
class EdgeCost:
    """One edge of one plan, in all its sizes: ``plan`` is the first of them.

    ``bytes`` is the price (or, where fused, the saving) of one run, on average where sizes differ,
    ``total_bytes`` of all recorded runs.  ``ns`` is an estimate: ``total_bytes`` at the measured
    memory bandwidth, None where no bandwidth was measured.
    """

    plan: int
    src: int
    dst: int
    src_op: str
    dst_op: str
    fused: bool
    reason: str
    sentence: str
    bytes: int
    runs: int
    total_bytes: int
    ns: float | None
    where: str
    module: str

    @property
    def pair(self) -> str:
        return f"{self.src_op} -> {self.dst_op}"


@dataclass(frozen=True)
class ReasonSum:
    reason: str
    sentence: str
    edges: int
    total_bytes: int


@dataclass(frozen=True)
class Fusion:
    """All edges, dearest first.  ``unexplained`` must be empty: an edge without a reason."""

    fused: tuple[EdgeCost, ...]
    unfused: tuple[EdgeCost, ...]
    reasons: tuple[ReasonSum, ...]

    @property
    def unexplained(self) -> tuple[EdgeCost, ...]:
        return tuple(edge for edge in self.unfused if not edge.sentence)

    def to_dict(self) -> dict[str, Any]:
        return {name: plain(getattr(self, name)) for name in ("fused", "unfused", "reasons")}

    def to_text(self, limit: int = 10) -> str:
        """Sums by reason, then the dearest unfused edges."""
        saved = sum(edge.total_bytes for edge in self.fused)
        lost = sum(edge.total_bytes for edge in self.unfused)
        lines = [
            f"edges: {len(self.fused)} fused (saved {format_bytes(saved)}), "
            f"{len(self.unfused)} not (cost {format_bytes(lost)})"
        ]
        if self.reasons:
            rows = [
                (r.reason, str(r.edges), format_bytes(r.total_bytes), r.sentence)
                for r in self.reasons
            ]
            lines += ["", text_table(("reason", "edges", "cost", "meaning"), rows, left=(0, 3))]
        if self.unfused:
            dearest = [_text_row(edge) for edge in self.unfused[:limit]]
            head = ("edge", "cost", "about", "reason", "line")
            lines += ["", text_table(head, dearest, left=(0, 3, 4))]
        return "\n".join(lines)

    __str__ = to_text


def _text_row(edge: EdgeCost) -> tuple[str, ...]:
    about = format_ns(edge.ns) if edge.ns is not None else "-"
    return (edge.pair, format_bytes(edge.total_bytes), about, edge.reason, edge.where)


@once
def fusion(recording: Recording) -> Fusion:
    """Edges of every plan that ran in ``recording``, weighted by how often it ran."""
    first: dict[tuple[int, int, int], tuple[Plan, Edge]] = {}
    sums: dict[tuple[int, int, int], tuple[int, int]] = {}
    for plan, runs in _plans_run(recording):
        for edge in plan.edges:
            key = (plan.family, edge.src, edge.dst)
            first.setdefault(key, (plan, edge))
            known_runs, total = sums.get(key, (0, 0))
            sums[key] = (known_runs + runs, total + edge.bytes * runs)
    costs = [_cost(recording, *first[key], *sums[key]) for key in first]
    costs.sort(key=lambda e: (-e.total_bytes, e.plan, e.src, e.dst))
    fused = tuple(edge for edge in costs if edge.fused)
    unfused = tuple(edge for edge in costs if not edge.fused)
    return Fusion(fused, unfused, _reasons(unfused))


def explain(recording: Recording, plan_id: int, src: int, dst: int) -> str:
    """One sentence on one edge.  KeyError where the plan has no such edge."""
    plan = recording.plans[plan_id]
    edge = next((e for e in plan.edges if (e.src, e.dst) == (src, dst)), None)
    if edge is None:
        raise KeyError(f"explain: plan {plan_id} has no edge {src} -> {dst}")
    cost = _cost(recording, plan, edge, 1, edge.bytes)
    if edge.fused:
        return f"{cost.pair} is fused: {format_bytes(edge.bytes)} never went through memory"
    return f"{cost.pair} is not fused: {cost.sentence} ({format_bytes(edge.bytes)} a run)"


def _plans_run(recording: Recording) -> list[tuple[Plan, int]]:
    counts = recording.run_count
    return [(plan, counts[plan.id]) for plan in recording.plans.values() if plan.id in counts]


def _cost(recording: Recording, plan: Plan, edge: Edge, runs: int, total: int) -> EdgeCost:
    def title(node: int) -> str:
        found = plan.node_by_id.get(node)
        return found.title if found else f"node {node}"

    origin = recording.origin(plan.id, edge.dst) or recording.origin(plan.id, edge.src)
    ceilings = recording.machine.ceilings
    return EdgeCost(
        plan=plan.id,
        src=edge.src,
        dst=edge.dst,
        src_op=title(edge.src),
        dst_op=title(edge.dst),
        fused=edge.fused,
        reason=edge.reason,
        sentence=recording.reasons.get(edge.reason, edge.reason),
        bytes=round(total / max(runs, 1)),
        runs=runs,
        total_bytes=total,
        ns=total / ceilings.bandwidth_gbs if ceilings else None,
        where=origin.where if origin else "",
        module=origin.module if origin else "",
    )


def _reasons(unfused: tuple[EdgeCost, ...]) -> tuple[ReasonSum, ...]:
    sums: dict[str, ReasonSum] = {}
    for e in unfused:
        old = sums.get(e.reason, ReasonSum(e.reason, e.sentence, 0, 0))
        sums[e.reason] = ReasonSum(
            e.reason, e.sentence, old.edges + 1, old.total_bytes + e.total_bytes
        )
    return tuple(sorted(sums.values(), key=lambda r: (-r.total_bytes, r.reason)))

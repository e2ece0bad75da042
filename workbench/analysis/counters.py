"""What kernels cost on a GPU, as software Metal counted it: transactions, banks, lanes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..recording import KernelLaunch, Recording
from .once import once
from .table import format_count, percent, text_table


@dataclass(frozen=True)
class Counted:
    """One launch of one plan; ``counts`` are sums over its runs, in all sizes, named as in
    docs/soft-metal.md.

    ``kernels`` are the entry points it launched, ``count`` how often it ran.
    """

    name: str
    plan: int
    launch: int
    count: int
    kernels: tuple[str, ...]
    counts: Mapping[str, int]

    @property
    def transactions(self) -> int:
        """128-byte lines of device memory that SIMD-groups asked for."""
        return self._sum("load_transactions", "store_transactions")

    @property
    def transactions_ideal(self) -> int:
        """The same if the bytes of each access had lain together."""
        return self._sum("load_transactions_ideal", "store_transactions_ideal")

    @property
    def coalescing(self) -> float:
        """Share of the ideal, 1 at best; NaN where nothing was loaded or stored."""
        return _ratio(self.transactions_ideal, self.transactions)

    @property
    def conflicts(self) -> float:
        """Cycles lost in threadgroup memory per access of a SIMD-group; NaN without accesses."""
        return _ratio(self._sum("bank_conflicts"), self._sum("bank_accesses"))

    @property
    def divergence(self) -> float:
        """Share of the issued blocks that only part of the lanes ran; NaN without blocks."""
        return _ratio(self._sum("blocks_divergent"), self._sum("blocks_issued"))

    @property
    def lanes(self) -> float:
        """Share of the lanes that worked in what was issued; NaN without blocks."""
        return _ratio(self._sum("lane_slots_used"), self._sum("lane_slots"))

    @property
    def barriers(self) -> int:
        return self._sum("barriers")

    def _sum(self, *names: str) -> int:
        return sum(self.counts.get(name, 0) for name in names)

    def to_dict(self) -> dict[str, Any]:
        """The figures that views show; None where one is NaN."""
        shares = {
            name: None if value != value else value
            for name, value in (
                ("coalescing", self.coalescing),
                ("conflicts", self.conflicts),
                ("divergence", self.divergence),
                ("lanes", self.lanes),
            )
        }
        return {
            "name": self.name,
            "plan": self.plan,
            "launch": self.launch,
            "count": self.count,
            "kernels": list(self.kernels),
            "counts": dict(self.counts),
            "transactions": self.transactions,
            "transactions_ideal": self.transactions_ideal,
            **shares,
        }


@dataclass(frozen=True)
class Counters:
    """Launches by transactions, dearest first.

    ``unmatched`` kernels ran within no recorded launch.
    """

    rows: tuple[Counted, ...]
    unmatched: int

    def to_dict(self) -> dict[str, Any]:
        return {"rows": [row.to_dict() for row in self.rows], "unmatched": self.unmatched}

    def to_text(self, limit: int = 10) -> str:
        if not self.rows:
            return "no device counted"
        table = text_table(HEAD, [cells(row) for row in self.rows[:limit]])
        rest = len(self.rows) - limit
        return table + (f"\nand {rest} more" if rest > 0 else "")

    __str__ = to_text


HEAD = ("kernel", "loads", "stores", "lines", "ideal", "bank conflicts", "divergent", "lanes")


def cells(row: Counted) -> tuple[str, ...]:
    """A line of the table in ``HEAD``'s columns."""
    return (
        row.name,
        format_count(row.counts.get("device_loads", 0)),
        format_count(row.counts.get("device_stores", 0)),
        format_count(row.transactions),
        _share(row.coalescing),
        "-" if row.conflicts != row.conflicts else f"{row.conflicts:.2f} each",
        _share(row.divergence),
        _share(row.lanes),
    )


def _share(value: float) -> str:
    return "-" if value != value else percent(value, 1)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


@once
def counters(recording: Recording) -> Counters:
    """Counts of kernels, put to the launch that they ran within."""
    launches = sorted(
        (launch.t0, launch.t1, run.plan, launch.index)
        for run in recording.runs
        for launch in run.launches
        if _counts_itself(recording, run.plan)
    )
    starts = [launch[0] for launch in launches]
    found: dict[tuple[int, ...], dict[int, list[KernelLaunch]]] = {}
    first: dict[tuple[int, ...], tuple[int, int]] = {}
    unmatched = 0
    for kernel in recording.kernel_launches:
        at = bisect_right(starts, kernel.t0) - 1
        if at < 0 or launches[at][1] < kernel.t1:
            unmatched += 1
            continue
        _, _, plan, index = launches[at]
        key = recording.kernel_key(plan, index)
        first.setdefault(key, (plan, index))
        found.setdefault(key, {}).setdefault(at, []).append(kernel)
    rows = [_row(recording, *first[key], list(runs.values())) for key, runs in found.items()]
    rows.sort(key=lambda row: (-row.transactions, row.plan, row.launch))
    return Counters(tuple(rows), unmatched)


def _counts_itself(recording: Recording, plan: int) -> bool:
    described = recording.plans.get(plan)
    return described is None or described.device != "cpu"


def _row(recording: Recording, plan: int, index: int, runs: list[list[KernelLaunch]]) -> Counted:
    launch = recording.launch(plan, index)
    totals: dict[str, int] = {}
    names: dict[str, None] = {}
    for run in runs:
        for kernel in run:
            names[kernel.kernel] = None
            for name, value in kernel.counts.items():
                totals[name] = totals.get(name, 0) + value
    return Counted(
        name=launch.name if launch else f"plan {plan} launch {index}",
        plan=plan,
        launch=index,
        count=len(runs),
        kernels=tuple(names),
        counts=totals,
    )

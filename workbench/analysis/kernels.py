"""Top kernels: how often, how long, how many bytes and flops, at which rates."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from ..recording import CLOCKS, LaunchRun, Recording
from .once import once
from .table import format_bytes, format_ns, percent, plain, text_table


@dataclass(frozen=True)
class Kernel:
    """One launch of one plan over all its runs.  ``bytes`` and ``flops`` are sums over them.

    A plan that was put on other sizes launches the same kernels: they are one row, of ``sizes``
    plans, ``plan`` and ``launch`` being the first of them.  ``clock`` says what its times were read
    from, ``A, B`` where runs differ (``CLOCKS`` in ``lamina.workbench.recording``).
    """

    name: str
    plan: int
    launch: int
    count: int
    total_ns: int
    median_ns: float
    min_ns: int
    max_ns: int
    bytes: int
    flops: int
    where: str
    module: str
    clock: str = CLOCKS[0]
    sizes: int = 1

    @property
    def gbs(self) -> float:
        """Bytes over time; a byte per nanosecond is a GB/s.  0 where no time was measured."""
        return self.bytes / self.total_ns if self.total_ns else 0.0

    @property
    def gflops(self) -> float:
        return self.flops / self.total_ns if self.total_ns else 0.0


@dataclass(frozen=True)
class Kernels:
    """Kernels by total time, longest first."""

    rows: tuple[Kernel, ...]
    total_ns: int

    def to_dict(self) -> dict[str, Any]:
        rows = [{**plain(row), "gbs": row.gbs, "gflops": row.gflops} for row in self.rows]
        return {"rows": rows, "total_ns": self.total_ns}

    def to_text(self, limit: int = 10) -> str:
        if not self.rows:
            return "no kernel ran"
        head = ("kernel", "count", "total", "share", "median", "bytes", "GB/s", "GFLOP/s", "line")
        rows = [
            (
                row.name,
                str(row.count),
                format_ns(row.total_ns),
                percent(row.total_ns, self.total_ns),
                format_ns(row.median_ns),
                format_bytes(row.bytes),
                f"{row.gbs:.2f}",
                f"{row.gflops:.2f}",
                row.where,
            )
            for row in self.rows[:limit]
        ]
        table = text_table(head, rows, left=(0, 8))
        rest = self.rows[limit:]
        if rest:
            share = percent(sum(row.total_ns for row in rest), self.total_ns)
            table += f"\nand {len(rest)} more ({share} of the kernel time)"
        return f"{table}\n{self.clocks}"

    @property
    def clocks(self) -> str:
        """``times from GPU counters``, with counts of launches where there are several clocks."""
        counts: dict[str, int] = {}
        for row in self.rows:
            counts[row.clock] = counts.get(row.clock, 0) + row.count
        one = len(counts) == 1
        parts = [clock if one else f"{clock} ({count})" for clock, count in counts.items()]
        return f"times from {', '.join(parts)}"

    __str__ = to_text


@once
def kernels(recording: Recording) -> Kernels:
    """All launches, grouped by plan, whatever its sizes, and what of it they compute."""
    groups: dict[tuple[int, ...], list[tuple[int, LaunchRun]]] = {}
    for run in recording.runs:
        for launch in run.launches:
            key = recording.kernel_key(run.plan, launch.index)
            groups.setdefault(key, []).append((run.plan, launch))
    rows = [_kernel(recording, launches) for launches in groups.values()]
    rows.sort(key=lambda row: (-row.total_ns, row.plan, row.launch))
    return Kernels(tuple(rows), sum(row.total_ns for row in rows))


def _kernel(recording: Recording, seen: list[tuple[int, LaunchRun]]) -> Kernel:
    plan_id, index = seen[0][0], seen[0][1].index
    launches = [launch for _, launch in seen]
    plan = recording.plans.get(plan_id)
    described = recording.launch(plan_id, index)
    nodes = plan.launch_nodes(index) if plan else ()
    found = (recording.origin(plan_id, node) for node in reversed(nodes))
    origin = next((origin for origin in found if origin is not None and origin.file), None)
    each = (recording.launch(plan, launch.index) for plan, launch in seen)
    times = [launch.t1 - launch.t0 for launch in launches]
    return Kernel(
        name=described.name if described else f"plan {plan_id} launch {index}",
        plan=plan_id,
        launch=index,
        count=len(launches),
        total_ns=sum(times),
        median_ns=statistics.median(times),
        min_ns=min(times),
        max_ns=max(times),
        bytes=sum(launch.reads + launch.writes for launch in launches),
        flops=sum(found.flops for found in each if found is not None),
        where=origin.where if origin else "",
        module=origin.module if origin else "",
        clock=", ".join(dict.fromkeys(launch.clock for launch in launches)),
        sizes=len({plan for plan, _ in seen}),
    )

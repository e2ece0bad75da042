"""Roofline: each kernel's attained rate against the ceilings measured on the same machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..recording import Ceilings, Recording
from .kernels import Kernel, kernels
from .table import plain, text_table


@dataclass(frozen=True)
class RooflinePoint:
    """One kernel.  ``intensity`` is flops per byte; ``roof`` the most it allows, in GFLOP/s.

    ``fraction`` is the attained share of the bounding ceiling.  A memory-bound kernel above 1
    found its data in cache (``in_cache``): its bytes never came from memory.
    """

    name: str
    plan: int
    launch: int
    intensity: float
    gflops: float
    gbs: float
    roof: float
    bound: str
    fraction: float
    in_cache: bool
    total_ns: int


@dataclass(frozen=True)
class Roofline:
    ceilings: Ceilings
    points: tuple[RooflinePoint, ...]

    @property
    def ridge(self) -> float:
        """Intensity in flops per byte where memory stops being the bound."""
        return self.ceilings.peak_gflops / self.ceilings.bandwidth_gbs

    def to_dict(self) -> dict[str, Any]:
        return {
            "ceilings": plain(self.ceilings),
            "ridge": self.ridge,
            "points": plain(self.points),
        }

    def to_text(self, limit: int = 10) -> str:
        c = self.ceilings
        head = (
            f"measured ceilings: {c.bandwidth_gbs:.1f} GB/s from memory, {c.cache_gbs:.1f} GB/s "
            f"from cache, {c.peak_gflops:.0f} GFLOP/s; ridge at {self.ridge:.1f} flops/byte"
        )
        rows = [
            (
                p.name,
                f"{p.intensity:.2f}",
                f"{p.gflops:.2f}",
                f"{p.gbs:.2f}",
                p.bound + (" (in cache)" if p.in_cache else ""),
                f"{100 * p.fraction:.0f}%",
            )
            for p in self.points[:limit]
        ]
        if not rows:
            return head
        columns = ("kernel", "flops/byte", "GFLOP/s", "GB/s", "bound", "of the roof")
        return head + "\n" + text_table(columns, rows, left=(0, 4))

    __str__ = to_text


def roofline(recording: Recording, ceilings: Ceilings | None = None) -> Roofline:
    """Points of all kernels, longest first, under ``ceilings`` or those stored in the recording.

    ValueError: the recording holds no measured ceilings and none were given.
    """
    ceilings = ceilings or recording.machine.ceilings
    if ceilings is None:
        raise ValueError(
            "roofline: the recording holds no measured ceilings\n"
            "pass ceilings=lamina.workbench.ceilings.measure()"
        )
    table = kernels(recording)
    return Roofline(ceilings, tuple(_point(row, ceilings) for row in table.rows if row.total_ns))


def _point(row: Kernel, ceilings: Ceilings) -> RooflinePoint:
    intensity = row.flops / row.bytes if row.bytes else float("inf")
    memory_roof = intensity * ceilings.bandwidth_gbs
    roof = min(ceilings.peak_gflops, memory_roof)
    bound = "memory" if memory_roof < ceilings.peak_gflops else "compute"
    if bound == "memory":
        fraction = row.gbs / ceilings.bandwidth_gbs
    else:
        fraction = row.gflops / ceilings.peak_gflops
    return RooflinePoint(
        name=row.name,
        plan=row.plan,
        launch=row.launch,
        intensity=intensity if row.bytes else 0.0,
        gflops=row.gflops,
        gbs=row.gbs,
        roof=roof,
        bound=bound,
        fraction=fraction,
        in_cache=bound == "memory" and fraction > 1,
        total_ns=row.total_ns,
    )

"""Copies between devices: what a plan needs of another device's memory, and what was copied.

A plan says which values it reads of another device (``Plan.transfers``).  A run copies one where
no copy of its buffer lies there from before; what it copied is an event, and counts as it is
recorded: a copy is of the whole buffer that the value is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..plan import Plan, Transfer
from ..recording import BIND_LEAF, Recording
from .once import once
from .table import format_bytes, format_ns, plain, summed, text_table

HEAD = ("copied between devices", "from", "to", "before", "copies", "bytes", "time", "GB/s", "line")
LEFT = (0, 1, 2, 3, 8)


@dataclass(frozen=True)
class TransferCost:
    """One value that one plan, in all its sizes, reads of another device, over all recorded runs.

    ``copies`` of ``runs`` were made, the others found one; ``bytes`` and ``ns`` are of those made.
    ``before`` is the launch that reads it first, empty where none does.  Copies that no plan asked
    for (the program read a result) have ``plan`` and ``node`` -1, and as many runs as copies.
    """

    name: str
    plan: int
    node: int
    source: str
    target: str
    before: str
    runs: int
    copies: int
    bytes: int
    ns: int
    where: str

    @property
    def gbs(self) -> float:
        """GB/s while copying; 0 where nothing was copied."""
        return self.bytes / self.ns if self.ns else 0.0

    def cells(self) -> tuple[str, ...]:
        """Texts under ``HEAD``."""
        copies = f"{self.copies} of {self.runs} runs" if self.plan >= 0 else str(self.copies)
        made = (format_bytes(self.bytes), format_ns(self.ns), f"{self.gbs:.2f}")
        shown = made if self.copies else ("-", "-", "-")
        return (self.name, self.source, self.target, self.before, copies, *shown, self.where)


@dataclass(frozen=True)
class Transfers:
    """Rows with most bytes first; values whose copies were all found are rows too."""

    rows: tuple[TransferCost, ...]

    @property
    def bytes(self) -> int:
        return sum(row.bytes for row in self.rows)

    @property
    def copies(self) -> int:
        return sum(row.copies for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        return {"rows": plain(self.rows), "bytes": self.bytes, "copies": self.copies}

    def to_text(self, limit: int = 8) -> str:
        if not self.rows:
            return "nothing crossed between devices"
        return text_table(HEAD, [row.cells() for row in self.rows[:limit]], LEFT)

    __str__ = to_text


class Made(NamedTuple):
    """Copy events that brought one value: one, or two where GPUs meet in the CPU's memory."""

    run: int
    buffer: int
    bytes: int
    ns: int
    source: int
    target: int


@once
def transfers(recording: Recording) -> Transfers:
    """What crossed between devices in ``recording``; no rows where all ran on one."""
    made: dict[tuple[int, int], list[Made]] = {}
    rest: dict[tuple[int, int], list[Made]] = {}
    leaf_of = _leaves(recording)
    plan_of = {run.id: run.plan for run in recording.runs}
    for copy in _made(recording):
        node = leaf_of.get((copy.run, copy.buffer), -1)
        if node >= 0 and copy.run in plan_of:
            made.setdefault((plan_of[copy.run], node), []).append(copy)
        else:
            rest.setdefault((copy.source, copy.target), []).append(copy)
    families: dict[tuple[int, int, str], list[TransferCost]] = {}
    for plan in recording.plans.values():
        if plan.id not in recording.run_count:
            continue
        for transfer in plan.transfers:
            row = _row(recording, plan, transfer, made.pop((plan.id, transfer.node), ()))
            families.setdefault((plan.family, transfer.node, transfer.source), []).append(row)
    rows = [summed(sizes, "runs", "copies", "bytes", "ns") for sizes in families.values()]
    # Of plans that were forgotten before they were described, the events are left.
    for (plan_id, node), copies in made.items():
        title = f"plan {plan_id} node {node}"
        rows.append(_unplanned(recording, title, copies, plan_id, node))
    rows += [_unplanned(recording, "read by the program", copies) for copies in rest.values()]
    rows.sort(key=lambda row: (-row.bytes, row.plan, row.node))
    return Transfers(tuple(rows))


def _row(
    recording: Recording,
    plan: Plan,
    transfer: Transfer,
    copies: Sequence[Made],
) -> TransferCost:
    count, size, ns = _sums(copies)
    launch = plan.launch_by_id.get(transfer.before)
    readers = plan.consumers.get(transfer.node, ())
    origin = recording.origin(plan.id, readers[0].id) if readers else None
    node = plan.node_by_id.get(transfer.node)
    return TransferCost(
        name=node.title if node else f"node {transfer.node}",
        plan=plan.id,
        node=transfer.node,
        source=transfer.source,
        target=plan.device,
        before=launch.name if launch else "",
        runs=recording.run_count[plan.id],
        copies=count,
        bytes=size,
        ns=ns,
        where=origin.where if origin else "",
    )


def _unplanned(
    recording: Recording, name: str, copies: Sequence[Made], plan: int = -1, node: int = -1
) -> TransferCost:
    count, size, ns = _sums(copies)
    source, target = map(recording.machine.device, (copies[0].source, copies[0].target))
    runs = recording.run_count.get(plan, count)
    return TransferCost(name, plan, node, source, target, "", runs, count, size, ns, where="")


def _sums(copies: Sequence[Made]) -> tuple[int, int, int]:
    return len(copies), sum(c.bytes for c in copies), sum(c.ns for c in copies)


def _leaves(recording: Recording) -> dict[tuple[int, int], int]:
    """The first leaf that each run bound to a buffer."""
    found: dict[tuple[int, int], int] = {}
    for _, _, run, _, _, buffer, node, role, _ in recording.of_kind("bind").tolist():
        if role == BIND_LEAF:
            found.setdefault((run, buffer), node)
    return found


def _made(recording: Recording) -> list[Made]:
    """Copies by time.  One to the CPU and, in the same run, on from there is one from afar."""
    found: list[Made] = []
    for _, _, run, t0, t1, size, buffer, source, target in recording.of_kind("copy").tolist():
        copy = Made(run, buffer, size, t1 - t0, source, target)
        before = found[-1] if found else copy
        if run and source == 0 and (before.run, before.target, before.bytes) == (run, 0, size):
            found.pop()
            both = {"bytes": size + before.bytes, "ns": copy.ns + before.ns}
            copy = copy._replace(source=before.source, **both)
        found.append(copy)
    return found

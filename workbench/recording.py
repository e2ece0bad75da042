"""Recording: everything one profiled stretch of a program did, as immutable data.

A recording holds no live object and needs no engine: it can be saved, sent and opened wherever
numpy is.  Times are nanoseconds of the recording machine's monotonic clock; ``window`` is the
recorded stretch.  Events of an unknown kind (a newer engine's) are kept and ignored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .plan import Launch, Plan

EVENT_DTYPE = np.dtype(
    [
        ("kind", "<u4"),
        ("thread", "<u4"),
        ("run", "<u8"),
        ("t0", "<i8"),
        ("t1", "<i8"),
        ("a", "<i8"),
        ("b", "<i8"),
        ("c", "<i8"),
        ("d", "<i8"),
    ]
)

Events = npt.NDArray[np.void]
Column = npt.NDArray[np.int64]

OUTCOMES = ("hit", "polymorphic hit", "miss")
# What the time of a launch was read from, by the number that `timed` events have.
CLOCKS = ("CPU clock", "device events", "GPU counters", "command buffer", "not measured")
BIND_LEAF, BIND_OUTPUT, BIND_ARENA, BIND_DONATED = range(4)


@dataclass(frozen=True)
class EventKind:
    """One row of the event schema: what the fields ``a`` to ``d`` of this kind mean."""

    id: int
    name: str
    span: bool
    fields: Mapping[str, str] = field(default_factory=dict)


SCHEMA = (
    EventKind(1, "eval", True, {"a": "plan", "b": "outcome", "c": "nodes", "d": "origins"}),
    EventKind(2, "plan", True, {"a": "plan", "b": "nodes"}),
    EventKind(3, "launch", True, {"a": "plan", "b": "launch", "c": "reads", "d": "writes"}),
    EventKind(4, "alloc", False, {"a": "buffer", "b": "bytes", "c": "category", "d": "node"}),
    EventKind(5, "free", False, {"a": "buffer", "b": "bytes"}),
    EventKind(6, "adopt", False, {"a": "buffer", "b": "bytes", "c": "category", "d": "node"}),
    EventKind(7, "copy", True, {"a": "bytes", "b": "buffer", "c": "from", "d": "to"}),
    EventKind(8, "sync", True),
    EventKind(9, "bind", False, {"a": "buffer", "b": "node", "c": "role"}),
    EventKind(10, "overhead", False, {"a": "ns", "b": "events"}),
    EventKind(11, "timed", False, {"a": "plan", "b": "launch", "c": "count", "d": "clock"}),
)


@dataclass(frozen=True)
class Origin:
    """Where a node was built: source position, nn.Module path, forward or backward.

    ``text`` is the source line, taken when the recording was made; ``label`` is what a reader
    calls the file where that is not its name (a notebook's cell).  Empty where unknown.
    """

    id: int
    file: str = ""
    line: int = 0
    function: str = ""
    module: str = ""
    phase: str = ""
    text: str = ""
    label: str = ""

    @cached_property
    def where(self) -> str:
        """``train.py:12`` or ``In[3]:2``; an empty string where the line is unknown."""
        name = self.label or os.path.basename(self.file)
        return f"{name}:{self.line}" if name else ""


@dataclass(frozen=True)
class SourceCell:
    """Code that ran: ``file`` is the name that origins carry, ``name`` the one a reader knows."""

    file: str
    name: str
    text: str


@dataclass(frozen=True)
class Failure:
    """The exception that ended the recorded code; the user got the exception itself."""

    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True)
class MemoryState:
    """The allocator's own counters, in bytes."""

    active: int = 0
    peak: int = 0
    cache: int = 0
    limit: int = 0


@dataclass(frozen=True)
class Ceilings:
    """Rates measured on the machine: GB/s from memory and from cache, GFLOP/s in float32."""

    bandwidth_gbs: float
    cache_gbs: float
    peak_gflops: float
    method: str = ""
    measured: str = ""


@dataclass(frozen=True)
class Machine:
    """``devices``: names by number, as copies count them; empty in older recordings."""

    isa: str = ""
    threads: int = 0
    cpu: str = ""
    platform: str = ""
    python: str = ""
    lamina: str = ""
    ceilings: Ceilings | None = None
    devices: tuple[str, ...] = ()

    def device(self, number: int) -> str:
        known = 0 <= number < len(self.devices)
        return self.devices[number] if known else "cpu" if number == 0 else f"device {number}"


@dataclass(frozen=True)
class Overhead:
    """What recording cost: time in the engine's hooks, and CPU time of the thread that drains.

    ``prepare_ns`` came after the clock had stopped: describing the plans, finding the lines.
    """

    engine_ns: int = 0
    drain_ns: int = 0
    prepare_ns: int = 0

    @property
    def total_ns(self) -> int:
        """What the recorded program felt."""
        return self.engine_ns + self.drain_ns


@dataclass(frozen=True)
class Lap:
    """One timed stretch of a repeated run; ``kind`` is ``warmup`` or ``timed``."""

    kind: str
    t0: int
    t1: int
    loops: int = 1

    @property
    def ns_per_loop(self) -> float:
        return (self.t1 - self.t0) / max(self.loops, 1)


class LaunchRun(NamedTuple):
    """One launch of a run, with the bytes it really read and wrote.

    ``clock`` is what its time was read from, one of ``CLOCKS``.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which has no use here
    t0: int
    t1: int
    reads: int
    writes: int
    thread: int = 0
    clock: str = CLOCKS[0]


class Run(NamedTuple):
    """One evaluation.  ``outcome`` is ``unknown`` where its closing event is missing."""

    id: int
    plan: int
    outcome: str
    t0: int
    t1: int
    thread: int
    nodes: int
    origins: int
    launches: tuple[LaunchRun, ...]


@dataclass(frozen=True)
class KernelLaunch:
    """One launch of a kernel that the device counted itself (software Metal): what, when, cost.

    ``counts`` are figures by name, as docs/soft-metal.md explains them.
    """

    kernel: str
    t0: int
    t1: int
    counts: Mapping[str, int]


@dataclass(frozen=True)
class CompiledFunction:
    """A function of ``mx.compile`` that was called: how often, and how often its Python ran.

    ``forms`` counts the different forms of its arguments (structure, shapes, dtypes, constants).
    With ``shapeless`` one trace serves those that differ in sizes.
    """

    function: str
    file: str = ""
    line: int = 0
    shapeless: bool = False
    calls: int = 0
    traced: int = 0
    forms: int = 0


@dataclass(frozen=True, eq=False)
class Recording:
    """What was recorded, whole.  Immutable; derived views are computed once on first use.

    ``events`` is ordered by start time.  ``origin_lists`` gives, per origins id, the origin id of
    each node of the plan (0 where unknown).  ``dropped`` counts events the ring had no room for;
    ``missing_plans`` are plans that could not be described.
    """

    events: Events
    window: tuple[int, int]
    plans: Mapping[int, Plan] = field(default_factory=dict)
    origins: Mapping[int, Origin] = field(default_factory=dict)
    origin_lists: Mapping[int, Column] = field(default_factory=dict)
    schema: tuple[EventKind, ...] = SCHEMA
    reasons: Mapping[str, str] = field(default_factory=dict)
    machine: Machine = Machine()
    memory_start: MemoryState = MemoryState()
    memory_end: MemoryState = MemoryState()
    overhead: Overhead = Overhead()
    cells: tuple[SourceCell, ...] = ()
    failure: Failure | None = None
    laps: tuple[Lap, ...] = ()
    kernel_launches: tuple[KernelLaunch, ...] = ()
    compiled: tuple[CompiledFunction, ...] = ()
    dropped: int = 0
    missing_plans: tuple[int, ...] = ()
    title: str = ""
    created: str = ""

    def __post_init__(self) -> None:
        events = np.array(self.events, dtype=EVENT_DTYPE)
        events = events[np.argsort(events["t0"], kind="stable")]
        events.flags.writeable = False
        object.__setattr__(self, "events", events)

    @property
    def wall_ns(self) -> int:
        return self.window[1] - self.window[0]

    def of_kind(self, name: str) -> Events:
        """Events of one kind, by its schema name, ordered by start time; may be empty."""
        ids = [kind.id for kind in self.schema if kind.name == name]
        return self.events[np.isin(self.events["kind"], ids)]

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Every evaluation, ordered by start.  Launches without an evaluation get their own run."""
        launches: dict[int, list[LaunchRun]] = {}
        plan_of: dict[int, int] = {}
        clocks = self._clocks()
        for e in self.of_kind("launch").tolist():
            _, thread, run, t0, t1, plan, index, reads, writes = e
            clock = clocks.get((run, index), CLOCKS[0])
            launches.setdefault(run, []).append(
                LaunchRun(index, t0, t1, reads, writes, thread, clock)
            )
            plan_of.setdefault(run, plan)
        runs = []
        for e in self.of_kind("eval").tolist():
            _, thread, run, t0, t1, plan, outcome, nodes, origins = e
            name = OUTCOMES[outcome] if 0 <= outcome < len(OUTCOMES) else "unknown"
            own = tuple(launches.pop(run, ()))
            runs.append(Run(run, plan, name, t0, t1, thread, nodes, origins, own))
        for run, rest in launches.items():
            t0, t1 = rest[0].t0, max(launch.t1 for launch in rest)
            plan = plan_of[run]
            runs.append(Run(run, plan, "unknown", t0, t1, rest[0].thread, 0, 0, tuple(rest)))
        return tuple(sorted(runs, key=lambda r: (r.t0, r.id)))

    def _clocks(self) -> dict[tuple[int, int], str]:
        """By run and launch, where it was not the CPU's clock around the launch."""
        found: dict[tuple[int, int], str] = {}
        for _, _, run, _, _, _, first, count, code in self.of_kind("timed").tolist():
            name = CLOCKS[code] if 0 <= code < len(CLOCKS) else f"clock {code}"
            found.update(((run, launch), name) for launch in range(first, first + count))
        return found

    @cached_property
    def run_by_id(self) -> Mapping[int, Run]:
        return {run.id: run for run in self.runs}

    @cached_property
    def run_count(self) -> Mapping[int, int]:
        """How often each plan ran."""
        counts: dict[int, int] = {}
        for run in self.runs:
            counts[run.plan] = counts.get(run.plan, 0) + 1
        return counts

    def launch(self, plan: int, launch: int) -> Launch | None:
        """The description of a plan's launch; None where there is none."""
        found = self.plans.get(plan)
        return found.launch_by_id.get(launch) if found else None

    def kernel_key(self, plan: int, launch: int) -> tuple[int, ...]:
        """Equal for a kernel in all sizes of its plan, also where its number is another in some."""
        described = self.launch(plan, launch)
        if described is None or not described.groups:
            return (plan, -1, launch)
        return (self.plans[plan].family, *described.groups)

    @cached_property
    def plan_origins(self) -> Mapping[int, Column]:
        """Origin id per node of each plan, from its first run that has any."""
        found: dict[int, Column] = {}
        for run in self.runs:
            if run.plan not in found and run.origins in self.origin_lists:
                found[run.plan] = self.origin_lists[run.origins]
        return found

    def origin(self, plan: int, node: int, run: Run | None = None) -> Origin | None:
        """Where a node of a plan was built, in ``run`` if given; None where unknown."""
        ids = self.origin_lists.get(run.origins) if run is not None else None
        if ids is None:
            ids = self.plan_origins.get(plan)
        if ids is None or not 0 <= node < len(ids):
            return None
        return self.origins.get(int(ids[node]))

    def phase(self, plan: int, node: int) -> str:
        """``forward`` or ``backward``; empty where the node's origin is unknown."""
        origin = self.origin(plan, node)
        return origin.phase if origin else ""

    def between(self, t0: int, t1: int) -> Recording:
        """The same recording cut to a stretch of time: events that start inside it."""
        inside = (self.events["t0"] >= t0) & (self.events["t0"] < t1)
        return replace(self, events=self.events[inside], window=(t0, t1))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one versioned file (docs/recording-format.md); an old file is replaced whole."""
        from .store import save

        save(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Recording:
        """Read a file.  ValueError names the file and what is wrong with it."""
        from .store import load

        return load(path)

    def to_perfetto(self, path: str | os.PathLike[str]) -> None:
        """Write a Chrome trace (JSON) that Perfetto and chrome://tracing open."""
        from .export import to_perfetto

        to_perfetto(self, path)

    def to_json(self) -> str:
        """The whole recording as one JSON text, columns as lists."""
        from .export import to_json

        return to_json(self)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write the script-free summary as a page of its own."""
        from .report import page

        with open(path, "w", encoding="utf-8") as file:
            file.write(page(self))

    def summary(self) -> str:
        """The plain-text summary that the magics print."""
        from .report import text

        return text(self)

    def __repr__(self) -> str:
        ms = self.wall_ns / 1e6
        launches = sum(len(run.launches) for run in self.runs)
        return (
            f"<Recording {self.title!r}: {ms:.1f} ms, {len(self.runs)} evaluations, "
            f"{len(self.plans)} plans, {launches} launches>"
        )

    def _ipython_display_(self) -> None:
        from .display import in_notebook, show

        if not in_notebook():
            raise NotImplementedError  # IPython then takes the bundle
        show(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from .display import mimebundle

        return mimebundle(self)

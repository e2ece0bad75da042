"""Recorder: switches the engine's trace on, drains it while the program runs, makes a Recording.

A thread empties the ring 30 times a second, so that a long run cannot overflow it.  Everything
else waits until the clock has stopped: the engine keeps each plan that ran, so it can be described
then.  A live view is fed while the program runs, but with no more than a set share of the time.
Only this file, ``names.py`` and ``profile.py`` touch the engine.
"""

from __future__ import annotations

import importlib
import json
import linecache
import os
import platform
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from .ceilings import ceilings
from .names import Names
from .plan import Plan
from .recording import (
    EVENT_DTYPE,
    Column,
    CompiledFunction,
    EventKind,
    Events,
    Failure,
    KernelLaunch,
    Lap,
    Machine,
    MemoryState,
    Origin,
    Overhead,
    Recording,
    SourceCell,
)

DRAIN_HZ = 30
# Events a thread's ring holds, 8 MB: four million a second at this rate of draining.
RING = 1 << 17
TICKS_HZ = 10
# Share of the running time that feeding a live view may take, and what a node not seen before is
# taken to cost it: describing the plan, finding the line.
LIVE_SHARE = 0.02
NS_PER_NODE = 40_000
EVAL, PLAN, LAUNCH, OVERHEAD = 1, 2, 3, 10


def now_ns() -> int:
    """The clock that event times are taken from."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def engine() -> Any:
    """The compiled engine.  ImportError where it was not built."""
    return importlib.import_module("lamina._core")


class Sink(Protocol):
    """A live view: receives what was just drained, on the draining thread, never from two at once.

    ``begin`` comes first, ``tick`` (send what was gathered) at most ten times a second, ``finish``
    from the caller's thread once the recording exists.  A plan is described again at the end where
    more is known of its nodes by then.
    """

    def begin(self, recorder: Recorder) -> None: ...
    def plan(self, description: Mapping[str, Any]) -> None: ...
    def origins(self, list_id: int, ids: Sequence[int], table: Mapping[int, Any]) -> None: ...
    def events(self, events: Events, dropped: int) -> None: ...
    def tick(self) -> None: ...
    def finish(self, recording: Recording) -> None: ...


Spaces = Callable[[], AbstractContextManager[Sequence[Mapping[str, Any]]]]


def _no_spaces() -> AbstractContextManager[Sequence[Mapping[str, Any]]]:
    return nullcontext(())


class Recorder:
    """One use: ``start()``, run something, ``stop()``.  Start and stop on the same thread."""

    def __init__(self, title: str = "", sink: Sink | None = None, capacity: int = RING) -> None:
        self.title = title
        self.core = engine()
        self.t0 = 0
        self._sink = sink
        self._capacity = capacity
        self._chunks: list[Events] = []
        self._unsent: list[Events] = []
        self._dropped = 0
        self._plans: dict[int, Plan] = {}
        self._missing: set[int] = set()
        self._origins: dict[int, Origin] = {}
        self._origin_lists: dict[int, Column] = {}
        self._drain_ns = 0
        self._feed_ns = 0
        self._begun = False
        self._names = Names(self.core)
        self._spaces: Spaces = _no_spaces
        self._prepare_ns = 0
        self._shown: dict[int, Plan] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.memory_start = MemoryState()

    def start(self, spaces: Spaces = _no_spaces) -> None:
        """Begin.  ``spaces`` gives the program's variables, innermost first, while it is open."""
        looking = now_ns()
        self._spaces = spaces
        with spaces() as found:
            self._names.before(found)
        self._prepare_ns = now_ns() - looking
        self.memory_start = MemoryState(**self.core._memory())
        self.core._take_compiled()
        _kernel_launches(self.core)  # an earlier recording's, if nobody asked for them
        self.core._trace_start(self._capacity)
        self._thread = threading.Thread(target=self._pump, name="lamina-recorder", daemon=True)
        self._thread.start()
        self.t0 = now_ns()

    def stop(
        self,
        cells: Sequence[SourceCell] = (),
        failure: Failure | None = None,
        laps: Sequence[Lap] = (),
        measure_ceilings: bool = True,
    ) -> Recording:
        """Switch the trace off and return what was recorded."""
        t1 = now_ns()
        self.core._trace_stop()
        memory_end = MemoryState(**self.core._memory())
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        drain_ns = self._drain_ns
        stopped = now_ns()
        events = self._finish()
        own = events[events["kind"] == OVERHEAD]
        recording = Recording(
            events=events,
            window=(self.t0, t1),
            plans=dict(self._plans),
            origins=dict(self._origins),
            origin_lists=dict(self._origin_lists),
            schema=_schema(self.core),
            reasons=dict(self.core._fusion_reasons()),
            machine=_machine(self.core, measure_ceilings),
            memory_start=self.memory_start,
            memory_end=memory_end,
            overhead=Overhead(int(own["a"].sum()), drain_ns),
            cells=(*cells, *_cells_of(self._origins, {cell.file for cell in cells})),
            failure=failure,
            laps=tuple(laps),
            kernel_launches=_kernel_launches(self.core),
            compiled=tuple(CompiledFunction(**row) for row in self.core._take_compiled()),
            dropped=self._dropped,
            missing_plans=tuple(sorted(self._missing)),
            title=self.title,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )
        prepare_ns = self._prepare_ns + now_ns() - stopped
        cost = replace(recording.overhead, prepare_ns=prepare_ns)
        return replace(recording, overhead=cost)

    def _finish(self) -> Events:
        """What is left in the ring, the descriptions, and the view's rest; returns all events."""
        self._drain()
        events = np.concatenate(self._chunks) if self._chunks else np.zeros(0, EVENT_DTYPE)
        self._describe_plans(events)
        with self._spaces() as found:
            self._names.after(found)
        self._look_up_origins(events)
        self._annotate(events)
        self._feed()
        self._to_sink(lambda sink: sink.tick())
        self.core._release_plans()
        return events

    def _annotate(self, events: Events) -> None:
        """Put in what is known of the nodes by now, and show what is new of it."""
        runs = events[events["kind"] == EVAL]
        lists = dict(zip(runs["a"].tolist(), runs["d"].tolist(), strict=True))

        def phase(plan: int, node: int) -> str:
            ids = self._origin_lists.get(lists.get(plan, 0), ())
            origin = self._origins.get(int(ids[node])) if node < len(ids) else None
            return origin.phase if origin else ""

        self._plans = self._names.annotate(self._plans, events, phase)
        for plan_id, plan in self._plans.items():
            if self._shown.get(plan_id) is not plan:
                self._shown[plan_id] = plan
                self._to_sink(partial(_send_plan, plan.raw))

    def _pump(self) -> None:
        ticked = 0
        while not self._stopping.wait(1 / DRAIN_HZ):
            start = time.thread_time_ns()
            self._drain()
            now = now_ns()
            if now - ticked >= 1e9 / TICKS_HZ and self._affordable(now):
                ticked = now
                feeding = time.thread_time_ns()
                self._feed()
                self._to_sink(lambda sink: sink.tick())
                self._feed_ns += time.thread_time_ns() - feeding
            self._drain_ns += time.thread_time_ns() - start

    def _affordable(self, now: int) -> bool:
        """Whether what waits for the view fits its share of the time that has passed."""
        if self._sink is None:
            return False
        new = 0
        for events in self._unsent:
            runs = events[events["kind"] == EVAL]
            sizes = dict(zip(runs["a"].tolist(), runs["c"].tolist(), strict=True))
            new += sum(size for plan, size in sizes.items() if plan not in self._plans)
        return self._feed_ns + NS_PER_NODE * new <= LIVE_SHARE * (now - self.t0)

    def _to_sink(self, send: Callable[[Sink], None]) -> None:
        """Pass something on; begin with the first, so that a short run is not burdened with it."""
        if self._sink is None:
            return
        try:
            if not self._begun:
                self._begun = True
                self._sink.begin(self)
            send(self._sink)
        except Exception as error:  # the user's program must not feel a fault of a view
            self._sink = None
            warnings.warn(f"profile: the live view stopped: {error!r}", stacklevel=1)

    def _drain(self) -> None:
        data, dropped = self.core._trace_drain()
        self._dropped += dropped
        if not data:
            return
        events = np.frombuffer(data, EVENT_DTYPE)
        self._chunks.append(events)
        if self._sink is not None:
            self._unsent.append(events)

    def _feed(self) -> None:
        """Pass on to the view what was drained since the last time."""
        if self._sink is None or not self._unsent:
            return
        events = np.concatenate(self._unsent)
        self._unsent.clear()
        self._describe_plans(events)
        self._look_up_origins(events)
        self._annotate(events)
        self._to_sink(lambda sink: sink.events(events, self._dropped))

    def _describe_plans(self, events: Events) -> None:
        kinds = events["kind"]
        named = events["a"][(kinds == EVAL) | (kinds == PLAN) | (kinds == LAUNCH)]
        for plan_id in sorted(set(named.tolist())):  # np.unique would import half of NumPy first
            if plan_id in self._plans or plan_id in self._missing:
                continue
            try:
                text = self.core._plan_describe(plan_id)
                self._plans[plan_id] = Plan.from_json(json.loads(text))
            except (ValueError, KeyError, IndexError, RuntimeError) as error:
                self._missing.add(plan_id)
                warnings.warn(f"profile: plan {plan_id} has no description: {error}", stacklevel=1)

    def _look_up_origins(self, events: Events) -> None:
        found = events[events["kind"] == EVAL]["d"]
        for list_id in sorted(set(found.tolist())):
            if list_id > 0 and list_id not in self._origin_lists:
                self._look_up(list_id)

    def _look_up(self, list_id: int) -> None:
        ids = [int(i) for i in self.core._origins(list_id)]
        self._origin_lists[list_id] = np.array(ids, np.int64)
        new = sorted({i for i in ids if i and i not in self._origins})
        table = {i: self.core._origin(i) for i in new}
        for i, row in table.items():
            text = linecache.getline(row["file"], row["line"]).strip() if row["file"] else ""
            label = _cell_label(row["file"])
            self._origins[i] = Origin(id=i, text=text, label=label, **row)
            table[i] = {**row, "label": label}
        self._to_sink(lambda sink: sink.origins(list_id, ids, table))


def _send_plan(description: Mapping[str, Any], sink: Sink) -> None:
    sink.plan(description)


def _schema(core: Any) -> tuple[EventKind, ...]:
    rows = core._event_schema()
    # A name that is a C++ word carries an underscore there ("free_"), but not in recordings.
    return tuple(
        EventKind(r["id"], r["name"].rstrip("_"), r["span"], dict(r["fields"])) for r in rows
    )


def _kernel_launches(core: Any) -> tuple[KernelLaunch, ...]:
    """What software Metal counted since it was last asked; nothing where it is not built."""
    take = getattr(core, "_metal_take_launches", None)
    return tuple(KernelLaunch(**row) for row in take()) if take else ()


def _machine(core: Any, measure_ceilings: bool) -> Machine:
    facts = core._machine()
    package = sys.modules.get("lamina")
    return Machine(
        isa=str(facts.get("isa", "")),
        threads=int(facts.get("threads", 0)),
        cpu=str(facts.get("cpu", "")),
        platform=platform.platform(),
        python=platform.python_version(),
        lamina=str(getattr(package, "__version__", "")),
        ceilings=ceilings(measure_ceilings),
        devices=tuple(core._device_names()),
    )


def _cells_of(origins: Mapping[int, Origin], known: set[str]) -> tuple[SourceCell, ...]:
    """Notebook cells that origins point into: code that exists in no file, only in linecache."""
    files = dict.fromkeys(origin.file for origin in origins.values())
    lost = [f for f in files if f and f not in known and not os.path.exists(f)]
    return tuple(
        SourceCell(file, cell_name(file), "".join(linecache.getlines(file)))
        for file in lost
        if linecache.getlines(file)
    )


def _cell_label(file: str) -> str:
    """``In[3]`` for the file name of a notebook's cell, else an empty string."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    label = shell.compile.format_code_name(file) if shell is not None else None
    return str(label[1]) if label else ""


def cell_name(file: str) -> str:
    """``Cell In[3]`` for a cell's file name where IPython knows it, else the name itself."""
    label = _cell_label(file)
    return f"Cell {label}" if label else file

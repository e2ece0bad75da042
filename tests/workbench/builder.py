"""Recordings as pure data, small enough to check by hand, and an engine that replays them.

The plan: two leaves x and w of 4096 B, h = x * w (fused into) y = exp(h), s = sum(y) alone.
Launch 0 computes y (reads 8192, writes 4096), launch 1 computes s (reads 4096, writes 4).
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
from lamina.workbench.plan import Plan
from lamina.workbench.recording import EVENT_DTYPE, SCHEMA, MemoryState, Origin, Recording

REASONS = {
    "reduction_barrier": "a reduction needs all of its input before its consumer can start",
    "leaf_input": "the value was in memory already",
}
KIND = {kind.name: kind.id for kind in SCHEMA}
MB = 1_000_000


def node(i: int, op: str, kind: str, inputs: list[int], shape: list[int], **more: Any) -> Any:
    size = 4 * int(np.prod(shape, dtype=int))
    row = {"id": i, "op": op, "kind": kind, "inputs": inputs, "shape": shape, "dtype": "float32"}
    return {**row, "params": {}, "bytes": size, "flops": 0, "group": None, "category": 0, **more}


def group(i: int, kind: str, label: str, nodes: list[int], *cost: int, program: str = "") -> Any:
    reads, writes, flops = cost
    row = {"id": i, "kind": kind, "label": label, "nodes": nodes, "launch": i, "scratch": 0}
    return {**row, "reads": reads, "writes": writes, "flops": flops, "program": program}


def launch(of: Any) -> Any:
    row = {"id": of["id"], "groups": [of["id"]], "name": f"{of['kind']} {of['label']}"}
    cost = {name: of[name] for name in ("reads", "writes", "flops")}
    return {**row, **cost, "inputs": [], "outputs": []}


def edge(src: int, dst: int, size: int, reason: str = "") -> Any:
    row = {"src": src, "dst": dst, "fused": not reason, "reason": reason}
    return {**row, "bytes": size, "via": []}


def slot(i: int, node_id: int, at: int, size: int, first: int, last: int, where: str) -> Any:
    row = {"id": i, "node": node_id, "offset": at, "bytes": size, "first": first, "last": last}
    return {**row, "storage": where}


def plan_json(plan_id: int = 7) -> dict[str, Any]:
    nodes = [
        node(0, "x", "leaf", [], [32, 32], role="leaf", category=5),
        node(1, "w", "leaf", [], [32, 32], role="leaf", category=1),
        node(2, "multiply", "elementwise", [0, 1], [32, 32], group=0, flops=1024),
        node(3, "exp", "elementwise", [2], [32, 32], group=0, flops=1024, category=4),
        node(4, "sum", "reduce", [3], [], group=1, flops=1024, role="output"),
    ]
    program = "t0 = load a\nstore exp(t0)"
    groups = [
        group(0, "map", "multiply+exp", [2, 3], 8192, 4096, 2048, program=program),
        group(1, "reduce", "sum", [4], 4096, 4, 1024),
    ]
    memory = {
        "arena_bytes": 4096,
        "output_bytes": 64,
        "input_bytes": 8192,
        "peak_bytes": 12352,
        "buffers": [slot(0, 3, 0, 4096, 0, 1, "arena"), slot(1, 4, 0, 4, 1, 1, "output")],
    }
    return {
        "plan": plan_id,
        "key": "0" * 32,
        "device": "cpu",
        "nodes": nodes,
        "groups": groups,
        "edges": [edge(2, 3, 8192), edge(3, 4, 8192, "reduction_barrier")],
        "launches": [launch(g) for g in groups],
        "memory": memory,
        "passes": [{"name": "fuse", "us": 12.5, "changed": 1}],
        "traffic": {"unfused": 24580, "fused": 16388, "ideal": 8196},
        "outcome": "miss",
    }


def event(kind: str, run: int, t0: int, t1: int | None = None, *abcd: int, thread: int = 1) -> Any:
    a, b, c, d = (*abcd, 0, 0, 0, 0)[:4]
    return (KIND[kind], thread, run, t0, t0 if t1 is None else t1, a, b, c, d)


def run_events(run: int, t: int, outcome: int = 2, plan: int = 7) -> list[Any]:
    """One run of the plan, 1000 ns long; w is buffer 50, older than the recording."""
    out, arena = 100 + 2 * run, 101 + 2 * run
    return [
        event("eval", run, t, t + 1000, plan, outcome, 5, 3),
        *([event("plan", run, t + 50, t + 250, plan, 5)] if outcome == 2 else []),
        event("bind", run, t + 260, None, 50, 1, 0),
        event("alloc", run, t + 270, None, arena, 4096, 6, -1),
        event("alloc", run, t + 280, None, out, 64, 7, 4),
        event("launch", run, t + 300, t + 700, plan, 0, 8192, 4096),
        event("launch", run, t + 700, t + 900, plan, 1, 4096, 4),
        event("free", run, t + 950, None, arena, 4096),
        event("overhead", run, t + 1000, None, 10),
    ]


def columns(events: list[Any]) -> np.ndarray[Any, Any]:
    return np.array(events, EVENT_DTYPE)


ORIGINS = {
    11: Origin(11, "train.py", 3, "step", "layers.0", "forward", "h = x * w"),
    12: Origin(12, "train.py", 4, "step", "layers.1", "forward", "y = exp(h).sum()"),
}


def recording(events: list[Any] | None = None, **more: Any) -> Recording:
    """Two runs of the plan in a window of 4000 ns: a miss at 1000 and a hit at 2500."""
    if events is None:
        events = [*run_events(1, 1000), *run_events(2, 2500, outcome=0)]
    facts: dict[str, Any] = {
        "window": (0, 4000),
        "plans": {7: Plan.from_json(plan_json())},
        "origins": ORIGINS,
        "origin_lists": {3: np.array([0, 0, 11, 12, 12])},
        "reasons": REASONS,
        "memory_start": MemoryState(10_000, 10_000, 0, MB),
        "memory_end": MemoryState(10_128, 14_224, 0, MB),
        "title": "two runs",
    }
    return Recording(columns(events), **{**facts, **more})


class ReplayEngine:
    """The engine's tracing functions; ``evaluate()`` stands for one evaluation of the plan."""

    def __init__(self) -> None:
        self.enabled = False
        self.pending: list[Any] = []
        self.runs = 0
        self.released = 0
        self.active = 10_000

    def evaluate(self) -> None:
        self.runs += 1
        if self.enabled:
            start = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            self.pending += run_events(self.runs, start, outcome=2 if self.runs == 1 else 0)
            time.sleep(20e-6)
        self.active += 64

    def _trace_start(self, capacity_events: int = 1 << 20) -> None:
        self.enabled, self.pending = True, []

    def _trace_stop(self) -> None:
        self.pending.append(
            event("overhead", 0, time.clock_gettime_ns(time.CLOCK_MONOTONIC), None, 5)
        )
        self.enabled = False

    def _release_plans(self) -> None:
        self.released += 1

    def _buffer_id(self, array: Any) -> int:
        return 0

    def _trace_enabled(self) -> bool:
        return self.enabled

    def _trace_drain(self) -> tuple[bytes, int]:
        taken, self.pending = self.pending, []
        return columns(taken).tobytes(), 0

    def _event_schema(self) -> list[Any]:
        return [
            {"id": k.id, "name": k.name, "span": k.span, "fields": dict(k.fields)} for k in SCHEMA
        ]

    def _plan_describe(self, plan_id: int) -> str:
        return json.dumps(plan_json(plan_id))

    def _take_compiled(self) -> list[dict[str, Any]]:
        return []

    def _fusion_reasons(self) -> dict[str, str]:
        return REASONS

    def _origins(self, list_id: int) -> list[int]:
        return [0, 0, 11, 12, 12]

    def _origin(self, origin_id: int) -> dict[str, Any]:
        o = ORIGINS[origin_id]
        names = ("file", "line", "function", "module", "phase")
        return {name: getattr(o, name) for name in names}

    def _memory(self) -> dict[str, int]:
        return {"active": self.active, "peak": self.active, "cache": 0, "limit": MB}

    def _device_names(self) -> list[str]:
        return ["cpu", "apart"]

    def _machine(self) -> dict[str, Any]:
        return {"isa": "avx2", "threads": 2, "cpu": "a processor"}

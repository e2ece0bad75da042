"""Other tools' formats: Chrome trace (Perfetto), DOT, JSON."""

from __future__ import annotations

import json
import os
from typing import Any

from .analysis.memory import memory
from .analysis.table import format_bytes
from .analysis.timeline import timeline
from .plan import Plan
from .recording import EVENT_DTYPE, Recording
from .store import manifest


def to_json(recording: Recording) -> str:
    """Manifest, plans and columns as one JSON text; what docs/recording-format.md describes."""
    return json.dumps(
        {
            **manifest(recording),
            "plans": [plan.raw for plan in recording.plans.values()],
            "events": {name: recording.events[name].tolist() for name in EVENT_DTYPE.names or ()},
            "origin_lists": {str(i): ids.tolist() for i, ids in recording.origin_lists.items()},
        }
    )


def to_perfetto(recording: Recording, path: str | os.PathLike[str]) -> None:
    """Write spans per thread and a counter of live bytes; times in microseconds of the window."""
    start = recording.window[0]
    process = {"pid": 1, "ph": "M", "name": "process_name", "args": {"name": "lamina"}}
    events: list[dict[str, Any]] = [process]
    spans = timeline(recording)
    for thread in spans.threads:
        args = {"name": f"thread {thread}"}
        events.append({"pid": 1, "tid": thread, "ph": "M", "name": "thread_name", "args": args})
    for span in spans.spans:
        events.append(
            {
                "pid": 1,
                "tid": span.thread,
                "ph": "X",
                "cat": span.kind,
                "name": span.name,
                "ts": (span.t0 - start) / 1000,
                "dur": (span.t1 - span.t0) / 1000,
                "args": {"run": span.run, "plan": span.plan, "device": span.device},
            }
        )
    live = memory(recording)
    for t, active in zip(live.t.tolist(), live.active.tolist(), strict=True):
        args = {"bytes": active}
        ts = (t - start) / 1000
        events.append({"pid": 1, "ph": "C", "name": "live bytes", "ts": ts, "args": args})
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"traceEvents": events, "displayTimeUnit": "ns"}, file)


def to_dot(plan: Plan) -> str:
    """The plan's graph in DOT: one cluster a fused group, unfused edges red with their reason."""
    lines = [
        "digraph plan {",
        '  rankdir=TB; node [shape=box, style=rounded, fontname="sans-serif", fontsize=10];',
    ]
    grouped = set()
    for group in plan.groups:
        lines.append(f"  subgraph cluster_{group.id} {{ label={_quoted(group.label)};")
        for member in group.nodes:
            grouped.add(member)
            lines.append(f"    {_dot_node(plan, member)}")
        lines.append("  }")
    lines += [f"  {_dot_node(plan, node.id)}" for node in plan.nodes if node.id not in grouped]
    edges = {(edge.src, edge.dst): edge for edge in plan.edges}
    for node in plan.nodes:
        for source in node.inputs:
            edge = edges.get((source, node.id))
            style = ""
            if edge is not None and not edge.fused:
                label = _quoted(f"{edge.reason} {format_bytes(edge.bytes)}")
                style = f' [color="#d55e00", fontsize=9, label={label}]'
            lines.append(f"  n{source} -> n{node.id}{style};")
    return "\n".join([*lines, "}", ""])


def _dot_node(plan: Plan, node_id: int) -> str:
    node = plan.node_by_id[node_id]
    shape = "x".join(map(str, node.shape)) or "scalar"
    return f"n{node_id} [label={_quoted(f'{node.title} {node.dtype} {shape}')}];"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

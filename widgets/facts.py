"""The figures that views and static twins show, taken from ``lamina.workbench.analysis``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lamina.workbench.analysis import Memory
    from lamina.workbench.recording import Recording

# More points than a wide screen has pixels, at any zoom a reader is likely to use.
MAX_POINTS = 20_000
MAX_BUFFERS = 5_000


def analysis_document(recording: Recording) -> dict[str, Any]:
    """Fields of the ``analysis`` document: summary, memory, kernels, counters, transfers."""
    from lamina.workbench import analysis

    memory = analysis.memory(recording)
    kernels = analysis.kernels(recording)
    return {
        "t_origin": recording.window[0],
        "summary": summary(recording, memory),
        "memory": memory_document(recording, memory),
        "kernels": [
            {
                "plan": row.plan,
                "launch": row.launch,
                "median_ns": row.median_ns,
                "clock": row.clock,
            }
            for row in kernels.rows
        ],
        "counters": analysis.counters(recording).to_dict()["rows"],
        "transfers": analysis.transfers(recording).to_dict()["rows"],
    }


def summary(recording: Recording, memory: Memory | None = None) -> dict[str, float]:
    """Headline figures; bytes and nanoseconds."""
    from lamina.workbench import analysis

    memory = memory or analysis.memory(recording)
    ledger = analysis.traffic(recording)
    runs = recording.runs
    outcomes = [run.outcome for run in runs]
    return {
        "evals": len(runs),
        "hits": outcomes.count("hit"),
        "polymorphic": outcomes.count("polymorphic hit"),
        "misses": outcomes.count("miss"),
        "eval_ns": sum(run.t1 - run.t0 for run in runs),
        "kernels": sum(len(run.launches) for run in runs),
        "fused": ledger.as_run,
        "unfused": ledger.unfused,
        "ideal": ledger.ideal,
        "copied": ledger.copied,
        "peak": memory.peak.bytes,
        "wall_ns": recording.wall_ns,
        "overhead_ns": recording.overhead.total_ns,
        "prepare_ns": recording.overhead.prepare_ns,
        "dropped": recording.dropped,
    }


def thin(t: np.ndarray[Any, Any], value: np.ndarray[Any, Any], most: int) -> np.ndarray[Any, Any]:
    """Rows to keep of a step function so that every bucket of time keeps its highest row.

    First and last row stay.  Returns row positions, ascending.
    """
    if len(t) <= most:
        return np.arange(len(t))
    edges = np.linspace(0, len(t), most, endpoint=False).astype(np.int64)
    lengths = np.diff(np.append(edges, len(t)))
    bucket = np.repeat(np.arange(most), lengths)
    order = np.lexsort((value, bucket))
    highest = order[np.cumsum(lengths) - 1]
    return np.unique(np.concatenate([[0], highest, [len(t) - 1]]))


def memory_document(recording: Recording, memory: Memory) -> dict[str, Any]:
    """Timeline, buffers and peak with times counted from the start of the recording."""
    t_origin = recording.window[0]
    rows = thin(memory.t, memory.active, MAX_POINTS)
    own = [b for b in memory.buffers if not b.external]
    # Where not all can be sent, the large ones explain most bytes.
    own = sorted(own, key=lambda b: -b.bytes)[:MAX_BUFFERS]
    peak = memory.peak
    return {
        "t": (memory.t[rows] - t_origin).tolist(),
        "names": list(memory.by_category),
        "columns": [column[rows].tolist() for column in memory.by_category.values()],
        "buffers": [
            {
                "t0": b.allocated - t_origin,
                "t1": None if b.freed is None else b.freed - t_origin,
                "bytes": b.bytes,
                "category": b.category,
                "op": b.op,
                "name": b.name,
                "where": b.where,
                "module": b.module,
                "phase": b.phase,
                "run": b.run,
                "node": b.node,
            }
            for b in own
        ],
        "peak": {
            "t": peak.t - t_origin,
            "bytes": peak.bytes,
            "predicted": peak.predicted,
            "parts": [
                {
                    "bytes": part.bytes,
                    "category": part.category,
                    "op": part.op,
                    "name": part.name,
                    "where": part.where,
                    "module": part.module,
                    "phase": part.phase,
                    "note": part.note,
                }
                for part in peak.parts
            ],
        },
    }

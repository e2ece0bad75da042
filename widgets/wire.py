"""Turns events, plans and recordings into the frames that the views read (see PROTOCOL.md).

The only place in Python that knows the frame layout.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .facts import analysis_document

if TYPE_CHECKING:
    from lamina.workbench.recording import Recording

MAGIC = 0x464D414C
VERSION = 1
HEADER = struct.Struct("<IBBHII")
FLAG_ZLIB = 1
# Below this a deflated document saves less than it costs to inflate.
DEFLATE_FROM = 4096

RESET, DOCUMENT, RUNS, LAUNCHES, SPANS, BUFFERS, SUMS, WATERMARK, COUNTERS = range(9)
# Kinds of which a late view can do without the oldest rows.
DISPENSABLE = frozenset((LAUNCHES, SPANS, BUFFERS))

EVAL, PLAN, LAUNCH, ALLOC, FREE, ADOPT, COPY, SYNC, BIND, OVERHEAD = range(1, 11)

Frame = bytes
Floats = npt.NDArray[np.float64]


def frame(kind: int, count: int, body: bytes = b"", flags: int = 0) -> Frame:
    """One frame, number 0: header of 16 bytes, then ``body``."""
    return HEADER.pack(MAGIC, VERSION, kind, flags, 0, count) + body


def numbered(one: Frame, seq: int) -> Frame:
    """The same frame with sequence number ``seq``; the view that sends it counts."""
    return one[:8] + struct.pack("<I", seq) + one[12:]


def kind_of(one: Frame) -> int:
    return one[5]


def seq_of(one: Frame) -> int:
    return int.from_bytes(one[8:12], "little")


def pack_snapshot(frames: Iterable[Frame]) -> bytes:
    """Frames one after the other, each behind its length and padded to 8 bytes."""
    parts = []
    for one in frames:
        parts += [struct.pack("<Q", len(one)), one, b"\0" * (-len(one) % 8)]
    return b"".join(parts)


def unpack_snapshot(data: bytes) -> list[Frame]:
    """Inverse of ``pack_snapshot``.  ValueError where ``data`` is cut off."""
    frames = []
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        at += 8
        if at + size > len(data):
            raise ValueError(
                f"snapshot: cut off at byte {at}: {len(data)} bytes, {at + size} needed"
            )
        frames.append(data[at : at + size])
        at += size + -size % 8
    return frames


class Stream:
    """Gathers what happened and sends it in frames; one thread at a time.

    send: receives the frames of one message.
    t_origin: clock value (ns) that times count from.
    max_rows: most timeline rows of a kind in one flush; sums and the peak stay exact beyond it.
    """

    def __init__(
        self, send: Callable[[list[Frame]], None], t_origin: int = 0, max_rows: int = 1000
    ) -> None:
        self._send = send
        self._t_origin = t_origin
        self._max_rows = max_rows
        self._waiting: list[Frame] = []
        self._events: list[npt.NDArray[np.void]] = []
        self._live = 0
        self._counters = {"dropped": 0, "launches": 0, "buffers": 0, "overhead": 0}
        self._sent_counters: dict[str, int] = {}

    def document(self, type_: str, **fields: Any) -> None:
        """Queue one JSON document."""
        text = json.dumps({"type": type_, **fields}, separators=(",", ":")).encode()
        packed = zlib.compress(text, 6) if len(text) >= DEFLATE_FROM else text
        self._frame(DOCUMENT, len(text), packed, FLAG_ZLIB if packed is not text else 0)

    def meta(self, **fields: Any) -> None:
        """Queue the description of the run: title, device, machine, bandwidth, reasons, ..."""
        self._live = int(fields.get("active_bytes", self._live))
        self.document("meta", t_origin=self._t_origin, **fields)

    def plan(self, description: Mapping[str, Any]) -> None:
        """Queue a plan as ``_plan_describe`` gives it."""
        from lamina.workbench.analysis.kernel_text import shown_plan

        self.document("plan", plan=shown_plan(description))

    def origins(self, list_id: int, ids: Sequence[int], table: Mapping[int, Any]) -> None:
        """Queue the origin ids of a plan's nodes; ``table`` holds only origins not sent before."""
        self.document("origins", id=list_id, nodes=list(ids), table=dict(table))

    def events(self, events: npt.NDArray[np.void], dropped: int = 0) -> None:
        """Queue drained records; ``dropped`` is the running total of lost ones."""
        self._counters["dropped"] = dropped
        if len(events):
            self._events.append(events)

    def flush(self) -> None:
        """Send what was queued as one message; nothing is sent when nothing happened."""
        if self._events:
            events = np.concatenate(self._events)
            self._events.clear()
            self._rows(events[np.argsort(events["t0"], kind="stable")])
        if self._counters != self._sent_counters and any(self._counters.values()):
            self._columns(COUNTERS, [np.array([v]) for v in self._counters.values()])
            self._sent_counters = dict(self._counters)
        if self._waiting:
            frames, self._waiting = self._waiting, []
            self._send(frames)

    def _rows(self, events: npt.NDArray[np.void]) -> None:
        kinds = events["kind"]
        evals = events[kinds == EVAL]
        self._columns(
            RUNS,
            [evals[name] for name in ("run", "a", "b", "c", "d")] + self._times(evals),
        )
        self._launches(events[kinds == LAUNCH])
        spans = events[np.isin(kinds, (PLAN, COPY, SYNC))]
        spans = spans[: self._max_rows]
        self._columns(
            SPANS,
            [spans["kind"], spans["run"], *self._times(spans), *(spans[name] for name in "abcd")],
        )
        self._buffers(events[np.isin(kinds, (ALLOC, FREE, ADOPT))])
        self._counters["overhead"] += int(events[kinds == OVERHEAD]["a"].sum())

    def _launches(self, rows: npt.NDArray[np.void]) -> None:
        if not len(rows):
            return
        self._columns(SUMS, launch_sums(rows))
        left_out = len(rows) - self._max_rows
        if left_out > 0:
            # The shortest slices are those a timeline can spare.
            keep = np.argpartition(rows["t1"] - rows["t0"], left_out)[left_out:]
            rows = rows[np.sort(keep)]
            self._counters["launches"] += left_out
        names = ("run", "a", "b", "t0", "t1", "c", "d")
        times = dict(zip(("t0", "t1"), self._times(rows), strict=True))
        self._columns(LAUNCHES, [times.get(name, rows[name]) for name in names])

    def _buffers(self, rows: npt.NDArray[np.void]) -> None:
        if not len(rows):
            return
        sign = np.select([rows["kind"] == ALLOC, rows["kind"] == FREE], [1, -1], 0)
        running = self._live + np.cumsum(rows["b"] * sign)
        self._live = int(running[-1])
        if len(rows) > self._max_rows:
            highest = int(np.argmax(running))
            t = rows["t0"][highest : highest + 1] - self._t_origin
            self._columns(WATERMARK, [t, running[highest : highest + 1]])
            short = np.intersect1d(
                rows["a"][rows["kind"] == ALLOC], rows["a"][rows["kind"] == FREE]
            )
            keep = ~np.isin(rows["a"], short)
            self._counters["buffers"] += int(len(rows) - keep.sum())
            rows = rows[keep]
        category = np.where(rows["kind"] == FREE, 0, rows["c"])
        node = np.where(rows["kind"] == FREE, -1, rows["d"])
        t = rows["t0"] - self._t_origin
        self._columns(BUFFERS, [t, rows["kind"], rows["a"], rows["b"], category, node, rows["run"]])

    def _times(self, rows: npt.NDArray[np.void]) -> list[npt.NDArray[np.int64]]:
        return [rows["t0"] - self._t_origin, rows["t1"] - self._t_origin]

    def _columns(self, kind: int, columns: Sequence[npt.NDArray[Any]]) -> None:
        count = len(columns[0])
        if count:
            body = b"".join(np.ascontiguousarray(c, dtype="<f8").tobytes() for c in columns)
            self._frame(kind, count, body)

    def _frame(self, kind: int, count: int, body: bytes = b"", flags: int = 0) -> None:
        self._waiting.append(frame(kind, count, body, flags))


def launch_sums(rows: npt.NDArray[np.void]) -> list[Floats]:
    """Columns plan, launch, count, total_ns, reads, writes, min_ns, max_ns of launch records."""
    keys, where = np.unique(np.stack([rows["a"], rows["b"]]), axis=1, return_inverse=True)
    where = where.reshape(-1)
    size = keys.shape[1]
    took = (rows["t1"] - rows["t0"]).astype(np.float64)
    least = np.full(size, np.inf)
    most = np.zeros(size)
    np.minimum.at(least, where, took)
    np.maximum.at(most, where, took)
    sums = [
        np.bincount(where, weights, size)
        for weights in (None, took, rows["c"].astype(float), rows["d"].astype(float))
    ]
    return [
        keys[0].astype(float),
        keys[1].astype(float),
        *(s.astype(float) for s in sums),
        least,
        most,
    ]


def recording_meta(recording: Recording) -> dict[str, Any]:
    """Fields of the ``meta`` document of a finished recording."""
    machine = recording.machine
    plans = list(recording.plans.values())
    ceilings = machine.ceilings
    return {
        "title": recording.title,
        "device": plans[0].device if plans else "",
        "machine": {
            "isa": machine.isa,
            "threads": machine.threads,
            "cpu": machine.cpu,
            "devices": list(machine.devices),
        },
        "bandwidth": ceilings.bandwidth_gbs * 1e9 if ceilings else None,
        "flops": ceilings.peak_gflops * 1e9 if ceilings else None,
        "reasons": dict(recording.reasons),
        "active_bytes": recording.memory_start.active,
        "live": False,
    }


def finish(stream: Stream, recording: Recording) -> None:
    """Queue what only a whole recording has: the analysis, the failure, the end."""
    stream.document("meta", **recording_meta(recording))
    cells = recording.cells
    names = {cell.file: cell.name for cell in cells}
    stream.document("source", files={cell.file: cell.text for cell in cells}, names=names)
    stream.document("analysis", **analysis_document(recording))
    if recording.failure is not None:
        stream.document("error", text=f"{recording.failure.type}: {recording.failure.message}")
    stream.document("end")


def encode_recording(recording: Recording, max_rows: int = 100_000) -> list[Frame]:
    """All frames of a finished recording, not numbered yet."""
    frames: list[Frame] = []
    stream = Stream(frames.extend, recording.window[0], max_rows)
    stream.meta(**recording_meta(recording))
    for plan in recording.plans.values():
        stream.plan(plan.raw)
    table = {i: origin_row(origin) for i, origin in recording.origins.items()}
    for list_id, ids in recording.origin_lists.items():
        stream.origins(list_id, [int(i) for i in ids], table)
        table = {}
    # The analysis carries the memory timeline: its figures are the tested ones.
    kept = ~np.isin(recording.events["kind"], (ALLOC, FREE, ADOPT, BIND))
    stream.events(recording.events[kept], recording.dropped)
    stream.flush()
    finish(stream, recording)
    stream.flush()
    return frames


def origin_row(origin: Any) -> dict[str, Any]:
    """One origin as the ``origins`` document wants it."""
    names = ("file", "line", "function", "module", "phase", "label")
    return {name: getattr(origin, name) for name in names}

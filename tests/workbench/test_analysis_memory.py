"""Memory adds up to the byte at every event; the peak is explained buffer by buffer."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from builder import ORIGINS, columns, event, plan_json, recording, run_events, slot
from lamina.workbench.analysis import memory
from lamina.workbench.plan import Plan
from lamina.workbench.recording import MemoryState, Origin, Recording


def test_active_bytes_after_each_event() -> None:
    m = memory(recording())
    # arena 4096 on, output 64 on, arena off; twice, above the 10,000 B from before.
    assert m.active.tolist() == [10000, 14096, 14160, 10064, 14160, 14224, 10128]
    assert m.t.tolist() == [0, 1270, 1280, 1950, 2770, 2780, 3450]
    assert m.residual == 0


def test_categories_add_up_at_every_event() -> None:
    m = memory(recording())
    total = sum(m.by_category.values())
    assert np.array_equal(total, m.active)
    # w, 4096 B, was known only because a run bound it; it is a parameter.
    assert m.by_category["parameter"].tolist() == [4096] * 7
    assert m.by_category["before the recording"].tolist() == [5904] * 7
    assert m.by_category["output"].tolist() == [0, 0, 64, 64, 64, 128, 128]


def test_peak_is_explained_buffer_by_buffer() -> None:
    peak = memory(recording()).peak
    assert (peak.t, peak.bytes, peak.run) == (2780, 14224, 2)
    assert sum(part.bytes for part in peak.parts) == 14224
    assert [(p.op, p.bytes, p.category, p.where) for p in peak.parts] == [
        ("", 5904, "before the recording", ""),
        ("w", 4096, "parameter", ""),
        ("exp", 4096, "activation", "train.py:4"),
        ("sum", 64, "output", "train.py:4"),
        ("sum", 64, "output", "train.py:4"),
    ]
    assert peak.parts[2].module == "layers.1"
    # 10,064 B live when the second run began, its arena and its output.
    assert peak.predicted == 10_064 + 4096 + 64 == peak.bytes


def arena_plan() -> Plan:
    """Three arena buffers: 0 at [0, 3000), 1 at [3000, 4000), 2 at [0, 1000) after 0 died."""
    data = plan_json()
    data["memory"]["buffers"] = [
        slot(0, 2, 0, 3000, 0, 0, "arena"),
        slot(1, 3, 3000, 1000, 0, 1, "arena"),
        slot(2, 4, 0, 1000, 1, 1, "arena"),
    ]
    return Plan.from_json(data)


def test_arena_is_cut_at_its_fullest_launch() -> None:
    r = recording(run_events(1, 0), plans={7: arena_plan()}, memory_start=MemoryState())
    peak = memory(r).peak
    assert peak.launch == 0
    assert [(p.op, p.bytes, p.note) for p in peak.parts] == [
        ("multiply", 3000, "in the arena, launches 0 to 0"),
        ("exp", 1000, "in the arena, launches 0 to 1"),
        ("", 96, "unused at this moment"),
        ("sum", 64, ""),
    ]
    assert sum(p.bytes for p in peak.parts) == peak.bytes == 4160


def test_shared_arena_bytes_are_charged_once() -> None:
    data = plan_json()
    data["memory"]["buffers"] = [
        slot(0, 2, 0, 3000, 0, 1, "arena"),
        slot(1, 3, 2000, 9000, 0, 1, "arena"),
    ]
    r = recording(run_events(1, 0), plans={7: Plan.from_json(data)}, memory_start=MemoryState())
    assert [p.bytes for p in memory(r).peak.parts] == [3000, 1096, 64]


def test_buffer_freed_that_was_never_seen_allocated() -> None:
    r = recording(
        [event("free", 0, 10, None, 9, 600)],
        memory_start=MemoryState(1000, 1000),
        memory_end=MemoryState(400, 1000),
    )
    m = memory(r)
    assert m.active.tolist() == [1000, 400]
    assert m.residual == 0
    (old,) = m.buffers
    assert (old.bytes, old.freed, old.category) == (600, 10, "before the recording")


def test_adopted_memory_is_counted_apart() -> None:
    events = [
        event("adopt", 0, 10, None, 1, 500, 5, -1),
        event("alloc", 0, 20, None, 2, 100, 1, -1),
        event("free", 0, 30, None, 1, 500),
    ]
    r = recording(events, memory_start=MemoryState(), memory_end=MemoryState(100, 100))
    m = memory(r)
    assert m.active.tolist() == [0, 0, 100, 100]
    assert m.external.tolist() == [0, 500, 500, 0]
    assert m.residual == 0


def test_late_tag_names_the_buffer_for_its_whole_life() -> None:
    """An output that a later evaluation binds as a parameter is a parameter."""
    data = plan_json()
    data["nodes"][1]["category"] = 3
    events = [event("alloc", 0, 5, None, 50, 4096, 7, -1), *run_events(1, 1000)]
    r = recording(events, plans={7: Plan.from_json(data)}, memory_start=MemoryState())
    assert memory(r).by_category["optimizer state"].tolist()[1] == 4096


def test_lost_events_show_as_a_residual() -> None:
    r = recording(memory_end=MemoryState(10_100, 14_224))
    m = memory(r)
    assert m.residual == 28
    assert "28 B differ from the allocator's own count" in str(m)


def test_nothing_happened() -> None:
    m = memory(Recording(columns([]), (0, 10), memory_start=MemoryState(7, 7)))
    assert m.active.tolist() == [7] and m.peak.bytes == 7
    assert m.peak.parts[0].category == "before the recording"


@pytest.mark.parametrize("seed", range(20))
def test_random_histories_add_up(seed: int) -> None:
    """Against a straightforward count: live bytes at every event, and every part of the peak."""
    rng = random.Random(seed)
    live = {i: rng.randrange(1, 500) for i in range(5)}
    start, active, events, expected = sum(live.values()), sum(live.values()), [], []
    for i in range(200):
        if live and rng.random() < 0.5:
            buffer = rng.choice(list(live))
            active -= live[buffer]
            events.append(event("free", 0, i, None, buffer, live.pop(buffer)))
        else:
            buffer = rng.choice([k for k in range(300) if k not in live])
            live[buffer] = rng.randrange(1, 1000)
            active += live[buffer]
            category = rng.choice((0, 1, 2, 3, 4, 7))
            events.append(event("alloc", 0, i, None, buffer, live[buffer], category, -1))
        expected.append(active)
    r = recording(
        events,
        window=(-1, 300),
        memory_start=MemoryState(start),
        memory_end=MemoryState(active),
    )
    m = memory(r)
    assert m.active.tolist() == [start, *expected]
    assert np.array_equal(sum(m.by_category.values()), m.active)
    assert m.residual == 0
    assert m.peak.bytes == max(start, *expected) == sum(p.bytes for p in m.peak.parts)


def test_text_and_json() -> None:
    m = memory(recording())
    json.dumps(m.to_dict())
    assert "peak 14.2 kB" in str(m)


def test_bindings_carry_the_category_of_the_buffer() -> None:
    """Events without run ids, as an allocator that knows no run writes them."""
    events = [
        event("eval", 4, 0, 1000, 7, 0, 5, 3),
        event("alloc", 0, 100, None, 8, 64, 7, -1),
        event("bind", 4, 110, None, 8, 4, 1),
        event("alloc", 0, 120, None, 9, 4096, 6, -1),
        event("bind", 5, 2000, None, 8, 1, 0, 2),
    ]
    m = memory(recording(events, memory_start=MemoryState(), memory_end=MemoryState(4160)))
    output, arena = m.buffers
    assert (output.run, output.op, output.category) == (4, "sum", "gradient")
    assert (arena.run, arena.op) == (4, "arena")
    assert [p.op for p in m.peak.parts] == ["exp", "sum"]


def test_like_buffers_are_shown_as_one() -> None:
    m = memory(recording())
    assert [(p.op, p.bytes, n) for p, n in m.peak.grouped()][-1] == ("sum", 128, 2)
    assert "sum (x2)" in str(m)


def test_a_forward_value_that_the_backward_pass_reads_is_an_activation() -> None:
    data = plan_json()
    data["nodes"][3]["category"] = 0
    plans = {7: Plan.from_json(data)}

    def category(phase: str) -> str:
        origins = {**ORIGINS, 13: Origin(13, "train.py", 5, phase=phase)}
        lists = {3: np.array([0, 0, 11, 12, 13])}
        r = recording(run_events(1, 0), plans=plans, origins=origins, origin_lists=lists)
        return next(p.category for p in memory(r).peak.parts if p.op == "exp")

    assert category("backward") == "activation"
    assert category("forward") == "temporary"

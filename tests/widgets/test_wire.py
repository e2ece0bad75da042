from __future__ import annotations

import numpy as np
import pytest
from decode import decode, documents, rows
from lamina.widgets import wire
from lamina.workbench import analysis
from lamina.workbench.recording import EVENT_DTYPE
from synthetic import REASONS, Net, recording, step_events

LAUNCH, ALLOC, FREE = 3, 4, 5


def stream(**options):
    sent: list[list[bytes]] = []
    return wire.Stream(sent.append, **options), sent


def events(*rows_):
    return np.array(list(rows_), EVENT_DTYPE)


def test_columns_carry_every_field():
    s, sent = stream(t_origin=1000)
    s.events(
        events(
            (1, 0, 7, 1500, 1900, 3, 2, 11, 5),
            (3, 0, 7, 1600, 1700, 3, 0, 64, 32),
            (2, 0, 7, 1510, 1590, 3, 11, 0, 0),
            (7, 0, 7, 1600, 1610, 4096, 98, 0, 2),
            (4, 0, 7, 1550, 1550, 99, 4096, 6, -1),
            (10, 0, 7, 1950, 1950, 77, 0, 0, 0),
        ),
        dropped=4,
    )
    s.flush()
    frames = sent[0]
    assert rows(frames, wire.RUNS).T.tolist() == [[7, 3, 2, 11, 5, 500, 900]]
    assert rows(frames, wire.LAUNCHES).T.tolist() == [[7, 3, 0, 600, 700, 64, 32]]
    assert rows(frames, wire.SPANS).T.tolist() == [
        [2, 7, 510, 590, 3, 11, 0, 0],
        [7, 7, 600, 610, 4096, 98, 0, 2],
    ]
    assert rows(frames, wire.BUFFERS).T.tolist() == [[550, 4, 99, 4096, 6, -1, 7]]
    assert rows(frames, wire.SUMS).T.tolist() == [[3, 0, 1, 100, 64, 32, 100, 100]]
    assert rows(frames, wire.COUNTERS).T.tolist() == [[4, 0, 0, 77]]


def test_nothing_happened_sends_nothing():
    s, sent = stream()
    s.flush()
    s.events(events())
    s.flush()
    assert sent == []


def test_sums_are_exact_when_slices_are_left_out():
    rng = np.random.default_rng(0)
    count = 5000
    made = np.zeros(count, EVENT_DTYPE)
    made["kind"] = LAUNCH
    made["t0"] = np.arange(count) * 100
    made["t1"] = made["t0"] + rng.integers(1, 90, count)
    made["a"], made["b"] = rng.integers(1, 3, count), rng.integers(0, 5, count)
    made["c"], made["d"] = rng.integers(0, 1 << 30, (2, count))
    s, sent = stream(max_rows=300)
    for part in np.array_split(made, 3):
        s.events(part)
        s.flush()
    frames = [f for message in sent for f in message]
    drawn = rows(frames, wire.LAUNCHES)
    assert drawn.shape[1] == 900 and all(len(f) < 64_000 for f in frames)
    sums = rows(frames, wire.SUMS)
    took = made["t1"] - made["t0"]
    assert sums[2].sum() == count and sums[3].sum() == took.sum()
    assert sums[4].sum() == made["c"].sum() and sums[5].sum() == made["d"].sum()
    for plan, launch in {(p, b) for p, b in sums[:2].T.tolist()}:
        of = (made["a"] == plan) & (made["b"] == launch)
        mine = sums[:, (sums[0] == plan) & (sums[1] == launch)]
        assert mine[2].sum() == of.sum()
        assert mine[6].min() == took[of].min() and mine[7].max() == took[of].max()
    assert rows(frames, wire.COUNTERS)[1, -1] == count - 900


def test_the_peak_survives_left_out_buffers():
    made = []
    for i in range(1000):
        made.append((ALLOC, 0, 0, i * 10, i * 10, i, 100 + (i == 637) * 10_000, 0, -1))
        made.append((FREE, 0, 0, i * 10 + 5, i * 10 + 5, i, made[-1][6], 0, 0))
    made.append((ALLOC, 0, 0, 99_999, 99_999, 5000, 7, 1, -1))
    s, sent = stream(max_rows=50)
    s.meta(active_bytes=1000)
    s.events(events(*made))
    s.flush()
    assert rows(sent[0], wire.WATERMARK).T.tolist() == [[6370, 11_100]]
    kept = rows(sent[0], wire.BUFFERS)
    assert kept[2].tolist() == [5000]
    assert rows(sent[0], wire.COUNTERS)[2, 0] == 2000


def test_a_training_loop_stays_within_its_bounds():
    net, state = Net(), {"next": 0, "old": []}
    plan = net.description()
    rng = np.random.default_rng(0)
    s, sent = stream(max_rows=200)
    t = 0
    for run in range(1, 41):
        more, t = step_events(plan, run, t, rng, state)
        s.events(events(*more))
        if run % 20 == 0:
            s.flush()
    assert len(sent) == 2
    assert all(sum(map(len, message)) < 64_000 for message in sent)
    assert sum(rows(message, wire.SUMS)[2].sum() for message in sent) == 40 * len(plan["launches"])


def test_a_recording_travels_whole():
    made = recording(steps=5)
    frames = wire.encode_recording(made)
    found = documents(frames)
    assert found["meta"]["reasons"] == REASONS and found["meta"]["bandwidth"] == 40e9
    assert found["plan"]["plan"] == made.plans[1].raw
    assert found["origins"]["nodes"] == made.origin_lists[1].tolist()
    assert found["origins"]["table"]["2"]["module"] == "layers.0"
    assert decode(frames[-1]).document == {"type": "end"}
    assert rows(frames, wire.RUNS).shape[1] == 5
    assert rows(frames, wire.LAUNCHES).shape[1] == sum(len(run.launches) for run in made.runs)


def test_figures_are_those_of_the_analysis():
    made = recording(steps=5)
    found = documents(wire.encode_recording(made))["analysis"]
    memory, ledger = analysis.memory(made), analysis.traffic(made)
    summary = found["summary"]
    assert summary["peak"] == memory.peak.bytes
    assert (summary["fused"], summary["unfused"], summary["ideal"]) == (
        ledger.as_run,
        ledger.unfused,
        ledger.ideal,
    )
    assert summary["copied"] == ledger.copied
    assert found["transfers"] == analysis.transfers(made).to_dict()["rows"]
    assert (summary["evals"], summary["hits"], summary["misses"]) == (5, 4, 1)
    columns = np.array(found["memory"]["columns"])
    assert columns.sum(axis=0).max() == memory.peak.bytes
    assert sum(part["bytes"] for part in found["memory"]["peak"]["parts"]) == memory.peak.bytes
    kernels = {(row.pop("plan"), row.pop("launch")): row for row in found["kernels"]}
    assert kernels == {
        (k.plan, k.launch): {"median_ns": k.median_ns, "clock": k.clock}
        for k in analysis.kernels(made).rows
    }


def test_snapshots_unpack_to_the_same_frames():
    frames = wire.encode_recording(recording(steps=2))
    data = wire.pack_snapshot(frames)
    assert wire.unpack_snapshot(data) == frames and len(data) % 8 == 0
    with pytest.raises(ValueError, match="cut off"):
        wire.unpack_snapshot(data[:-8])


def test_numbering_changes_the_number_only():
    one = wire.frame(wire.WATERMARK, 1, b"\1" * 16)
    other = wire.numbered(one, 4_000_000_000)
    assert wire.seq_of(other) == 4_000_000_000 and wire.kind_of(other) == wire.WATERMARK
    assert wire.numbered(other, 0) == one


@pytest.mark.parametrize("most", [1, 2, 10, 1000])
def test_thinning_keeps_the_highest_row(most):
    from lamina.widgets.facts import thin

    rng = np.random.default_rng(most)
    value = rng.integers(0, 1000, 500)
    value[123] = 5000
    kept = thin(np.arange(500), value, most)
    assert 123 in kept and kept[0] == 0 and kept[-1] == 499
    assert len(kept) <= most + 2 and (np.diff(kept) > 0).all()

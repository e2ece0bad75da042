"""Timeline totals and nesting, by hand."""

from __future__ import annotations

import json

from builder import event, recording, run_events
from lamina.workbench.analysis import timeline
from lamina.workbench.recording import Machine


def test_totals_of_two_runs() -> None:
    totals = timeline(recording()).totals
    # Each run lasts 1000 ns: launches 400 + 200; the first also plans for 200.
    assert totals.wall == 4000
    assert totals.evals == 2000
    assert totals.launch == 1200
    assert totals.plan == 200
    assert totals.other_eval == 600
    assert totals.python == 2000
    assert totals.copy == totals.sync == 0


def test_cache_outcomes() -> None:
    assert timeline(recording()).outcomes == {"hit": 1, "miss": 1}


def test_spans_nest_per_thread() -> None:
    spans = timeline(recording(run_events(1, 0))).spans
    assert [(s.kind, s.depth) for s in spans] == [
        ("eval", 0),
        ("plan", 1),
        ("launch", 1),
        ("launch", 1),
    ]
    assert spans[2].name == "map multiply+exp"


def test_threads_do_not_nest_in_each_other() -> None:
    events = [
        event("eval", 1, 0, 100, 7, 0, 5, 3, thread=1),
        event("eval", 2, 10, 90, 7, 0, 5, 3, thread=2),
    ]
    line = timeline(recording(events, window=(0, 100)))
    assert line.threads == (1, 2)
    assert [s.depth for s in line.spans] == [0, 0]
    assert line.totals.evals == 100 and line.totals.python == 0


def test_sync_inside_an_evaluation_and_copy_outside() -> None:
    events = [
        event("eval", 1, 0, 100, 7, 0, 5, 3),
        event("sync", 1, 60, 100),
        event("copy", 0, 150, 180, 4096),
    ]
    line = timeline(recording(events, window=(0, 200)))
    t = line.totals
    assert (t.sync, t.copy, t.other_eval, t.python) == (40, 30, 60, 70)
    assert line.spans[-1].name == "copy 4096 bytes"


def test_spans_know_their_device() -> None:
    events = [
        event("launch", 1, 0, 10, 7, 1, 1, 1),
        event("sync", 1, 20, 30),
        event("copy", 1, 40, 50, 64, 9, 1, 0),
        event("copy", 1, 60, 70, 64, 9, 0, 5),
    ]
    line = timeline(recording(events, machine=Machine(devices=("cpu", "cuda"))))
    assert [s.device for s in line.spans] == ["cpu", "", "cuda to cpu", "cpu to device 5"]
    older = timeline(recording(events)).spans
    assert [s.device for s in older[2:]] == ["device 1 to cpu", "cpu to device 5"]


def test_spans_are_clipped_to_the_window() -> None:
    t = timeline(recording([event("eval", 1, 0, 100, 7, 0, 5, 3)], window=(40, 80))).totals
    assert (t.wall, t.evals, t.python) == (40, 40, 0)


def test_launches_without_an_evaluation_form_a_run() -> None:
    r = recording([event("launch", 5, 10, 20, 7, 1, 1, 1)])
    (run,) = r.runs
    assert (run.id, run.outcome, run.t0, run.t1) == (5, "unknown", 10, 20)
    assert timeline(r).outcomes == {"unknown": 1}


def test_text_and_json() -> None:
    line = timeline(recording())
    json.dumps(line.to_dict())
    assert "plan cache: 1 hit, 1 miss" in str(line)


def test_between_cuts_by_start() -> None:
    late = recording().between(2000, 4000)
    assert [run.id for run in late.runs] == [2]
    assert timeline(late).totals.wall == 2000

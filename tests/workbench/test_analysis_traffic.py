"""Ledger, fusion table, kernels and roofline against figures worked out by hand."""

from __future__ import annotations

import pytest
from builder import REASONS, columns, edge, event, plan_json, recording, run_events
from lamina.workbench.analysis import explain, fusion, kernels, roofline, traffic
from lamina.workbench.plan import Plan
from lamina.workbench.recording import Ceilings, Machine, Recording

CEILINGS = Ceilings(bandwidth_gbs=40.0, cache_gbs=100.0, peak_gflops=10.0)


def test_ledger_counts_every_run() -> None:
    ledger = traffic(recording())
    assert ledger.unfused == 2 * 24580
    assert ledger.planned == 2 * 16388
    assert ledger.as_run == 2 * (8192 + 4096 + 4096 + 4)
    assert ledger.ideal == 2 * 8196
    assert [(p.plan, p.runs) for p in ledger.plans] == [(7, 2)]
    assert ledger.sized_anew == 0


def test_each_decision_has_its_bytes() -> None:
    ledger = traffic(recording())
    (saved,), (lost,) = ledger.saved, ledger.lost
    assert (saved.pair, saved.total_bytes, saved.reason) == ("multiply -> exp", 16384, "")
    assert (lost.pair, lost.total_bytes, lost.reason) == ("exp -> sum", 16384, "reduction_barrier")
    assert ledger.unfused - ledger.as_run == sum(e.total_bytes for e in ledger.saved)
    assert ledger.as_run - ledger.ideal == sum(e.total_bytes for e in ledger.lost)


def test_as_run_is_what_launches_moved_not_what_was_planned() -> None:
    events = run_events(1, 0)
    events.append(event("launch", 1, 950, 960, 7, 0, 1000, 0))
    ledger = traffic(recording(events))
    assert ledger.as_run == ledger.planned + 1000
    assert "the plans promised 16.4 kB" in str(ledger)


def test_polymorphic_hits_are_counted() -> None:
    ledger = traffic(recording(run_events(1, 0, outcome=1)))
    assert ledger.sized_anew == 1
    assert "1 runs put a known plan on other sizes" in str(ledger)


def test_plan_without_description_still_counts() -> None:
    ledger = traffic(recording(plans={}))
    assert ledger.as_run == 32776
    assert ledger.plans[0].label == "plan 7"
    assert kernels(recording(plans={})).rows[0].name == "plan 7 launch 0"


def test_decisions_are_sorted_by_price() -> None:
    data = plan_json()
    data["edges"] += [
        edge(0, 2, 9000, "leaf_input"),
        edge(1, 2, 7000, "leaf_input"),
    ]
    table = fusion(recording(plans={7: Plan.from_json(data)}))
    assert [e.bytes for e in table.unfused] == [9000, 8192, 7000]
    assert [(r.reason, r.edges, r.total_bytes) for r in table.reasons] == [
        ("leaf_input", 2, 32000),
        ("reduction_barrier", 1, 16384),
    ]
    assert table.unexplained == ()


def test_an_edge_without_reason_is_reported() -> None:
    data = plan_json()
    data["edges"][1]["reason"] = ""
    table = fusion(recording(plans={7: Plan.from_json(data)}))
    assert [e.pair for e in table.unexplained] == ["exp -> sum"]


def test_price_in_time_needs_a_measured_bandwidth() -> None:
    assert fusion(recording()).unfused[0].ns is None
    priced = fusion(recording(machine=Machine(ceilings=CEILINGS)))
    assert priced.unfused[0].ns == pytest.approx(16384 / 40)


def test_explain_says_why() -> None:
    r = recording()
    assert REASONS["reduction_barrier"] in explain(r, 7, 3, 4)
    assert "8.19 kB" in explain(r, 7, 3, 4)
    assert explain(r, 7, 2, 3).startswith("multiply -> exp is fused")
    with pytest.raises(KeyError, match="plan 7 has no edge 0 -> 4"):
        explain(r, 7, 0, 4)


def test_kernel_table() -> None:
    table = kernels(recording())
    first, second = table.rows
    assert (first.name, first.count, first.total_ns) == ("map multiply+exp", 2, 800)
    assert (first.median_ns, first.min_ns, first.max_ns) == (400, 400, 400)
    assert (first.bytes, first.flops) == (2 * 12288, 2 * 2048)
    assert first.gbs == pytest.approx(24576 / 800)
    assert first.gflops == pytest.approx(4096 / 800)
    assert (first.where, first.module) == ("train.py:4", "layers.1")
    assert (second.name, second.total_ns) == ("reduce sum", 400)
    assert table.total_ns == 1200


def test_median_of_uneven_launches() -> None:
    events = [
        event("launch", run, 1000 * run, 1000 * run + took, 7, 0, 10, 10)
        for run, took in enumerate((100, 300, 900), start=1)
    ]
    (row,) = kernels(recording(events)).rows
    assert (row.count, row.total_ns, row.median_ns, row.min_ns) == (3, 1300, 300, 100)


def test_roofline_points() -> None:
    line = roofline(recording(), CEILINGS)
    assert line.ridge == pytest.approx(0.25)
    first, second = line.points
    # 2048 flops over 12288 bytes: left of the ridge, so memory is the bound.
    assert first.intensity == pytest.approx(2048 / 12288)
    assert first.bound == "memory"
    assert first.roof == pytest.approx(40 * 2048 / 12288)
    assert first.fraction == pytest.approx((24576 / 800) / 40)
    assert not first.in_cache
    # 1024 flops over 4100 bytes: just left of the ridge at 1024 / 4096.
    assert second.bound == "memory"
    assert second.fraction == pytest.approx(8200 / 400 / 40)


def test_roofline_compute_bound_and_in_cache() -> None:
    compute = roofline(recording(), Ceilings(1000.0, 1000.0, 10.0)).points[0]
    assert compute.bound == "compute"
    assert compute.fraction == pytest.approx(5.12 / 10)
    cached = roofline(recording(), Ceilings(20.0, 100.0, 10.0)).points[0]
    assert cached.in_cache and cached.fraction == pytest.approx(30.72 / 20)


def test_roofline_needs_ceilings() -> None:
    with pytest.raises(ValueError, match="no measured ceilings"):
        roofline(recording())
    assert roofline(recording(machine=Machine(ceilings=CEILINGS))).ceilings == CEILINGS


def test_nothing_recorded() -> None:
    empty = Recording(columns([]), (0, 10))
    assert traffic(empty).as_run == 0
    assert kernels(empty).rows == ()
    assert fusion(empty).fused == ()
    assert roofline(empty, CEILINGS).points == ()
    assert str(kernels(empty)) == "no kernel ran"


def test_results_are_json_data() -> None:
    import json

    r = recording()
    for result in (traffic(r), fusion(r), kernels(r), roofline(r, CEILINGS)):
        json.dumps(result.to_dict())
        assert str(result)


def test_kernels_say_what_their_times_are_from() -> None:
    assert {k.clock for k in kernels(recording()).rows} == {"CPU clock"}
    assert str(kernels(recording())).endswith("\ntimes from CPU clock")
    events = [*run_events(1, 1000), *run_events(2, 2500, outcome=0)]
    events += [event("timed", 1, 1990, None, 7, 0, 2, 2), event("timed", 2, 3490, None, 7, 0, 1, 3)]
    table = kernels(recording(events))
    clocks = {k.launch: k.clock for k in table.rows}
    assert clocks == {0: "GPU counters, command buffer", 1: "GPU counters, CPU clock"}
    assert table.to_dict()["rows"][0]["clock"] == clocks[table.rows[0].launch]
    events[-1] = event("timed", 2, 3490, None, 7, 0, 2, 9)
    assert {k.clock for k in kernels(recording(events)).rows} == {"GPU counters, clock 9"}
    assert str(kernels(recording(events))).endswith("\ntimes from GPU counters, clock 9")

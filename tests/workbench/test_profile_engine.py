"""Profiles of real evaluations: what the workbench says against what the engine did."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from lamina import soft_metal
from lamina.workbench import Recording, analysis, profile
from lamina.workbench.report import html, text


def loss(w: Any, x: Any) -> Any:
    h = mx.tanh(x @ w)
    return mx.mean(h * h + mx.exp(-h))


@pytest.fixture(scope="module")
def steps() -> Recording:
    """Four training steps; parameters exist before, inputs come from NumPy."""
    rng = np.random.default_rng(0)
    w = mx.array(rng.normal(size=(64, 32)).astype(np.float32))
    x = mx.array(rng.normal(size=(128, 64)).astype(np.float32))
    mx.eval(w, x)
    step = mx.value_and_grad(loss)
    with profile("steps", ceilings=False) as p:
        for _ in range(4):
            value, gradient = step(w, x)
            w = w - 0.1 * gradient
            mx.eval(value, w)
            del value, gradient
    return p.recording


def test_a_loop_plans_once(steps: Recording) -> None:
    assert [run.outcome for run in steps.runs] == ["miss", "hit", "hit", "hit"]
    assert steps.dropped == 0 and steps.missing_plans == ()


def test_every_edge_is_explained(steps: Recording) -> None:
    table = analysis.fusion(steps)
    assert table.fused and table.unfused
    assert table.unexplained == ()
    assert {edge.reason for edge in table.unfused} <= set(steps.reasons)


def test_launches_move_what_the_plan_promised(steps: Recording) -> None:
    ledger = analysis.traffic(steps)
    assert ledger.as_run == ledger.planned
    assert ledger.ideal <= ledger.as_run < ledger.unfused


@pytest.mark.parametrize(
    "program",
    [
        lambda x: x[:8] * 2,
        lambda x: mx.sum(x[::4, 3:5], axis=0) + x[0, 3:5],
        lambda x: x[10:12].T + 1,
        lambda x: mx.concatenate([x[:1], x[5:6]]),
        lambda x: x[:, :1] @ x[:1, :],
        lambda x: mx.broadcast_to(x[0], (1000, 64)) * x[1],
    ],
)
def test_what_must_be_moved_is_no_more_than_what_was(program: Any) -> None:
    x = mx.array(np.random.default_rng(1).normal(size=(256, 64)).astype(np.float32))
    mx.eval(x)
    with profile("slices", ceilings=False) as p:
        mx.eval(program(x))
    ledger = analysis.traffic(p.recording)
    assert 0 < ledger.ideal <= ledger.as_run <= ledger.unfused


def test_memory_adds_up_to_the_allocators_count(steps: Recording) -> None:
    memory = analysis.memory(steps)
    assert memory.residual == 0
    assert np.array_equal(sum(memory.by_category.values()), memory.active)
    assert memory.peak.bytes == sum(part.bytes for part in memory.peak.parts)
    assert memory.peak.bytes <= steps.memory_end.peak
    assert memory.peak.predicted == pytest.approx(memory.peak.bytes, rel=0.05)


def test_nodes_know_their_lines(steps: Recording) -> None:
    (plan,) = steps.plans.values()
    here = os.path.basename(__file__)
    built = [node for node in plan.nodes if node.kind in ("elementwise", "structured", "reduce")]
    known = [steps.origin(plan.id, node.id) for node in built]
    assert sum(o is not None and o.where.startswith(here) for o in known) >= 0.9 * len(known)
    phases = {o.phase for o in known if o is not None}
    assert {"forward", "backward"} <= phases


def compiled_inside(x: Any) -> Any:
    grown = mx.exp(x)
    return mx.sum(grown * 2)


@pytest.mark.parametrize("before", [False, True], ids=["fresh", "traced before"])
def test_nodes_of_compiled_functions_know_their_lines(before: bool) -> None:
    step, x = mx.compile(compiled_inside), mx.array(np.ones(64, np.float32))
    if before:
        mx.eval(step(x))
    with profile("compiled", ceilings=False) as p:
        for _ in range(3):
            mx.eval(step(x))
    assert step._traces.traced == 1 + before
    (plan,) = p.recording.plans.values()
    first = compiled_inside.__code__.co_firstlineno
    lines = {}
    for node in plan.nodes:
        origin = p.recording.origin(plan.id, node.id)
        if origin is not None:
            lines[node.title] = int(origin.where.rpartition(":")[2]) - first
    assert (lines["exp"], lines["multiply"], lines["sum"]) == (1, 2, 2)


def test_launch_times_lie_within_their_evaluation(steps: Recording) -> None:
    t0, t1 = steps.window
    for run in steps.runs:
        assert t0 <= run.t0 <= run.t1 <= t1
        assert run.launches
        assert all(run.t0 <= launch.t0 <= launch.t1 <= run.t1 for launch in run.launches)


def test_kernels_are_named_and_counted(steps: Recording) -> None:
    rows = analysis.kernels(steps).rows
    assert all(row.count == 4 for row in rows)
    matmul = [row for row in rows if "matmul" in row.name]
    assert sum(row.flops for row in matmul) >= 4 * 2 * 128 * 64 * 32


def test_round_trip(steps: Recording, tmp_path: Path) -> None:
    steps.save(tmp_path / "steps.lamina")
    assert Recording.load(tmp_path / "steps.lamina").summary() == steps.summary()


def test_summary_names_its_cost(steps: Recording) -> None:
    assert "recording cost" in steps.summary()
    assert steps.overhead.engine_ns > 0


def test_failing_body_keeps_the_evaluations_before() -> None:
    with pytest.raises(ValueError, match="mine"), profile(ceilings=False) as p:
        mx.eval(mx.ones((4,)) + 1)
        raise ValueError("mine")
    assert len(p.recording.runs) == 1


def test_nothing_is_recorded_outside() -> None:
    mx.eval(mx.ones((8,)) * 3)
    with profile(ceilings=False) as p:
        pass
    assert p.recording.runs == ()


def test_other_sizes_have_exact_plans_of_their_own() -> None:
    x = mx.random.uniform(shape=(64, 16))
    mx.eval(x)
    with profile("sizes", ceilings=False) as p:
        for rows in (8, 9, 10, 11):
            mx.eval(mx.sum(mx.exp(x[:rows]) * 2, axis=1))
    assert [run.outcome for run in p.recording.runs] == ["miss", *["polymorphic hit"] * 3]
    ledger = analysis.traffic(p.recording)
    assert ledger.planned == ledger.as_run == sum(rows * 17 * 4 for rows in (8, 9, 10, 11))
    assert ledger.sized_anew == 3


@pytest.mark.skipif(
    not soft_metal.available(), reason="not applicable: no compiler for kernels (lamina[softmetal])"
)
def test_counts_are_put_to_the_launches_they_ran_within(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against counts known by hand: a coalesced copy, read forwards twice and transposed once."""
    monkeypatch.setenv("LAMINA_GPU", "soft_metal")
    with mx.stream(mx.gpu), profile(ceilings=False) as p:
        x = mx.ones((64, 64))
        mx.eval(x)
        for _ in range(2):
            mx.eval(x * 3)
        mx.eval(mx.take(x, mx.array(np.arange(0, 64, 2)), axis=1))
    table = analysis.counters(p.recording)
    assert table.unmatched == 0
    launched = {(run.plan, launch.index) for run in p.recording.runs for launch in run.launches}
    assert {(row.plan, row.launch) for row in table.rows} <= launched
    (scaled,) = (row for row in table.rows if "multiply" in row.name)
    assert scaled.count == 2 and scaled.kernels == ("map_multiply",)
    assert scaled.counts["device_load_bytes"] == 2 * 64 * 64 * 4
    assert scaled.transactions == scaled.transactions_ideal == 2 * 2 * 64 * 64 * 4 // 128
    assert scaled.coalescing == scaled.lanes == 1 and scaled.divergence == 0
    assert scaled.conflicts != scaled.conflicts  # no threadgroup memory: not a number
    (taken,) = (row for row in table.rows if "take" in row.name or "gather" in row.kernels[0])
    assert taken.coalescing < 1
    assert "counted by software Metal" in text(p.recording)
    assert "Counted by software Metal" in html(p.recording)


def test_without_a_device_that_counts_there_are_no_counters(steps: Recording) -> None:
    table = analysis.counters(steps)
    assert table.rows == () and "counted" not in text(steps)
    assert str(table) == "no device counted"


@pytest.fixture(scope="module")
def growing() -> Recording:
    """One program in four sizes, each of them twice, and another beside it."""
    w = mx.array(np.ones((8, 8), np.float32))
    mx.eval(w)
    with profile("growing", ceilings=False) as p:
        for n in (16, 32, 48, 64, 16, 32, 48, 64):
            x = mx.array(np.ones((n, 8), np.float32))
            mx.eval(mx.exp(x @ w).sum(axis=1))
        mx.eval(mx.sin(w))
    return p.recording


def test_a_kernel_in_several_sizes_is_one_row(growing: Recording) -> None:
    (rest, *rows) = sorted(analysis.kernels(growing).rows, key=lambda k: k.count)
    assert (rest.count, rest.sizes) == (1, 1)
    assert rows and {(k.count, k.sizes) for k in rows} == {(8, 4)}
    launches = [(run.plan, launch) for run in growing.runs for launch in run.launches]
    assert sum(k.bytes for k in rows) + rest.bytes == sum(x.reads + x.writes for _, x in launches)
    flops = sum(growing.plans[plan].launch_by_id[x.index].flops for plan, x in launches)
    assert sum(k.flops for k in rows) + rest.flops == flops


def test_decisions_and_traffic_in_several_sizes_are_one_row(growing: Recording) -> None:
    ledger = analysis.traffic(growing)
    assert [(p.runs, p.sizes) for p in ledger.plans] == [(8, 4), (1, 1)]
    assert ledger.plans[0].label.endswith(", 4 sizes")
    assert sum(p.as_run for p in ledger.plans) == ledger.as_run
    edges = [e for e in analysis.fusion(growing).fused if e.runs == 8]
    plans = [p for p in growing.plans.values() if p.family == edges[0].plan]
    assert len(plans) == 4
    for edge in edges:
        each = [e.bytes for p in plans for e in p.edges if (e.src, e.dst) == (edge.src, edge.dst)]
        assert edge.total_bytes == 2 * sum(each)
        assert edge.bytes == round(edge.total_bytes / 8)


def test_a_file_keeps_what_belongs_together(growing: Recording, tmp_path: Path) -> None:
    growing.save(tmp_path / "g.lamina")
    loaded = Recording.load(tmp_path / "g.lamina")
    assert analysis.kernels(loaded) == analysis.kernels(growing)
    assert {p.id: p.family for p in loaded.plans.values()} == {
        p.id: p.family for p in growing.plans.values()
    }

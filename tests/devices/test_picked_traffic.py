"""Bytes of operations that read a part of an array, by indices: predicted against what software
Metal counts of the same kernels, load by load."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from arrays import options
from lamina import _core
from lamina.workbench import analysis, profile
from row_examples import ALL


@pytest.fixture(autouse=True)
def soft_metal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_GPU", "soft_metal")


def fresh(*shape: int) -> mx.array:
    return mx.array(np.random.default_rng(sum(shape)).normal(size=shape).astype("f"))


def at(*rows: int) -> mx.array:
    return mx.array(np.array(rows, np.int32))


Case = tuple[Callable[..., mx.array], list[mx.array]]
PICKS: dict[str, Callable[[], Case]] = {
    "rows": lambda: (lambda t, i: mx.take(t, i, axis=0), [fresh(500, 64), at(3, 9, 400)]),
    "rows by []": lambda: (lambda t, i: t[i], [fresh(500, 64), at(7)]),
    "columns": lambda: (lambda t, i: mx.take(t, i, axis=1), [fresh(40, 300), at(3, 9)]),
    "elements": lambda: (lambda t, i, j: t[i, j], [fresh(90, 80), at(1, 2, 3), at(4, 5, 6)]),
    "one of each row": lambda: (
        lambda t, i: mx.take_along_axis(t, i, axis=1),
        [fresh(70, 90), mx.array(np.arange(70, dtype=np.int32).reshape(70, 1))],
    ),
}


def launches(program: Callable[..., mx.array], inputs: list[mx.array]) -> Any:
    """Predicted reads and writes of each launch, and what was counted."""
    mx.eval(inputs)
    with profile("picks", ceilings=False) as p, mx.stream(mx.gpu):
        mx.eval(program(*inputs))
    (plan,) = p.recording.plans.values()
    rows = {row.launch: row.counts for row in analysis.counters(p.recording).rows}
    return plan, [((launch.reads, launch.writes), rows[launch.id]) for launch in plan.launches]


@pytest.mark.parametrize("name", PICKS)
def test_what_is_picked_is_read(name: str) -> None:
    program, inputs = PICKS[name]()
    plan, ((predicted, counted),) = launches(program, inputs)
    index_bytes = sum(i.nbytes for i in inputs[1:])
    (edge,) = [e for e in plan.edges if plan.node_by_id[e.src].bytes == inputs[0].nbytes]
    assert predicted[0] == edge.bytes + index_bytes
    assert edge.bytes < inputs[0].nbytes / 10
    # Each element is loaded once; its index may be loaded for each of them again.
    loaded = counted["device_load_bytes"]
    elements = edge.bytes // 4
    assert edge.bytes + index_bytes <= loaded <= edge.bytes + 4 * len(inputs[1:]) * elements
    assert counted["device_store_bytes"] == predicted[1]
    assert plan.traffic.ideal == plan.traffic.fused == sum(predicted)


def test_picking_more_than_there_is_reads_what_there_is() -> None:
    table, rows = fresh(4, 64), mx.array(np.zeros(100, np.int32))
    _, ((predicted, _),) = launches(lambda t, i: mx.take(t, i, axis=0), [table, rows])
    assert predicted == (table.nbytes + rows.nbytes, 100 * 64 * 4)


def test_products_of_picked_matrices_read_these() -> None:
    w, x = fresh(20, 32, 16), fresh(2, 1, 32)
    _, found = launches(lambda x, w, i: mx.gather_mm(x, w, rhs_indices=i), [x, w, at(3, 17)])
    ((reads, writes), counted) = found[-1]
    assert 2 * 32 * 16 * 4 + x.nbytes <= reads <= 2 * 32 * 16 * 4 + x.nbytes + 24
    assert writes == 2 * 16 * 4 == counted["device_store_bytes"]
    assert counted["device_load_bytes"] < w.nbytes / 2


def test_quantized_products_of_picked_matrices_read_these() -> None:
    w, x = fresh(20, 64, 64), fresh(2, 1, 64)
    codes = mx.quantize(w, group_size=32, bits=4)
    program = lambda x, i, *w: mx.gather_qmm(x, *w, rhs_indices=i, group_size=32, bits=4)
    _, found = launches(program, [x, at(3, 17), *codes])
    ((reads, _), counted) = found[-1]
    picked = sum(part.nbytes for part in codes) // 10
    assert picked + x.nbytes <= reads <= picked + x.nbytes + 24
    assert counted["device_load_bytes"] < sum(part.nbytes for part in codes)


def test_a_search_reads_a_path() -> None:
    table, values = mx.sort(fresh(100_000)), fresh(10)
    _, found = launches(mx.searchsorted, [table, values])
    ((reads, _), counted) = found[-1]
    assert counted["device_load_bytes"] - values.nbytes <= reads < 2000


def test_an_update_in_place_moves_what_it_writes() -> None:
    """A cache that grows: a row is written, and those before it are read."""
    with options(verify=True):
        cache = fresh(1000, 64)
        mx.eval(cache)
        cache[5:6] = mx.ones((1, 64))
        total = cache[:10].sum()
        mx.eval(cache, total)
        plan = json.loads(_core._plan_describe(_core._last_plan()))
    row = 64 * 4
    assert plan["traffic"]["fused"] == row + 10 * row + 4
    assert plan["traffic"]["ideal"] == row + 9 * row + 4


def test_what_nobody_needs_is_not_ideal() -> None:
    with options(verify=True):
        x = fresh(1000)
        mx.eval(x)
        mx.eval(mx.exp(x * 2)[:10] + 1)
        plan = json.loads(_core._plan_describe(_core._last_plan()))
    assert plan["traffic"]["ideal"] == plan["traffic"]["fused"] == 80


# Of a real array the compiler knows the result; an edge that a stride leaves over is not read.
NOT_READ = {"imag": 0.0, "convolution_input_gradient": 0.85}


@pytest.mark.parametrize("name", ALL)
def test_no_row_claims_more_than_its_kernels_touch(name: str) -> None:
    """Threads may load an element again, and write what they keep for themselves; never less."""
    example = ALL[name]
    inputs = example.inputs("float32" if "float32" in example.dtypes else example.dtypes[0])
    mx.eval(inputs)
    with profile(name, ceilings=False) as p, mx.stream(mx.gpu):
        mx.eval(example.f(*inputs))
    counted = {(row.plan, row.launch): row for row in analysis.counters(p.recording).rows}
    for row in analysis.kernels(p.recording).rows:
        plan = p.recording.plans[row.plan]
        if plan.device == "cpu":
            continue
        counts = counted[row.plan, row.launch].counts
        launch = plan.launch_by_id[row.launch]
        read, written = launch.reads * row.count, launch.writes * row.count
        assert counts["device_load_bytes"] >= NOT_READ.get(name, 1) * read, row.name
        assert counts["device_store_bytes"] >= written, row.name


# Operations whose text goes over memory several times where its rows are long.
PASSES: dict[str, Callable[[], Case]] = {
    "sort": lambda: (mx.sort, [fresh(50_000)]),
    "rows of a sort": lambda: (lambda x: mx.sort(x, axis=1), [fresh(5, 9000)]),
    "argsort": lambda: (mx.argsort, [fresh(50_000)]),
    "partition": lambda: (lambda x: mx.partition(x, 5), [fresh(3, 20_000)]),
    "scan": lambda: (mx.cumsum, [fresh(50_000)]),
    "scan with groups": lambda: (lambda x: mx.cumsum(x * 2) + 1, [fresh(50_000)]),
    "fft": lambda: (mx.fft.fft, [mx.array(np.ones(1 << 16, np.complex64))]),
    "split product": lambda: (mx.matmul, [fresh(8, 3000), fresh(3000, 30)]),
    "split product with a group": lambda: (
        lambda x, w: mx.tanh(x @ w) + 1,
        [fresh(8, 3000), fresh(3000, 30)],
    ),
    "attention of one query": lambda: (
        lambda q, k: mx.fast.scaled_dot_product_attention(q, k, k, scale=0.5),
        [fresh(1, 2, 1, 64), fresh(1, 2, 4000, 64)],
    ),
    "scatter": lambda: (
        lambda x, i, v: x.at[i].add(v),
        [fresh(5000, 8), at(*range(0, 5000, 7)), fresh(715, 8)],
    ),
    "scatter of one value": lambda: (
        lambda x, i, v: mx.put_along_axis(x, i, v, axis=0),
        [fresh(5000, 8), mx.zeros((1, 8), dtype=mx.int32), fresh(1, 8)],
    ),
}


@pytest.mark.parametrize("name", PASSES)
def test_every_pass_is_counted(name: str) -> None:
    program, inputs = PASSES[name]()
    plan, found = launches(program, inputs)
    ((reads, writes), counted) = found[-1]
    assert counted["device_store_bytes"] == writes
    assert counted["device_load_bytes"] >= reads
    nodes = [n for n in plan.nodes if n.kind != "view"]
    once = sum(n.bytes for n in nodes if n.kind == "leaf")
    assert reads + writes > once + max(n.bytes for n in nodes if n.role == "output")
    # Op by op there would be as many passes.
    assert plan.traffic.ideal < plan.traffic.fused <= plan.traffic.unfused


def test_a_short_row_is_gone_over_once() -> None:
    plan, ((predicted, _),) = launches(mx.sort, [fresh(500)])
    assert predicted == (2000, 2000)
    assert plan.traffic.unfused == plan.traffic.fused == plan.traffic.ideal == 4000

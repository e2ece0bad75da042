"""What crossed between devices, worked out by hand, and a real device with its own memory."""

from __future__ import annotations

from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from builder import event, plan_json, recording, run_events
from lamina.workbench import profile
from lamina.workbench.analysis import traffic, transfers
from lamina.workbench.plan import Plan
from lamina.workbench.recording import Machine, Recording

MACHINE = Machine(devices=("cpu", "one", "two"))


def crossing(events: list[Any]) -> Recording:
    """Plans 7, on "one", which read w, node 1, of the CPU before launch 0."""
    data = plan_json() | {"device": "one"}
    data["transfers"] = [{"node": 1, "source": "cpu", "bytes": 4096, "before": 0}]
    return recording(events, plans={7: Plan.from_json(data)}, machine=MACHINE)


def two_runs(*copies: Any) -> Recording:
    return crossing([*run_events(1, 1000), *run_events(2, 2500, outcome=0), *copies])


def test_a_copy_belongs_to_the_value_that_was_bound_to_it() -> None:
    r = two_runs(event("copy", 1, 1255, 1259, 8192, 50, 0, 1))
    (row,) = transfers(r).rows
    assert (row.name, row.plan, row.node, row.source, row.target) == ("w", 7, 1, "cpu", "one")
    assert (row.before, row.runs, row.copies, row.where) == ("map multiply+exp", 2, 1, "train.py:3")
    assert (row.bytes, row.ns, row.gbs) == (8192, 4, 2048.0)
    assert row.cells()[4] == "1 of 2 runs"
    assert transfers(r).copies == 1


def test_a_copy_that_was_found_is_told_and_costs_nothing() -> None:
    (row,) = transfers(two_runs()).rows
    assert (row.copies, row.runs, row.bytes, row.gbs) == (0, 2, 0, 0.0)
    assert row.cells()[4:8] == ("0 of 2 runs", "-", "-", "-")
    ledger = traffic(two_runs())
    assert ledger.copied == 0 and "between devices  " not in ledger.to_text().split("\n\n")[0]


def test_two_gpus_meet_in_the_memory_of_the_cpu() -> None:
    there = event("copy", 1, 1200, 1210, 8192, 49, 2, 0)
    r = two_runs(there, event("copy", 1, 1210, 1230, 8192, 50, 0, 1))
    (row,) = transfers(r).rows
    assert (row.copies, row.bytes, row.ns) == (1, 16384, 30)


def test_what_the_program_reads_is_no_plans() -> None:
    r = two_runs(*[event("copy", 0, t, t + 2, 4, 90, 1, 0) for t in (2000, 3600, 3700)])
    row = transfers(r).rows[0]
    assert (row.name, row.plan, row.source, row.target) == ("read by the program", -1, "one", "cpu")
    assert (row.copies, row.bytes, row.ns) == (3, 12, 6)


def test_copies_of_a_plan_without_description_are_counted() -> None:
    r = recording(
        [*run_events(1, 1000), event("copy", 1, 1255, 1259, 8192, 50, 0, 1)],
        plans={},
        machine=MACHINE,
    )
    (row,) = transfers(r).rows
    assert (row.name, row.source, row.target) == ("plan 7 node 1", "cpu", "one")
    assert (row.bytes, row.copies, row.runs) == (8192, 1, 1)


def test_the_ledger_has_the_sum_apart_from_what_kernels_moved() -> None:
    r = two_runs(event("copy", 1, 1255, 1259, 8192, 50, 0, 1))
    ledger = traffic(r)
    assert ledger.copied == 8192 == ledger.to_dict()["copied"]
    assert ledger.as_run == traffic(two_runs()).as_run
    assert "between devices  8.19 kB   16.7%" in ledger.to_text()
    assert "8.19 kB copied between devices" in r.summary()


def test_one_device_has_no_rows() -> None:
    assert transfers(recording()).rows == ()
    assert str(transfers(recording())) == "nothing crossed between devices"
    assert "between devices" not in recording().summary()


@pytest.mark.parametrize("field", ["node", "source", "bytes", "before"])
def test_a_damaged_transfer_is_named(field: str) -> None:
    data = plan_json()
    data["transfers"] = [{"node": 1, "source": "cpu", "bytes": 4096, "before": 0}]
    del data["transfers"][0][field]
    with pytest.raises(ValueError, match=rf"plan 7: transfers\[0\]: no '{field}' field"):
        Plan.from_json(data)


def test_a_program_that_goes_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_GPU", "apart")
    x = mx.array(np.ones(1000, np.float32))
    with profile() as p:
        for k in range(1, 4):
            y = mx.multiply(mx.exp(x, stream=mx.gpu), k, stream=mx.gpu)
            assert float(mx.sin(y).sum(stream=mx.gpu)) != 0
    found = transfers(p.recording)
    told = [(r.source, r.target, r.before, r.copies, r.runs, r.bytes) for r in found.rows]
    assert sorted(told) == [
        ("apart", "cpu", "", 3, 3, 12),
        ("apart", "cpu", "map sin", 3, 3, 12000),
        ("cpu", "apart", "map exp+multiply", 1, 3, 4000),
        ("cpu", "apart", "reduce sum", 3, 3, 12000),
    ]
    assert found.bytes == int(p.recording.of_kind("copy")["a"].sum()) == traffic(p.recording).copied

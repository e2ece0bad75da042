"""Names and categories of plan nodes, against real evaluations."""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

import lamina.core as mx
import lamina.nn as nn
import lamina.optimizers as optimizers
import numpy as np
import pytest
from lamina.workbench import Recording, analysis, profile
from lamina.workbench.names import Name, arrays_of
from lamina.workbench.plan import Node, category_name


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(8, 16), nn.Linear(16, 4)]

    def __call__(self, x: Any) -> Any:
        return self.layers[1](mx.tanh(self.layers[0](x)))


def train(steps: int) -> Recording:
    net = Net()
    optimizer = optimizers.AdamW(learning_rate=1e-3)
    rng = np.random.default_rng(0)
    x = mx.array(rng.normal(size=(32, 8)).astype(np.float32))
    y = mx.array(rng.integers(0, 4, 32))

    def loss(net: Net, x: Any, y: Any) -> Any:
        return nn.losses.cross_entropy(net(x), y, reduction="mean")

    gradient_of = nn.value_and_grad(net, loss)

    def step() -> None:
        value, gradients = gradient_of(net, x, y)
        optimizer.update(net, gradients)
        mx.eval(value, net.parameters(), optimizer.state)

    step()  # the state exists from here on
    with profile(ceilings=False) as p:
        for _ in range(steps):
            step()
    return p.recording


@pytest.fixture(scope="module", params=[1, 2, 9])
def trained(request: pytest.FixtureRequest) -> Recording:
    return train(request.param)


def leaves(recording: Recording) -> dict[str, Node]:
    (plan,) = recording.plans.values()
    return {node.title: node for node in plan.nodes if node.kind == "leaf"}


PATHS = [f"layers.{i}.{name}" for i in (0, 1) for name in ("weight", "bias")]


def test_every_leaf_of_a_training_step_has_its_name(trained: Recording) -> None:
    states = [f"{path}.{moment}" for path in PATHS for moment in "mv"]
    assert set(leaves(trained)) == {*PATHS, *states, "x", "y", "step"}


def test_leaves_have_the_category_of_their_place(trained: Recording) -> None:
    found = {name: category_name(node.category) for name, node in leaves(trained).items()}
    assert {found[path] for path in PATHS} == {"parameter"}
    assert {v for n, v in found.items() if n.endswith((".m", ".v"))} == {"optimizer state"}
    assert (found["x"], found["y"], found["step"]) == ("input data",) * 2 + ("optimizer state",)


def test_outputs_are_called_what_they_become(trained: Recording) -> None:
    (plan,) = trained.plans.values()
    named = {node.name: node for node in plan.nodes if node.role == "output" and node.name}
    assert set(PATHS) <= set(named)
    assert category_name(named["layers.0.weight"].category) == "parameter"
    shapes = {node.shape for node in plan.nodes if category_name(node.category) == "gradient"}
    assert shapes == {(16, 8), (16,), (4, 16), (4,)}


def test_values_kept_for_the_backward_pass_are_activations(trained: Recording) -> None:
    (plan,) = trained.plans.values()
    kept = [n for n in plan.nodes if category_name(n.category) == "activation"]
    assert kept and all(trained.phase(plan.id, n.id) == "forward" for n in kept)
    users = [user for n in kept for user in plan.consumers[n.id]]
    assert any(trained.phase(plan.id, user.id) == "backward" for user in users)


def test_the_memory_peak_calls_buffers_by_name(trained: Recording) -> None:
    peak = analysis.memory(trained).peak
    assert {"layers.0.weight", "layers.0.weight.m"} <= {part.title for part in peak.parts}


def test_the_file_keeps_names(trained: Recording, tmp_path: Any) -> None:
    trained.save(tmp_path / "r.lamina")
    again = Recording.load(tmp_path / "r.lamina")
    assert leaves(again) == leaves(trained)


def test_scalars_show_their_value_and_whether_it_varies() -> None:
    x = mx.array(np.ones(64, np.float32))
    with profile(ceilings=False) as p:
        for k in range(3):
            mx.eval((x * 0.1 + float(k)) * 2)
    (plan,) = p.recording.plans.values()
    scalars = {node.value: node for node in plan.nodes if node.kind == "scalar"}
    assert set(scalars) == {0.1, 0, 2}
    assert [scalars[v].varies for v in (0.1, 0, 2)] == [False, True, False]
    assert (scalars[0.1].title, scalars[0].title) == ("0.1", "0 (varies)")


@pytest.mark.parametrize(
    ("value", "dtype", "shown"),
    [
        (float("nan"), mx.float32, "nan"),
        (float("-inf"), mx.float32, "-inf"),
        (1 / 3, mx.float32, 0.33333334),
        (2**63, mx.uint64, 2**63),
        (-7, mx.int8, -7),
        (True, mx.bool_, True),
        (1.5 - 2j, mx.complex64, "1.5-2j"),
        (0.5, mx.bfloat16, 0.5),
    ],
)
def test_values_of_every_kind_of_scalar(value: Any, dtype: Any, shown: Any) -> None:
    x = mx.zeros((4,), dtype)
    mx.eval(x)
    with profile(ceilings=False) as p:
        mx.eval(mx.where(mx.array([True, False, True, True]), mx.array(value, dtype), x))
    (plan,) = p.recording.plans.values()
    assert shown in [node.value for node in plan.nodes if node.kind == "scalar"]


def test_names_are_found_in_the_callers_scope_only_and_lookup_keeps_nothing_alive() -> None:
    hidden = mx.array(np.zeros(1000, np.float32))

    def inner() -> Any:
        seen = mx.array(np.ones(1000, np.float32))
        mx.eval(seen)
        with profile(ceilings=False) as p:
            mx.eval(seen + hidden)
            del seen
            gc.collect()
            after = mx.get_active_memory()
        return p.recording, after

    before = mx.get_active_memory()
    recording, after = inner()
    assert after <= before
    assert {"seen", "hidden"} == set(leaves(recording))  # hidden is a cell variable of inner


def test_names_reach_plans_that_never_held_them_at_either_end() -> None:
    """Lazy parameters have no memory at the start, and the last batch has a plan of its own."""
    net = Net()
    optimizer = optimizers.Adam(learning_rate=1e-3)

    def loss(net: Net, x: Any) -> Any:
        return mx.mean(mx.square(net(x)))

    gradient_of = nn.value_and_grad(net, loss)
    with profile(ceilings=False) as p:
        for _ in range(6):
            for rows in (32, 32, 32, 32, 32, 32, 7):
                value, gradients = gradient_of(net, mx.ones((rows, 8)) * 0.5)
                optimizer.update(net, gradients)
                mx.eval(value, net.parameters(), optimizer.state)
    counts = p.recording.run_count
    busiest = p.recording.plans[max(counts, key=lambda plan: counts[plan])]
    assert counts[busiest.id] > 20
    assert set(PATHS) <= {node.name for node in busiest.nodes if node.kind == "leaf"}


def test_several_models_are_told_apart() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    x = mx.array(np.ones((2, 4), np.float32))
    mx.eval(first.parameters(), second.parameters(), x)
    with profile(ceilings=False) as p:
        mx.eval(second(first(x)))
    names = {"first.weight", "first.bias", "second.weight", "second.bias", "x"}
    assert set(leaves(p.recording)) == names


def test_a_plan_shared_by_two_places_names_both() -> None:
    a, b = (mx.array(np.full(16, k, np.float32)) for k in range(2))
    mx.eval(a, b)
    with profile(ceilings=False) as p:
        mx.eval(mx.exp(a))
        mx.eval(mx.exp(b))
    assert set(leaves(p.recording)) == {"a, b"}


def test_names_reach_into_containers_and_instances() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.scale = mx.ones((3,))
            self.model = nn.Linear(2, 2)

    spaces = [{"trainer": Trainer(), "params": {"w": [mx.zeros((2,))]}, "texts": ["a"] * 10**6}]
    found = dict(arrays_of(spaces, mx.array))
    assert {name.text for name in found} == {"weight", "bias", "trainer.scale", "params.w.0"}
    assert Name("weight", 1) in found


def test_plans_are_described_after_the_clock_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    from lamina import _core

    x = mx.array(np.ones(8, np.float32))
    with profile(ceilings=False) as p:
        mx.eval(x * 3 + 1)
        during = p._recorder._plans.copy()  # type: ignore[union-attr]
    assert during == {} and len(p.recording.plans) == 1
    own = p.recording.overhead
    assert own.prepare_ns > 0 and own.total_ns == own.engine_ns + own.drain_ns
    assert _core._plan_describe(10**9) == ""


def test_a_plan_evicted_meanwhile_is_still_described() -> None:
    x = mx.array(np.ones(8, np.float32))
    with profile(ceilings=False) as p:
        mx.eval(mx.exp(x) * 3 + 1)
        for n in range(1100):  # more plans than the cache keeps
            mx.eval(mx.zeros((n + 1,)) + 1)
    assert p.recording.missing_plans == ()
    assert len(p.recording.plans) == 1101
    first = p.recording.plans[p.recording.runs[0].plan]
    assert "exp" in [node.op for node in first.nodes]


def test_the_engine_accounts_for_its_hooks(trained: Recording) -> None:
    own = trained.of_kind("overhead")
    assert int(own["a"].sum()) == trained.overhead.engine_ns
    assert set(own["run"].tolist()) == {0, *(run.id for run in trained.runs)}
    # Every event but the last ones is covered, each once.
    covered = int(own["b"].sum())
    assert 0 <= len(trained.events) - covered <= 2


def test_analyses_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from lamina.widgets.facts import analysis_document
    from lamina.workbench import report

    module = sys.modules["lamina.workbench.analysis.memory"]
    calls = []
    peak = module._peak
    monkeypatch.setattr(module, "_peak", lambda *a: calls.append(1) or peak(*a))
    recording = train(1)
    json.dumps(analysis_document(recording))
    assert report.text(recording) and report.html(recording) and report.text(recording)
    assert len(calls) == 1

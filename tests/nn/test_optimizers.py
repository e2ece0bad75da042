"""Optimizers: trajectories against MLX and by hand, state, schedules, clipping."""

from __future__ import annotations

import inspect
import math

import lamina.core as mx
import lamina.optimizers as opt
import mlx.core as omx
import mlx.optimizers as oopt
import numpy as np
import pytest
from lamina import nn
from lamina.utils import tree_flatten, tree_map
from mlx.utils import tree_map as other_map
from oracle import close, normal, ours, same_tree, theirs, to_numpy

PARAMETERS = {
    "w": normal(4, 3),
    "t": normal(3, 4, seed=1),
    "b": normal(4, seed=2),
    "c": [normal(2, 3, 3, 2, seed=3), {"s": np.array(2.0, np.float32)}],
}
CASES = [
    ("SGD", (0.1,), {}),
    ("SGD", (0.1,), {"momentum": 0.9, "weight_decay": 0.1}),
    ("SGD", (0.1,), {"momentum": 0.9, "dampening": 0.3}),
    ("SGD", (0.1,), {"momentum": 0.9, "nesterov": True}),
    ("Adam", (0.1,), {}),
    ("Adam", (0.1,), {"bias_correction": True, "betas": [0.8, 0.95], "eps": 1e-6}),
    ("AdamW", (0.1,), {"bias_correction": True, "weight_decay": 0.1}),
    ("AdamW", (lambda step: 0.1 / (1 + step),), {}),
    ("Adamax", (0.1,), {}),
    ("RMSprop", (0.1,), {"alpha": 0.9}),
    ("Adagrad", (0.1,), {}),
    ("AdaDelta", (0.1,), {}),
    ("Lion", (0.1,), {"weight_decay": 0.1}),
    ("Adafactor", (), {}),
    ("Adafactor", (), {"warmup_init": True}),
    (
        "Adafactor",
        (0.1,),
        {"relative_step": False, "scale_parameter": False, "beta_1": 0.9, "weight_decay": 0.1},
    ),
    ("Muon", (0.1,), {}),
    ("Muon", (0.1,), {"nesterov": False, "weight_decay": 0.0, "ns_steps": 3}),
]


def gradients(step: int) -> dict:
    seeds = iter(range(100 * step, 100 * step + 100))
    return tree_map(lambda p: normal(*p.shape, seed=next(seeds)).reshape(p.shape), PARAMETERS)


@pytest.mark.parametrize(("name", "args", "kwargs"), CASES)
def test_trajectory_as_mlx(name, args, kwargs):
    a, b = getattr(opt, name)(*args, **kwargs), getattr(oopt, name)(*args, **kwargs)
    mine, other = ours(PARAMETERS), theirs(PARAMETERS)
    a.init(mine)
    b.init(other)
    for step in range(1, 5):
        grads = gradients(step)
        mine = a.apply_gradients(ours(grads), mine)
        other = b.apply_gradients(theirs(grads), other)
    # Newton-Schulz steps amplify rounding.
    tolerance = 2e-3 if name == "Muon" else 2e-5
    same_tree(mine, other, tolerance)
    same_tree(a.state, b.state, tolerance)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Lion", "Adafactor"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_parameters_keep_their_dtype(name, dtype):
    # Adam's default eps is zero in float16; that is the user's to choose.
    kwargs = {"eps": 1e-4} if name.startswith("Adam") else {}
    args = () if name == "Adafactor" else (0.1,)
    optimizer = getattr(opt, name)(*args, **kwargs)
    parameters = {"w": mx.ones((2, 3)).astype(getattr(mx, dtype))}
    for _ in range(2):
        parameters = optimizer.apply_gradients(parameters, parameters)
    assert parameters["w"].dtype == getattr(mx, dtype)
    assert np.isfinite(to_numpy(parameters["w"])).all()


def test_adam_by_hand():
    w, m, v = PARAMETERS["b"].astype(np.float64), 0.0, 0.0
    optimizer = opt.Adam(0.05, bias_correction=True)
    mine = {"b": mx.array(PARAMETERS["b"])}
    for step in range(1, 6):
        g = normal(4, seed=step)
        mine = optimizer.apply_gradients({"b": mx.array(g)}, mine)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g.astype(np.float64) ** 2
        w = w - 0.05 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    np.testing.assert_allclose(to_numpy(mine["b"]), w, rtol=1e-5, atol=1e-5)


def test_sgd_by_hand():
    w, v = PARAMETERS["b"], 0.0
    optimizer = opt.SGD(0.1, momentum=0.9, weight_decay=0.01, nesterov=True)
    mine = {"b": mx.array(w)}
    for step in range(1, 4):
        g = normal(4, seed=step)
        mine = optimizer.apply_gradients({"b": mx.array(g)}, mine)
        g = g + 0.01 * w
        v = 0.9 * v + g
        w = w - 0.1 * (g + 0.9 * v)
    np.testing.assert_allclose(to_numpy(mine["b"]), w, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda: opt.SGD(0.1), lambda: opt.AdamW(0.05), lambda: opt.Lion(0.01)]
)
def test_training_lowers_the_loss(make):
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    x = mx.array(normal(32, 3))
    y = mx.sum(x, axis=1, keepdims=True)
    optimizer = make()
    step = nn.value_and_grad(model, lambda: nn.losses.mse_loss(model(x), y))
    losses = []
    for _ in range(60):
        loss, grads = step()
        optimizer.update(model, grads)
        mx.eval(model.parameters(), optimizer.state)
        losses.append(float(loss.item()))
    assert losses[-1] < 0.3 * losses[0]


def test_state_and_step():
    optimizer = opt.Adam(0.1)
    assert int(optimizer.step.item()) == 0
    assert set(optimizer.state) == {"step", "learning_rate"}
    optimizer.init({"a": mx.ones((2,))})
    assert set(optimizer.state["a"]) == {"m", "v"}
    optimizer.apply_gradients({"a": mx.ones((2,))}, {"a": mx.ones((2,))})
    assert int(optimizer.step.item()) == 1
    m = to_numpy(optimizer.state["a"]["m"])
    optimizer.init({"a": mx.ones((2,)), "b": mx.ones((3,))})
    close(optimizer.state["a"]["m"], m)
    assert set(optimizer.state) == {"step", "learning_rate", "a", "b"}


def test_all_that_varies_is_an_array():
    optimizer = opt.AdamW(opt.cosine_decay(0.1, 10), bias_correction=True)
    optimizer.apply_gradients({"a": mx.ones((2,))}, {"a": mx.ones((2,))})
    assert all(isinstance(leaf, mx.array) for _, leaf in tree_flatten(optimizer.state))


def test_saved_state_goes_on():
    first, second = opt.Adam(0.1), opt.Adam(0.1)
    grads, w = {"a": mx.array([1.0, -2.0])}, {"a": mx.array([0.0, 0.0])}
    w = first.apply_gradients(grads, w)
    second.state = tree_map(lambda x: x, first.state)
    close(second.apply_gradients(grads, w)["a"], first.apply_gradients(grads, w)["a"])
    assert int(second.step.item()) == 2


def test_learning_rate():
    optimizer = opt.SGD(lambda step: 0.1 / (1 + step))
    w = {"a": mx.array([1.0])}
    for expected in (0.1, 0.05):
        optimizer.apply_gradients(w, w)
        assert float(optimizer.learning_rate.item()) == pytest.approx(expected)
    fixed = opt.SGD(0.1)
    fixed.learning_rate = 0.5
    close(fixed.apply_gradients(w, w)["a"], np.array([0.5], np.float32))


def test_part_of_a_model():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model.layers[0].freeze()
    before = to_numpy(model.layers[0].weight)
    step = nn.value_and_grad(model, lambda: mx.sum(mx.square(model(mx.ones((1, 2))))))
    _, grads = step()
    optimizer = opt.SGD(0.1)
    optimizer.update(model, grads)
    close(model.layers[0].weight, before)
    assert set(dict(tree_flatten(grads))) == {"layers.1.weight", "layers.1.bias"}


def test_unknown_parameter_is_named():
    optimizer = opt.Adam(0.1)
    optimizer.init({"a": mx.ones((1,))})
    with pytest.raises(ValueError, match="Adam: gradient without a parameter or state at 'c'"):
        optimizer.apply_gradients({"c": {"d": mx.ones((1,))}}, {"c": {}})


SCHEDULES = {
    "exponential_decay": (0.1, 0.9),
    "step_decay": (0.1, 0.9, 10),
    "cosine_decay": (0.1, 10, 0.01),
    "linear_schedule": (0.0, 0.1, 10),
}


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize("step", [0, 1, 9, 10, 11, 25])
def test_schedules_as_mlx(name, step):
    schedule, oracle = getattr(opt, name)(*SCHEDULES[name]), getattr(oopt, name)(*SCHEDULES[name])
    expected = float(oracle(step))
    assert float(schedule(step)) == pytest.approx(expected, rel=1e-5, abs=1e-7)
    at = schedule(mx.array(step, mx.uint64))
    assert float(at.item()) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_schedules_by_hand():
    assert float(opt.cosine_decay(1.0, 100, 0.2)(25)) == pytest.approx(
        0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi / 4))
    )
    warm = opt.join_schedules([opt.linear_schedule(0, 0.1, 10), opt.cosine_decay(0.1, 10)], [10])
    values = [float(warm(mx.array(step, mx.uint64)).item()) for step in (0, 5, 10, 15, 30)]
    np.testing.assert_allclose(values, [0, 0.05, 0.1, 0.05, 0], atol=1e-7)


def test_clip_grad_norm():
    grads = {"a": normal(3), "b": [normal(2, 2, seed=1)]}
    norm = math.sqrt(sum((g**2).sum() for _, g in tree_flatten(grads)))
    clipped, total = opt.clip_grad_norm(ours(grads), 0.5)
    assert float(total.item()) == pytest.approx(norm, rel=1e-5)
    same_tree(clipped, oopt.clip_grad_norm(theirs(grads), 0.5)[0])
    left, _ = opt.clip_grad_norm(ours(grads), 10.0)
    same_tree(left, theirs(grads))


def test_multi_optimizer():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    both = opt.MultiOptimizer([opt.SGD(0.1), opt.Adam(0.2)], [lambda path, _: "layers.0" in path])
    both.init(model.trainable_parameters())
    grads = tree_map(mx.ones_like, model.parameters())
    first, second = to_numpy(model.layers[0].bias), to_numpy(model.layers[1].bias)
    both.update(model, grads)
    close(model.layers[0].bias, first - np.float32(0.1))
    adam = 0.2 * 0.1 / (math.sqrt(0.001) + 1e-8)
    close(model.layers[1].bias, (second - adam).astype(np.float32))
    assert "layers" in both.state["states"][0]
    both.state = both.state
    both.learning_rate = 0.7
    assert [float(o.learning_rate.item()) for o in both.optimizers] == pytest.approx([0.7, 0.7])
    with pytest.raises(ValueError, match="expected 1 filters for 2 optimizers, got 0"):
        opt.MultiOptimizer([opt.SGD(0.1), opt.Adam(0.1)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: opt.Adam(0.1, betas=[2, 0.9]), r"Adam: expected beta1 in \[0, 1\), got 2"),
        (lambda: opt.SGD(0.1, nesterov=True), "SGD: expected momentum above 0"),
        (lambda: opt.RMSprop(0.1, alpha=-1), "RMSprop: expected alpha of at least 0, got -1"),
        (lambda: opt.AdaDelta(0.1, eps=-1), "AdaDelta: expected eps of at least 0, got -1"),
        (lambda: opt.Adafactor(relative_step=False), "Adafactor: expected a learning_rate"),
        (lambda: opt.linear_schedule(0, 1, 0), "linear_schedule: expected at least 1 step, got 0"),
        (lambda: opt.join_schedules([], []), "join_schedules: expected at least 1 schedule"),
        (lambda: opt.join_schedules([abs], [1]), "expected 0 boundaries, got 1"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", [*sorted({case[0] for case in CASES}), "Optimizer"])
def test_signature(name):
    def parameters(cls):
        return [(p.name, p.default) for p in inspect.signature(cls.__init__).parameters.values()]

    assert parameters(getattr(opt, name)) == parameters(getattr(oopt, name))


def test_omx_is_untouched():
    # A guard on the tests themselves: trees of the oracle hold the oracle's arrays.
    assert other_map(lambda x: isinstance(x, omx.array), theirs({"a": PARAMETERS["b"]})) == {
        "a": True
    }

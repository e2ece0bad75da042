"""mx.compile: what is traced again and what not, captured state, transforms around and inside."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from arrays import check, to_numpy
from functions import FUNCTIONS
from lamina import nn, optimizers

Pair = namedtuple("Pair", "left right")


def calls(function: Any) -> Any:
    """`function`, counting how often its Python runs."""

    def counted(*args: Any, **kwargs: Any) -> Any:
        counted.ran += 1
        return function(*args, **kwargs)

    counted.ran = 0
    return counted


def test_runs_once_for_arguments_of_one_form() -> None:
    f = calls(lambda x, y: mx.exp(x) * y)
    g = mx.compile(f)
    for seed in range(4):
        x, y = mx.random.normal((3, 2), key=mx.random.key(seed)), mx.arange(2.0)
        check(g(x, y), to_numpy(mx.exp(x) * y))
    assert f.ran == 1


def test_structure_shape_dtype_and_constants_make_forms() -> None:
    f = calls(lambda tree, scale=1, **rest: tree["a"][0] * scale + rest.get("bias", 0))
    g = mx.compile(f)
    x = mx.ones((2, 2))
    forms = [
        (({"a": [x]},), {}),
        (({"a": (x,)},), {}),
        (({"a": [x], "b": 1},), {}),
        (({"a": [x[0]]},), {}),
        (({"a": [x.astype(mx.float16)]},), {}),
        (({"a": [x]}, 2), {}),
        (({"a": [x]}, 2.0), {}),
        (({"a": [x]}, True), {}),
        (({"a": [x]},), {"scale": 2}),
        (({"a": [x]},), {"bias": x}),
        (({"a": [x]},), {"name": "s"}),
        (({"a": [x]},), {"name": None}),
        (({"a": [x]},), {"name": 2**80}),
        (({"a": [x]},), {"name": 2**81}),
    ]
    for number, (args, kwargs) in enumerate(forms):
        for _ in range(2):
            check(g(*args, **kwargs), to_numpy(f(*args, **kwargs)))
            f.ran -= 1
        assert f.ran == number + 1


def test_results_keep_their_structure() -> None:
    g = mx.compile(lambda p: {"pair": Pair(p.right, p.left + 1), "k": [3, "text", None]})
    for _ in range(2):
        out = g(Pair(mx.zeros((2,)), mx.ones((2,))))
        assert isinstance(out["pair"], Pair) and out["k"] == [3, "text", None]
        assert out["pair"].left.tolist() == [1, 1] and out["pair"].right.tolist() == [1, 1]


def test_keyword_arguments_may_have_any_name() -> None:
    g = mx.compile(lambda **kw: kw["fun"] + kw["inputs"] + kw["self"])
    one = mx.array(1)
    assert g(fun=one, inputs=one, self=one).item() == 3


def test_an_argument_that_is_changed_in_place_stays_the_callers() -> None:
    def f(x: mx.array) -> mx.array:
        x += 1
        return x

    g, x = mx.compile(f), mx.zeros((2,))
    assert g(x).tolist() == g(x).tolist() == [1, 1]
    assert x.tolist() == [0, 0]


def test_keeps_the_64_traces_used_last() -> None:
    f = calls(lambda x, k: x * k)
    g, x = mx.compile(f), mx.ones((2,))
    for k in range(100):
        assert g(x, k).tolist() == [k, k]
    assert f.ran == 100
    g(x, 99)
    assert f.ran == 100
    g(x, 0)
    assert f.ran == 101


# --- captured state ------------------------------------------------------------------------------


def test_state_is_read_and_written_at_every_call() -> None:
    state: dict[str, Any] = {"count": mx.array(0), "seen": [mx.zeros((2,))], "name": "n"}

    @partial(mx.compile, inputs=state, outputs=state)
    def step(x: mx.array) -> mx.array:
        state["count"] = state["count"] + 1
        state["seen"][0] += x
        return state["seen"][0] * state["count"]

    x = mx.array([1.0, 2.0])
    assert step(x).tolist() == [1, 2]
    assert step(x).tolist() == [4, 8]
    state["seen"][0] = mx.array([10.0, 10.0])
    assert step(x).tolist() == [33, 36]
    assert state["count"].item() == 3 and state["name"] == "n"
    assert step._traces.traced == 1


def test_state_that_is_only_read_keeps_its_arrays() -> None:
    state = {"w": mx.array(2.0)}
    kept = state["w"]

    @partial(mx.compile, inputs=state)
    def f(x: mx.array) -> mx.array:
        out = x * state["w"]
        state["w"] = state["w"] + 1
        return out

    assert f(mx.array(3.0)).item() == 6
    assert state["w"] is kept
    state["w"] = mx.array(5.0)
    assert f(mx.array(3.0)).item() == 15


def test_arrays_and_tuples_can_be_state() -> None:
    total, parts = mx.array(0.0), (mx.array(1.0), [mx.array(2.0)])

    def add(x: mx.array) -> mx.array:
        nonlocal total
        total += x
        parts[1][0] = parts[1][0] + parts[0]
        return total + parts[1][0]

    step = mx.compile(add, inputs=[parts], outputs=[parts])
    assert step(mx.array(1.0)).item() == 4
    alone = mx.array(1.0)
    scaled = mx.compile(lambda x: x * alone, inputs=alone)
    assert scaled(mx.array(2.0)).item() == 2
    assert alone.item() == 1
    assert parts[1][0].item() == 3


def test_state_that_appears_while_tracing_is_an_output() -> None:
    state: dict[str, Any] = {}

    @partial(mx.compile, inputs=state, outputs=state)
    def step(x: mx.array) -> mx.array:
        state["m"] = state["m"] + x if "m" in state else x
        return state["m"]

    assert [step(mx.array(1.0)).item() for _ in range(4)] == [1, 2, 3, 4]
    assert step._traces.traced == 2
    state.clear()
    assert step(mx.array(7.0)).item() == 7


def test_an_error_while_tracing_leaves_the_state() -> None:
    state = {"w": mx.array(2.0)}

    @partial(mx.compile, inputs=state, outputs=state)
    def f(x: mx.array) -> mx.array:
        state["w"] = state["w"] + x
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        f(mx.array(1.0))
    assert state["w"].item() == 2


def test_random_state() -> None:
    def f(x: mx.array) -> mx.array:
        return x + mx.random.uniform(shape=(3,))

    g = mx.compile(f, inputs=mx.random.state, outputs=mx.random.state)
    x = mx.zeros((3,))
    mx.random.seed(5)
    want = [to_numpy(f(x)) for _ in range(3)]
    mx.random.seed(5)
    for numbers in want:
        check(g(x), numbers)
    assert g._traces.traced == 1


def train(compiled: bool) -> tuple[list[float], int]:
    mx.random.seed(3)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
    rate = optimizers.cosine_decay(1e-2, 20)
    optimizer = optimizers.AdamW(rate)
    state = [model.state, optimizer.state, mx.random.state]
    loss_and_grad = nn.value_and_grad(model, lambda x, y: mx.mean((model(x) - y) ** 2))

    def step(x: mx.array, y: mx.array) -> mx.array:
        loss, gradients = loss_and_grad(x, y)
        optimizer.update(model, gradients)
        return loss

    if compiled:
        step = mx.compile(step, inputs=state, outputs=state)
    x = mx.random.normal((16, 4))
    y = x.sum(axis=1, keepdims=True)
    losses = []
    for _ in range(12):
        losses.append(step(x, y))
        mx.eval(state, losses[-1])
    return [loss.item() for loss in losses], step._traces.traced if compiled else 0


def test_training_loop_gives_the_same_bits() -> None:
    plain, _ = train(False)
    fast, traced = train(True)
    assert plain == fast
    # Once without the optimizer's state and once with it.
    assert traced == 2


# --- transforms ----------------------------------------------------------------------------------


def cubed(x: mx.array, y: mx.array) -> mx.array:
    return mx.sum(x**3 * mx.sin(y))


def test_under_transforms() -> None:
    g = mx.compile(cubed)
    x, y, v = (mx.random.normal((4,), key=mx.random.key(k)) for k in range(3))
    for _ in range(2):
        check(mx.grad(g)(x, y), to_numpy(mx.grad(cubed)(x, y)))
        check(mx.jvp(g, [x, y], [v, v])[1][0], to_numpy(mx.jvp(cubed, [x, y], [v, v])[1][0]))
        second, want = (mx.grad(lambda a, f=f: mx.sum(mx.grad(f)(a, y) * v))(x) for f in (g, cubed))
        check(second, to_numpy(want))
        rows = mx.random.normal((3, 4), key=mx.random.key(7))
        mapped = mx.vmap(g, in_axes=(0, None))(rows, y)
        check(mapped, to_numpy(mx.vmap(cubed, in_axes=(0, None))(rows, y)))
    # By its own arguments, and by a row of them under vmap.
    assert g._traces.traced == 1


def test_around_transforms() -> None:
    x, y = mx.arange(4.0), mx.ones((4,))
    g = mx.compile(mx.grad(cubed, argnums=(0, 1)))
    for _ in range(2):
        for got, want in zip(g(x, y), mx.grad(cubed, argnums=(0, 1))(x, y), strict=True):
            check(got, to_numpy(want))
    mapped = mx.compile(mx.vmap(cubed, in_axes=(0, None)))
    check(mapped(mx.ones((3, 4)), y), to_numpy(mx.vmap(cubed, (0, None))(mx.ones((3, 4)), y)))


def test_nested() -> None:
    inner = calls(lambda x: mx.sin(x) * 2)
    compiled = mx.compile(inner)
    outer = mx.compile(lambda x: compiled(x) + compiled(x + 1))
    x = mx.arange(3.0)
    for _ in range(2):
        check(outer(x), 2 * np.sin(to_numpy(x)) + 2 * np.sin(to_numpy(x) + 1))
    assert inner.ran == 1


def test_arrays_of_a_transform_around_are_not_kept() -> None:
    """A compiled function that closes over what is differentiated is traced at each call."""
    box: list[mx.array] = []
    g = mx.compile(lambda x: x * box[0])

    def loss(w: mx.array) -> mx.array:
        box[:] = [w * 2]
        return mx.sum(g(mx.array([1.0, 2.0])))

    for w in (1.0, 5.0):
        value, slope = mx.value_and_grad(loss)(mx.array(w))
        assert (value.item(), slope.item()) == (6 * w, 6)
    outer = mx.compile(lambda w: loss(w))
    assert [outer(mx.array(w)).item() for w in (1.0, 3.0)] == [6, 18]
    mapped = mx.vmap(lambda w: loss(w))
    assert mapped(mx.array([1.0, 4.0])).tolist() == [6, 24]


def test_checkpoint_and_custom_functions_inside() -> None:
    @mx.custom_function
    def clipped(x: mx.array) -> mx.array:
        return mx.clip(x, 0, 1)

    @clipped.vjp
    def clipped_vjp(x: mx.array, ct: mx.array, out: mx.array) -> mx.array:
        return ct * 5

    f = mx.compile(lambda x: mx.sum(clipped(mx.checkpoint(mx.sin)(x)) ** 2))
    x = mx.array([0.5, 0.25])
    want = 10 * np.sin(to_numpy(x)) * np.cos(to_numpy(x))
    for _ in range(2):
        check(mx.grad(f)(x), want, 1e-6)


def test_checkpoint_may_capture_what_is_traced() -> None:
    """Its recomputation reads the arrays of the call, not the stand-ins that it captured."""

    def f(x: mx.array, w: mx.array) -> mx.array:
        hidden = x @ w
        gate = mx.sigmoid(hidden)
        return mx.checkpoint(lambda h: mx.tanh(h) * gate * (hidden + 1))(hidden).sum()

    x, w = (mx.random.normal((3, 3), key=mx.random.key(k)) for k in range(2))
    for argnums in (0, 1):
        want = mx.grad(f, argnums)(x, w)
        for g in (mx.compile(f), mx.compile(f, shapeless=True)):
            for _ in range(2):
                check(mx.grad(g, argnums)(x, w), to_numpy(want), 1e-6)
        check(mx.compile(mx.grad(f, argnums))(x, w), to_numpy(want), 1e-6)
        rows = mx.vmap(mx.grad(f, argnums), in_axes=(0, None))(mx.stack([x, x + 1]), w)
        check(rows[0], to_numpy(want), 1e-6)
        gone = mx.grad(lambda a, b, n=argnums: mx.grad(f, n)(a, b).sum(), argnums)
        again = mx.grad(lambda a, b, n=argnums: mx.grad(mx.compile(f), n)(a, b).sum(), argnums)
        check(again(x, w), to_numpy(gone(x, w)), 1e-5)


def test_captured_arrays_keep_their_values_and_are_computed_once() -> None:
    lazy = mx.exp(mx.arange(3.0))
    f = mx.compile(lambda x: x + lazy)
    first = to_numpy(f(mx.zeros((3,))))
    lazy = mx.zeros((3,))
    check(f(mx.zeros((3,))), first)


# --- switches, errors, memory --------------------------------------------------------------------


def test_disable_and_enable() -> None:
    f = calls(lambda x: x + 1)
    g = mx.compile(f)
    try:
        mx.disable_compile()
        g(mx.array(1)), g(mx.array(1))
        assert f.ran == 2
    finally:
        mx.enable_compile()
    g(mx.array(1)), g(mx.array(1))
    assert f.ran == 3


def test_environment_disables() -> None:
    code = (
        "import lamina.core as mx; n = []\n"
        "f = mx.compile(lambda x: (n.append(1), x + 1)[1]); f(mx.array(1)); f(mx.array(1))\n"
        "a = len(n); mx.enable_compile(); f(mx.array(1)); f(mx.array(1)); print(a, len(n))"
    )
    environment = {
        **os.environ,
        "MLX_DISABLE_COMPILE": "1",
        "PYTHONPATH": ":".join(filter(None, sys.path)),
    }
    out = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == ["2", "3"]


@pytest.mark.parametrize(
    "evaluates",
    [lambda x: x if x.sum() > 0 else -x, lambda x: x.item(), lambda x: x[x > 0], mx.eval, str],
    ids=["branch", "item", "mask", "eval", "str"],
)
def test_evaluating_inside_is_an_error(evaluates: Any) -> None:
    message = (
        r"eval: an input of a function that vmap or compile traces has no value: float32 \(1,\)"
        "\nReturn what depends on it, and evaluate the result outside"
    )
    with pytest.raises(mx.TraceError, match=message):
        mx.compile(evaluates)(mx.ones((1,)))


def test_arguments_are_trees_of_arrays_and_constants() -> None:
    with pytest.raises(
        ValueError, match=r"compile: arguments must be .*, got numpy\.ndarray\nMake"
    ):
        mx.compile(lambda x: x)(np.ones(3))
    with pytest.raises(TypeError, match=r"compile: fun must be callable, got 3 \(int\)"):
        mx.compile(3)


def test_wraps_the_function() -> None:
    def named(x: mx.array) -> mx.array:
        """Doc."""
        return x

    assert mx.compile(named).__name__ == "named" and mx.compile(named).__doc__ == "Doc."
    assert mx.compile(partial(named))(mx.array(1)).item() == 1
    layer = nn.Linear(2, 2)
    check(mx.compile(layer)(mx.ones((1, 2))), to_numpy(layer(mx.ones((1, 2)))))


def test_a_compiled_method_dies_with_its_object() -> None:
    class Holder:
        def __init__(self) -> None:
            self.w = mx.ones((2,))
            self.step = mx.compile(self.run)

        def run(self, x: mx.array) -> mx.array:
            return x * self.w

    holder = Holder()
    holder.step(mx.ones((2,)))
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None


def test_threads_share_traces() -> None:
    g = mx.compile(lambda x: mx.sum(mx.exp(x) * 2))

    def work(seed: int) -> bool:
        good = True
        for n in range(1, 30):
            x = mx.full((n,), float(seed % 3))
            good &= bool(np.isclose(g(x).item(), 2 * n * np.exp(seed % 3), rtol=1e-5))
        return good

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


def test_traces_keep_no_arguments() -> None:
    g = mx.compile(lambda x: mx.exp(x) + 1)
    mx.eval(g(mx.ones((1 << 20,))))
    mx.clear_cache()
    before = mx.get_active_memory()
    for _ in range(3):
        mx.eval(g(mx.ones((1 << 20,))))
    mx.clear_cache()
    assert mx.get_active_memory() == before


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_give_the_same_compiled(name: str) -> None:
    """A copy of a graph computes what the graph does, whatever its operations."""
    f = FUNCTIONS[name]
    g = mx.compile(f)
    for seed in (4, 5):
        x = mx.random.normal((4, 3), key=mx.random.key(seed))
        got, want = g(x), f(x)
        several = isinstance(want, tuple)
        for a, b in zip(got if several else [got], want if several else [want], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(to_numpy(a), to_numpy(b))
    assert g._traces.traced == 1

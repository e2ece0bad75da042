"""Transforms nested in each other, checkpoint, custom functions, argument forms."""

from __future__ import annotations

from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest
from arrays import check, check_derivatives, last_plan, normal64, sample, to_numpy
from lamina import _core

# --- second order and beyond --------------------------------------------------------------------


def rosenbrock(x: mx.array) -> mx.array:
    return mx.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def hessian(x: np.ndarray) -> np.ndarray:
    n = x.size
    h = np.zeros((n, n))
    for i in range(n - 1):
        h[i, i] += 1200 * x[i] ** 2 - 400 * x[i + 1] + 2
        h[i, i + 1] = h[i + 1, i] = -400 * x[i]
        h[i + 1, i + 1] += 200
    return h


def test_hessian_vector_products() -> None:
    x, v = normal64((5,), 1), normal64((5,), 2)
    want = hessian(to_numpy(x)) @ to_numpy(v)
    check(mx.jvp(mx.grad(rosenbrock), [x], [v])[1][0], want, 1e-10, "forward over reverse")
    check(
        mx.grad(lambda y: mx.sum(mx.grad(rosenbrock)(y) * v))(x),
        want,
        1e-10,
        "reverse over reverse",
    )

    def slope(y: mx.array) -> mx.array:
        return mx.jvp(rosenbrock, [y], [v])[1][0]

    check(mx.grad(slope)(x), want, 1e-10, "reverse over forward")
    twice = mx.jvp(slope, [x], [v])[1][0]
    check(twice, to_numpy(v) @ want, 1e-10, "forward over forward")


def test_hessian_by_vmap() -> None:
    x = normal64((4,), 3)
    eye = mx.eye(4, dtype=mx.float64)
    h = mx.vmap(lambda v: mx.jvp(mx.grad(rosenbrock), [x], [v])[1][0])(eye)
    check(h, hessian(to_numpy(x)), 1e-10)
    g = mx.vmap(lambda v: mx.vjp(mx.grad(rosenbrock), [x], [v])[1][0])(eye)
    check(g, hessian(to_numpy(x)), 1e-10)


def test_third_and_fourth_order() -> None:
    f: Any = lambda x: mx.sin(x) * mx.exp(2 * x)
    derivatives = [f]
    for _ in range(4):
        derivatives.append(mx.grad(derivatives[-1]))
    x = mx.array(0.3, dtype=mx.float64)
    # f is the imaginary part of exp((2 + i) x).
    for k, d in enumerate(derivatives):
        check(d(x), ((2 + 1j) ** k * np.exp((2 + 1j) * 0.3)).imag, 1e-10, f"order {k}")


def network(p: dict[str, mx.array], x: mx.array) -> mx.array:
    return mx.tanh(x @ p["w"] + p["b"]) @ p["v"]


def loss(p: dict[str, mx.array], x: mx.array, y: mx.array) -> mx.array:
    return mx.mean((network(p, x) - y) ** 2)


def parameters(seed: int = 0) -> dict[str, mx.array]:
    return {
        "w": normal64((3, 4), seed),
        "b": normal64((4,), seed + 1),
        "v": normal64((4,), seed + 2),
    }


def test_meta_learning() -> None:
    """Gradient of the loss after inner gradient steps, against differences."""
    p = parameters()
    support, query = (
        (normal64((6, 3), 5), normal64((6,), 6)),
        (normal64((6, 3), 7), normal64((6,), 8)),
    )

    def adapted(p: dict[str, mx.array]) -> mx.array:
        for _ in range(3):
            g = mx.grad(loss)(p, *support)
            p = {k: p[k] - 0.1 * g[k] for k in p}
        return loss(p, *query)

    got = mx.grad(adapted)(p)
    for k in p:
        t = normal64(p[k].shape, 20)
        ahead, behind = (adapted({**p, k: p[k] + s * 1e-6 * t}) for s in (1, -1))
        want = (ahead.item() - behind.item()) / 2e-6
        assert abs(float(mx.sum(got[k] * t).item()) - want) < 1e-7 * (1 + abs(want)), k


def test_meta_learning_over_tasks() -> None:
    """vmap over tasks of an inner loop gives the mean of each task's gradient."""
    p = parameters()
    xs, ys = normal64((4, 5, 3), 1), normal64((4, 5), 2)

    def after(p: dict[str, mx.array], x: mx.array, y: mx.array) -> mx.array:
        g = mx.grad(loss)(p, x, y)
        return loss({k: p[k] - 0.2 * g[k] for k in p}, x, y)

    total = lambda p: mx.mean(mx.vmap(after, in_axes=(None, 0, 0))(p, xs, ys))
    got = mx.grad(total)(p)
    apart = [mx.grad(after)(p, xs[i], ys[i]) for i in range(4)]
    for k in p:
        check(got[k], np.mean([to_numpy(a[k]) for a in apart], 0), 1e-10)


def test_hypergradient() -> None:
    """Learning rate and regularisation through an unrolled momentum optimiser."""
    p = parameters()
    x, y = normal64((8, 3), 3), normal64((8,), 4)

    def trained(rate: mx.array, decay: mx.array) -> mx.array:
        q, m = p, {k: mx.zeros_like(v) for k, v in p.items()}
        for _ in range(5):
            g = mx.grad(lambda q: loss(q, x, y) + decay * sum(mx.sum(v * v) for v in q.values()))(q)
            m = {k: 0.9 * m[k] + g[k] for k in m}
            q = {k: q[k] - rate * m[k] for k in q}
        return loss(q, x, y)

    check_derivatives(
        trained, mx.array(0.05, dtype=mx.float64), mx.array(0.01, dtype=mx.float64), tolerance=1e-5
    )


# --- transforms in transforms -------------------------------------------------------------------


def test_vmap_of_grad() -> None:
    p = parameters()
    x, y = normal64((7, 3), 1), normal64((7,), 2)
    per_example = mx.vmap(mx.grad(loss), in_axes=(None, 0, 0))(p, x, y)
    for k in p:
        apart = np.stack([to_numpy(mx.grad(loss)(p, x[i], y[i])[k]) for i in range(7)])
        check(per_example[k], apart, 1e-10)


def test_grad_of_vmap() -> None:
    x, w = normal64((5, 3), 1), normal64((3,), 2)
    f = lambda w: mx.sum(mx.vmap(lambda r: mx.tanh(mx.sum(r * w)), in_axes=0)(x))
    check(mx.grad(f)(w), to_numpy(mx.grad(lambda w: mx.sum(mx.tanh(x @ w)))(w)), 1e-12)
    check_derivatives(lambda w: mx.vmap(lambda r: mx.softmax(r * w))(x), w)


def test_vmap_of_vmap() -> None:
    x, y = normal64((4, 3), 1), normal64((5, 3), 2)
    dot = lambda a, b: mx.sum(a * b)
    table = mx.vmap(mx.vmap(dot, in_axes=(None, 0)), in_axes=(0, None))(x, y)
    check(table, to_numpy(x) @ to_numpy(y).T, 1e-12)
    swapped = mx.vmap(mx.vmap(dot, in_axes=(0, None)), in_axes=(None, 0), out_axes=1)(x, y)
    check(swapped, to_numpy(table), 1e-12)


def test_jvp_of_vjp_and_back() -> None:
    x, ct, t = normal64((3, 4), 1), normal64((3,), 2), normal64((3, 4), 3)
    f = lambda x: mx.logsumexp(mx.sin(x), axis=1)
    pullback = lambda x: mx.vjp(f, [x], [ct])[1][0]
    got = mx.jvp(pullback, [x], [t])[1][0]
    h = 1e-6
    check(got, (to_numpy(pullback(x + h * t)) - to_numpy(pullback(x - h * t))) / (2 * h), 1e-7)
    push = lambda x: mx.jvp(f, [x], [t])[1][0]
    check(mx.vjp(push, [x], [ct])[1][0], to_numpy(got), 1e-10)


def test_linear_in_cotangent() -> None:
    """The pullback is itself differentiable in the cotangent: its transpose is the push-forward."""
    x, ct, t = normal64((4,), 1), normal64((4,), 2), normal64((4,), 3)
    f = lambda x: mx.cumsum(mx.exp(x))
    back = lambda c: mx.vjp(f, [x], [c])[1][0]
    check(mx.vjp(back, [ct], [t])[1][0], to_numpy(mx.jvp(f, [x], [t])[1][0]), 1e-12)


def test_axes_of_vmap() -> None:
    x = sample("float32", (2, 3, 4), 1)
    a = to_numpy(x)
    for i in (0, 1, 2, -1):
        for o in (0, 1, 2, -1):
            got = mx.vmap(lambda r: r * 2 + 1, in_axes=i, out_axes=o)(x)
            check(got, np.moveaxis(a * 2 + 1, i, o))
    tree = mx.vmap(
        lambda p: {"s": p["a"] + p["b"], "n": p["b"]},
        in_axes=({"a": 0, "b": None},),
        out_axes={"s": 1, "n": None},
    )
    out = tree({"a": x, "b": x[0]})
    check(out["s"], np.moveaxis(a + a[0], 0, 1))
    check(out["n"], a[0])
    constant = mx.vmap(lambda r: mx.ones((2,)))(x)
    check(constant, np.ones((2, 2)))


def test_closures_and_constants() -> None:
    outer = mx.array(3.0)
    assert mx.grad(lambda x: x * outer)(mx.array(2.0)).item() == 3
    # The inner derivative must not mix with the outer one.
    f = lambda x: x * mx.grad(lambda y: x + y)(mx.array(1.0))
    assert mx.grad(f)(mx.array(1.0)).item() == 1
    assert mx.grad(lambda x: mx.array(1.0))(mx.array(2.0)).item() == 0


def test_argument_forms() -> None:
    def f(a: mx.array, b: dict[str, Any], *, c: mx.array) -> mx.array:
        return mx.sum(a * b["x"][0] * c)

    a, x, c = (mx.array([v, v + 1.0]) for v in (1.0, 3.0, 5.0))
    b = {"x": [x], "n": 3}
    value, g = mx.value_and_grad(f)(a, b, c=c)
    check(g, to_numpy(x * c))
    ga, gb = mx.grad(f, argnums=(0, 1))(a, b, c=c)
    check(ga, to_numpy(x * c))
    check(gb["x"][0], to_numpy(a * c))
    _, named = mx.grad(f, argnames="c")(a, b, c=c)
    check(named["c"], to_numpy(a * x))
    (value, extra), g = mx.value_and_grad(lambda p: (mx.sum(p["w"] ** 2), "kept"))(
        {"w": a, "name": "layer"}
    )
    assert extra == "kept"
    check(g["w"], to_numpy(2 * a))
    assert value.item() == 5


def test_mutation_inside() -> None:
    """Index assignment and in-place operators inside a differentiated function."""

    def f(x: mx.array) -> mx.array:
        y = mx.zeros((4,), dtype=mx.float64)
        y[1:3] = x * 2
        y += 1
        y[0] = y[1] * y[2]
        return mx.sum(y * y)

    x = normal64((2,), 1)
    check_derivatives(f, x)
    before = to_numpy(x).copy()
    f(x).item()
    check(x, before)


def test_eval_inside() -> None:
    """Values may be read while a gradient is being recorded."""

    def f(x: mx.array) -> mx.array:
        y = x * x
        mx.eval(y)
        return mx.sum(y * (2.0 if y[0].item() > 1 else 3.0))

    check(mx.grad(f)(mx.array([2.0, 1.0])), [8.0, 4.0])
    check(mx.grad(f)(mx.array([0.5, 1.0])), [3.0, 6.0])


# --- stop_gradient ------------------------------------------------------------------------------


def test_stop_gradient() -> None:
    x = mx.array([1.0, 2.0])
    check(mx.grad(lambda x: mx.sum(x * mx.stop_gradient(x)))(x), [1, 2])
    check(mx.jvp(lambda x: x * mx.stop_gradient(x), [x], [mx.ones((2,))])[1][0], [1, 2])
    check(mx.vmap(mx.stop_gradient)(x), [1, 2])
    straight = lambda x: mx.sum(x + mx.stop_gradient(mx.round(x) - x))
    check(mx.grad(straight)(mx.array([0.3, 1.7])), [1, 1])
    check(
        mx.grad(lambda x: mx.sum(x[mx.argsort(x)] * mx.array([1.0, 2.0])))(mx.array([2.0, 1.0])),
        [2, 1],
    )


# --- checkpoint ---------------------------------------------------------------------------------


def deep(x: mx.array, ws: list[mx.array], wrap: Any) -> mx.array:
    block = wrap(lambda h, w: mx.tanh(h @ w) + mx.sin(h))
    for w in ws:
        x = block(x, w)
    return mx.sum(x * x)


def test_checkpoint() -> None:
    """The same values and gradients; the recomputation is seen in the plan."""
    x, ws = (
        sample("float32", (8, 16), 1),
        [sample("float32", (16, 16), i, -0.2, 0.2) for i in range(4)],
    )
    products, results = [], []
    for wrap in (lambda f: f, mx.checkpoint):
        value, grads = mx.value_and_grad(deep, argnums=(0, 1))(x, ws, wrap)
        mx.eval(value, grads)
        products.append(sum(n["op"] == "matmul" for n in last_plan()["nodes"]))
        results.append((value, *grads[1], grads[0]))
    assert products[0] == 12
    # The last block's recomputation may share nothing with its forward pass.
    assert products[1] >= 15, products
    for a, b in zip(*results, strict=True):
        check(b, to_numpy(a), 1e-5)


def test_checkpoint_nested() -> None:
    x = normal64((3, 3), 1)
    f = mx.checkpoint(lambda y: mx.tanh(mx.checkpoint(lambda z: mx.sin(z) @ z)(y)))
    check_derivatives(f, x)
    g = lambda y: mx.tanh(mx.sin(y) @ y)
    check(mx.vmap(f)(mx.stack([x, 2 * x])), np.stack([to_numpy(g(x)), to_numpy(g(2 * x))]), 1e-12)


def test_checkpoint_saves_memory() -> None:
    """The planned peak falls: activations of a block live only while it is differentiated."""
    x = sample("float32", (512, 64), 1)
    ws = [sample("float32", (64, 64), i, -0.1, 0.1) for i in range(8)]

    def block(h: mx.array, w: mx.array) -> mx.array:
        for _ in range(4):
            h = mx.tanh(h @ w)
        return h

    peaks = []
    for wrap in (lambda f: f, mx.checkpoint):
        f = wrap(block)

        def total(ws: list[mx.array]) -> mx.array:
            h = x
            for w in ws:
                h = f(h, w)
            return mx.sum(h)

        mx.eval(mx.grad(total)(ws))
        peaks.append(last_plan()["memory"]["peak_bytes"])
    assert peaks[1] < 0.75 * peaks[0], peaks


# --- custom functions ---------------------------------------------------------------------------


def test_custom_vjp() -> None:
    @mx.custom_function
    def f(x: mx.array, y: mx.array) -> mx.array:
        return mx.sin(x) * y

    @f.vjp
    def f_vjp(primals: Any, cotangent: mx.array, output: mx.array) -> Any:
        x, y = primals
        return 10 * cotangent * mx.cos(x) * y, output * cotangent

    x, y = normal64((3,), 1), normal64((3,), 2)
    check(f(x, y), np.sin(to_numpy(x)) * to_numpy(y), 1e-12)
    gx, gy = mx.grad(lambda x, y: mx.sum(f(x, y)), argnums=(0, 1))(x, y)
    check(gx, 10 * np.cos(to_numpy(x)) * to_numpy(y), 1e-12)
    check(gy, np.sin(to_numpy(x)) * to_numpy(y), 1e-12)
    # The other transforms go through the function itself.
    t = mx.jvp(f, [x, y], [y, x])[1][0]
    check(t, to_numpy(mx.cos(x) * y * y + mx.sin(x) * x), 1e-12)
    check(mx.vmap(f)(x, y), to_numpy(f(x, y)), 1e-12)
    second = mx.grad(lambda x: mx.sum(mx.grad(lambda x: mx.sum(f(x, y)))(x)))(x)
    check(second, -10 * np.sin(to_numpy(x)) * to_numpy(y), 1e-12)


def test_custom_jvp_and_vmap() -> None:
    @mx.custom_function
    def f(x: mx.array) -> mx.array:
        return x * x

    @f.jvp
    def f_jvp(primals: Any, tangents: Any) -> mx.array:
        return 7 * primals * tangents

    @f.vmap
    def f_vmap(inputs: Any, axes: Any) -> Any:
        return inputs * inputs + 100, axes

    x = mx.array([1.0, 2.0])
    check(mx.jvp(f, [x], [mx.ones((2,))])[1][0], [7, 14])
    check(mx.vmap(f)(x), [101, 104])
    check(f(x), [1, 4])
    check(mx.grad(lambda x: mx.sum(f(x)))(x), [2, 4])


def test_custom_tree() -> None:
    @mx.custom_function
    def f(p: dict[str, mx.array], s: mx.array) -> dict[str, mx.array]:
        return {"out": p["a"] * s, "side": p["b"] + s}

    @f.vjp
    def f_vjp(primals: Any, cotangents: Any, outputs: Any) -> Any:
        p, s = primals
        return {"a": cotangents["out"] * s, "b": cotangents["side"]}, mx.sum(
            cotangents["out"] * p["a"]
        )

    p, s = {"a": mx.array([1.0, 2.0]), "b": mx.array([3.0, 4.0])}, mx.array(5.0)
    g, gs = mx.grad(lambda p, s: mx.sum(f(p, s)["out"]) + mx.sum(f(p, s)["side"]), argnums=(0, 1))(
        p, s
    )
    check(g["a"], [5, 5])
    check(g["b"], [1, 1])
    assert gs.item() == 3


def test_custom_straight_through() -> None:
    @mx.custom_function
    def quantise(x: mx.array) -> mx.array:
        return mx.round(x)

    @quantise.vjp
    def _(primals: Any, cotangent: mx.array, output: mx.array) -> mx.array:
        return cotangent

    x = mx.array([0.2, 1.8])
    check(mx.grad(lambda x: mx.sum(quantise(x * 2) ** 2))(x), 4 * np.round([0.4, 3.6]))
    check(mx.vmap(mx.grad(lambda x: quantise(x) * 3))(x), [3, 3])


def test_a_custom_rule_is_differentiated_by_the_rule() -> None:
    """The outputs that a rule is given are the function's own: their derivative is the rule's."""

    @mx.custom_function
    def exponential(x: mx.array) -> mx.array:
        return mx.stop_gradient(mx.exp(x))

    @exponential.vjp
    def _(primals: Any, cotangent: mx.array, output: mx.array) -> mx.array:
        return cotangent * output

    x = mx.array([0.0, 1.0, 2.0])
    f = lambda x: exponential(x).sum()
    for order in (f, lambda x: mx.grad(f)(x).sum()):
        check(mx.grad(order)(x), np.exp([0.0, 1.0, 2.0]))
    check(mx.vmap(mx.grad(mx.grad(lambda x: exponential(x))))(x), np.exp([0.0, 1.0, 2.0]))


# --- against MLX --------------------------------------------------------------------------------


def test_training_follows_mlx() -> None:
    """Twenty steps of plain descent from the same start end in the same place."""
    g = np.random.default_rng(0)
    start = {"w": g.standard_normal((6, 8)), "v": g.standard_normal((8, 3))}
    x, y = g.standard_normal((32, 6)).astype(np.float32), g.integers(0, 3, 32)
    ends = []
    for core in (mx, omx):
        p = {k: core.array(v.astype(np.float32)) for k, v in start.items()}
        inputs, labels = core.array(x), core.array(y)

        def cost(p: Any) -> Any:
            logits = core.maximum(inputs @ p["w"], 0) @ p["v"]
            picked = core.take_along_axis(logits, labels[:, None], axis=1).squeeze(1)
            return core.mean(core.logsumexp(logits, axis=1) - picked)

        step = core.value_and_grad(cost)
        for _ in range(20):
            value, grads = step(p)
            p = {k: p[k] - 0.1 * grads[k] for k in p}
            core.eval(p, value)
        ends.append([np.array(p["w"]), np.array(p["v"]), np.array(value)])
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_plan_is_found_again() -> None:
    """The second and later steps of a training loop hit the plan cache."""
    p = {k: v.astype(mx.float32) for k, v in parameters().items()}
    x, y = sample("float32", (8, 3), 1), sample("float32", (8,), 2)
    mx.eval(p)
    for i in range(6):
        if i == 2:
            before = _core._plan_cache()
        value, g = mx.value_and_grad(loss)(p, x, y)
        p = {k: p[k] - (0.1 + 0.01 * i) * g[k] for k in p}
        mx.eval(p, value)
    after = _core._plan_cache()
    assert after["misses"] == before["misses"]
    assert after["hits"] + after["resized"] > before["hits"] + before["resized"]


def test_many_outputs() -> None:
    outs, cts = mx.vjp(
        lambda x: [x * 2, x * x, mx.sum(x)],
        [mx.array([1.0, 2.0])],
        [mx.ones((2,)), mx.ones((2,)), mx.array(3.0)],
    )
    assert len(outs) == 3
    check(cts[0], [2 + 2 + 3, 2 + 4 + 3])


@pytest.mark.parametrize("fuse", [True, False])
def test_attention_block(fuse: bool) -> None:
    """A transformer block's gradient in both schedules against differences."""
    from arrays import options

    q, k, v = (normal64((2, 3, 4), i) for i in range(3))
    mask = mx.triu(mx.full((3, 3), -np.inf, mx.float64), 1)

    def attention(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        scores = mx.softmax(q @ mx.swapaxes(k, 1, 2) * 0.5 + mask, axis=-1)
        return mx.fast.layer_norm(scores @ v, None, None, 1e-5)

    with options(fuse=fuse, verify=True):
        check_derivatives(attention, q, k, v, tolerance=1e-5)


@pytest.mark.parametrize("transform", ["grad", "jvp", "vmap"])
def test_constants_that_are_evaluated_are_data(transform: str) -> None:
    """Rules look for repeated scalars; one that is evaluated has no graph to look at."""
    y = mx.array([1.0, 2.0, 3.0])
    for two in (mx.full((3,), 2.0), mx.broadcast_to(mx.array(2.0), (3,))):
        mx.eval(two)

        def f(y: mx.array, two: mx.array = two) -> mx.array:
            return mx.where(y > 1, two * y, -two) / two - two

        if transform == "grad":
            assert mx.grad(lambda y: f(y).sum())(y).tolist() == [0, 1, 1]
        elif transform == "jvp":
            assert mx.jvp(f, [y], [mx.ones(3)])[1][0].tolist() == [0, 1, 1]
        else:
            assert mx.vmap(f, in_axes=0)(mx.stack([y, y]))[1].tolist() == [-3, 0, 1]

"""Random graphs against NumPy and MLX, fused and not, donated and not; their plans."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest
from arrays import last_plan, options, rng, stale, to_numpy
from lamina import _core

# Each operation is written once and run on three modules: lamina, MLX, and NumPy with the few names
# that NumPy lacks.


class Reference:
    """NumPy under the names of `mlx.core`; floats are carried in float64."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    @staticmethod
    def softmax(x: np.ndarray, axis: int) -> np.ndarray:
        e = np.exp(x - x.max(axis=axis, keepdims=True))
        return e / e.sum(axis=axis, keepdims=True)

    @staticmethod
    def logsumexp(x: np.ndarray, axis: int, keepdims: bool) -> np.ndarray:
        top = x.max(axis=axis, keepdims=True)
        y = np.log(np.exp(x - top).sum(axis=axis, keepdims=True)) + top
        return y if keepdims else y.squeeze(axis)

    @staticmethod
    def flip(x: np.ndarray, axis: int) -> np.ndarray:
        return np.flip(x, axis)


class Other:
    """MLX, with the name it lacks."""

    def __getattr__(self, name: str) -> Any:
        return getattr(omx, name)

    @staticmethod
    def flip(x: Any, axis: int) -> Any:
        return x[tuple(slice(None, None, -1) if i == axis else slice(None) for i in range(x.ndim))]


REFERENCE, OTHER = Reference(), Other()
MODULES: list[Any] = [mx, OTHER, REFERENCE]
Op = Callable[..., Any]

SMOOTH: list[Op] = [
    lambda m, x: m.tanh(x),
    lambda m, x: m.sin(x),
    lambda m, x: m.sigmoid(x),
    lambda m, x: x * 0.5 + 1,
    lambda m, x: m.exp(-m.abs(x)),
    lambda m, x: m.sqrt(m.abs(x) + 1),
    lambda m, x: m.maximum(x, 0),
    lambda m, x: m.where(x > 0, x, 0.1 * x),
    lambda m, x: -x,
    lambda m, x: m.log1p(x * x),
]
WHOLE: list[Op] = [
    lambda m, x: x * 3 + 1,
    lambda m, x: m.abs(x),
    lambda m, x: -x,
    lambda m, x: x & 255,
    lambda m, x: x ^ 5,
    lambda m, x: m.where(x > 3, x, x + 7),
    lambda m, x: m.maximum(x, 2),
    lambda m, x: x // 3,
    lambda m, x: x << 2,
]
PAIRED: list[Op] = [
    lambda m, x, y: x + y,
    lambda m, x, y: x - y,
    lambda m, x, y: x * y,
    lambda m, x, y: m.maximum(x, y),
    lambda m, x, y: m.minimum(x, y) + 1,
]


class Graph:
    """Values of one graph under all three modules, grown by random operations."""

    def __init__(self, seed: int, whole: bool) -> None:
        self.g = rng(seed)
        self.whole = whole
        self.steps: list[tuple[Callable[[Any, list[Any]], Any], list[int]]] = []
        self.shapes: list[tuple[int, ...]] = []
        self.leaves: list[np.ndarray] = []
        for _ in range(int(self.g.integers(2, 5))):
            shape = tuple(int(d) for d in self.g.choice([1, 2, 3, 4, 6, 8], self.g.integers(1, 4)))
            a = self.g.integers(-9, 9, shape) if whole else self.g.uniform(-1.5, 1.5, shape)
            self.leaves.append(a.astype(np.int32 if whole else np.float32))
            self.shapes.append(shape)
        for _ in range(int(self.g.integers(10, 60))):
            self.grow()
        n = len(self.shapes)
        self.outputs = sorted(
            {n - 1, *(int(i) for i in self.g.integers(0, n, self.g.integers(1, 4)))}
        )
        self.held = sorted({int(i) for i in self.g.integers(0, n, self.g.integers(0, 4))})

    def pick(self) -> int:
        """Later values more often."""
        n = len(self.shapes)
        return n - 1 - min(int(self.g.exponential(4)), n - 1)

    def push(self, f: Callable[..., Any], inputs: list[int], shape: tuple[int, ...]) -> None:
        if int(np.prod(shape)) <= 20_000 and len(shape) <= 5:
            self.steps.append((f, inputs))
            self.shapes.append(shape)

    def grow(self) -> None:
        i = self.pick()
        kinds = [
            self.unary,
            self.binary,
            self.binary,
            self.view,
            self.view,
            self.reduce,
            self.structured,
        ]
        kinds[int(self.g.integers(len(kinds)))](i, self.shapes[i])

    def unary(self, i: int, shape: tuple[int, ...]) -> None:
        table = WHOLE if self.whole else SMOOTH
        self.push(table[int(self.g.integers(len(table)))], [i], shape)

    def binary(self, i: int, shape: tuple[int, ...]) -> None:
        fits = []
        for j in range(len(self.shapes)):
            try:
                fits.append((j, np.broadcast_shapes(shape, self.shapes[j])))
            except ValueError:
                continue
        j, out = fits[int(self.g.integers(len(fits)))]
        f = PAIRED[int(self.g.integers(len(PAIRED)))]
        inputs = [i, j] if self.g.integers(2) else [j, i]
        if self.whole:
            self.push(f, inputs, out)
        else:
            self.push(lambda m, x, y: m.tanh(f(m, x, y)), inputs, out)

    def view(self, i: int, shape: tuple[int, ...]) -> None:
        g, n = self.g, len(shape)
        axis = int(g.integers(n)) if n else 0
        kind = int(g.integers(7))
        if kind == 0 and n > 1:
            order = tuple(int(k) for k in g.permutation(n))
            self.push(lambda m, x: m.transpose(x, order), [i], tuple(shape[k] for k in order))
        elif kind == 1:
            size = int(np.prod(shape))
            divisors = [k for k in range(1, size + 1) if size % k == 0]
            d = int(g.choice(divisors)) if divisors else 0
            to = (d, size // d) if d else (0, 2)
            self.push(lambda m, x: m.reshape(x, to), [i], to)
        elif kind == 2 and n:
            cut = tuple(
                slice(int(g.integers(0, d)) if d else 0, None, int(g.choice([1, 1, 2])))
                if g.integers(2)
                else slice(None, None, int(g.choice([-1, -2])))
                for d in shape
            )
            self.push(lambda m, x: x[cut], [i], np.empty(shape, bool)[cut].shape)
        elif kind == 3 and n:
            self.push(lambda m, x: m.flip(x, axis), [i], shape)
        elif kind == 4:
            to = (int(g.integers(1, 4)), *shape)
            self.push(lambda m, x: m.broadcast_to(m.expand_dims(x, 0), to), [i], to)
        elif kind == 5 and n:
            self.push(lambda m, x: x[..., None], [i], (*shape, 1))
        elif n and shape[axis]:
            at = int(g.integers(shape[axis]))
            cut = tuple(at if k == axis else slice(None) for k in range(n))
            self.push(lambda m, x: x[cut], [i], shape[:axis] + shape[axis + 1 :])

    def reduce(self, i: int, shape: tuple[int, ...]) -> None:
        if not shape or 0 in shape:
            return
        axis, keep = int(self.g.integers(len(shape))), bool(self.g.integers(2))
        out = tuple(1 if k == axis else d for k, d in enumerate(shape) if keep or k != axis)
        name = str(
            self.g.choice(["sum", "max", "min"] + ([] if self.whole else ["mean", "logsumexp"]))
        )
        if self.whole and name == "sum":
            self.push(lambda m, x: m.sum(x, axis=axis, keepdims=keep).astype(m.int32), [i], out)
        elif name == "sum":
            self.push(lambda m, x: m.sum(x, axis=axis, keepdims=keep) * 0.2, [i], out)
        else:
            self.push(lambda m, x: getattr(m, name)(x, axis=axis, keepdims=keep), [i], out)

    def structured(self, i: int, shape: tuple[int, ...]) -> None:
        g = self.g
        if not shape or 0 in shape:
            return
        axis, kind, d = int(g.integers(len(shape))), int(g.integers(8)), len(shape)
        if kind == 0:
            self.push(
                lambda m, x: m.concatenate([x, x * 2], axis=axis),
                [i],
                tuple(s * 2 if k == axis else s for k, s in enumerate(shape)),
            )
        elif kind == 1:
            self.push(lambda m, x: m.sort(x, axis=axis), [i], shape)
        elif kind == 2:
            f = (
                (lambda m, x: m.cumsum(x, axis=axis).astype(m.int32))
                if self.whole
                else (lambda m, x: m.cumsum(x, axis=axis) * 0.3)
            )
            self.push(f, [i], shape)
        elif kind == 3:
            at = g.integers(0, shape[axis], 3)
            f = lambda m, x: m.take(x, at if m is REFERENCE else m.array(at), axis)
            self.push(f, [i], (*shape[:axis], 3, *shape[axis + 1 :]))
        elif kind == 4 and not self.whole:
            self.push(lambda m, x: m.softmax(x, axis=axis), [i], shape)
        elif kind == 5 and not self.whole and d >= 2:
            f = lambda m, x: m.matmul(x, m.swapaxes(x, -1, -2)) * 0.2
            self.push(f, [i], (*shape[:-1], shape[-2]))
        elif kind == 6:
            f = lambda m, x: m.pad(x, [(1, 0) if k == axis else (0, 0) for k in range(d)])
            self.push(f, [i], tuple(s + 1 if k == axis else s for k, s in enumerate(shape)))
        elif kind == 7:
            self.push(lambda m, x: m.stack([x, x + 1], axis=0), [i], (2, *shape))

    def run(self, m: Any) -> list[Any]:
        if m is REFERENCE:
            values: list[Any] = [a if self.whole else a.astype(np.float64) for a in self.leaves]
        else:
            values = [m.array(a) for a in self.leaves]
        for f, inputs in self.steps:
            values.append(f(m, *[values[k] for k in inputs]))
        return values


def check_plan(plan: dict[str, Any]) -> None:
    """The plan's grammar: decisions are whole, memory does not overlap, order is causal."""
    nodes, reasons = {n["id"]: n for n in plan["nodes"]}, _core._fusion_reasons()
    seen = set()
    for e in plan["edges"]:
        assert (e["src"], e["dst"]) not in seen, e
        seen.add((e["src"], e["dst"]))
        assert e["fused"] == (e["reason"] == ""), e
        assert e["fused"] or e["reason"] in reasons, e
        assert e["bytes"] >= 0

    def base(i: int) -> int:
        while nodes[i]["kind"] in ("view", "alias"):
            i = nodes[i]["inputs"][0]
        return i

    pairs = {
        (base(i), n["id"])
        for n in nodes.values()
        if n["kind"] not in ("view", "alias")
        for i in n["inputs"]
    }
    pairs = {(a, b) for a, b in pairs if nodes[a]["kind"] != "scalar"}
    assert pairs == seen, (pairs - seen, seen - pairs)

    written: set[int] = set()
    for launch in plan["launches"]:
        for i in launch["inputs"]:
            assert nodes[i]["role"] == "leaf" or i in written, (launch["name"], i)
        written |= set(launch["outputs"])
    check_memory(plan)


def check_memory(plan: dict[str, Any]) -> None:
    memory = plan["memory"]
    arena = [
        b
        for b in memory["buffers"]
        if b["storage"] == "arena" and b["bytes"] and b["last"] >= b["first"]
    ]
    for a, b in itertools.combinations(arena, 2):
        if a["first"] <= b["last"] and b["first"] <= a["last"]:
            apart = (
                a["offset"] + a["bytes"] <= b["offset"] or b["offset"] + b["bytes"] <= a["offset"]
            )
            assert apart, (a, b)
    for b in arena:
        assert b["offset"] + b["bytes"] <= memory["arena_bytes"]
        assert b["offset"] % 64 == 0
    live = max(
        (
            sum(b["bytes"] for b in arena if b["first"] <= t <= b["last"])
            for t in range(len(plan["launches"]))
        ),
        default=0,
    )
    assert memory["arena_bytes"] >= live
    assert (
        memory["peak_bytes"]
        == memory["arena_bytes"] + memory["output_bytes"] + memory["input_bytes"]
    )


def evaluate(graph: Graph) -> list[np.ndarray]:
    values = graph.run(mx)
    held = [values[i] for i in graph.held]
    out = [values[i] for i in graph.outputs]
    del values
    stale(np.nan)
    mx.eval(out)
    check_plan(last_plan())
    return [to_numpy(v) for v in out + held]


@pytest.mark.parametrize("whole", [False, True], ids=["float", "integer"])
@pytest.mark.parametrize("seed", range(120))
def test_random_graph(seed: int, whole: bool) -> None:
    graph = Graph(seed + 1000 * whole, whole)
    with np.errstate(all="ignore"):
        values = graph.run(REFERENCE)
    want = [np.asarray(values[i]) for i in graph.outputs + graph.held]
    results = []
    with options(verify=True):
        results.append(evaluate(graph))
        results.append(evaluate(graph))  # from the plan cache
    for switches in ({"fuse": False}, {"donate": False}, {"fuse": False, "donate": False}):
        with options(verify=True, **switches):
            results.append(evaluate(graph))
    others = graph.run(OTHER)
    other = [np.array(others[i]) for i in graph.outputs + graph.held]
    for k, got in enumerate(results):
        for a, b in zip(got, want, strict=True):
            assert a.shape == b.shape
            if whole:
                np.testing.assert_array_equal(a, b, err_msg=f"run {k}")
            else:
                np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4, err_msg=f"run {k}")
    for a, b in zip(results[0], other, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4, err_msg="MLX")


@pytest.mark.parametrize("seed", range(25))
def test_random_gradient(seed: int) -> None:
    """The gradient of a random graph: fused, unfused, and by differences in float64."""
    graph = Graph(seed + 5000, False)

    def f(*leaves: mx.array) -> mx.array:
        values: list[Any] = list(leaves)
        for step, inputs in graph.steps:
            values.append(step(mx, *[values[k] for k in inputs]))
        return sum(mx.sum(values[i]) for i in graph.outputs)

    leaves = [mx.array(a, dtype=mx.float64) for a in graph.leaves]
    n = tuple(range(len(leaves)))
    with options(verify=True):
        grads = mx.grad(f, argnums=n)(*leaves)
        mx.eval(grads)
        check_plan(last_plan())
        fused = [to_numpy(g) for g in grads]
    with options(fuse=False, donate=False):
        apart = [to_numpy(g) for g in mx.grad(f, argnums=n)(*leaves)]
    for a, b in zip(fused, apart, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    g = rng(seed)
    ts = [mx.array(g.standard_normal(x.shape), dtype=mx.float64) for x in leaves]
    h = 1e-7
    ahead = f(*[x + h * t for x, t in zip(leaves, ts, strict=True)]).item()
    behind = f(*[x - h * t for x, t in zip(leaves, ts, strict=True)]).item()
    slope = sum(float(np.sum(a * to_numpy(t))) for a, t in zip(fused, ts, strict=True))
    # A kink of maximum or sort may lie between the two points.
    assert abs((ahead - behind) / (2 * h) - slope) < 1e-3 * (1 + abs(slope))


def test_graph_generator_reaches_everything() -> None:
    """The graphs hold every kind of node and group that the scheduler knows."""
    kinds, groups, reasons = set(), set(), set()
    for seed in range(60):
        graph = Graph(seed, False)
        mx.eval([graph.run(mx)[i] for i in graph.outputs])
        plan = last_plan()
        kinds |= {n["kind"] for n in plan["nodes"]}
        groups |= {g["kind"] for g in plan["groups"]}
        reasons |= {e["reason"] for e in plan["edges"]}
    assert kinds >= {"leaf", "scalar", "elementwise", "reduce", "view", "structured", "copy"}
    assert groups == {"map", "reduce", "row", "call"}
    assert reasons >= {"", "opaque_call", "input_of_call", "several_consumers"}
    # Where the device does not share the CPU's memory, the leaves cross to it.
    assert reasons & {"leaf_input", "device_boundary"}

"""What the framework itself costs: building a node, a small evaluation, a plan found again."""

from __future__ import annotations

import functools
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import lamina
import lamina.core as mx
import numpy as np

from .measure import Call, Row, Samples, race
from .peers import jax, mlx, torch
from .training import graphs

REPEAT = 1000  # calls within one timed call, so that the loop around it does not count


def repeated(call: Call) -> Call:
    def many() -> None:
        for _ in itertools.repeat(None, REPEAT):
            call()

    return many


def small(n: int = 16) -> dict[str, tuple]:
    """Two float32 vectors of each framework, evaluated."""
    a, b = np.linspace(0, 1, n, dtype=np.float32), np.linspace(1, 2, n, dtype=np.float32)
    out: dict[str, tuple] = {"lamina": (mx.array(a), mx.array(b))}
    mx.eval(*out["lamina"])
    if mlx is not None:
        out["mlx"] = (mlx.array(a), mlx.array(b))
        mlx.eval(*out["mlx"])
    if torch is not None:
        out["torch"] = (torch.from_numpy(a.copy()), torch.from_numpy(b.copy()))
    if jax is not None:
        out["jax"] = (jax.numpy.asarray(a), jax.numpy.asarray(b))
    out["numpy"] = (a, b)
    return out


def building(rounds: int) -> list[Row]:
    """One elementwise node from Python. MLX and lamina only build it, the others compute."""
    modules = {"lamina": mx, "mlx": mlx, "torch": torch, "jax": jax and jax.numpy, "numpy": np}
    data = small()

    def plus(pair: tuple) -> Call:
        a, b = pair
        return lambda: a + b

    def called(name: str, function: str, count: int) -> Call:
        f, args = getattr(modules[name], function), data[name][:count]
        return (lambda: f(args[0], args[1])) if count == 2 else (lambda: f(args[0]))

    cases = {
        "a + b": {name: plus(pair) for name, pair in data.items()},
        "add(a, b)": {name: called(name, "add", 2) for name in data},
        "exp(a)": {name: called(name, "exp", 1) for name in data},
    }
    return [
        Row(f"build `{label}`", race({k: repeated(c) for k, c in calls.items()}, rounds),
            unit="us", per=REPEAT, target=0.6)
        for label, calls in cases.items()
    ]  # fmt: skip


def evaluating(rounds: int) -> list[Row]:
    """A graph of one operation on 16 elements, built and evaluated."""
    data = small()
    calls: dict[str, Call] = {}
    a, b = data["lamina"]
    calls["lamina"] = lambda: mx.eval(a + b)
    if "mlx" in data:
        c, d = data["mlx"]
        calls["mlx"] = lambda: mlx.eval(c + d)
    if "torch" in data:
        e, f = data["torch"]
        calls["torch"] = lambda: e + f
    if "jax" in data:
        g, h = data["jax"]
        calls["jax"] = lambda: (g + h).block_until_ready()
    return [
        Row("build and evaluate `a + b`, 16 elements", race(calls, rounds), unit="us", target=5)
    ]


def chain(length: int, x: Any) -> Any:
    y = x
    for k in range(length // 2):
        y = (y + x) if k % 2 else (y - x)
        y = y * x
    return y


def ladder(length: int, x: Any) -> Any:
    """A graph in which every node has two readers: nothing is a plain chain."""
    p, q = x, x
    for _ in range(length // 2):
        p, q = p + q, p * q
    return p + q


def evaluation_only(graph: Call, evaluate: Any, batch: int, rounds: int) -> Samples:
    """Times the evaluation of graphs built outside the clock."""
    out = Samples()
    for _ in range(3):
        evaluate(graph())
    for _ in range(rounds):
        graphs = [graph() for _ in range(batch)]
        cpu, wall = time.process_time(), time.perf_counter()
        for g in graphs:
            evaluate(g)
        out.wall.append((time.perf_counter() - wall) / batch)
        out.cpu.append((time.process_time() - cpu) / batch)
        del graphs
    return out


def plan_hits(rounds: int) -> list[Row]:
    """Evaluation of a graph seen before, per node; the graph is built outside the clock."""
    rows = []
    data = small()
    few = max(3, rounds // 3)
    for make in (chain, ladder):
        for length in (100, 1000):
            batch = max(4, 4000 // length)
            graphs = {k: functools.partial(make, length, v[0]) for k, v in data.items()}
            samples = {"lamina": evaluation_only(graphs["lamina"], mx.eval, batch, rounds)}
            if mlx is not None:
                samples["mlx"] = evaluation_only(graphs["mlx"], mlx.eval, batch, few)
            if torch is not None:
                samples["torch"] = race({"torch": graphs["torch"]}, few)["torch"]
            name = f"plan hit, {make.__name__} of {length} nodes, per node"
            rows.append(Row(name, samples, unit="us", per=length, target=0.3))
    rows[-1].note = "torch builds and runs at once, so its time has both"
    return rows


def decoding(length: int) -> Callable[[int], Any]:
    """One step of attention over the first rows of a key-value cache, 19 nodes."""
    rng = np.random.default_rng(0)
    heads, size = 4, 16

    def normal(*shape: int) -> Any:
        return mx.array(rng.standard_normal(shape, dtype=np.float32))

    keys, values = normal(1, heads, length, size), normal(1, heads, length, size)
    q, weight = normal(1, heads, 1, size), normal(heads * size, heads * size)
    mx.eval(keys, values, q, weight)

    def step(n: int) -> Any:
        k, v = keys[:, :, :n], values[:, :, :n]
        p = mx.softmax((q * 0.25) @ mx.swapaxes(k, -1, -2), axis=-1)
        out = mx.reshape(mx.swapaxes(p @ v, 1, 2), (1, 1, heads * size)) @ weight
        return mx.tanh(out * mx.sigmoid(out) + 1.0)

    return step


def training() -> Callable[[int], Any]:
    import lamina.nn as nn
    import lamina.optimizers as optimizers

    return graphs(mx, nn, optimizers)


def nodes_of(graph: Any) -> int:
    """Nodes that an evaluation of this graph visits."""
    with lamina.profile(ceilings=False) as profile:
        mx.eval(graph)
    return int(profile.recording.runs[-1].nodes)


def new_sizes(rounds: int) -> list[Row]:
    """Evaluation in sizes not seen lately, per node, and the same sizes at once again."""
    rows = []
    cases: dict[str, tuple[Callable[[int], Any], range]] = {
        "decoding step, one row longer each time": (decoding(2400), range(20, 2300)),
        "training step, another short batch each time": (training(), range(2, 34)),
    }
    for label, (make, sizes) in cases.items():
        for n in sizes[:3]:
            mx.eval(make(n))
        per = nodes_of(make(sizes[3]))
        again, first = Samples(), Samples()
        before = mx._core._plan_cache()
        turns = itertools.cycle(sizes)
        for _ in range(rounds):
            times: list[tuple[float, float]] = []
            for n in itertools.islice(turns, 32):
                graph = make(n)
                start = time.perf_counter()
                mx.eval(graph)
                new = time.perf_counter() - start
                graph = make(n)
                start = time.perf_counter()
                mx.eval(graph)
                times.append((new, time.perf_counter() - start))
            first.wall.append(statistics.median(t[0] for t in times))
            again.wall.append(statistics.median(t[1] for t in times))
        after = mx._core._plan_cache()
        resized, planned = (after[k] - before[k] for k in ("resized", "misses"))
        cost = Samples([a - b for a, b in zip(first.wall, again.wall, strict=True)])
        rows.append(
            Row(
                f"{label}, per node",
                {"lamina": first, "same sizes": again},
                unit="us",
                per=per,
                note=f"{per} nodes; {resized} resized, {planned} planned",
            )
        )
        rows.append(Row(f"{label}, what new sizes add per node", {"lamina": cost}, unit="us",
                        per=per, target=1.0))  # fmt: skip
    return rows


def importing(rounds: int) -> list[Row]:
    """Time from a bare interpreter to a usable module, in processes of their own."""
    statements = {
        "lamina": "import lamina.core",
        "with nn, optimizers": "import lamina.core, lamina.nn, lamina.optimizers",
        "numpy": "import numpy",
        "mlx": "import mlx.core" if mlx is not None else "",
        "torch": "import torch" if torch is not None else "",
        "jax": "import jax.numpy" if jax is not None else "",
    }
    rows = []
    for label, before in (("NumPy included", ""), ("NumPy already there", "import numpy; ")):
        samples: dict[str, Samples] = {}
        for r in range(max(3, rounds // 3)):
            for name, statement in statements.items():
                if (
                    not statement
                    or (before and name == "numpy")
                    or (name in ("torch", "jax") and r > 3)
                ):
                    continue
                clock = "time.perf_counter()"
                code = f"{before}import time; t = {clock}; {statement}; print({clock} - t)"
                said = subprocess.run(
                    [sys.executable, "-c", code], capture_output=True, text=True, check=True
                )
                samples.setdefault(name, Samples()).wall.append(float(said.stdout))
        rows.append(Row(f"import, {label}", samples, target=150))
    return rows

"""A training step of the network in the first notebook, and what recording it costs."""

from __future__ import annotations

import functools
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import lamina
import lamina.core as mx
import numpy as np

from .measure import Call, Row, Samples, race
from .peers import jax, mlx, torch

BATCH = 64


def data(batch: int = BATCH) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (
        rng.standard_normal((batch, 8, 8, 1), dtype=np.float32),
        rng.integers(0, 10, batch).astype(np.int32),
    )


def graphs(core: Any, nn: Any, optimizers: Any) -> Callable[[int], list[Any]]:
    """The step of a batch of any size, unevaluated, in the interface that lamina and MLX share."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
            self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
            self.pool = nn.MaxPool2d(2, 2)
            self.linear = nn.Linear(32 * 4 * 4, 10)

        def __call__(self, x: Any) -> Any:
            x = nn.relu(self.conv1(x))
            x = self.pool(nn.relu(self.conv2(x)))
            return self.linear(x.reshape(x.shape[0], -1))

    @functools.cache
    def batch(n: int) -> tuple[Any, Any]:
        images, labels = data(n)
        return core.array(images), core.array(labels)

    net = Net()
    optimizer = optimizers.AdamW(learning_rate=1e-3)
    core.eval(net.parameters())

    def loss(net: Any, x: Any, y: Any) -> Any:
        return nn.losses.cross_entropy(net(x), y, reduction="mean")

    value_and_grad = nn.value_and_grad(net, loss)

    def graph(n: int) -> list[Any]:
        value, gradients = value_and_grad(net, *batch(n))
        optimizer.update(net, gradients)
        return [value, net.parameters(), optimizer.state]

    return graph


def outputs_of_step() -> Callable[[], list[Any]]:
    """lamina's step: its outputs, unevaluated."""
    import lamina.nn as nn
    import lamina.optimizers as optimizers

    return functools.partial(graphs(mx, nn, optimizers), BATCH)


def alike(core: Any, nn: Any, optimizers: Any) -> Call:
    graph = graphs(core, nn, optimizers)

    def step() -> Any:
        outputs = graph(BATCH)
        core.eval(outputs)
        return outputs[0]

    return step


def in_torch(compiled: str | None = None, device: str = "cpu") -> Call:
    """`compiled`: a mode of torch.compile."""
    images, labels = data()
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)
    y = torch.from_numpy(labels).long().to(device)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(512, 10),
    ).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    forward = torch.compile(net, mode=compiled) if compiled else net

    def step() -> Any:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(forward(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def in_jax() -> Call:
    jnp = jax.numpy
    images, labels = data()
    x, y = jnp.asarray(images), jnp.asarray(labels)
    rng = np.random.default_rng(1)
    shapes = {"k1": (3, 3, 1, 16), "b1": (16,), "k2": (3, 3, 16, 32), "b2": (32,), "w": (512, 10),
              "b": (10,)}  # fmt: skip
    parameters = {
        k: jnp.asarray(0.1 * rng.standard_normal(s, dtype=np.float32)) for k, s in shapes.items()
    }
    zeros = {k: jnp.zeros(s) for k, s in shapes.items()}

    def convolve(x: Any, kernel: Any) -> Any:
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def loss(p: dict, x: Any, y: Any) -> Any:
        x = jax.nn.relu(convolve(x, p["k1"]) + p["b1"])
        x = jax.nn.relu(convolve(x, p["k2"]) + p["b2"])
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        logits = x.reshape(BATCH, -1) @ p["w"] + p["b"]
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(BATCH), y])

    @jax.jit
    def update(p: dict, m: dict, v: dict, x: Any, y: Any) -> Any:
        value, g = jax.value_and_grad(loss)(p, x, y)
        m = {k: 0.9 * m[k] + 0.1 * g[k] for k in p}
        v = {k: 0.999 * v[k] + 0.001 * g[k] ** 2 for k in p}
        p = {k: p[k] * (1 - 1e-5) - 1e-3 * m[k] / (jnp.sqrt(v[k]) + 1e-8) for k in p}
        return value, p, m, v

    state = [parameters, zeros, dict(zeros)]

    def step() -> Any:
        value, *state[:] = update(*state, x, y)
        return jax.block_until_ready((value, state))

    return step


def ours() -> Call:
    import lamina.nn as nn
    import lamina.optimizers as optimizers

    return alike(mx, nn, optimizers)


def step(rounds: int) -> list[Row]:
    """Forward, backward and AdamW on a batch of 64 images of 8 x 8."""
    calls = {"lamina": ours()}
    if torch is not None:
        calls["torch"] = in_torch()
    if jax is not None:
        calls["jax"] = in_jax()
    if mlx is not None:
        from mlx import nn, optimizers

        calls["mlx"] = alike(mlx, nn, optimizers)
    return [Row("training step of the digits net", race(calls, rounds, 0.05), rival="torch")]


def timed(step: Call, count: int, into: Samples) -> None:
    """Adds the time of `count` steps; `cpu` is that of all threads, the recorder's included."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(count):
        step()
    into.wall.append((time.perf_counter() - wall) / count)
    into.cpu.append((time.process_time() - cpu) / count)


def recording(rounds: int) -> list[Row]:
    """The same step with recording off and on, in turn; on, once the plan has been described."""
    step = ours()
    count = 50
    names = ("lamina", "recorded", "off again", "before", "first", "unused")
    samples = {name: Samples() for name in names}
    timed(step, 20, samples["unused"])
    for _ in range(rounds):
        timed(step, count, samples["before"])
    gc.disable()
    for _ in range(rounds * 2):
        timed(step, count, samples["lamina"])
        with lamina.profile(ceilings=False):
            timed(step, count, samples["first"])
            timed(step, count, samples["recorded"])
        timed(step, 1, samples["unused"])
        timed(step, count, samples["off again"])
    gc.enable()
    before, first = samples["before"], samples["first"]
    row = Row("the step, recording", {name: samples[name] for name in names[:3]})
    off = samples["lamina"]
    notes = []
    for label, name in (("on", "recorded"), ("off after a recording", "off again")):
        s = samples[name]
        wall = 100 * (row.ratio(name) - 1)
        least = 100 * (s.best / off.best - 1)
        work = [100 * (x / y - 1) for x, y in zip(s.cpu, off.cpu, strict=True)]
        notes.append(
            f"{label}: {statistics.median(work):+.1f}% processor time of all threads, {wall:+.1f}% "
            f"wall time, {least:+.1f}% by the fastest samples"
        )
    notes.append("target: on under 5%, off nothing")
    notes.append(f"before any recording the fastest sample took {1e3 * before.best:.3f} ms")
    notes.append(
        f"the first {count} steps of a recording, in which the plan is described once, took "
        f"{1e3 * first.median:.3f} ms each"
    )
    row.note = "; ".join(notes)
    return [row]

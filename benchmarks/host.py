"""`python -m benchmarks.host`: Python's time for a training step, with and without `mx.compile`.

A step of a small transformer with AdamW is built and then evaluated; the table has the medians of
both parts in milliseconds. The arrays are tiny, so that building is what is seen.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import lamina.core as mx
from lamina import nn, optimizers

WIDTH, HEADS, LENGTH, BATCH, VOCAB = 32, 2, 8, 2, 64


class Block(nn.Module):
    """Attention and a perceptron, both with a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.LayerNorm(WIDTH)
        self.projections = [nn.Linear(WIDTH, WIDTH) for _ in range(3)]
        self.out = nn.Linear(WIDTH, WIDTH)
        self.between = nn.LayerNorm(WIDTH)
        self.wide = nn.Linear(WIDTH, 2 * WIDTH)
        self.narrow = nn.Linear(2 * WIDTH, WIDTH)

    def __call__(self, x: mx.array) -> mx.array:
        h = self.before(x)
        q, k, v = (
            p(h).reshape(BATCH, LENGTH, HEADS, -1).transpose(0, 2, 1, 3) for p in self.projections
        )
        y = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.25, mask="causal")
        x = x + self.out(y.transpose(0, 2, 1, 3).reshape(BATCH, LENGTH, -1))
        return x + self.narrow(nn.gelu(self.wide(self.between(x))))


def medians(blocks: int, compiled: bool, repeats: int) -> tuple[float, float]:
    """Milliseconds to build a step and to evaluate it."""
    mx.random.seed(0)
    layers = [Block() for _ in range(blocks)]
    model = nn.Sequential(nn.Embedding(VOCAB, WIDTH), *layers, nn.Linear(WIDTH, VOCAB))
    optimizer = optimizers.AdamW(1e-3)
    state = [model.state, optimizer.state]
    loss_and_grad = nn.value_and_grad(
        model, lambda x, y: nn.losses.cross_entropy(model(x), y).mean()
    )

    def step(x: mx.array, y: mx.array) -> mx.array:
        loss, gradients = loss_and_grad(x, y)
        optimizer.update(model, gradients)
        return loss

    run: Any = mx.compile(step, inputs=state, outputs=state) if compiled else step
    x, y = (mx.random.randint(0, VOCAB, (BATCH, LENGTH)) for _ in range(2))
    build, evaluate = [], []
    for _ in range(repeats + 4):
        start = time.perf_counter()
        loss = run(x, y)
        built = time.perf_counter()
        mx.eval(state, loss)
        build.append(1e3 * (built - start))
        evaluate.append(1e3 * (time.perf_counter() - built))
    # The first steps make the optimizer's state, the trace and the plan.
    return statistics.median(build[4:]), statistics.median(evaluate[4:])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, nargs="+", default=[2, 6])
    parser.add_argument("--repeats", type=int, default=31)
    options = parser.parse_args()
    print("| blocks | compiled | build ms | evaluate ms |\n|---|---|---|---|")
    for blocks in options.blocks:
        for compiled in (False, True):
            build, evaluate = medians(blocks, compiled, options.repeats)
            print(f"| {blocks} | {'yes' if compiled else 'no'} | {build:.2f} | {evaluate:.2f} |")


if __name__ == "__main__":
    main()

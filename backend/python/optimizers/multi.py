"""MultiOptimizer: different optimizers for different parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lamina.core as mx
from lamina.optimizers.base import Optimizer
from lamina.utils import tree_flatten, tree_merge, tree_unflatten


class MultiOptimizer(Optimizer):
    """Gives each parameter to the first optimizer whose filter takes it.

    Filters are called as ``f(path, array)``; there is one less than optimizers, and the last
    optimizer takes what is left. The learning rate that is read is that of the first optimizer,
    the one that is set goes to all.
    """

    def __init__(
        self,
        optimizers: list[Optimizer],
        filters: list[Callable[..., Any]] = [],  # noqa: B006
    ) -> None:
        super().__init__()
        if len(filters) != len(optimizers) - 1:
            raise ValueError(
                f"MultiOptimizer: expected {len(optimizers) - 1} filters for "
                f"{len(optimizers)} optimizers, got {len(filters)}"
            )
        self.optimizers = optimizers
        self.filters = [*filters, lambda *_: True]

    def _split(self, tree: dict[str, Any]) -> list[Any]:
        parts: list[list[Any]] = [[] for _ in self.optimizers]
        for path, leaf in list(tree_flatten(tree)):
            index = next(i for i, accepts in enumerate(self.filters) if accepts(path, leaf))
            parts[index].append((path, leaf))
        return [tree_unflatten(part) if part else {} for part in parts]

    def init(self, parameters: dict[str, Any]) -> None:
        """Make the state of every parameter in its optimizer."""
        for optimizer, part in zip(self.optimizers, self._split(parameters), strict=True):
            optimizer.init(part)
        self._initialized = True

    def apply_gradients(
        self, gradients: dict[str, Any], parameters: dict[str, Any]
    ) -> dict[str, Any]:
        """The new parameters, a tree of the structure of `gradients`."""
        merged: dict[str, Any] = {}
        for optimizer, part in zip(self.optimizers, self._split(gradients), strict=True):
            merged = tree_merge(merged, optimizer.apply_gradients(part, parameters))
        return merged

    @property
    def state(self) -> dict[str, Any]:
        """The states of all optimizers, under ``"states"``."""
        return {"states": [optimizer.state for optimizer in self.optimizers]}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        states = state.get("states", [])
        if len(states) != len(self.optimizers):
            raise ValueError(
                f"MultiOptimizer: expected {len(self.optimizers)} states, got {len(states)}"
            )
        for optimizer, part in zip(self.optimizers, states, strict=True):
            optimizer.state = part

    @property
    def step(self) -> mx.array:
        """The step count of the first optimizer."""
        return self.optimizers[0].step

    @property
    def learning_rate(self) -> mx.array:
        """The learning rate of the first optimizer."""
        return self.optimizers[0].learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: float | mx.array) -> None:
        for optimizer in self.optimizers:
            optimizer.learning_rate = learning_rate

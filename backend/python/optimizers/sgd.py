"""Stochastic gradient descent and sign descent."""

from __future__ import annotations

import math
from typing import Any

import lamina.core as mx
from lamina.optimizers.base import Optimizer, Rate, check_range, zeros_state


class SGD(Optimizer):
    """w - rate * v, with v = momentum * v + (1 - dampening) * g.

    Weight decay adds weight_decay * w to the gradient; `nesterov` uses g + momentum * v for v.
    """

    def __init__(
        self,
        learning_rate: Rate,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                "SGD: expected momentum above 0 and no dampening with nesterov, "
                f"got momentum {momentum} and dampening {dampening}"
            )
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.dampening = dampening
        self.nesterov = nesterov

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        """State: the velocity v."""
        zeros_state(parameter, state, "v")

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        """One step of the rule above."""
        if self.weight_decay != 0:
            gradient = gradient + self.weight_decay * parameter
        rate = self._rate(gradient.dtype)
        if self.momentum <= 0:
            return parameter - rate * gradient
        v = self.momentum * state["v"]
        v = v + ((1 - self.dampening) * gradient if self.dampening > 0 else gradient)
        state["v"] = v
        return parameter - rate * (gradient + self.momentum * v if self.nesterov else v)


class Lion(Optimizer):
    """w - rate * sign(b1 * m + (1 - b1) * g), with m = b2 * m + (1 - b2) * g.

    Weight decay shrinks w by rate * weight_decay first.
    """

    def __init__(
        self,
        learning_rate: Rate,
        betas: list[float] = [0.9, 0.99],  # noqa: B006
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        for i, beta in enumerate(betas, 1):
            check_range("Lion", f"beta{i}", beta, 0, 1, "in [0, 1)")
        self._maybe_schedule("learning_rate", learning_rate)
        self.betas = betas
        self.weight_decay = weight_decay

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        """State: the mean gradient m."""
        zeros_state(parameter, state, "m")

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        """One step of the rule above."""
        rate = self._rate(gradient.dtype)
        b1, b2 = self.betas
        m = state["m"]
        direction = mx.sign(b1 * m + (1 - b1) * gradient)
        state["m"] = b2 * m + (1 - b2) * gradient
        if self.weight_decay > 0:
            parameter = (1 - rate * self.weight_decay) * parameter
        return parameter - rate * direction


class Muon(Optimizer):
    """Momentum whose step, for matrices, is replaced by the nearest orthogonal matrix.

    v = momentum * v + (1 - momentum) * g; `nesterov` looks one step ahead. Weights of more than
    two axes are seen as (rows, everything else); vectors take v itself. `ns_steps` Newton-Schulz
    steps find the orthogonal matrix, and its rate grows with the root of the
    last two axes' ratio where that is above 1.
    """

    def __init__(
        self,
        learning_rate: Rate,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        nesterov: bool = True,
        ns_steps: int = 5,
    ) -> None:
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        self.ns_steps = ns_steps

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        """State: the velocity v."""
        zeros_state(parameter, state, "v")

    def _orthogonal(self, x: mx.array) -> mx.array:
        """Push all singular values of the matrix `x` towards 1."""
        # The quintic's published coefficients: steepest at zero while staying near 1.
        a, b, c = (3.4445, -4.7750, 2.0315)
        tall = x.shape[-2] > x.shape[-1]
        x = x.T if tall else x
        x = x / (mx.sqrt(mx.sum(mx.square(x))) + 1e-7)
        for _ in range(self.ns_steps):
            gram = x @ x.T
            x = a * x + mx.addmm(b * gram, gram, gram, beta=1.0, alpha=c) @ x
        return x.T if tall else x

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        """One step of the rule above."""
        if self.weight_decay != 0:
            gradient = gradient + self.weight_decay * parameter
        v = self.momentum * state["v"] + (1 - self.momentum) * gradient
        state["v"] = v
        if self.nesterov:
            v = gradient * (1 - self.momentum) + v * self.momentum
        rate = self._rate(gradient.dtype)
        if v.ndim >= 2:
            shape = v.shape
            matrix = v.reshape(shape[0], -1) if v.ndim > 2 else v
            rate = rate * math.sqrt(max(1.0, shape[-2] / shape[-1]))
            v = self._orthogonal(matrix).reshape(shape)
        return parameter - rate * v

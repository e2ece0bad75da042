"""Adam and its kin."""

from __future__ import annotations

from typing import Any

import lamina.core as mx
from lamina.optimizers.base import Optimizer, Rate, check_range, zeros_state


def _check_betas(where: str, betas: list[float]) -> None:
    for i, beta in enumerate(betas, 1):
        check_range(where, f"beta{i}", beta, 0, 1, "in [0, 1)")


class Adam(Optimizer):
    """w - rate * m / (sqrt(v) + eps), with m and v running means of g and of g squared.

    `bias_correction` divides m and v by 1 - beta ** step.
    """

    def __init__(
        self,
        learning_rate: Rate,
        betas: list[float] = [0.9, 0.999],  # noqa: B006
        eps: float = 1e-8,
        bias_correction: bool = False,
    ) -> None:
        super().__init__()
        _check_betas(type(self).__name__, betas)
        self._maybe_schedule("learning_rate", learning_rate)
        self.betas = betas
        self.eps = eps
        self.bias_correction = bias_correction
        self._corrections: tuple[Any, Any, Any] = (None, None, None)

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        """State: the means m and v."""
        zeros_state(parameter, state, "m", "v")

    def _correction(self, dtype: mx.Dtype) -> tuple[mx.array, mx.array]:
        """Factors of m and sqrt(v), built once a step and not once a parameter."""
        step, for_m, for_v = self._corrections
        if step is not self.step:
            b1, b2 = self.betas
            count = self.step.astype(mx.float32)
            for_m, for_v = 1 / (1 - b1**count), mx.rsqrt(1 - b2**count)
            self._corrections = (self.step, for_m, for_v)
        return for_m.astype(dtype), for_v.astype(dtype)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        """One step of the rule above."""
        rate = self._rate(gradient.dtype)
        b1, b2 = self.betas
        m = b1 * state["m"] + (1 - b1) * gradient
        v = b2 * state["v"] + (1 - b2) * mx.square(gradient)
        state["m"] = m
        state["v"] = v
        if not self.bias_correction:
            return parameter - rate * m / (mx.sqrt(v) + self.eps)
        for_m, for_v = self._correction(gradient.dtype)
        return parameter - rate * for_m * m / (mx.sqrt(v) * for_v + self.eps)


class AdamW(Adam):
    """Adam after shrinking w by rate * weight_decay."""

    def __init__(
        self,
        learning_rate: Rate,
        betas: list[float] = [0.9, 0.999],  # noqa: B006
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        bias_correction: bool = False,
    ) -> None:
        super().__init__(learning_rate, betas, eps, bias_correction)
        self.weight_decay = weight_decay

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        """One step of the rule above."""
        rate = self._rate(gradient.dtype)
        shrunk = parameter * (1 - rate * self.weight_decay)
        return super().apply_single(gradient, shrunk, state)


class Adamax(Adam):
    """w - rate * m / (v + eps), with m the running mean of g and v = max(beta2 * v, |g|)."""

    def __init__(
        self,
        learning_rate: Rate,
        betas: list[float] = [0.9, 0.999],  # noqa: B006
        eps: float = 1e-8,
    ) -> None:
        super().__init__(learning_rate, betas, eps)
        if eps < 0:
            raise ValueError(f"Adamax: expected eps of at least 0, got {eps}")

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        """One step of the rule above."""
        rate = self._rate(gradient.dtype)
        b1, b2 = self.betas
        state["m"] = m = b1 * state["m"] + (1 - b1) * gradient
        state["v"] = v = mx.maximum(b2 * state["v"], mx.abs(gradient))
        return parameter - rate * m / (v + self.eps)

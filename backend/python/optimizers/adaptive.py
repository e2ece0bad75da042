"""Optimizers that scale each element's step by the history of its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lamina.core as mx
from lamina.optimizers.base import Optimizer, Rate, check_range, zeros_state


def _check_eps(where: str, eps: float) -> None:
    check_range(where, "eps", eps, 0.0, math.inf, "of at least 0")


class RMSprop(Optimizer):
    """w - rate * g / (sqrt(v) + eps), with v = alpha * v + (1 - alpha) * g squared."""

    def __init__(self, learning_rate: Rate, alpha: float = 0.99, eps: float = 1e-8) -> None:
        super().__init__()
        check_range("RMSprop", "alpha", alpha, 0.0, math.inf, "of at least 0")
        _check_eps("RMSprop", eps)
        self._maybe_schedule("learning_rate", learning_rate)
        self.alpha = alpha
        self.eps = eps

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        """State: the mean square v."""
        zeros_state(parameter, state, "v")

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        """One step of the rule above."""
        rate = self._rate(gradient.dtype)
        state["v"] = v = self.alpha * state["v"] + (1 - self.alpha) * mx.square(gradient)
        return parameter - rate * gradient / (mx.sqrt(v) + self.eps)


class Adagrad(Optimizer):
    """w - rate * g / (sqrt(v) + eps), with v the sum of all g squared."""

    def __init__(self, learning_rate: Rate, eps: float = 1e-8) -> None:
        super().__init__()
        _check_eps("Adagrad", eps)
        self._maybe_schedule("learning_rate", learning_rate)
        self.eps = eps

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        """State: the sum of squares v."""
        zeros_state(parameter, state, "v")

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        """One step of the rule above."""
        rate = self._rate(gradient.dtype)
        state["v"] = v = state["v"] + mx.square(gradient)
        return parameter - rate * gradient / (mx.sqrt(v) + self.eps)


class AdaDelta(Optimizer):
    """w - rate * d, with d = g * sqrt(u + eps) / sqrt(v + eps).

    v and u are running means, of decay `rho`, of g squared and of d squared.
    """

    def __init__(self, learning_rate: Rate, rho: float = 0.9, eps: float = 1e-6) -> None:
        super().__init__()
        check_range("AdaDelta", "rho", rho, 0.0, math.inf, "of at least 0")
        _check_eps("AdaDelta", eps)
        self._maybe_schedule("learning_rate", learning_rate)
        self.rho = rho
        self.eps = eps

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        """State: the mean squares v of gradients and u of steps."""
        zeros_state(parameter, state, "v", "u")

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        """One step of the rule above."""
        rate, rho, u = self._rate(gradient.dtype), self.rho, state["u"]
        state["v"] = v = rho * state["v"] + (1 - rho) * mx.square(gradient)
        d = mx.sqrt(u + self.eps) / mx.sqrt(v + self.eps) * gradient
        state["u"] = rho * u + (1 - rho) * mx.square(d)
        return parameter - rate * d


def _rms(x: mx.array) -> mx.array:
    return mx.sqrt(mx.mean(mx.square(x)))


class Adafactor(Optimizer):
    """Adaptive steps with factored statistics: for matrices a row and a column of mean squares.

    Args:
        learning_rate: without one, and with `relative_step`, the rate is
            min(0.01, 1 / sqrt(step)), or starts at 1e-6 * step with `warmup_init`.
        eps: added to squared gradients, and the least scale of a parameter.
        clip_threshold: largest root mean square of an unscaled step.
        decay_rate: the statistics' decay at a step is 1 - step ** decay_rate.
        beta_1: if given, steps are averaged with this decay.
        weight_decay: share of the rate by which parameters shrink.
        scale_parameter: multiply the rate by the parameter's root mean square.

    """

    def __init__(
        self,
        learning_rate: float | Callable[[mx.array], mx.array] | None = None,
        eps: tuple[float, float] = (1e-30, 1e-3),
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        beta_1: float | None = None,
        weight_decay: float = 0.0,
        scale_parameter: bool = True,
        relative_step: bool = True,
        warmup_init: bool = False,
    ) -> None:
        super().__init__()
        if learning_rate is not None:
            self._maybe_schedule("learning_rate", learning_rate)
        elif not relative_step:
            raise ValueError("Adafactor: expected a learning_rate when relative_step is off")
        self.eps = eps
        self.clip_threshold = clip_threshold
        self.decay_rate = decay_rate
        self.beta_1 = beta_1
        self.weight_decay = weight_decay
        self.scale_parameter = scale_parameter
        self.relative_step = relative_step
        self.warmup_init = warmup_init

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        """State: mean squares by row and column (or of all), and the mean step with `beta_1`."""
        shape, dtype = tuple(parameter.shape), parameter.dtype
        if parameter.ndim >= 2:
            state["exp_avg_sq_row"] = mx.zeros(shape[:-1], dtype=dtype)
            state["exp_avg_sq_col"] = mx.zeros(shape[:-2] + shape[-1:], dtype=dtype)
        else:
            state["exp_avg_sq"] = mx.zeros_like(parameter)
        if self.beta_1 is not None:
            state["exp_avg"] = mx.zeros_like(parameter)

    def _relative_rate(self, parameter: mx.array) -> mx.array:
        step = self.step.astype(mx.float32)
        if self.relative_step:
            least = 1e-6 * step if self.warmup_init else 1e-2
            rate = mx.minimum(least, mx.rsqrt(step))
        else:
            rate = self.learning_rate
        rate = rate.astype(parameter.dtype)
        if self.scale_parameter:
            rate = rate * mx.maximum(self.eps[1], _rms(parameter))
        return rate

    def _direction(self, gradient: mx.array, state: dict[str, Any]) -> mx.array:
        """The gradient over the root of its mean square, clipped."""
        decay = 1.0 - self.step.astype(mx.float32) ** self.decay_rate
        decay = decay.astype(gradient.dtype)
        squares = mx.square(gradient) + self.eps[0]
        if gradient.ndim >= 2:
            row = decay * state["exp_avg_sq_row"] + (1 - decay) * mx.mean(squares, axis=-1)
            col = decay * state["exp_avg_sq_col"] + (1 - decay) * mx.mean(squares, axis=-2)
            state["exp_avg_sq_row"], state["exp_avg_sq_col"] = row, col
            by_row = mx.rsqrt(row / mx.mean(row, axis=-1, keepdims=True))
            scale = mx.expand_dims(by_row, -1) * mx.expand_dims(mx.rsqrt(col), -2)
        else:
            mean = decay * state["exp_avg_sq"] + (1 - decay) * squares
            state["exp_avg_sq"] = mean
            scale = mx.rsqrt(mean)
        d = scale * gradient
        return d / mx.maximum(1.0, _rms(d) / self.clip_threshold)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        """One step of the rule above."""
        rate = self._relative_rate(parameter)
        d = rate * self._direction(gradient, state)
        if self.beta_1 is not None:
            state["exp_avg"] = d = self.beta_1 * state["exp_avg"] + (1 - self.beta_1) * d
        if self.weight_decay != 0:
            parameter = parameter * (1 - self.weight_decay * rate)
        return parameter - d

"""Schedules: functions from the step count to a value, for numbers and scalar arrays alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lamina.core as mx


def exponential_decay(init: float, decay_rate: float) -> Callable[..., Any]:
    """`init * decay_rate ** step`."""

    def schedule(step: Any) -> Any:
        return init * decay_rate**step

    return schedule


def step_decay(init: float, decay_rate: float, step_size: int) -> Callable[..., Any]:
    """`init * decay_rate ** (step // step_size)`."""

    def schedule(step: Any) -> Any:
        return init * decay_rate ** (step // step_size)

    return schedule


def cosine_decay(init: float, decay_steps: int, end: float = 0.0) -> Callable[..., Any]:
    """From `init` to `end` along half a cosine in `decay_steps` steps, then `end`."""

    def schedule(step: Any) -> Any:
        share = mx.minimum(step, decay_steps) * (math.pi / decay_steps)
        return end + 0.5 * (1.0 + mx.cos(share)) * (init - end)

    return schedule


def linear_schedule(init: float, end: float, steps: int) -> Callable[..., Any]:
    """From `init` to `end` in a line of `steps` steps, then `end`."""
    if steps < 1:
        raise ValueError(f"linear_schedule: expected at least 1 step, got {steps}")

    def schedule(step: Any) -> Any:
        return mx.minimum(step, steps) * ((end - init) / steps) + init

    return schedule


def join_schedules(
    schedules: list[Callable[..., Any]], boundaries: list[int]
) -> Callable[..., Any]:
    """One schedule after the other: schedule i + 1 counts its steps from ``boundaries[i]``."""
    if not schedules:
        raise ValueError("join_schedules: expected at least 1 schedule, got none")
    if len(boundaries) != len(schedules) - 1:
        raise ValueError(
            f"join_schedules: expected {len(schedules) - 1} boundaries, got {len(boundaries)}"
        )

    def schedule(step: Any) -> Any:
        value = schedules[0](step)
        for boundary, following in zip(boundaries, schedules[1:], strict=True):
            value = mx.where(step < boundary, value, following(step - boundary))
        return value

    return schedule

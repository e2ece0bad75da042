"""Functions over whole modules: gradients and checkpointing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import lamina.core as mx
from lamina._categories import GRADIENT, tag
from lamina.nn.module import Module
from lamina.utils import tree_flatten, tree_map, tree_reduce


def _same(value: Any) -> Any:
    return value


def _with_parameters(model: Module, fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn` as a function of `model`'s trainable parameters, its first argument."""

    def call(parameters: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        # Run again in the backward pass, long after the caller has gone on.
        original = model.trainable_parameters()
        model.update(parameters)
        try:
            return fn(*args, **kwargs)
        finally:
            model.update(original)

    return call


def value_and_grad(model: Module, fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function that returns ``(fn(*args, **kwargs), gradients)``.

    The gradients are those of `fn`'s result (its first item, if it returns a tuple; a scalar) by
    the trainable parameters of `model`, in a tree like ``model.trainable_parameters()``.

    Raises:
        ValueError: when called on a model without trainable parameters.

    """

    def call(parameters: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        model.update(parameters)
        return fn(*args, **kwargs)

    value_and_gradients = mx.value_and_grad(call)

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        parameters = model.trainable_parameters()
        if not tree_flatten(parameters):
            raise ValueError(f"value_and_grad: {type(model).__name__} has no trainable parameters")
        try:
            value, gradients = value_and_gradients(tree_map(_same, parameters), *args, **kwargs)
        finally:
            # Otherwise the model would keep the traced arrays, also when `fn` raises.
            model.update(parameters)
        tag(gradients, GRADIENT)
        return value, gradients

    return wrapped


def checkpoint(module: Module, fn: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """`module` (or `fn`, which uses it) as a function that saves memory in its gradient.

    Nothing computed inside is kept for the backward pass; it is computed again there.
    """
    function = module if fn is None else fn
    checkpointed = mx.checkpoint(_with_parameters(module, function))

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return checkpointed(module.trainable_parameters(), *args, **kwargs)

    return wrapped


def average_gradients(
    gradients: Any,
    group: mx.distributed.Group | None = None,
    all_reduce_size: int = 32 * 1024**2,
    communication_stream: mx.Stream | None = None,
) -> Any:
    """The mean of every process's gradients, a tree of arrays.

    `all_reduce_size` and `communication_stream` are for how sums travel between processes. In a
    group of one, the only kind there is yet, the gradients are their own mean.
    """
    group = group or mx.distributed.init()
    if group.size() == 1:
        return gradients
    count = group.size()
    return tree_map(
        lambda g: mx.distributed.all_sum(g, group=group, stream=communication_stream) / count,
        gradients,
    )


def clip_grad_norm_sharded(
    gradients: Any, max_norm: float, group: mx.distributed.Group | None = None
) -> tuple[Any, mx.array]:
    """The tree scaled down so that the 2-norm of all processes' parts is at most `max_norm`.

    Also gives the norm it had.
    """
    squares = tree_reduce(lambda total, g: total + mx.sum(mx.square(g)), gradients, mx.array(0.0))
    total = mx.sqrt(mx.distributed.all_sum(squares, group=group))
    factor = mx.minimum(max_norm / (total + 1e-6), 1.0)
    return tree_map(lambda g: g * factor, gradients), total

"""Functions over whole modules: gradients and checkpointing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import lamina.core as mx
from lamina._categories import GRADIENT, tag
from lamina.nn.module import Module
from lamina.utils import tree_flatten, tree_map


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

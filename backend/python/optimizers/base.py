"""Optimizer: the state, the schedules and the walk that all optimizers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Union

import lamina.core as mx
from lamina._categories import OPTIMIZER_STATE, PARAMETER, tag
from lamina.utils import tree_map

if TYPE_CHECKING:
    from lamina.nn.module import Module

Rate = Union[float, Callable[[mx.array], mx.array]]  # noqa: UP007 (evaluated: Any | in stubs)


class Optimizer:
    """Turns gradients into new parameters.

    `state` is a tree of arrays: ``step``, the scheduled values such as ``learning_rate``, and
    beside them, under the parameters' own structure, a dict of arrays for each parameter. All that
    changes from step to step is an array in it, so a compiled step can take it in and out.

    Subclasses define `init_single` and `apply_single`.
    """

    def __init__(self, schedulers: dict[str, Callable[..., Any]] | None = None) -> None:
        self._initialized = False
        self._state: dict[str, Any] = {"step": mx.array(0, mx.uint64)}
        self._schedulers = dict(schedulers or {})

    @property
    def state(self) -> dict[str, Any]:
        """The optimizer's state. Setting it, e.g. to a saved one, keeps what it holds."""
        return self._state

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._initialized = False
        self._state = state

    @property
    def step(self) -> mx.array:
        """How many times gradients were applied: a uint64 scalar."""
        return self._state["step"]

    @property
    def learning_rate(self) -> mx.array:
        """The current learning rate. Set it only if it does not follow a schedule."""
        return self._state["learning_rate"]

    @learning_rate.setter
    def learning_rate(self, learning_rate: float | mx.array) -> None:
        self._state["learning_rate"] = mx.array(learning_rate)

    def init(self, parameters: dict[str, Any]) -> None:
        """Make the state of every parameter that has none yet. Done on first use if left out."""
        self._init_tree(parameters, self._state)
        tag(self._state, OPTIMIZER_STATE)
        self._initialized = True

    def _init_tree(self, parameters: Any, state: Any) -> Any:
        """Fill in `state`, a tree of the structure of `parameters`, and return it."""
        if isinstance(parameters, dict):
            state = {} if state is None else state
            for key, value in parameters.items():
                state[key] = self._init_tree(value, state.get(key))
        elif isinstance(parameters, (list, tuple)):
            known = list(state or ())
            known += [None] * (len(parameters) - len(known))
            pairs = zip(parameters, known, strict=True)
            state = type(parameters)([self._init_tree(p, s) for p, s in pairs])
        elif not state:
            state = {}
            if isinstance(parameters, mx.array):
                self.init_single(parameters, state)
        return state

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        """Put the initial state of one parameter into `state`."""
        raise NotImplementedError(f"{type(self).__name__}: init_single is not defined")

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        """The new value of one parameter; `state` is brought up to date in place."""
        raise NotImplementedError(f"{type(self).__name__}: apply_single is not defined")

    def update(self, model: Module, gradients: dict[str, Any]) -> None:
        """Apply `gradients`, a tree as from `nn.value_and_grad`, to the parameters of `model`."""
        model.update(self.apply_gradients(gradients, model))

    def apply_gradients(
        self, gradients: dict[str, Any], parameters: dict[str, Any]
    ) -> dict[str, Any]:
        """The new parameters, a tree of the structure of `gradients`; counts one step.

        `parameters` may hold more than `gradients` does.

        Raises:
            ValueError: `gradients` has a place that `parameters` or the state lacks.

        """
        if not self._initialized:
            self.init(gradients)
        step = self._state["step"]
        for name, schedule in self._schedulers.items():
            self._state[name] = schedule(step)
        self._state["step"] = step + 1
        updated: dict[str, Any] = self._apply_tree(gradients, parameters, self._state, "")
        return updated

    def _apply_tree(self, gradients: Any, parameters: Any, state: Any, path: str) -> Any:
        if isinstance(gradients, mx.array):
            updated = self.apply_single(gradients, parameters, state)
            tag(updated, PARAMETER)
            for value in state.values():
                tag(value, OPTIMIZER_STATE)
            return updated
        try:
            if isinstance(gradients, dict):
                return {
                    k: self._apply_tree(g, parameters[k], state[k], f"{path}.{k}")
                    for k, g in gradients.items()
                }
            if isinstance(gradients, (list, tuple)):
                return type(gradients)(
                    [
                        self._apply_tree(g, parameters[i], state[i], f"{path}.{i}")
                        for i, g in enumerate(gradients)
                    ]
                )
        except (KeyError, IndexError) as error:
            where = ".".join((path, str(error.args[0]))).strip(".")
            raise ValueError(
                f"{type(self).__name__}: gradient without a parameter or state at {where!r}\n"
                "call init with the parameters that are trained now"
            ) from error
        return gradients

    def _maybe_schedule(self, name: str, value: Any) -> None:
        """Hold `value` in the state under `name`; a callable is asked for it at every step."""
        if isinstance(value, Callable):  # type: ignore[arg-type]
            self._schedulers[name] = value
            self._state[name] = value(self.step)
        else:
            self._state[name] = mx.array(value)

    def _rate(self, dtype: mx.Dtype) -> mx.array:
        """The learning rate in `dtype`, so that it does not widen what it multiplies."""
        rate = self._state["learning_rate"]
        return rate if rate.dtype == dtype else rate.astype(dtype)


def zeros_state(parameter: mx.array, state: dict[str, Any], *names: str) -> None:
    """Put zeros of the parameter's shape and dtype into `state` under each of `names`."""
    for name in names:
        state[name] = mx.zeros_like(parameter)


def check_range(where: str, name: str, value: float, low: float, high: float, text: str) -> None:
    """Raise ValueError unless low <= value < high; `text` spells the range."""
    if not low <= value < high:
        raise ValueError(f"{where}: expected {name} {text}, got {value}")


def clip_grad_norm(grads: Any, max_norm: float) -> Any:
    """The tree scaled down so that its 2-norm is at most `max_norm`, and the norm it had."""
    leaves: list[Any] = []
    tree_map(leaves.append, grads)
    squares = [mx.sum(mx.square(leaf)) for leaf in leaves]
    total = mx.sqrt(sum(squares[1:], squares[0]) if squares else mx.array(0.0))
    factor = mx.minimum(max_norm / (total + 1e-6), 1.0)
    return tree_map(lambda g: g * factor, grads), total

"""Recurrent layers over sequences (..., L, input_size), giving (..., L, hidden_size)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lamina.core as mx
from lamina.nn.activations import tanh
from lamina.nn.module import Module


def _uniform(hidden_size: int, *shape: int) -> mx.array:
    scale = 1.0 / math.sqrt(hidden_size)
    return mx.random.uniform(low=-scale, high=scale, shape=shape)


def _projected(layer: Module, x: mx.array, weight: mx.array, bias: mx.array | None) -> mx.array:
    """The inputs of all steps projected at once, which leaves one product a step."""
    if x.ndim < 2 or x.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"{type(layer).__name__}: expected (..., L, {weight.shape[-1]}), got {tuple(x.shape)}"
        )
    return x @ weight.T if bias is None else mx.addmm(bias, x, weight.T)


class RNN(Module):
    """h' = nonlinearity(x @ Wxh.T + h @ Whh.T + bias), tanh by default; returns all states."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__()
        if nonlinearity is not None and not callable(nonlinearity):
            raise ValueError(f"RNN: expected a callable nonlinearity, got {nonlinearity!r}")
        self.nonlinearity = nonlinearity or tanh
        self.hidden_size = hidden_size
        self.Wxh = _uniform(hidden_size, hidden_size, input_size)
        self.Whh = _uniform(hidden_size, hidden_size, hidden_size)
        if bias:
            self.bias = _uniform(hidden_size, hidden_size)

    def _extra_repr(self) -> str:
        return (
            f"input_dims={self['Wxh'].shape[1]}, hidden_size={self.hidden_size}, "
            f"nonlinearity={self.nonlinearity}, bias={'bias' in self}"
        )

    def __call__(self, x: mx.array, hidden: mx.array | None = None) -> mx.array:
        x = _projected(self, x, self["Wxh"], self.get("bias"))
        weight = self["Whh"].T
        states: list[Any] = []
        for t in range(x.shape[-2]):
            step = x[..., t, :]
            hidden = self.nonlinearity(step if hidden is None else mx.addmm(step, hidden, weight))
            states.append(hidden)
        return mx.stack(states, axis=-2)


class GRU(Module):
    """Gated recurrent unit, returns all states.

    The gates' weights are stacked reset, update, new; a bias of the new gate's state term is apart.
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.Wx = _uniform(hidden_size, 3 * hidden_size, input_size)
        self.Wh = _uniform(hidden_size, 3 * hidden_size, hidden_size)
        if bias:
            self.b = _uniform(hidden_size, 3 * hidden_size)
            self.bhn = _uniform(hidden_size, hidden_size)

    def _extra_repr(self) -> str:
        return (
            f"input_dims={self['Wx'].shape[1]}, hidden_size={self.hidden_size}, bias={'b' in self}"
        )

    def __call__(self, x: mx.array, hidden: mx.array | None = None) -> mx.array:
        x = _projected(self, x, self["Wx"], self.get("b"))
        size, weight, bhn = self.hidden_size, self["Wh"].T, self.get("bhn")
        states: list[Any] = []
        for t in range(x.shape[-2]):
            gates, new = x[..., t, : 2 * size], x[..., t, 2 * size :]
            from_hidden = bhn
            if hidden is not None:
                projected = hidden @ weight
                gates = gates + projected[..., : 2 * size]
                from_hidden = projected[..., 2 * size :]
                if bhn is not None:
                    from_hidden = from_hidden + bhn
            gates = mx.sigmoid(gates)
            reset, update = gates[..., :size], gates[..., size:]
            if from_hidden is not None:
                new = new + reset * from_hidden
            written = (1 - update) * mx.tanh(new)
            hidden = written if hidden is None else written + update * hidden
            states.append(hidden)
        return mx.stack(states, axis=-2)


class LSTM(Module):
    """Long short-term memory; the gates' weights are stacked input, forget, cell, output.

    Returns all hidden states and all cell states.
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.Wx = _uniform(hidden_size, 4 * hidden_size, input_size)
        self.Wh = _uniform(hidden_size, 4 * hidden_size, hidden_size)
        if bias:
            self.bias = _uniform(hidden_size, 4 * hidden_size)

    def _extra_repr(self) -> str:
        return (
            f"input_dims={self['Wx'].shape[1]}, hidden_size={self.hidden_size}, "
            f"bias={'bias' in self}"
        )

    def __call__(
        self, x: mx.array, hidden: mx.array | None = None, cell: mx.array | None = None
    ) -> tuple[mx.array, mx.array]:
        x = _projected(self, x, self["Wx"], self.get("bias"))
        weight = self["Wh"].T
        hiddens: list[Any] = []
        cells: list[Any] = []
        for t in range(x.shape[-2]):
            gates = x[..., t, :]
            if hidden is not None:
                gates = mx.addmm(gates, hidden, weight)
            i, f, g, o = mx.split(gates, 4, axis=-1)
            written = mx.sigmoid(i) * mx.tanh(g)
            cell = written if cell is None else mx.sigmoid(f) * cell + written
            hidden = mx.sigmoid(o) * mx.tanh(cell)
            hiddens.append(hidden)
            cells.append(cell)
        return mx.stack(hiddens, axis=-2), mx.stack(cells, axis=-2)

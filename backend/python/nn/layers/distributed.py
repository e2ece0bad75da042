"""Linear layers whose parameters are shared out among the processes of a group."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import lamina.core as mx
from lamina.nn.linear import Linear
from lamina.nn.module import Module
from lamina.nn.quantized import QuantizedLinear, _Quantized, _uniform
from lamina.utils import tree_flatten, tree_map, tree_map_with_path, tree_unflatten

Segments = int | list[Any]
Sharding = str | Callable[[str, mx.array], Any]
_KINDS = ("all-to-sharded", "sharded-to-all")


@lru_cache
def sum_gradients(group: mx.distributed.Group) -> Callable[[mx.array], mx.array]:
    """The identity, whose gradient is summed over the group."""
    if group.size() == 1:
        return lambda x: x

    @mx.custom_function
    def same(x: mx.array) -> mx.array:
        return x

    @same.vjp
    def same_vjp(x: mx.array, cotangent: mx.array, _: mx.array) -> mx.array:
        return mx.distributed.all_sum(cotangent, group=group)

    return same


def _part(weight: mx.array, axis: int, segments: Segments, group: mx.distributed.Group) -> mx.array:
    """The part of every segment along the axis that is this process's."""
    size, rank = group.size(), group.rank()
    if isinstance(segments, int):
        pieces = mx.split(weight, segments, axis=axis)
    else:
        total = weight.shape[axis]
        places = [int(s * total) if isinstance(s, float) else s for s in segments]
        pieces = mx.split(weight, tuple(places), axis=axis)
    for piece in pieces:
        if piece.shape[axis] % size:
            raise ValueError(
                f"shard: axis {axis} of shape {tuple(weight.shape)} in segments {segments} does "
                f"not divide among {size} processes"
            )
    parts = [mx.split(piece, size, axis=axis)[rank] for piece in pieces]
    return mx.contiguous(mx.concatenate(parts, axis=axis))


def _shard(
    parameters: Any, where: Callable[[str, mx.array], Any], group: mx.distributed.Group
) -> Any:
    """The tree with each array's part; `where` gives its axis, (axis, segments), or None: whole."""

    def one(path: str, weight: Any) -> Any:
        if not isinstance(weight, mx.array):
            return weight
        place = where(path, weight)
        if place is None:
            return weight
        axis, segments = place if isinstance(place, tuple) else (place, 1)
        return _part(weight, axis, segments, group)

    return tree_map_with_path(one, parameters)


def _all_to_sharded(segments: Segments) -> Callable[[str, mx.array], Any]:
    """Outputs are shared out: the rows of the weight, and the bias."""
    return lambda path, weight: (max(weight.ndim - 2, 0), segments)


def _sharded_to_all(segments: Segments) -> Callable[[str, mx.array], Any]:
    """Inputs are shared out: the columns of the weight; the bias stays whole."""
    return lambda path, weight: None if path.endswith("bias") else (-1, segments)


def _places(sharding: Sharding, segments: Segments, op: str) -> Callable[[str, mx.array], Any]:
    if callable(sharding):
        return sharding
    if sharding not in _KINDS:
        raise ValueError(f"{op}: sharding must be one of {', '.join(_KINDS)}, got {sharding!r}")
    return _all_to_sharded(segments) if sharding == _KINDS[0] else _sharded_to_all(segments)


def _divided(dims: int, what: str, kind: str, group: mx.distributed.Group) -> int:
    if dims % group.size():
        raise ValueError(
            f"{kind}: {what}={dims} does not divide among the {group.size()} processes of the group"
        )
    return dims // group.size()


class AllToShardedLinear(Module):
    """A linear map whose outputs are shared out: every process computes its own part.

    The input is the same everywhere, and its gradient is summed over the group.
    """

    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        bias: bool = True,
        group: mx.distributed.Group | None = None,
    ) -> None:
        super().__init__()
        self.group = group or mx.distributed.init()
        part = _divided(output_dims, "output_dims", type(self).__name__, self.group)
        scale = math.sqrt(1.0 / input_dims)
        self.weight = mx.random.uniform(low=-scale, high=scale, shape=(part, input_dims))
        if bias:
            self.bias = mx.random.uniform(low=-scale, high=scale, shape=(part,))

    def _extra_repr(self) -> str:
        output_dims, input_dims = self["weight"].shape
        output_dims *= self.group.size()
        return f"input_dims={input_dims}, output_dims={output_dims}, bias={'bias' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        x = sum_gradients(self.group)(x)
        if "bias" in self:
            return mx.addmm(self["bias"], x, self["weight"].T)
        return x @ self["weight"].T

    @classmethod
    def from_linear(
        cls,
        linear_layer: Module,
        *,
        segments: Segments = 1,
        group: mx.distributed.Group | None = None,
    ) -> Module:
        """The layer with this process's part of the parameters of `linear_layer`."""
        return _from_linear(cls, linear_layer, _all_to_sharded(segments), group)


class ShardedToAllLinear(Module):
    """A linear map of inputs that are shared out: the parts are summed over the group."""

    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        bias: bool = True,
        group: mx.distributed.Group | None = None,
    ) -> None:
        super().__init__()
        self.group = group or mx.distributed.init()
        part = _divided(input_dims, "input_dims", type(self).__name__, self.group)
        scale = math.sqrt(1.0 / input_dims)
        self.weight = mx.random.uniform(low=-scale, high=scale, shape=(output_dims, part))
        if bias:
            self.bias = mx.random.uniform(low=-scale, high=scale, shape=(output_dims,))

    def _extra_repr(self) -> str:
        output_dims, input_dims = self["weight"].shape
        input_dims *= self.group.size()
        return f"input_dims={input_dims}, output_dims={output_dims}, bias={'bias' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        y = mx.distributed.all_sum(x @ self["weight"].T, group=self.group)
        return y + self["bias"] if "bias" in self else y

    @classmethod
    def from_linear(
        cls,
        linear_layer: Module,
        *,
        segments: Segments = 1,
        group: mx.distributed.Group | None = None,
    ) -> Module:
        """The layer with this process's part of the parameters of `linear_layer`."""
        return _from_linear(cls, linear_layer, _sharded_to_all(segments), group)


class _QuantizedShard(_Quantized):
    """A quantized linear map of which every process holds a part."""

    def _prepare(
        self, rows: int, columns: int, bias: int | None, how: dict[str, Any], group: Any
    ) -> None:
        self.group = group
        self._choose(**how)
        if bias is not None:
            self.bias = mx.zeros((bias,))
        self._take(_uniform(rows, columns))

    def _whole(self) -> tuple[int, int]:
        """input_dims and output_dims of all processes together."""
        raise NotImplementedError

    def _extra_repr(self) -> str:
        input_dims, output_dims = self._whole()
        dims = f"input_dims={input_dims}, output_dims={output_dims}, bias={'bias' in self}"
        return f"{dims}, {self._format()}"

    @classmethod
    def _from_layer(
        cls, layer: Module, where: Callable[[str, mx.array], Any], group: Any, dims: tuple[int, int]
    ) -> Module:
        made = cast(Any, cls)(*dims, "bias" in layer, **layer._how(), group=group)
        made.update(_shard(layer.parameters(), where, made.group))
        return cast(Module, made)


class QuantizedAllToShardedLinear(_QuantizedShard):
    """`AllToShardedLinear` with a quantized weight."""

    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        bias: bool = True,
        group_size: int = 64,
        bits: int = 4,
        mode: str = "affine",
        group: mx.distributed.Group | None = None,
    ) -> None:
        super().__init__()
        group = group or mx.distributed.init()
        part = _divided(output_dims, "output_dims", type(self).__name__, group)
        how = {"group_size": group_size, "bits": bits, "mode": mode}
        self._prepare(part, input_dims, part if bias else None, how, group)

    def _whole(self) -> tuple[int, int]:
        rows, columns = self._shape()
        return columns, rows * self.group.size()

    def __call__(self, x: mx.array) -> mx.array:
        y = self._product(sum_gradients(self.group)(x))
        return y + self["bias"] if "bias" in self else y

    @classmethod
    def from_quantized_linear(
        cls,
        quantized_linear_layer: Module,
        *,
        segments: Segments = 1,
        group: mx.distributed.Group | None = None,
    ) -> Module:
        """The layer with this process's part of the parameters of a `QuantizedLinear`."""
        rows, columns = quantized_linear_layer._shape()
        where = _all_to_sharded(segments)
        return cls._from_layer(quantized_linear_layer, where, group, (columns, rows))


class QuantizedShardedToAllLinear(_QuantizedShard):
    """`ShardedToAllLinear` with a quantized weight."""

    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        bias: bool = True,
        group_size: int = 64,
        bits: int = 4,
        mode: str = "affine",
        group: mx.distributed.Group | None = None,
    ) -> None:
        super().__init__()
        group = group or mx.distributed.init()
        part = _divided(input_dims, "input_dims", type(self).__name__, group)
        how = {"group_size": group_size, "bits": bits, "mode": mode}
        self._prepare(output_dims, part, output_dims if bias else None, how, group)

    def _whole(self) -> tuple[int, int]:
        rows, columns = self._shape()
        return columns * self.group.size(), rows

    def __call__(self, x: mx.array) -> mx.array:
        y = mx.distributed.all_sum(self._product(x), group=self.group)
        return y + self["bias"] if "bias" in self else y

    @classmethod
    def from_quantized_linear(
        cls,
        quantized_linear_layer: Module,
        *,
        segments: Segments = 1,
        group: mx.distributed.Group | None = None,
    ) -> Module:
        """The layer with this process's part of the parameters of a `QuantizedLinear`."""
        rows, columns = quantized_linear_layer._shape()
        where = _sharded_to_all(segments)
        return cls._from_layer(quantized_linear_layer, where, group, (columns, rows))


def _from_linear(
    cls: Any,
    layer: Module,
    where: Callable[[str, mx.array], Any],
    group: mx.distributed.Group | None,
) -> Module:
    group = group or mx.distributed.init()
    output_dims, input_dims = layer.weight.shape
    made: Module = cls(input_dims, output_dims, "bias" in layer, group)
    made.update(_shard(layer.parameters(), where, group))
    return made


def shard_inplace(
    module: Module,
    sharding: Sharding,
    *,
    segments: Segments = 1,
    group: mx.distributed.Group | None = None,
) -> None:
    """Leave `module` only this process's part of its parameters.

    `sharding` is "all-to-sharded", "sharded-to-all", or a function of a parameter's path and array
    that gives the axis, or (axis, segments), or None for what stays whole.
    """
    group = group or mx.distributed.init()
    places = _places(sharding, segments, "shard_inplace")
    module.update(_shard(module.parameters(), places, group))


def shard_linear(
    module: Module,
    sharding: str,
    *,
    segments: Segments = 1,
    group: mx.distributed.Group | None = None,
) -> Module:
    """A new linear layer with this process's part of the parameters, which communicates.

    `segments` are parts of the weight that are shared out one by one, such as the three of a fused
    query, key and value projection.
    """
    _places(sharding, segments, "shard_linear")
    rows = sharding == _KINDS[0]
    if isinstance(module, QuantizedLinear):
        quantized = QuantizedAllToShardedLinear if rows else QuantizedShardedToAllLinear
        return quantized.from_quantized_linear(module, segments=segments, group=group)
    if not isinstance(module, Linear):
        raise TypeError(f"shard_linear: expected a Linear layer, got {type(module).__name__}")
    plain = AllToShardedLinear if rows else ShardedToAllLinear
    return plain.from_linear(module, segments=segments, group=group)


class FullyShardedModule(Module):
    """A module of whose parameters every process holds a part along the first axis.

    A call gathers them, in `compute_dtype` if given; their gradients come back in parts, summed.
    """

    def __init__(
        self,
        module: Module,
        group: mx.distributed.Group | None = None,
        compute_dtype: mx.Dtype | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(module, Module):
            raise TypeError(f"FullyShardedModule: expected a Module, got {type(module).__name__}")
        self._group = group or mx.distributed.init()
        self._compute_dtype = compute_dtype
        module.update(_shard(module.parameters(), lambda path, weight: 0, self._group))
        self.module = module

    def _extra_repr(self) -> str:
        return f"group_size={self._group.size()}"

    def _gathered(self, weight: mx.array) -> mx.array:
        if self._compute_dtype is not None and mx.issubdtype(weight.dtype, mx.floating):
            weight = weight.astype(self._compute_dtype)
        return mx.distributed.all_gather(weight, group=self._group)

    def _on_whole(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        parts = self.module.parameters()
        whole = [(path, self._gathered(weight)) for path, weight in tree_flatten(parts)]
        kept = tree_map(lambda weight: weight, parts)
        self.module.update(tree_unflatten(whole))
        try:
            return function(*args, **kwargs)
        finally:
            self.module.update(kept)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._on_whole(self.module, args, kwargs)

    def as_linear(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own `as_linear`, as of an Embedding, on the gathered parameters."""
        return self._on_whole(self.module.as_linear, args, kwargs)


def fully_shard(
    module: Module,
    *,
    group: mx.distributed.Group | None = None,
    compute_dtype: mx.Dtype | None = None,
) -> Module:
    """The module with its parameters shared out; in a group of one, the module itself."""
    group = group or mx.distributed.init()
    if group.size() == 1:
        return module
    return FullyShardedModule(module, group, compute_dtype)

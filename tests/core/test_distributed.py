"""A group of one process, and what is said where more would be needed."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lamina.core as mx
import mlx.core as omx
import mlx.nn.layers.distributed as other
import mlx.nn.utils as other_utils
import numpy as np
import pytest
from arrays import check, to_numpy
from lamina import distributed, nn
from lamina.nn import utils
from lamina.nn.layers import distributed as layers
from lamina.utils import tree_flatten

REDUCTIONS = ["all_sum", "all_max", "all_min", "all_gather", "sum_scatter"]


def test_the_group() -> None:
    group = mx.distributed.init()
    assert (group.rank(), group.size()) == (0, 1)
    assert repr(group) == "Group(rank=0, size=1)"
    assert mx.distributed.init(backend="ring").size() == 1
    assert [mx.distributed.is_available(b) for b in ("any", "mpi", "nccl")] == [False] * 3


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_give_their_input(name: str) -> None:
    f = getattr(mx.distributed, name)
    x = mx.array([1.0, 2.0])
    y = f(x, group=mx.distributed.init(), stream=mx.cpu)
    y += 1
    assert x.tolist() == [1, 2] and y.tolist() == [2, 3]
    assert f(3).item() == getattr(omx.distributed, name)(3).item()
    assert mx.grad(lambda a: f(a).sum())(x).tolist() == [1, 1]
    assert mx.vmap(f)(mx.ones((2, 2))).tolist() == [[1, 1], [1, 1]]
    with pytest.raises(TypeError, match=rf"distributed.{name}: x must be an array, got \[1\]"):
        f([1])
    with pytest.raises(TypeError, match=rf"distributed.{name}: group must be a Group or None"):
        f(x, group=2)
    with pytest.raises(mx.DeviceError, match=rf"distributed.{name}: no backend for a group of 4"):
        f(x, group=distributed._group(1, 4))


def test_no_peers() -> None:
    x = mx.array(1.0)
    for call, name in (
        (lambda: mx.distributed.send(x, 1), "send"),
        (lambda: mx.distributed.recv((2,), mx.float32, 1), "recv"),
        (lambda: mx.distributed.recv_like(x, 1), "recv_like"),
    ):
        message = rf"distributed.{name}: a group of one process has no peer, got 1"
        with pytest.raises(ValueError, match=message):
            call()


def test_refusals() -> None:
    with pytest.raises(mx.DeviceError, match=r"distributed.init: no backend is available \(ring"):
        mx.distributed.init(strict=True, backend="ring")
    for f in (mx.distributed.init, mx.distributed.is_available):
        with pytest.raises(ValueError, match=r"backend must be one of any, mpi, .*, got 'smoke'"):
            f(backend="smoke")
    with pytest.raises(mx.DeviceError, match=r"Group.split: a group of 1 cannot be split"):
        mx.distributed.init().split(0)
    with pytest.raises(TypeError, match=r"groups come from distributed.init\(\)"):
        mx.distributed.Group()


@pytest.mark.parametrize("launcher", ["OMPI_COMM_WORLD_SIZE", "MLX_WORLD_SIZE", "MLX_HOSTFILE"])
def test_one_of_several_processes_is_told(launcher: str, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.json"
    hosts.write_text(json.dumps([["a:1"], ["b:1"], ["c:1"]]))
    value = str(hosts) if launcher == "MLX_HOSTFILE" else "3"
    environment = {**os.environ, launcher: value, "MLX_RANK": "0"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    code = "import lamina.core as mx; mx.distributed.init()"
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert f"DeviceError: distributed.init: {launcher} says 3 processes" in run.stderr


# --- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharding", ["all-to-sharded", "sharded-to-all"])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers(sharding: str, bias: bool) -> None:
    linear = nn.Linear(8, 6, bias=bias)
    x = mx.random.normal((3, 8), key=mx.random.key(1))
    made = layers.shard_linear(linear, sharding)
    check(made(x), to_numpy(linear(x)))
    grads = [nn.value_and_grad(m, lambda y, m=m: mx.sum(m(y) ** 2))(x)[1] for m in (made, linear)]
    for (name, got), (_, want) in zip(tree_flatten(grads[0]), tree_flatten(grads[1]), strict=True):
        check(got, to_numpy(want), 1e-5, name)
    assert repr(made) == f"{type(made).__name__}(input_dims=8, output_dims=6, bias={bias})"
    fresh = type(made)(8, 6, bias)
    assert fresh(x).shape == (3, 6) and ("bias" in fresh) is bias


def test_parts_of_a_larger_group() -> None:
    """Every process's part of the parameters; what would be sent is refused."""
    linear = nn.Linear(8, 12)
    weight, bias = linear.weight, linear.bias
    groups = [distributed._group(rank, 2) for rank in range(2)]
    for rank, group in enumerate(groups):
        rows = layers.shard_linear(linear, "all-to-sharded", segments=3, group=group)
        want = np.concatenate([to_numpy(w)[2 * rank : 2 * rank + 2] for w in mx.split(weight, 3)])
        check(rows.weight, want)
        assert rows.bias.shape == (6,) and "output_dims=12" in repr(rows)
        columns = layers.shard_linear(linear, "sharded-to-all", group=group)
        check(columns.weight, to_numpy(weight)[:, 4 * rank : 4 * rank + 4])
        check(columns.bias, to_numpy(bias))
        with pytest.raises(mx.DeviceError, match=r"distributed.all_sum: no backend for a group"):
            columns(mx.ones((1, 4)))
        unequal = layers.shard_linear(linear, "all-to-sharded", segments=[1 / 3], group=group)
        assert unequal.weight.shape == (6, 8)
        inside = nn.Linear(8, 12)
        inside.update(linear.parameters())
        layers.shard_inplace(inside, lambda path, w: (0, 2) if w.ndim == 2 else None, group=group)
        halves = [to_numpy(w)[3 * rank : 3 * rank + 3] for w in mx.split(weight, 2)]
        check(inside.weight, np.concatenate(halves))
        check(inside.bias, to_numpy(bias))
    with pytest.raises(ValueError, match=r"axis 0 of shape \(3, 3\) in segments 1 does not divide"):
        layers.shard_inplace(nn.Linear(3, 3), "all-to-sharded", group=groups[0])
    with pytest.raises(ValueError, match=r"output_dims=3 does not divide among the 2 processes"):
        nn.AllToShardedLinear(4, 3, group=groups[0])


@pytest.mark.parametrize("sharding", ["all-to-sharded", "sharded-to-all"])
@pytest.mark.parametrize("bias", [True, False])
def test_quantized_layers(sharding: str, bias: bool) -> None:
    linear = nn.QuantizedLinear(128, 64, bias=bias, group_size=32, bits=8)
    x = mx.random.normal((3, 128), key=mx.random.key(1))
    made = layers.shard_linear(linear, sharding)
    check(made(x), to_numpy(linear(x)))
    kind = type(made).__name__
    assert repr(made) == f"{kind}(input_dims=128, output_dims=64, bias={bias}, " + (
        "group_size=32, bits=8, mode=affine)"
    )
    assert type(made)(128, 64, bias).bits == 4
    group = distributed._group(1, 2)
    half = layers.shard_linear(linear, sharding, group=group)
    rows = sharding == "all-to-sharded"
    assert half.weight.shape == ((32, 32) if rows else (64, 16))
    assert half.scales.shape == ((32, 4) if rows else (64, 2))
    assert repr(half) == repr(made)
    dense = mx.dequantize(half.weight, half.scales, half.biases, 32, 8)
    whole = to_numpy(mx.dequantize(linear.weight, linear.scales, linear.biases, 32, 8))
    check(dense, whole[32:] if rows else whole[:, 64:])


def test_fully_sharded() -> None:
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    x = mx.random.normal((3, 8), key=mx.random.key(2))
    want = to_numpy(model(x))
    assert nn.fully_shard(model) is model
    whole = nn.FullyShardedModule(model)
    check(whole(x), want)
    names = [name for name, _ in tree_flatten(whole.parameters())]
    assert names[0] == "module.layers.0.weight"
    assert nn.FullyShardedModule(nn.Linear(8, 6), compute_dtype=mx.float16)(
        x.astype(mx.float16)
    ).dtype == (mx.float16)
    assert nn.FullyShardedModule(nn.Embedding(5, 8)).as_linear(x).shape == (3, 5)
    with pytest.raises(TypeError, match="FullyShardedModule: expected a Module, got int"):
        nn.FullyShardedModule(3)


def test_layers_refuse() -> None:
    for f in (layers.shard_linear, layers.shard_inplace):
        message = f"{f.__name__}: sharding must be one of all-to-sharded, sharded-to-all, got 'x'"
        with pytest.raises(ValueError, match=message):
            f(nn.Linear(2, 2), "x")
    with pytest.raises(TypeError, match="shard_linear: expected a Linear layer, got ReLU"):
        layers.shard_linear(nn.ReLU(), "all-to-sharded")


def test_gradients() -> None:
    tree: dict[str, Any] = {"a": mx.ones((3,)), "b": [mx.full((2,), 3.0)]}
    assert utils.average_gradients(tree) is tree
    clipped, norm = utils.clip_grad_norm_sharded(tree, 1.0)
    theirs = {"a": omx.ones((3,)), "b": [omx.full((2,), 3.0)]}
    expected, length = other_utils.clip_grad_norm_sharded(theirs, 1.0)
    check(norm, np.array(length))
    check(clipped["b"][0], np.array(expected["b"][0]))
    assert layers.sum_gradients(mx.distributed.init())(tree["a"]) is tree["a"]


LAYERS = ["QuantizedAllToShardedLinear", "QuantizedShardedToAllLinear"]
LAYERS += ["AllToShardedLinear", "ShardedToAllLinear", "FullyShardedModule", "fully_shard"]
LAYERS += ["shard_inplace", "shard_linear", "sum_gradients"]


@pytest.mark.parametrize("name", [*LAYERS, "average_gradients", "clip_grad_norm_sharded"])
def test_signatures(name: str) -> None:
    here, there = (layers, other) if name in LAYERS else (utils, other_utils)

    def form(f: Any) -> list[tuple[Any, ...]]:
        return [(p.name, p.default, p.kind) for p in inspect.signature(f).parameters.values()]

    assert form(getattr(here, name)) == form(getattr(there, name))

"""The same arrays on both sides, and comparisons of what comes out."""

from __future__ import annotations

from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
from lamina.utils import tree_flatten
from mlx.utils import tree_flatten as other_flatten


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return rng(seed).standard_normal(shape).astype(np.float32)


def ours(tree: Any) -> Any:
    """NumPy arrays anywhere in `tree` as lamina arrays."""
    return _convert(tree, mx.array)


def theirs(tree: Any) -> Any:
    """NumPy arrays anywhere in `tree` as MLX arrays."""
    return _convert(tree, omx.array)


def _convert(tree: Any, make: Any) -> Any:
    if isinstance(tree, np.ndarray):
        return make(tree)
    if isinstance(tree, dict):
        return {k: _convert(v, make) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_convert(v, make) for v in tree)
    return tree


def to_numpy(x: Any) -> np.ndarray:
    """Any array; bfloat16, which NumPy lacks, widened."""
    for core in (mx, omx):
        if isinstance(x, core.array) and x.dtype == core.bfloat16:
            return np.array(x.astype(core.float32))
    return np.array(x)


def close(actual: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Arrays (or NumPy arrays) of equal shape, dtype and nearly equal values."""
    a, b = to_numpy(actual), to_numpy(expected)
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def same_tree(actual: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Our tree beside MLX's: the same paths and nearly the same leaves."""
    a, b = dict(tree_flatten(actual)), dict(other_flatten(expected))
    assert a.keys() == b.keys()
    for path in a:
        close(a[path], b[path], tolerance)


def copy_parameters(model: Any, oracle: Any) -> None:
    """Give `model` the parameters of MLX's `oracle`; names and shapes must agree."""
    flat = other_flatten(oracle.parameters())
    model.load_weights([(path, mx.array(to_numpy(value))) for path, value in flat])

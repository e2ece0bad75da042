"""Random numbers from keys: counter-based bits, made into distributions as by `mlx.core.random`.

Equal keys give equal numbers: bit for bit those of `mlx.core`, or where a logarithm or erfinv is in
play the same to a few units in the last place. Without a key a call takes one from the
global state, which `seed` sets; threads may share it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from lamina import _core as _c
from lamina._arguments import explain
from lamina._core import Dtype, array
from lamina._dtypes import floating, issubdtype

__all__ = [
    "bernoulli",
    "categorical",
    "gumbel",
    "key",
    "laplace",
    "multivariate_normal",
    "normal",
    "permutation",
    "randint",
    "seed",
    "split",
    "state",
    "truncated_normal",
    "uniform",
]

_Shape = Sequence[int]
# The largest value below 1, and the smallest above -1 in float32.
_CAP = {"float16": 0.99951171875, "bfloat16": 0.99609375, "float32": 1 - 2.0**-24}
_ABOVE_MINUS_ONE = -(1 - 2.0**-24)
_lock = threading.Lock()


def key(seed: int) -> array:
    """The key of a seed: uint32 of shape (2,)."""
    if seed < 0 or seed >= 2**64:
        raise TypeError(f"key: a seed lies in [0, 2**64), got {seed}")
    return _c.array([seed >> 32, seed & 0xFFFFFFFF], dtype=_c.uint32)


# A list, so that compiled functions can name it among their inputs and outputs.
state: list[array] = [key(time.time_ns())]


def seed(seed: int) -> None:
    """Set the global state to the key of `seed`."""
    fresh = key(seed)
    with _lock:
        state[0] = fresh


def split(key: array, num: int = 2, stream: Any = None) -> array:
    """`num` independent keys from one: uint32 of shape (num, 2)."""
    return _c.random_bits([num, 2], 4, key)


def _next_key(given: array | None) -> array:
    if given is not None:
        return given
    with _lock:
        two = split(state[0])
        state[0] = two[0]
    return two[1]


def _as(value: Any, dtype: Dtype) -> array:
    return value.astype(dtype) if isinstance(value, array) else _c.array(value, dtype=dtype)


def _float_dtype(op: str, dtype: Dtype | None) -> Dtype:
    out = _c.float32 if dtype is None else dtype
    if not issubdtype(out, floating):
        raise _c.DtypeError(f"{op}: needs a floating dtype, got {_c._dtype_name(out)}")
    return out


def _sizes(op: str, shape: int | _Shape) -> list[int]:
    return [shape] if isinstance(shape, int) else list(shape)


class _Steps:
    """Arithmetic that rounds to a dtype after every operation, as unfused kernels do.

    Fused kernels keep 16-bit floats in 32 bits between operations, so here every step is converted
    there and back.
    """

    def __init__(self, dtype: Dtype) -> None:
        self.dtype = dtype
        self.wide = dtype if dtype in (_c.float64, _c.complex64) else _c.float32

    def __call__(self, value: Any) -> array:
        x = value if isinstance(value, array) else _c.array(value, dtype=self.wide)
        return x.astype(self.dtype).astype(self.wide)

    def done(self, x: array) -> array:
        """`x` in the dtype itself."""
        return x.astype(self.dtype)


def _unit(shape: _Shape, dtype: Dtype, key: array) -> array:
    """Uniform in [0, 1): never 1, also after rounding to dtype."""
    cap = _CAP.get(_c._dtype_name(dtype), _CAP["float32"])
    bits = _c.random_bits(list(shape), 4, key).astype(_c.float32)
    return _c.minimum(bits * 2.0**-32, cap).astype(dtype)


def _between(low: array, high: array, shape: _Shape, step: _Steps, key: array) -> array:
    spread = _broadcast("uniform", shape, low, high)
    unit = step(_unit(spread, step.dtype, key))
    return step(step(unit * step(high - low)) + low)


def _broadcast(op: str, shape: _Shape, *arrays: array) -> _Shape:
    """`shape`, checked to be what the arrays broadcast to."""
    for a in arrays:
        sizes = tuple(a.shape)
        missing = len(shape) - len(sizes)
        if missing < 0 or any(s not in (1, t) for s, t in zip(sizes, shape[missing:], strict=True)):
            raise _c.ShapeError(
                f"{op}: a parameter of shape {sizes} does not broadcast to shape {tuple(shape)}"
            )
    return shape


def _symmetric(shape: _Shape, key: array) -> array:
    """Uniform in (-1, 1), float32. The width of the interval rounds to exactly 2."""
    return _unit(shape, _c.float32, key) * 2.0 + _ABOVE_MINUS_ONE


def uniform(
    low: Any = 0,
    high: Any = 1,
    shape: _Shape = (),
    dtype: Dtype | None = _c.float32,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """Uniform in [low, high), of `shape`, to which low and high broadcast."""
    kind = _float_dtype("uniform", dtype)
    step = _Steps(kind)
    drawn = _between(step(low), step(high), _sizes("uniform", shape), step, _next_key(key))
    return step.done(drawn)


def normal(
    shape: _Shape = (),
    dtype: Dtype | None = _c.float32,
    loc: Any = None,
    scale: Any = None,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """Normal with mean `loc` (0) and deviation `scale` (1), which broadcast with `shape`."""
    kind = _c.float32 if dtype is None else dtype
    sizes = _sizes("normal", shape)
    step = _Steps(kind)
    if kind == _c.complex64:
        # The parts have half the variance each: its root cancels the root of 2 of erfinv.
        parts = _c.erfinv(_symmetric([*sizes, 2], _next_key(key)))
        out = _c.reshape(_c.view(parts, _c.complex64), sizes)
        factor = None if scale is None else step(scale)
    else:
        _float_dtype("normal", kind)
        out = step(_c.erfinv(_symmetric(sizes, _next_key(key))))
        factor = step(math.sqrt(2))
        if scale is not None:
            factor = step(factor * step(scale))
    if factor is not None:
        out = step(out * factor)
    return step.done(out if loc is None else out + step(loc))


def bernoulli(
    p: Any = 0.5, shape: _Shape | None = None, key: array | None = None, stream: Any = None
) -> array:
    """Booleans that are true with probability `p`; of p's shape if none is given."""
    chance = p if isinstance(p, array) else _c.array(p)
    if not isinstance(p, array) and not issubdtype(chance.dtype, floating):
        chance = chance.astype(_c.float32)
    if not issubdtype(chance.dtype, floating):
        raise _c.DtypeError(f"bernoulli: p must be floating, got {_c._dtype_name(chance.dtype)}")
    sizes = list(chance.shape) if shape is None else _sizes("bernoulli", shape)
    _broadcast("bernoulli", sizes, chance)
    return _unit(sizes, _c.float32, _next_key(key)) < chance


def randint(
    low: Any,
    high: Any,
    shape: _Shape = (),
    dtype: Dtype | None = _c.int32,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """Integers in [low, high), of `shape`, to which low and high broadcast."""
    kind = _c.int32 if dtype is None else dtype
    if issubdtype(kind, floating) or kind == _c.complex64:
        raise _c.DtypeError(f"randint: needs an integer dtype, got {_c._dtype_name(kind)}")
    sizes = _sizes("randint", shape)
    ends = [v if isinstance(v, array) else _c.array(v) for v in (low, high)]
    first, last = (e.astype(_c.float32) for e in ends)
    drawn = _c.floor(_between(first, last, sizes, _Steps(_c.float32), _next_key(key))).astype(kind)
    top = ends[1].astype(kind) - _as(1, kind)
    return _c.maximum(_c.minimum(drawn, top), ends[0].astype(kind))


def gumbel(
    shape: _Shape = (),
    dtype: Dtype | None = _c.float32,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """The standard Gumbel distribution."""
    kind = _float_dtype("gumbel", dtype)
    step = _Steps(kind)
    u = step(_unit(_sizes("gumbel", shape), kind, _next_key(key)))
    return step.done(-_c.log(step(-_c.log(u))))


def laplace(
    shape: _Shape = (),
    dtype: Dtype | None = _c.float32,
    loc: float = 0.0,
    scale: float = 1.0,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """The Laplace distribution with mean `loc` and scale `scale`."""
    kind = _float_dtype("laplace", dtype)
    step = _Steps(kind)
    u = _symmetric(_sizes("laplace", shape), _next_key(key))
    out = step(_c.sign(u) * _c.log1p(-_c.abs(u)))
    if scale != 1:
        out = step(out * step(scale))
    return step.done(out if loc == 0 else out + step(loc))


def truncated_normal(
    lower: Any,
    upper: Any,
    shape: _Shape | None = None,
    dtype: Dtype | None = _c.float32,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """The standard normal distribution cut to [lower, upper], which broadcast to `shape`."""
    kind = _float_dtype("truncated_normal", dtype)
    step = _Steps(kind)
    low, high = step(lower), step(upper)
    if shape is None:
        sizes: _Shape = list((low + high).shape)
    else:
        sizes = _broadcast("truncated_normal", _sizes("truncated_normal", shape), low, high)
    root = step(math.sqrt(2))
    a, b = (step(_c.erf(step(end / root))) for end in (low, high))
    unit = step(_unit(sizes, kind, _next_key(key)))
    x = step(_c.erfinv(step(step(unit * step(b - a)) + a)))
    return step.done(_c.minimum(_c.maximum(step(x * root), low), high))


def multivariate_normal(
    mean: array,
    cov: array,
    shape: _Shape = (),
    dtype: Dtype | None = _c.float32,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """Vectors of jointly normal numbers, float32, with means (..., n) and covariances (..., n, n).

    Of shape (*shape, n); the batches of mean and cov broadcast to `shape`, which without it is what
    they broadcast to. NaN where a covariance is not positive semidefinite.
    """
    op = "multivariate_normal"
    if dtype is not None and dtype != _c.float32:
        raise _c.DtypeError(f"{op}: the dtype must be float32, got {_c._dtype_name(dtype)}")
    if mean.ndim < 1 or cov.ndim < 2 or cov.shape[-2:] != (mean.shape[-1], mean.shape[-1]):
        raise _c.ShapeError(
            f"{op}: mean (..., n) and cov (..., n, n) do not fit: {tuple(mean.shape)} and "
            f"{tuple(cov.shape)}"
        )
    try:
        batch = np.broadcast_shapes(mean.shape[:-1], cov.shape[:-2], _sizes(op, shape))
    except ValueError:
        raise _c.ShapeError(
            f"{op}: batches of mean {tuple(mean.shape)} and cov {tuple(cov.shape)} do not "
            f"broadcast to shape {tuple(shape)}"
        ) from None
    root = _c._matrix_sqrt(cov.astype(_c.float32))
    noise = normal([*batch, mean.shape[-1]], key=key)
    return mean.astype(_c.float32) + _c.squeeze(_c.matmul(_c.expand_dims(noise, -2), root), -2)


def permutation(
    x: int | array, axis: int = 0, key: array | None = None, stream: Any = None
) -> array:
    """The numbers 0 .. x - 1 (uint32) or the slices of the array `x` along `axis`, shuffled."""
    n = x.shape[axis] if isinstance(x, array) else x
    order = _c.argsort(_c.random_bits([n], 4, _next_key(key)))
    return _c.take(x, order, axis) if isinstance(x, array) else order


def _by_cumulative_sum(logits: array, shape: _Shape, key: array | None) -> array:
    wide = _c.flatten(logits.astype(_c.float32))
    sums = _c.cumsum(_c.exp(wide - _c.max(wide)), 0)
    place = _unit(shape, _c.float32, _next_key(key)) * sums[-1]
    return _c.searchsorted(sums, place, side="right")


def categorical(
    logits: array,
    axis: int = -1,
    shape: _Shape | None = None,
    num_samples: int | None = None,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """Positions along `axis` drawn with the probabilities softmax(logits), uint32.

    The result has the shape of logits without the axis; `num_samples` adds an axis at the end, and
    `shape` is a shape that logits without the axis broadcast to. Not both.
    """
    if shape is not None and num_samples is not None:
        raise _c.ArgumentError("categorical: give shape or num_samples, not both")
    rank = logits.ndim
    if not -rank <= axis < rank:
        raise _c.AxisError(f"categorical: axis {axis} is out of bounds for shape {logits.shape}")
    at = axis % rank - rank
    # One distribution is drawn from by its cumulative sum, as in mlx; several by Gumbel's trick.
    alone = logits.size == logits.shape[axis] > 0
    if alone and (rank > 1 or shape is not None or num_samples is not None):
        if num_samples is not None:
            drawn = [1] * (rank - 1) + [num_samples]
        else:
            drawn = [1] * (rank - 1) if shape is None else _sizes("categorical", shape)
        return _by_cumulative_sum(logits, drawn, key)
    if num_samples is not None:
        noise = gumbel([*logits.shape, num_samples], key=key)
        return _c.argmax(_c.expand_dims(logits, -1) + noise, at - 1)
    full = list(logits.shape)
    if shape is not None:
        rest = full[: at + rank] + full[at + rank + 1 :]
        full = _sizes("categorical", shape)
        missing = len(full) - len(rest)
        if missing < 0 or any(r not in (1, f) for r, f in zip(rest, full[missing:], strict=True)):
            raise _c.ShapeError(
                f"categorical: logits of shape {tuple(logits.shape)} without axis {axis} do not "
                f"broadcast to shape {tuple(full)}"
            )
        full.insert(len(full) + 1 + at, logits.shape[at])
    return _c.argmax(logits + gumbel(full, key=key), at)


explain(globals(), __all__, state=True)

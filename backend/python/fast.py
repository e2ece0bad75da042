"""Common compositions under the names of `mlx.core.fast`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lamina import _core as _c
from lamina._arguments import explain
from lamina._core import array

__all__ = [
    "cross_entropy",
    "cuda_kernel",
    "layer_norm",
    "metal_kernel",
    "rms_norm",
    "rope",
    "scaled_dot_product_attention",
]


def rms_norm(x: array, weight: array | None, eps: float, *, stream: Any = None) -> array:
    """``x / sqrt(mean(x^2) + eps)`` over the last axis, times `weight` (its size) if given."""
    return _c.rms_norm(x, weight, eps)


def layer_norm(
    x: array, weight: array | None, bias: array | None, eps: float, *, stream: Any = None
) -> array:
    """``(x - mean) / sqrt(variance + eps)`` over the last axis, times `weight`, plus `bias`."""
    return _c.layer_norm(x, weight, bias, eps)


def _angles(
    length: int,
    half: int,
    base: float | None,
    scale: float,
    offset: int | array,
    freqs: array | None,
) -> array:
    """Radians, (length, half), or (batch, 1, length, half) for one offset per example."""
    if (base is None) == (freqs is None):
        raise ValueError("rope: give exactly one of base and freqs")
    if freqs is not None:
        if tuple(freqs.shape) != (half,):
            raise ValueError(f"rope: freqs must have shape ({half},), got {tuple(freqs.shape)}")
        rates = _c.reciprocal(freqs.astype(_c.float32))
    else:
        assert base is not None
        rates = _c.exp(_c._arange(0, half, 1, _c.float32) * (-math.log(base) / half))
    places = _c._arange(0, length, 1, _c.float32)
    if isinstance(offset, array):
        start = offset.astype(_c.float32)
        places = places + (_c.reshape(start, [-1, 1, 1]) if start.ndim else start)
    else:
        places = places + float(offset)
    return _c.expand_dims(places * scale, -1) * rates


def rope(
    a: array,
    dims: int,
    *,
    traditional: bool,
    base: float | None,
    scale: float,
    offset: int | array,
    freqs: array | None = None,
    stream: Any = None,
) -> array:
    """Rotary positions: pairs of the first `dims` features of `a` (B, ..., T, D) rotated.

    `traditional` pairs neighbours, otherwise the two halves. Rates come from `base` or from
    `freqs` (dims / 2), not both. `offset` is the first position, or one per example.
    """
    if a.ndim < 3:
        raise ValueError(f"rope: expected 3 axes or more, got shape {tuple(a.shape)}")
    if dims % 2 or dims > a.shape[-1]:
        raise ValueError(f"rope: dims={dims} must be even and at most {a.shape[-1]}")
    shape, half = list(a.shape), dims // 2
    x = a if a.ndim == 4 else _c.reshape(a, [shape[0], -1, *shape[-2:]])
    angle = _angles(shape[-2], half, base, scale, offset, freqs)
    cos, sin = _c.cos(angle).astype(a.dtype), _c.sin(angle).astype(a.dtype)
    parts = _c._split(x, [dims], -1) if dims < shape[-1] else [x]
    if traditional:
        pairs = _c.unflatten(parts[0], -1, [half, 2])
        one, two = (_c.squeeze(p, -1) for p in _c._split(pairs, [1], -1))
    else:
        one, two = _c._split(parts[0], [half], -1)
    rotated = [one * cos - two * sin, one * sin + two * cos]
    if traditional:
        turned = _c.flatten(_c._stack(rotated, -1), -2, -1)
    else:
        turned = _c._concatenate(rotated, -1)
    return _c.reshape(_c._concatenate([turned, *parts[1:]], -1), shape)


def _masked(scores: array, mask: str | array, heads: tuple[int, int]) -> array:
    """Scores (B, N_kv, N_q / N_kv, T_q, T_kv) under a mask for (B, N_q, T_q, T_kv)."""
    queries, keys = scores.shape[-2:]
    if isinstance(mask, str):
        if mask != "causal":
            raise ValueError(
                f"scaled_dot_product_attention: mask must be 'causal' or an array, got {mask!r}"
            )
        # The last query aligns with the last key.
        mask = _c._tri(queries, keys, keys - queries, _c.bool_)
    elif mask.ndim == 4:
        batch, count = mask.shape[:2]
        groups = [1, 1] if count == 1 else [heads[0], heads[1] // heads[0]]
        mask = _c.reshape(mask, [batch, *groups, *mask.shape[2:]])
    elif mask.ndim == 3:
        groups = [1, 1] if mask.shape[0] == 1 else [heads[0], heads[1] // heads[0]]
        mask = _c.reshape(mask, [*groups, *mask.shape[1:]])
    if mask.dtype == _c.bool_:
        return _c.where(mask, scores, -math.inf)
    return scores + mask


def scaled_dot_product_attention(
    q: array,
    k: array,
    v: array,
    *,
    scale: float,
    mask: str | array | None = None,
    sinks: array | None = None,
    force_fused: bool = False,
    stream: Any = None,
) -> array:
    """``softmax(scale * q @ k.T + mask) @ v`` over (B, heads, T, D), the softmax in float32.

    `k` and `v` may have fewer heads, a divisor of q's. `mask` is "causal", boolean (true stays) or
    added; `sinks` (heads,) are scores that take weight and give nothing.
    """
    name = "scaled_dot_product_attention"
    if q.ndim != 4 or k.ndim != 4 or v.ndim != 4:
        raise ValueError(f"{name}: q, k and v need 4 axes, got {q.shape}, {k.shape}, {v.shape}")
    batch, heads, queries, width = q.shape
    groups = k.shape[1]
    if k.shape[-1] != width or v.shape[:-1] != k.shape[:-1] or heads % groups:
        raise ValueError(
            f"{name}: shapes do not fit: q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
        )
    dtype = _c._promote(_c._promote(q.dtype, k.dtype), v.dtype)
    grouped = _c.reshape(q * scale, [batch, groups, heads // groups, queries, width])
    keys = _c.expand_dims(_c.swapaxes(k, -1, -2), 2)
    scores = _c.matmul(grouped, keys)
    if mask is not None:
        scores = _masked(scores, mask, (groups, heads))
    if sinks is not None:
        column = _c.reshape(sinks.astype(scores.dtype), [1, groups, heads // groups, 1, 1])
        column = _c.broadcast_to(column, [*scores.shape[:-1], 1])
        scores = _c._concatenate([column, scores], -1)
    weights = _c.softmax(scores, -1, precise=True)
    if sinks is not None:
        weights = _c._split(weights, [1], -1)[1]
    out = _c.matmul(weights.astype(dtype), _c.expand_dims(v, 2))
    return _c.reshape(out, [batch, heads, queries, v.shape[-1]]).astype(dtype)


def cross_entropy(logits: array, targets: array, *, stream: Any = None) -> array:
    """``logsumexp(logits) - logits[target]`` over the last axis, float32, of the targets' shape."""
    if tuple(targets.shape) != tuple(logits.shape[:-1]):
        raise ValueError(
            f"cross_entropy: targets {tuple(targets.shape)} must have the shape of logits "
            f"{tuple(logits.shape)} without the last axis"
        )
    wide = logits.astype(_c.float32)
    picked = _c.take_along_axis(wide, _c.expand_dims(targets, -1), -1)
    return _c.logsumexp(wide, -1) - _c.squeeze(picked, -1)


def metal_kernel(
    name: str,
    input_names: Sequence[str],
    output_names: Sequence[str],
    source: str,
    header: str = "",
    ensure_row_contiguous: bool = True,
    atomic_outputs: bool = False,
    compile_options: Any = None,
) -> Any:
    """A kernel from the body of a Metal function; calling it launches it.

    The call takes ``inputs``, ``output_shapes``, ``output_dtypes``, ``grid`` and ``threadgroup``
    (threads), and optionally ``template``, ``init_value`` and ``verbose``; it gives a list of
    arrays. The body may name its inputs and outputs, ``<input>_shape``, ``<input>_strides``,
    ``<input>_ndim`` and Metal's thread attributes. See docs/custom-kernels.md.
    """
    if compile_options is not None:
        raise ValueError(f"metal_kernel {name}: compile_options are not supported, pass None")
    names = list(input_names), list(output_names)
    flags = ensure_row_contiguous, atomic_outputs
    return _c._TextKernel(name, *names, source, header, *flags, shared_memory=0, cuda=False)


def cuda_kernel(
    name: str,
    input_names: Sequence[str],
    output_names: Sequence[str],
    source: str,
    header: str = "",
    ensure_row_contiguous: bool = True,
    shared_memory: int = 0,
) -> Any:
    """A kernel from the body of a CUDA function; calling it launches it, as `metal_kernel` does.

    ``grid`` counts threads; `shared_memory` is the bytes of ``extern __shared__`` memory.
    """
    names = list(input_names), list(output_names)
    return _c._TextKernel(
        name,
        *names,
        source,
        header,
        ensure_row_contiguous,
        atomic_outputs=False,
        shared_memory=shared_memory,
        cuda=True,
    )


explain(globals(), __all__)

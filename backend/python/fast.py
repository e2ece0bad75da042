"""Common compositions under the names of `mlx.core.fast`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lamina import _core as _c
from lamina._arguments import explain
from lamina._core import array
from lamina._dtypes import floating, issubdtype

__all__ = [
    "cross_entropy",
    "cuda_kernel",
    "gated_delta_update",
    "layer_norm",
    "metal_kernel",
    "precompiled_cuda_kernel",
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


_ROPE_DTYPES = (_c.float16, _c.bfloat16, _c.float32)
_PLACES = (_c.int8, _c.int16, _c.int32, _c.int64, _c.uint8, _c.uint16, _c.uint32, _c.uint64)


def _angles(
    length: int,
    half: int,
    base: float | None,
    scale: float,
    offset: int | array,
    freqs: array | None,
) -> array:
    """Radians, (length, half), or (batch, 1, length, half) for one offset per example."""
    if freqs is not None:
        if tuple(freqs.shape) != (half,):
            raise _c.ShapeError(f"rope: freqs must have shape ({half},), got {tuple(freqs.shape)}")
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
    if (base is None) == (freqs is None):
        raise _c.ArgumentError("rope: give exactly one of base and freqs")
    first, starts = (0, offset) if isinstance(offset, array) else (offset, None)
    if a.dtype in _ROPE_DTYPES and (starts is None or starts.dtype in _PLACES):
        return _c._rope(a, dims, traditional, base, scale, first, starts, freqs)
    if a.ndim < 3:
        raise _c.ShapeError(f"rope: expected 3 axes or more, got shape {tuple(a.shape)}")
    if dims % 2 or dims > a.shape[-1]:
        raise _c.ShapeError(f"rope: dims={dims} must be even and at most {a.shape[-1]}")
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


def _check_mask_name(mask: str) -> None:
    if mask != "causal":
        raise _c.ArgumentError(
            f"scaled_dot_product_attention: mask must be 'causal' or an array, got {mask!r}"
        )


def _masked(scores: array, mask: str | array, heads: tuple[int, int]) -> array:
    """Scores (B, N_kv, N_q / N_kv, T_q, T_kv) under a mask for (B, N_q, T_q, T_kv)."""
    queries, keys = scores.shape[-2:]
    if isinstance(mask, str):
        _check_mask_name(mask)
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
    added; `sinks` (heads,) are scores that take weight and give nothing. A GPU computes few queries
    in one pass over the keys; `force_fused` asks for that pass whatever their number.
    """
    name = "scaled_dot_product_attention"
    if q.ndim != 4 or k.ndim != 4 or v.ndim != 4:
        raise _c.ShapeError(f"{name}: q, k and v need 4 axes, got {q.shape}, {k.shape}, {v.shape}")
    batch, heads, queries, width = q.shape
    groups = k.shape[1]
    if k.shape[-1] != width or v.shape[:-1] != k.shape[:-1] or not groups or heads % groups:
        raise _c.ShapeError(
            f"{name}: shapes do not fit: q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
        )
    if _c._fuses_attention(q, k, v, force_fused):
        causal = isinstance(mask, str)
        if isinstance(mask, str):
            _check_mask_name(mask)
            mask = None
        return _c._attention(q, k, v, scale, causal, mask, sinks)
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
        raise _c.ShapeError(
            f"cross_entropy: targets {tuple(targets.shape)} must have the shape of logits "
            f"{tuple(logits.shape)} without the last axis"
        )
    wide = logits.astype(_c.float32)
    picked = _c.take_along_axis(wide, _c.expand_dims(targets, -1), -1)
    return _c.logsumexp(wide, -1) - _c.squeeze(picked, -1)


def _gated_delta_shapes(
    q: array, k: array, v: array, gamma: array, beta: array, state: array | None, mask: array | None
) -> None:
    """Raise ValueError for the first argument that does not fit q (B, T, Hk, Dk) and v."""
    op = "gated_delta_update"
    if q.ndim != 4 or v.ndim != 4:
        raise _c.ShapeError(f"{op}: q and v need 4 axes, got {tuple(q.shape)} and {tuple(v.shape)}")
    (batch, steps, groups, width), (heads, size) = q.shape, v.shape[2:]
    if groups == 0 or heads % groups:
        raise _c.ShapeError(f"{op}: the {heads} heads of v are no multiple of the {groups} of q")
    wanted: list[tuple[str, array | None, list[tuple[int, ...]]]] = [
        ("k", k, [(batch, steps, groups, width)]),
        ("v", v, [(batch, steps, heads, size)]),
        ("gamma", gamma, [(batch, steps, heads), (batch, steps, heads, width)]),
        ("beta", beta, [(batch, steps, heads)]),
        ("initial_state", state, [(batch, heads, size, width)]),
        ("mask", mask, [(batch, steps)]),
    ]
    for name, x, shapes in wanted:
        if x is not None and tuple(x.shape) not in shapes:
            fits = " or ".join(map(str, shapes))
            raise _c.ShapeError(f"{op}: {name} must have shape {fits}, got {tuple(x.shape)}")


def gated_delta_update(
    q: array,
    k: array,
    v: array,
    gamma: array,
    beta: array,
    initial_state: array | None = None,
    mask: array | None = None,
    stream: Any = None,
) -> list[array]:
    """The gated delta rule along T: [outputs (B, T, Hv, Dv), last state (B, Hv, Dv, Dk)].

    At each step the state S decays to ``gamma * S``, learns ``beta * (v - S @ k)`` under the key k,
    and answers ``S @ q``. `q` and `k` are (B, T, Hk, Dk) with Hk a divisor of Hv, `v` (B, T, Hv,
    Dv), `gamma` (B, T, Hv) or (B, T, Hv, Dk), `beta` (B, T, Hv). Where `mask` (B, T) is False the
    state stays and the output is 0. The state is kept in float32 or float64.
    """
    _gated_delta_shapes(q, k, v, gamma, beta, initial_state, mask)
    dtype = _c._promote(_c._promote(q.dtype, k.dtype), v.dtype)
    wide = _c.float64 if dtype == _c.float64 else _c.float32
    dtype = dtype if issubdtype(dtype, floating) else wide
    batch, steps, groups, width = q.shape
    heads, size = v.shape[2:]
    # Steps first, so that each is one slice; keys and queries are shared by neighbouring heads.
    q, k = (
        _c._repeat(_c.moveaxis(x.astype(wide), 1, 0), heads // groups, 2)[..., None, :]
        for x in (q, k)
    )
    v = _c.moveaxis(v.astype(wide), 1, 0)[..., None]
    gate = _c.moveaxis(beta.astype(wide), 1, 0)[..., None, None]
    decay = _c.moveaxis(gamma.astype(wide), 1, 0)
    decay = decay[..., None, :] if decay.ndim == 4 else decay[..., None, None]
    kept = None if mask is None else _c.moveaxis(mask.astype(_c.bool_), 1, 0)[..., None, None]
    shape = [batch, heads, size, width]
    state = _c.zeros(shape, wide) if initial_state is None else initial_state.astype(wide)
    outputs = []
    for t in range(steps):
        faded = state * decay[t]
        new = gate[t] * (v[t] - _c.sum(faded * k[t], -1, True))
        learnt = faded + new * k[t]
        answer = _c.sum(learnt * q[t], -1)
        if kept is None:
            state = learnt
        else:
            state = _c.where(kept[t][..., None], learnt, state)
            answer = _c.where(kept[t], answer, 0)
        outputs.append(answer)
    if not outputs:
        return [_c.zeros([batch, 0, heads, size], dtype), state]
    return [_c._stack(outputs, 1).astype(dtype), state]


def _names(what: str, given: Sequence[str], kernel: str) -> list[str]:
    # A str is a sequence of names to Python.
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise TypeError(f"{kernel}: {what} must be a list of names, got {given!r}")
    return list(given)


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
        raise _c.ArgumentError(f"metal_kernel {name}: compile_options are not supported, pass None")
    names = (
        _names("input_names", input_names, f"metal_kernel: {name}"),
        _names("output_names", output_names, f"metal_kernel: {name}"),
    )
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
    names = (
        _names("input_names", input_names, f"cuda_kernel: {name}"),
        _names("output_names", output_names, f"cuda_kernel: {name}"),
    )
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


def precompiled_cuda_kernel(
    *,
    name: str,
    compiled_source: bytes,
    inputs: Sequence[Any],
    output_shapes: Sequence[tuple[int, ...]],
    output_dtypes: Sequence[Any],
    scalars: Sequence[Any],
    grid: tuple[int, int, int],
    threadgroup: tuple[int, int, int],
    shared_memory: int = 0,
    init_value: float | None = None,
    ensure_row_contiguous: bool = False,
    stream: Any = None,
) -> list[array]:
    """One launch of the function `name` of a compiled module (PTX, cubin or fatbin); its outputs.

    The function takes pointers to the `inputs`, pointers to the outputs (`output_shapes`,
    `output_dtypes`), then the `scalars` by value: bool, int (32 bits) and float. `grid` counts
    threads; whole groups of `threadgroup` threads are launched, with `shared_memory` bytes. Outputs
    hold `init_value` before, if that is given. Raises DeviceError when it is evaluated elsewhere
    than on an NVIDIA GPU, or the driver cannot load it. See docs/custom-kernels.md.
    """
    return _c._precompiled_cuda_kernel(
        name=name,
        compiled_source=compiled_source,
        inputs=inputs,
        output_shapes=output_shapes,
        output_dtypes=output_dtypes,
        scalars=scalars,
        grid=grid,
        threadgroup=threadgroup,
        shared_memory=shared_memory,
        init_value=init_value,
        ensure_row_contiguous=ensure_row_contiguous,
        stream=stream,
    )


explain(globals(), __all__)

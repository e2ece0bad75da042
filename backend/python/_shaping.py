"""Functions that join, cut, repeat and pad arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from lamina import _core as _c
from lamina._arguments import explain
from lamina._core import array

__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_arrays",
    "broadcast_shapes",
    "concat",
    "concatenate",
    "pad",
    "repeat",
    "roll",
    "slice",
    "slice_update",
    "split",
    "stack",
    "tile",
    "unstack",
]


def _flat(a: array) -> array:
    return _c.reshape(a, [-1])


def _as_list(arrays: Any, op: str) -> list[array]:
    if isinstance(arrays, array):
        raise TypeError(f"{op}: expected a list of arrays, got one array")
    return list(arrays)


def concatenate(arrays: Sequence[array], axis: int | None = 0, *, stream: Any = None) -> array:
    """The arrays one after another along `axis`; None: all of them flattened.

    Sizes must agree on the other axes; dtypes are promoted.
    """
    parts = _as_list(arrays, "concatenate")
    if axis is None:
        return _c._concatenate([_flat(a) for a in parts], 0)
    return _c._concatenate(parts, axis)


concat = concatenate


def stack(arrays: Sequence[array], axis: int | None = 0, *, stream: Any = None) -> array:
    """The arrays, all of one shape, along a new axis."""
    return _c._stack(_as_list(arrays, "stack"), 0 if axis is None else axis)


def split(
    a: array,
    /,
    indices_or_sections: int | Sequence[int],
    axis: int = 0,
    *,
    stream: Any = None,
) -> list[array]:
    """`a` cut along `axis` into equal sections, or before each of the given indices.

    ValueError if the sections would not be equal.
    """
    if not isinstance(indices_or_sections, int):
        return list(_c._split(a, list(indices_or_sections), axis))
    sections, size = indices_or_sections, _axis_size("split", a, axis)
    if sections < 1 or size % sections:
        raise _c.ShapeError(
            f"split: {sections} sections do not divide axis {axis} of shape {tuple(a.shape)}"
        )
    step = size // sections
    return list(_c._split(a, [step * i for i in range(1, sections)], axis))


def _axis_size(op: str, a: array, axis: int) -> int:
    if not -a.ndim <= axis < a.ndim:
        raise _c.AxisError(f"{op}: axis {axis} is out of bounds for an array with {a.ndim} axes")
    return int(a.shape[axis])


def unstack(x: array, /, *, axis: int = 0, stream: Any = None) -> tuple[array, ...]:
    """The slices of `x` along `axis`, without it."""
    size = _axis_size("unstack", x, axis)
    if size == 0:
        return ()
    return tuple(_c.squeeze(part, axis) for part in _c._split(x, list(range(1, size)), axis))


def repeat(array: array, repeats: int, axis: int | None = None, *, stream: Any = None) -> array:
    """Each element (each slice along `axis`) `repeats` times in a row; None: flattened first."""
    if axis is None:
        return _c._repeat(_flat(array), repeats, 0)
    return _c._repeat(array, repeats, axis)


def tile(a: array, reps: int | Sequence[int], /, *, stream: Any = None) -> array:
    """Copies of `a` side by side, `reps` per axis; missing axes count as 1."""
    return _c._tile(a, [reps] if isinstance(reps, int) else list(reps))


def roll(
    a: array,
    shift: int | Sequence[int],
    axis: int | Sequence[int] | None = None,
    /,
    *,
    stream: Any = None,
) -> array:
    """Elements moved `shift` places along `axis`, those past the end to the front.

    Without axis the array is rolled as if flat. Several axes take one shift each, or all the same.
    """
    shifts = [shift] if isinstance(shift, int) else list(shift)
    if axis is None:
        return _c.reshape(_c._roll(_flat(a), sum(shifts), 0), a.shape)
    if isinstance(axis, int):
        return _c._roll(a, sum(shifts), axis)
    axes = list(axis)
    if isinstance(shift, int):
        shifts = [shift] * len(axes)
    if len(shifts) < len(axes):
        raise _c.ShapeError(f"roll: {len(shifts)} shifts for {len(axes)} axes")
    for by, along in zip(shifts, axes, strict=False):
        a = _c._roll(a, by, along)
    return a


def _widths(a: array, pad_width: Any) -> list[tuple[int, int]]:
    """(before, after) of every axis."""
    if isinstance(pad_width, int):
        pairs = [(pad_width, pad_width)] * a.ndim
    elif all(isinstance(w, int) for w in pad_width):
        if len(pad_width) not in (1, 2):
            raise _c.ArgumentError(f"pad: expected one or two widths, got {tuple(pad_width)}")
        pairs = [(pad_width[0], pad_width[-1])] * a.ndim
    else:
        pairs = [(w, w) if isinstance(w, int) else (w[0], w[-1]) for w in pad_width]
        if len(pairs) == 1:
            pairs *= a.ndim
    if len(pairs) != a.ndim:
        raise _c.ShapeError(f"pad: {len(pairs)} pairs of widths for an array with {a.ndim} axes")
    for axis, pair in enumerate(pairs):
        if min(pair) < 0:
            raise _c.ShapeError(f"pad: widths must not be negative: {pair} for axis {axis}")
    return pairs


def _source(mode: str, before: int, size: int, after: int) -> list[int]:
    """Where each place of a padded axis takes its element from."""
    places = range(-before, size + after)
    if mode == "edge":
        return [min(max(i, 0), size - 1) for i in places]
    if mode == "reflect":
        period = max(1, 2 * (size - 1))
        folded = [i % period for i in places]
        return [i if i < size else period - i for i in folded]
    folded = [i % (2 * size) for i in places]
    return [i if i < size else 2 * size - 1 - i for i in folded]


def pad(
    a: array,
    pad_width: int | Sequence[Any],
    mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant",
    constant_values: Any = 0,
    *,
    stream: Any = None,
) -> array:
    """`a` widened on every axis.

    `pad_width` is one width for all sides, one (before, after) for all axes, or one pair per axis.
    The modes repeat a constant, the edge, the reflection without the edge, or with it.
    """
    widths = _widths(a, pad_width)
    if mode == "constant":
        value = _c._full((), constant_values, a.dtype)
        axes = [i for i, w in enumerate(widths) if any(w)]
        return _c._pad(a, axes, [widths[i][0] for i in axes], [widths[i][1] for i in axes], value)
    if mode not in ("edge", "reflect", "symmetric"):
        raise _c.ArgumentError(
            f"pad: mode must be constant, edge, reflect or symmetric, got {mode!r}"
        )
    for axis, (before, after) in enumerate(widths):
        if before == 0 and after == 0:
            continue
        if a.shape[axis] == 0:
            raise _c.ShapeError(f"pad: axis {axis} of shape {tuple(a.shape)} has nothing to repeat")
        source = _source(mode, before, a.shape[axis], after)
        a = _c.take(a, _c.array(source, dtype=_c.int32), axis)
    return a


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that arrays of these shapes broadcast to; ValueError if they do not."""
    if not shapes:
        raise _c.ShapeError("broadcast_shapes: needs at least one shape")
    out: list[int] = []
    for shape in shapes:
        sizes = list(shape)
        rank = max(len(out), len(sizes))
        old = [1] * (rank - len(out)) + out
        new = [1] * (rank - len(sizes)) + sizes
        if any(m != n and 1 not in (m, n) for m, n in zip(old, new, strict=True)):
            raise _c.ShapeError(
                f"broadcast_shapes: {tuple(out)} and {tuple(sizes)} do not broadcast together"
            )
        out = [n if m == 1 else m for m, n in zip(old, new, strict=True)]
    return tuple(out)


def broadcast_arrays(*arrays: array, stream: Any = None) -> list[array]:
    """The arrays at their common shape."""
    if not arrays:
        return []
    shape = broadcast_shapes(*(a.shape for a in arrays))
    return [_c.broadcast_to(a, shape) for a in arrays]


def _at_least(arys: tuple[array, ...], lift: Any) -> array | list[array]:
    lifted = [lift(a if isinstance(a, array) else _c.array(a)) for a in arys]
    return lifted[0] if len(lifted) == 1 else lifted


def atleast_1d(*arys: array, stream: Any = None) -> array | list[array]:
    """Arrays with at least one axis; one array gives one, several a list."""
    return _at_least(arys, lambda a: a if a.ndim else _c.reshape(a, [1]))


def atleast_2d(*arys: array, stream: Any = None) -> array | list[array]:
    """Arrays with at least two axes, new ones in front."""
    return _at_least(
        arys, lambda a: a if a.ndim > 1 else _c.reshape(a, [1] * (2 - a.ndim) + list(a.shape))
    )


def atleast_3d(*arys: array, stream: Any = None) -> array | list[array]:
    """Arrays with at least three axes: (n,) becomes (1, n, 1) and (m, n) becomes (m, n, 1)."""

    def lift(a: array) -> array:
        if a.ndim > 2:
            return a
        shapes = {0: [1, 1, 1], 1: [1, *a.shape, 1], 2: [*a.shape, 1]}
        return _c.reshape(a, shapes[a.ndim])

    return _at_least(arys, lift)


def _starts(op: str, start_indices: array, axes: Sequence[int]) -> list[array]:
    count = start_indices.size
    if start_indices.ndim > 1 or count != len(axes):
        raise _c.ShapeError(
            f"{op}: start_indices of shape {tuple(start_indices.shape)} for {len(axes)} axes"
        )
    flat = _flat(start_indices)
    return [_c.reshape(part, []) for part in _c._split(flat, list(range(1, count)), 0)]


def slice(
    a: array,
    start_indices: array,
    axes: Sequence[int],
    slice_size: Sequence[int],
    *,
    stream: Any = None,
) -> array:
    """The block of shape `slice_size` that starts at `start_indices` on `axes`, 0 on the others."""
    return _c._gather(a, _starts("slice", start_indices, axes), list(axes), list(slice_size))


def slice_update(
    a: array, update: array, start_indices: array, axes: Sequence[int], *, stream: Any = None
) -> array:
    """A copy of `a` whose block at `start_indices` on `axes` is `update`."""
    sizes = [1] * (a.ndim - update.ndim) + list(update.shape)
    starts = _starts("slice_update", start_indices, axes)
    return _c._scatter(a, starts, _c.reshape(update, sizes), list(axes), 0)


explain(globals(), __all__)

"""Einstein sums: a chain of pairwise contractions, each one matrix product over views."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from lamina import _core as _c
from lamina._arguments import explain
from lamina._core import array
from lamina._linear import _product

__all__ = ["einsum", "einsum_path"]

# A letter, or the number of an ellipsis' axis counted from its last (as text: "1", "2", ...).
_Label = str


def _terms(subscripts: str, ranks: Sequence[int]) -> tuple[list[list[_Label]], list[_Label]]:
    """The labels of every operand's axes and of the result's."""
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(ranks):
        raise _c.ArgumentError(
            f"einsum: {subscripts!r} has {len(inputs)} terms for {len(ranks)} arrays"
        )
    labels, widest = [], 0
    for term, rank in zip(inputs, ranks, strict=True):
        hidden = rank - len(term.replace("...", ""))
        if hidden < 0 or (hidden and "..." not in term):
            raise _c.ShapeError(f"einsum: term {term!r} does not fit an array with {rank} axes")
        labels.append(_expand(term, hidden, subscripts))
        if "..." in term:
            widest = max(widest, hidden)
    if arrow:
        output = _expand(right, widest, subscripts)
        known = {name for term in labels for name in term}
        for name in output:
            if name not in known or output.count(name) > 1:
                raise _c.ArgumentError(
                    f"einsum: {name!r} of the result in {subscripts!r} is not unique or in no term"
                )
        return labels, output
    counts = [name for term in labels for name in term]
    once = sorted(n for n in set(counts) if n.isalpha() and counts.count(n) == 1)
    return labels, [str(i) for i in range(widest, 0, -1)] + once


def _expand(term: str, hidden: int, subscripts: str) -> list[_Label]:
    head, dots, tail = term.partition("...")
    if not all(c.isalpha() for c in head + tail):
        raise _c.ArgumentError(f"einsum: unexpected characters in {term!r} of {subscripts!r}")
    middle = [str(i) for i in range(hidden, 0, -1)] if dots else []
    return [*head, *middle, *tail]


def _sizes(labels: Sequence[Sequence[_Label]], operands: Sequence[array]) -> dict[_Label, int]:
    sizes: dict[_Label, int] = {}
    for term, a in zip(labels, operands, strict=True):
        for name, size in zip(term, a.shape, strict=True):
            known = sizes.setdefault(name, size)
            if known != size and 1 not in (known, size):
                raise _c.ShapeError(f"einsum: {name!r} has sizes {known} and {size}")
            sizes[name] = max(known, size) if 0 not in (known, size) else 0
    return sizes


def _path(
    terms: Sequence[Sequence[_Label]], output: Sequence[_Label], sizes: dict[_Label, int]
) -> list[tuple[int, int]]:
    """Greedy: the pair whose product frees the most memory first, the cheaper of equals."""
    left = [set(t) for t in terms]
    path = []
    while len(left) > 2:
        best: tuple[int, int, tuple[int, int]] | None = None
        for i in range(len(left)):
            for j in range(i + 1, len(left)):
                kept = _needed(left, (i, j), output)
                both = left[i] | left[j]
                gain = _count(both & kept, sizes) - _count(left[i], sizes) - _count(left[j], sizes)
                cost = (gain, _count(both, sizes), (i, j))
                best = cost if best is None else min(best, cost)
        assert best is not None
        i, j = best[2]
        kept = _needed(left, (i, j), output)
        merged = (left[i] | left[j]) & kept
        left = [t for k, t in enumerate(left) if k not in (i, j)] + [merged]
        path.append((i, j))
    return [*path, (0, 1)] if len(left) == 2 else path


def _needed(
    terms: Sequence[set[_Label]], pair: tuple[int, int], output: Iterable[_Label]
) -> set[_Label]:
    out = set(output)
    for k, term in enumerate(terms):
        if k not in pair:
            out |= term
    return out


def _count(labels: Iterable[_Label], sizes: dict[_Label, int]) -> int:
    return math.prod(sizes[name] for name in labels)


def _alone(a: array, labels: list[_Label], keep: set[_Label]) -> tuple[array, list[_Label]]:
    """Repeated labels become diagonals, labels that nobody needs are summed."""
    for name in set(labels):
        while labels.count(name) > 1:
            i = labels.index(name)
            j = labels.index(name, i + 1)
            a = _c.diagonal(a, 0, i, j)
            labels = [n for k, n in enumerate(labels) if k not in (i, j)] + [name]
    gone = [i for i, name in enumerate(labels) if name not in keep]
    if gone:
        a = _c.sum(a, gone)
        labels = [name for name in labels if name in keep]
    return a, labels


def _arranged(a: array, labels: list[_Label], order: Sequence[_Label]) -> array:
    """`a` with axes in the given order, size 1 where it lacks one."""
    present = [name for name in order if name in labels]
    a = _c.transpose(a, [labels.index(name) for name in present])
    shape = iter(a.shape)
    return _c.reshape(a, [next(shape) if name in labels else 1 for name in order])


def _pair(
    a: array, la: list[_Label], b: array, lb: list[_Label], keep: set[_Label]
) -> tuple[array, list[_Label]]:
    a, la = _alone(a, la, keep | set(lb))
    b, lb = _alone(b, lb, keep | set(la))
    # A size 1 that stands for a larger size has no partners: both sides are summed alone.
    for name in [n for n in la if n in lb and n not in keep]:
        if a.shape[la.index(name)] != b.shape[lb.index(name)]:
            a, la = _alone(a, la, set(la) - {name})
            b, lb = _alone(b, lb, set(lb) - {name})
    inside = [n for n in la if n in lb and n not in keep]
    batch = [n for n in la if n in lb and n in keep]
    rows = [n for n in la if n not in lb]
    columns = [n for n in lb if n not in la]
    order = [*batch, *rows, *columns]
    if not inside:
        return _c.multiply(_arranged(a, la, order), _arranged(b, lb, order)), order
    x = _arranged(a, la, [*batch, *rows, *inside])
    y = _arranged(b, lb, [*batch, *inside, *columns])
    cut = len(batch)
    inner = math.prod(x.shape[cut + len(rows) :])
    height, width = list(x.shape[cut : cut + len(rows)]), list(y.shape[cut + len(inside) :])
    out = _product(
        _c.reshape(x, [*x.shape[:cut], math.prod(height), inner]),
        _c.reshape(y, [*y.shape[:cut], inner, math.prod(width)]),
    )
    return _c.reshape(out, [*out.shape[:cut], *height, *width]), order


def einsum(subscripts: str, *operands: array, stream: Any = None) -> array:
    """The Einstein sum of arrays, e.g. ``einsum("bij,bjk->bik", a, b)``.

    Repeated letters are diagonals, letters missing from the result are summed, ``...`` stands for
    axes that broadcast. ValueError if terms and shapes do not fit.
    """
    labels, output = _terms(subscripts, [a.ndim for a in operands])
    sizes = _sizes(labels, operands)
    left = [(a, term) for a, term in zip(operands, labels, strict=True)]
    for i, j in _path(labels, output, sizes):
        (a, la), (b, lb) = left[i], left[j]
        keep = _needed([set(t) for _, t in left], (i, j), output)
        left = [pair for k, pair in enumerate(left) if k not in (i, j)]
        left.append(_pair(a, la, b, lb, keep))
    a, la = _alone(*left[0], set(output))
    return _arranged(a, la, output)


def einsum_path(subscripts: str, *operands: array) -> tuple[list[tuple[int, ...]], str]:
    """The order of `einsum`'s contractions, as positions in the shrinking list, and its cost."""
    labels, output = _terms(subscripts, [a.ndim for a in operands])
    sizes = _sizes(labels, operands)
    path = _path(labels, output, sizes)
    left, flops, scale = [set(t) for t in labels], 0, 0
    for i, j in path:
        keep, both = _needed(left, (i, j), output), left[i] | left[j]
        flops += _count(both, sizes) * (2 if both - keep else 1)
        scale = max(scale, len(both))
        left = [t for k, t in enumerate(left) if k not in (i, j)] + [both & keep]
    everything = {name for term in labels for name in term}
    terms = len(labels) - 1 + bool(everything - set(output))
    naive = _count(everything, sizes) * max(1, terms)
    if not path:
        flops, scale = naive, len(everything)
    text = (
        f"  Complete contraction:  {subscripts}\n"
        f"         Naive scaling:  {len(everything)}\n"
        f"     Optimized scaling:  {scale}\n"
        f"      Naive FLOP count:  {naive}\n"
        f"  Optimized FLOP count:  {flops}\n"
    )
    return [tuple(p) for p in path] or [(0,)], text


explain(globals(), __all__)

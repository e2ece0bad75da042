"""The same program text on lamina and on MLX, and a comparison of what comes out.

A program is one or more statements; the value of its last expression is its outcome, or else the
error that it ends with. Outcomes agree when types, shapes, dtypes and values do, and an error
agrees when whoever catches MLX's class catches lamina's as well.
"""

from __future__ import annotations

import ast
import enum
import math
import re
import types
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import lamina
import lamina.core as mx
import lamina.nn as nn
import lamina.optimizers as optim
import lamina.utils
import mlx.core as omx
import mlx.nn as onn
import mlx.optimizers as ooptim
import mlx.utils
import numpy as np
from arrays import TOLERANCE, name_of, rng, to_numpy
from meant import MEANT

EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 1e-6, math.inf, -math.inf, math.nan]


def numbers(dtype: str, *shape: int, low: float = -3, high: float = 3, seed: int = 0) -> np.ndarray:
    """The numbers that a program asks for as `a(dtype, *shape)`."""
    g = rng(seed)
    if dtype == "bool_":
        return g.integers(0, 2, shape).astype(bool)
    if "int" in dtype:
        least = max(0, math.ceil(low)) if dtype[0] == "u" else math.ceil(low)
        return g.integers(least, math.floor(high) + 1, shape).astype(dtype)
    values = g.uniform(low, high, shape)
    if dtype == "complex64":
        return np.asarray(values + 1j * g.uniform(low, high, shape)).astype(np.complex64)
    return np.asarray(values).astype(np.float64)


def _names(core: Any, layers: Any, optimizers: Any, trees: Any) -> dict[str, Any]:
    """What programs may say: the modules, `a` for arrays of numbers, `edge` for their extremes."""

    def a(dtype: str, *shape: int, **limits: Any) -> Any:
        return core.array(numbers(dtype, *shape, **limits), dtype=getattr(core, dtype))

    def edge(dtype: str) -> Any:
        if dtype == "bool_":
            return core.array([False, True])
        if "int" in dtype:
            limits = np.iinfo(dtype)
            return core.array(np.array([0, 1, 2, 7, limits.min, limits.max], dtype))
        return core.array(np.array(EDGES), dtype=getattr(core, dtype))

    return {
        "mx": core,
        "nn": layers,
        "optim": optimizers,
        "utils": trees,
        "np": np,
        "a": a,
        "edge": edge,
    }


MINE = _names(mx, nn, optim, lamina.utils)
OTHERS = _names(omx, onn, ooptim, mlx.utils)


class Outcome(NamedTuple):
    value: Any
    error: BaseException | None


def _forced(value: Any) -> Any:
    """Evaluates what is lazy, so that its errors are raised here."""
    if isinstance(value, (mx.array, omx.array)):
        (mx if isinstance(value, mx.array) else omx).eval(value)
    elif isinstance(value, dict):
        for v in value.values():
            _forced(v)
    elif isinstance(value, (list, tuple)):
        for v in value:
            _forced(v)
    elif isinstance(value, types.GeneratorType):
        return _forced(list(value))
    return value


def run(source: str, names: dict[str, Any], **more: Any) -> Outcome:
    """The outcome of a program under the given names."""
    tree = ast.parse(source.strip())
    last = tree.body.pop()
    assert isinstance(last, ast.Expr), f"the last statement is no expression: {source}"
    scope = {**names, **more}
    try:
        with np.errstate(all="ignore"):
            exec(compile(tree, "<case>", "exec"), scope)
            value = eval(compile(ast.Expression(last.value), "<case>", "eval"), scope)
            return Outcome(_forced(value), None)
    except Exception as error:
        return Outcome(None, error)


def _words(text: str) -> str:
    """MLX's name taken for lamina's; addresses are nobody's business."""
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    return re.sub(r"\bmlx\b", "lamina", text).replace("lamina.nn.layers.", "lamina.nn.")


def _plain(kind: type) -> type:
    """The built-in kind of a container: a named tuple is a tuple."""
    return next((k for k in (tuple, list, dict) if issubclass(kind, k)), kind)


def _arrays(a: Any, b: Any, tolerance: float | None) -> Iterator[str]:
    if tuple(a.shape) != tuple(b.shape):
        yield f"shape {tuple(a.shape)}, MLX has {tuple(b.shape)}"
    elif name_of(a) != name_of(b):
        yield f"dtype {name_of(a)}, MLX has {name_of(b)}"
    else:
        x, y = to_numpy(a), to_numpy(b)
        t = TOLERANCE.get(name_of(a), 0.0) if tolerance is None else tolerance
        if name_of(a) in ("float16", "bfloat16"):  # MLX rounds in between, lamina mostly once
            t = max(t, TOLERANCE[name_of(a)])
        with np.errstate(all="ignore"):
            same = np.isclose(x, y, rtol=t, atol=t, equal_nan=True)
        if not same.all():
            yield f"values {x[~same][:4].tolist()}, MLX has {y[~same][:4].tolist()}"


def differences(mine: Any, other: Any, tolerance: float | None = None) -> Iterator[str]:
    """What differs between a value of lamina and one of MLX."""
    ours = isinstance(mine, mx.array) and isinstance(other, omx.array)
    if ours or (isinstance(mine, np.ndarray) and isinstance(other, np.ndarray)):
        yield from _arrays(mine, other, tolerance)
    elif isinstance(mine, mx.Dtype) and isinstance(other, omx.Dtype):
        if _words(repr(mine)) != _words(repr(other)):
            yield f"{mine}, MLX has {other}"
    elif _plain(type(mine)) in (tuple, list) and _plain(type(mine)) is _plain(type(other)):
        if len(mine) != len(other):
            yield f"length {len(mine)}, MLX has {len(other)}"
        for i, (a, b) in enumerate(zip(mine, other, strict=False)):
            yield from (f"[{i}]: {d}" for d in differences(a, b, tolerance))
    elif isinstance(mine, dict) and isinstance(other, dict):
        if list(mine) != list(other):
            yield f"keys {list(mine)}, MLX has {list(other)}"
        for k in mine.keys() & other.keys():
            yield from (f"[{k!r}]: {d}" for d in differences(mine[k], other[k], tolerance))
    elif isinstance(mine, str) and isinstance(other, str):
        if _words(mine) != _words(other):
            yield f"{mine!r}, MLX has {other!r}"
    elif isinstance(mine, (float, complex)) and type(mine) is type(other):
        t = 1e-6 if tolerance is None else tolerance
        if not np.isclose(mine, other, rtol=t, atol=t, equal_nan=True):
            yield f"{mine!r}, MLX has {other!r}"
    elif isinstance(mine, (bool, int, type(None), bytes, types.EllipsisType)):
        if type(mine) is not type(other) or mine != other:
            yield f"{mine!r}, MLX has {other!r}"
    elif isinstance(mine, enum.Enum) and isinstance(other, enum.Enum):
        if mine.name != other.name:
            yield f"{mine}, MLX has {other}"
    elif type(mine).__name__ != type(other).__name__:
        yield f"a {type(mine).__name__}, MLX has a {type(other).__name__}"


# What MLX says when an argument's type is one that its bindings do not convert. lamina takes more
# types there, and which error it raises for the rest is for it to say.
_UNCONVERTED = (
    "incompatible function arguments",
    "std::bad_cast",
    "received in array initialization",
    "unsupported operand type(s)",
    "Cannot index mlx array using the given type",
    "Slice indices must be integers or None",
)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}({str(error).splitlines()[0][:110] if str(error) else ''!r})"


def disagreement(source: str, tolerance: float | None = None, **more: Any) -> str:
    """How lamina's outcome of a program differs from MLX's; empty if it does not."""
    a, b = run(source, MINE, **more), run(source, OTHERS, **more)
    if b.error is not None:
        if any(text in str(b.error) for text in _UNCONVERTED):
            return ""
        if a.error is None:
            return f"no error, MLX has {_told(b.error)}"
        kind = next(k for k in type(b.error).__mro__ if k.__module__ == "builtins")
        return "" if isinstance(a.error, kind) else f"{_told(a.error)}, MLX has {_told(b.error)}"
    if a.error is not None:
        return f"{_told(a.error)}, MLX has {b.value!r}"[:400]
    return "; ".join(differences(a.value, b.value, tolerance))


def agree(source: str, tolerance: float | None = None, **more: Any) -> None:
    """Fails where lamina and MLX disagree on a program."""
    wrong = disagreement(source, tolerance, **more)
    assert not wrong or is_meant(source, wrong), f"{source}\n{wrong}"


def spread(template: str, **values: list[Any]) -> Iterator[str]:
    """A template with every combination of values in the places of their names in braces."""
    names = [n for n in values if "{" + n + "}" in template]
    counts = [len(values[n]) for n in names]
    for k in range(math.prod(counts)):
        chosen = {}
        for n, count in zip(names, counts, strict=True):
            k, at = divmod(k, count)
            chosen[n] = values[n][at]
        yield template.format(**chosen)


def check_all(sources: Iterable[str], tolerance: float | None = None, **more: Any) -> None:
    """Fails with a list of the programs on which lamina and MLX disagree without meaning to."""
    wrong, count = [], 0
    for source in sources:
        count += 1
        text = disagreement(source, tolerance, **more)
        if text and not is_meant(source, text):
            wrong.append(f"{source}\n    {text}")
    assert count
    assert not wrong, f"{len(wrong)} of {count} programs differ:\n" + "\n".join(wrong)


def is_meant(source: str, text: str) -> bool:
    """Whether what a program's outcomes differ in is a row of `meant`."""
    return any(re.search(p, source) and re.search(d, text, re.S) for p, d, _ in MEANT)

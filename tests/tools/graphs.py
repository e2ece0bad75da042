"""Random programs over arrays, as text: what tests/tools/fuzz.py runs.

A program is a list of lines `v7 = mx.tanh(v3)`. The same text runs on lamina, on MLX and on NumPy
(in float64), and is what a reader gets to see when the three disagree. Values stay near one, and
nothing jumps on floats: comparisons, rounding and positions are taken of whole numbers only.
"""

from __future__ import annotations

import functools
import math
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Shape = tuple[int, ...]
MOST = 4000  # elements of one value


@dataclass
class Value:
    """What is known of a line's result: its shape, and `f`, `i` or `b` for its kind."""

    shape: Shape
    kind: str


@dataclass
class Line:
    """One assignment: the text of its right side with {0}, {1} for the values it reads."""

    text: str
    reads: list[int]
    value: Value


@dataclass
class Program:
    """Leaves first, then lines in order; `outputs` are what is compared."""

    leaves: list[np.ndarray]
    lines: list[Line] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def source(self) -> str:
        """The program as a reader would write it, with its leaves."""
        out = ["import lamina.core as mx, numpy as np"]
        for k, leaf in enumerate(self.leaves):
            out.append(f"v{k} = mx.array(np.array({leaf.tolist()}, np.{leaf.dtype}))")
        first = len(self.leaves)
        for k, line in enumerate(self.lines):
            right = line.text.format(*(f"v{r}" for r in line.reads))
            out.append(f"v{first + k} = {right}")
        return "\n".join([*out, f"print({', '.join(f'v{k}' for k in self.outputs)})"])

    def needed(self) -> list[int]:
        """The values that the outputs depend on."""
        first, need, todo = len(self.leaves), set(), list(self.outputs)
        while todo:
            k = todo.pop()
            if k not in need:
                need.add(k)
                todo += self.lines[k - first].reads if k >= first else []
        return sorted(need)


SMOOTH = [
    "mx.tanh({0})",
    "mx.sin({0})",
    "mx.cos({0})",
    "mx.sigmoid({0})",
    "mx.exp(-mx.abs({0}))",
    "mx.sqrt(mx.abs({0}) + 1)",
    "mx.log1p({0} * {0})",
    "mx.square({0}) * 0.3",
    "-{0}",
    "{0} * 0.5 + 1",
    "mx.abs({0})",
    "mx.maximum({0}, 0.25)",
    "mx.erf({0})",
    "mx.arctan({0})",
    "1 / (mx.abs({0}) + 1)",
    "mx.rsqrt(mx.square({0}) + 1)",
    "{0} / 3",
    "0.5 - {0}",
    "mx.clip({0}, -0.75, 0.5)",
    "mx.logaddexp({0}, 0.5) * 0.5",
    "mx.where({0} > 0, {0}, {0} * 0.125)",
]
WHOLE = [
    "{0} * 3 + 1",
    "mx.abs({0})",
    "-{0}",
    "{0} & 255",
    "{0} ^ 5",
    "{0} | 8",
    "mx.maximum({0}, 2)",
    "{0} // 3",
    "{0} % 7",
    "{0} << 2",
    "{0} >> 1",
    "mx.where({0} > 3, {0}, {0} + 7)",
    "mx.sign({0})",
    "mx.square({0} & 31)",
    "~{0}",
    "mx.clip({0}, -5, 9)",
]
PAIRS = {
    "f": [
        "mx.tanh({0} + {1})",
        "mx.sin({0} - {1})",
        "mx.tanh({0} * {1})",
        "mx.maximum({0}, {1})",
        "mx.minimum({0}, {1})",
        "{0} / (mx.abs({1}) + 1)",
        "mx.arctan2({0}, mx.abs({1}) + 1)",
        "mx.logaddexp({0}, {1}) * 0.5",
    ],
    "i": [
        "{0} + {1}",
        "{0} - {1}",
        "({0} & 63) * {1}",
        "mx.maximum({0}, {1})",
        "mx.minimum({0}, {1}) + 1",
        "{0} & {1}",
        "{0} ^ {1}",
        "mx.where({0} > {1}, {0}, {1})",
        "{0} // (mx.abs({1} & 15) + 1)",
        "{0} | {1}",
    ],
}
TESTS = ["{0} > {1}", "{0} == {1}", "{0} <= {1}", "{0} != {1}"]


@functools.lru_cache(maxsize=1 << 16)
def broadcast(a: Shape, b: Shape) -> Shape | None:
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        return None


class Generator:
    """Grows one program from a seed."""

    def __init__(self, seed: int, least: int = 10, most: int = 200) -> None:
        self.g = np.random.default_rng(seed)
        self.draw = random.Random(seed).random  # a tenth of the time of NumPy's
        self.values: list[Value] = []
        self.program = Program([])
        for _ in range(self.number(2, 5)):
            self.leaf("f")
        for _ in range(self.number(1, 3)):
            self.leaf("i")
        # As many of 10 to 20 as of 100 to 200: what goes wrong mostly goes wrong in few operations.
        steps = round(least * (most / least) ** (self.number(0, 1001) / 1000))
        while len(self.program.lines) < steps:
            self.grow()
        n = len(self.values)
        self.program.outputs = sorted(
            {n - 1, *(self.number(0, n) for _ in range(self.number(1, 5)))}
        )

    def number(self, low: int, high: int) -> int:
        return low + int(self.draw() * (high - low))

    def choice(self, options: Any) -> Any:
        return options[self.number(0, len(options))]

    def leaf(self, kind: str) -> None:
        shape = tuple(self.choice([1, 2, 3, 4, 5, 8, 17]) for _ in range(self.number(0, 4)))
        if self.number(0, 40) == 0:
            shape = (*shape[:1], 0)
        a = self.g.integers(-9, 9, shape) if kind == "i" else self.g.uniform(-1.5, 1.5, shape)
        self.program.leaves.append(np.asarray(a).astype(np.int32 if kind == "i" else np.float32))
        self.values.append(Value(shape, kind))

    def push(self, text: str, reads: list[int], shape: Shape, kind: str | None = None) -> None:
        if math.prod(shape) <= MOST and len(shape) <= 5:
            value = Value(tuple(shape), kind or self.values[reads[0]].kind)
            self.program.lines.append(Line(text, reads, value))
            self.values.append(value)

    def pick(self) -> int:
        """Later values more often."""
        n = len(self.values)
        return n - 1 - min(int(self.g.exponential(6)), n - 1)

    def grow(self) -> None:
        i = self.pick()
        v = self.values[i]
        if v.kind == "b":
            return self.from_mask(i, v.shape)
        families = [self.unary, self.binary, self.binary, self.view, self.view, self.slices]
        families += [self.reduce, self.scan, self.join, self.index, self.update, self.row]
        families += [self.product] if v.kind == "f" else [self.mask]
        return self.choice(families)(i, v)

    # --- families -------------------------------------------------------------------------------

    def unary(self, i: int, v: Value) -> None:
        if self.number(0, 12) == 0 and v.kind == "i":
            return self.push("mx.tanh({0}.astype(mx.float32) * 0.125)", [i], v.shape, "f")
        return self.push(self.choice(WHOLE if v.kind == "i" else SMOOTH), [i], v.shape)

    def partner(self, i: int) -> tuple[int, Shape] | None:
        """A value of the same kind that broadcasts with value i, and the shape of both."""
        v, fits = self.values[i], []
        for j in range(len(self.values) - 1, -1, -1):
            w = self.values[j]
            if w.kind == v.kind and (shape := broadcast(v.shape, w.shape)) is not None:
                fits.append((j, shape))
                if len(fits) == 24:
                    break
        return self.choice(fits) if fits else None

    def binary(self, i: int, v: Value) -> None:
        j, shape = self.partner(i) or (i, v.shape)
        self.push(self.choice(PAIRS[v.kind]), [i, j] if self.number(0, 2) else [j, i], shape)

    def mask(self, i: int, v: Value) -> None:
        j, shape = self.partner(i) or (i, v.shape)
        self.push(self.choice(TESTS), [i, j], shape, "b")

    def from_mask(self, i: int, shape: Shape) -> None:
        kind = self.choice("fi")
        same = [j for j, w in enumerate(self.values) if w.kind == kind and w.shape == shape]
        if same:
            self.push(
                "mx.where({0}, {1}, {2})", [i, self.choice(same), self.choice(same)], shape, kind
            )
        else:
            self.push("{0}.astype(mx.int32)", [i], shape, "i")

    def view(self, i: int, v: Value) -> None:
        s, n = v.shape, len(v.shape)
        kind = self.number(0, 7)
        axis = self.number(0, n) if n else 0
        if kind == 0 and n > 1:
            order = tuple(int(k) for k in self.g.permutation(n))
            self.push(f"mx.transpose({{0}}, {order})", [i], tuple(s[k] for k in order))
        elif kind == 1:
            size = math.prod(s)
            d = self.choice([k for k in range(1, size + 1) if size % k == 0]) if size else 0
            to = (d, size // d) if d else (0, 2)
            self.push(f"mx.reshape({{0}}, {to})", [i], to)
        elif kind == 2:
            to = (self.number(1, 4), *s)
            self.push(f"mx.broadcast_to({{0}}, {to})", [i], to)
        elif kind == 3:
            at = self.number(0, n + 1)
            self.push(f"mx.expand_dims({{0}}, {at})", [i], (*s[:at], 1, *s[at:]))
        elif kind == 4 and n:
            self.push(f"mx.flatten({{0}}, {axis}, -1)", [i], (*s[:axis], math.prod(s[axis:])))
        elif kind == 5 and n > 1:
            self.push(
                f"mx.swapaxes({{0}}, {axis}, -1)", [i], np.swapaxes(np.empty(s), axis, -1).shape
            )
        elif kind == 6 and 1 in s:
            at = s.index(1)
            self.push(f"mx.squeeze({{0}}, {at})", [i], s[:at] + s[at + 1 :])

    def cut(self, s: Shape) -> str:
        """A basic index: slices of either direction, integers, the odd new axis."""
        items = []
        for d in s:
            kind = self.number(0, 6)
            if kind == 0 and d:
                items.append(str(self.number(-d, d)))
            elif kind == 1:
                items.append(f"::{self.choice([-1, -2, 2, 3])}")
            elif kind == 2:
                low = self.number(0, d + 1)
                items.append(f"{low}:{self.number(low, d + 2)}")
            else:
                items.append(":")
        if self.number(0, 8) == 0:
            items.insert(self.number(0, len(items) + 1), "None")
        return ", ".join(items)

    def slices(self, i: int, v: Value) -> None:
        if v.shape:
            text = self.cut(v.shape)
            self.push(f"{{0}}[{text}]", [i], eval(f"np.empty(v.shape, bool)[{text}]").shape)

    def axes(self, s: Shape) -> tuple[Any, Shape, Shape]:
        """Axes to reduce, the shape without them, the shape with ones."""
        n = len(s)
        count = self.choice([1, 1, 1, 2, n])
        axes = sorted(int(k) for k in self.g.permutation(n)[:count])
        kept = tuple(1 if k in axes else d for k, d in enumerate(s))
        gone = tuple(d for k, d in enumerate(s) if k not in axes)
        return (axes[0] if len(axes) == 1 else tuple(axes)), gone, kept

    def reduce(self, i: int, v: Value) -> None:
        if not v.shape or 0 in v.shape:
            return
        axis, gone, kept = self.axes(v.shape)
        keep = bool(self.number(0, 2))
        name = self.choice(
            ["sum", "max", "min", "mean", "logsumexp", "var"]
            if v.kind == "f"
            else ["sum", "max", "min"]
        )
        text = f"mx.{name}({{0}}, axis={axis}, keepdims={keep})"
        scale = {"sum": ".astype(mx.int32)" if v.kind == "i" else " * 0.2", "logsumexp": " * 0.2"}
        self.push(text + scale.get(name, ""), [i], kept if keep else gone)

    def scan(self, i: int, v: Value) -> None:
        if not v.shape:
            return
        axis, back = self.number(0, len(v.shape)), bool(self.number(0, 2))
        name = self.choice(["cumsum", "cummax", "cummin"])
        tail = "" if name != "cumsum" else ".astype(mx.int32)" if v.kind == "i" else " * 0.3"
        self.push(f"mx.{name}({{0}}, axis={axis}, reverse={back}){tail}", [i], v.shape)

    def join(self, i: int, v: Value) -> None:
        s, n = v.shape, len(v.shape)
        same = [j for j, w in enumerate(self.values) if w == v]
        j, axis = self.choice(same), self.number(0, max(n, 1))
        kind = self.number(0, 6)
        more = lambda by: tuple(by(d) if k == axis else d for k, d in enumerate(s))
        if kind == 0:
            at = self.number(0, n + 1)
            self.push(f"mx.stack([{{0}}, {{1}}], axis={at})", [i, j], (*s[:at], 2, *s[at:]))
        elif not n:
            return
        elif kind == 1:
            self.push(f"mx.concatenate([{{0}}, {{1}}], axis={axis})", [i, j], more(lambda d: 2 * d))
        elif kind == 2:
            widths = [(1, 2) if k == axis else (0, 0) for k in range(n)]
            self.push(f"mx.pad({{0}}, {widths})", [i], more(lambda d: d + 3))
        elif kind == 3:
            self.push(f"mx.repeat({{0}}, 2, axis={axis})", [i], more(lambda d: 2 * d))
        elif kind == 4:
            self.push(f"mx.roll({{0}}, {self.number(-3, 4)}, {axis})", [i], s)
        else:
            reps = tuple(2 if k == axis else 1 for k in range(n))
            self.push(f"mx.tile({{0}}, {reps})", [i], more(lambda d: 2 * d))

    def index(self, i: int, v: Value) -> None:
        s = v.shape
        if not s or 0 in s:
            return
        axis = self.number(0, len(s))
        at = [self.number(-s[axis], s[axis]) for _ in range(self.number(1, 5))]
        kind = self.number(0, 3)
        out = (*s[:axis], len(at), *s[axis + 1 :])
        if kind == 0:
            self.push(f"mx.take({{0}}, mx.array({[k % s[axis] for k in at]}), {axis})", [i], out)
        elif kind == 1:
            self.push(f"{{0}}[{':, ' * axis}mx.array({at})]", [i], out)
        else:
            rows = np.broadcast_to(
                np.reshape(np.mod(at, s[axis]), [-1, *[1] * (len(s) - axis - 1)]), out
            )
            self.push(f"mx.take_along_axis({{0}}, mx.array({rows.tolist()}), {axis})", [i], out)

    def update(self, i: int, v: Value) -> None:
        if not v.shape or 0 in v.shape:
            return
        text = self.cut(v.shape)
        if "None" in text:
            return
        part = eval(f"np.empty(v.shape, bool)[{text}]").shape
        fits = [j for j, w in enumerate(self.values) if w.kind == v.kind and w.shape == part]
        # Where two floats are equally large a gradient is a matter of taste.
        how = self.choice(["add", "maximum", "minimum"]) if v.kind == "i" else "add"
        if fits:
            self.push(f"{{0}}.at[{text}].{how}({{1}})", [i, self.choice(fits)], v.shape)
        else:
            at = [self.number(0, v.shape[0]) for _ in range(3)]
            self.push(f"{{0}}.at[mx.array({at})].{how}({{0}}[0] + 1)", [i], v.shape)

    def row(self, i: int, v: Value) -> None:
        if not v.shape or 0 in v.shape:
            return
        axis = self.number(0, len(v.shape))
        if v.kind == "i":
            self.push(f"mx.sort({{0}}, axis={axis})", [i], v.shape)
            return
        self.push(
            self.choice(
                [
                    f"mx.softmax({{0}}, axis={axis})",
                    f"mx.sort({{0}}, axis={axis})",
                    f"{{0}} - mx.mean({{0}}, axis={axis}, keepdims=True)",
                    f"{{0}} * mx.rsqrt(mx.mean(mx.square({{0}}), axis={axis}, keepdims=True) + 1)",
                    f"mx.tanh({{0}}) + mx.max({{0}}, axis={axis}, keepdims=True) * 0.5",
                ]
            ),
            [i],
            v.shape,
        )

    def product(self, i: int, v: Value) -> None:
        s = v.shape
        if len(s) < 2 or 0 in s:
            return
        scale = round(1 / s[-1], 4)
        kind = self.number(0, 4)
        if kind == 0:
            self.push(
                f"mx.matmul({{0}}, mx.swapaxes({{0}}, -1, -2)) * {scale}", [i], (*s[:-1], s[-2])
            )
        elif kind == 1:
            right = [j for j, w in enumerate(self.values) if w.kind == "f" and len(w.shape) == 2]
            right = [j for j in right if self.values[j].shape[0] == s[-1]]
            if right:
                j = self.choice(right)
                self.push(f"({{0}} @ {{1}}) * {scale}", [i, j], (*s[:-1], self.values[j].shape[1]))
        elif kind == 2:
            self.push(
                f"mx.einsum('...ij,...kj->...ik', {{0}}, {{0}}) * {scale}", [i], (*s[:-1], s[-2])
            )
        elif len(s) == 2 and s[1] > 2:
            self.push(f"mx.sum({{0}}[:, :-1] * {{0}}[:, 1:], axis=1) * {scale}", [i], s[:1])

"""Random programs on lamina, MLX and NumPy, and a short program for every disagreement.

    python tests/tools/fuzz.py --first 0 --count 1000        # seeds 0 to 999
    python tests/tools/fuzz.py --count 1000000 --state fuzz.json    # goes on where it stopped

Each seed is a program of 10 to 200 operations (tests/tools/graphs.py). It runs

- on NumPy in float64 and on MLX,
- on lamina: as it is, again from the plan cache, without fusion, and without donated memory, with
  every graph and plan checked against its grammar,
- and, in turn by seed, under one transform: `grad` beside MLX's and beside itself without fusion,
  `jvp` beside `vjp`, `vmap` beside a loop, `compile`.

A mismatch prints the seed, what differs, and the shortest program that still differs: one output,
and as many operations as could be replaced by their values. The exit status tells whether there was
one. --state keeps the next seed and all mismatches in a file.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "tools"), str(TESTS / "core")]

import lamina.core as mx  # noqa: E402
import mlx.core as omx  # noqa: E402
from graphs import Generator, Line, Program  # noqa: E402
from lamina import _core  # noqa: E402

Arrays = list[Any]
RELATIVE, ABSOLUTE = 2e-3, 3e-4


class At:
    """NumPy's copy-and-join under the spelling of `x.at[...]`."""

    def __init__(self, x: np.ndarray, index: Any = None) -> None:
        self.x, self.index = x, index

    def __getitem__(self, index: Any) -> At:
        return At(self.x, index)

    def _join(self, ufunc: Any, value: Any) -> Reference:
        out = np.array(self.x)
        ufunc.at(out, self.index, value)
        return out.view(Reference)

    def add(self, value: Any) -> Reference:
        return self._join(np.add, value)

    def maximum(self, value: Any) -> Reference:
        return self._join(np.maximum, value)

    def minimum(self, value: Any) -> Reference:
        return self._join(np.minimum, value)


class Reference(np.ndarray):
    """A NumPy array that programs may ask for `.at`."""

    @property
    def at(self) -> At:
        return At(self)


def _referenced(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **keywords: np.asarray(f(*args, **keywords)).view(Reference)


def _scanned(ufunc: Any) -> Callable[..., Any]:
    def scan(x: Any, axis: int, reverse: bool) -> Any:
        order = (slice(None),) * axis + (slice(None, None, -1),)
        x = np.asarray(x)
        return ufunc.accumulate(x[order], axis)[order] if reverse else ufunc.accumulate(x, axis)

    return scan


class Numbers:
    """NumPy under the names of `mlx.core`; floats are float64."""

    float32, int32 = np.float64, np.int32

    def __init__(self) -> None:
        from scipy import special

        named: dict[str, Callable[..., Any]] = {
            "sigmoid": special.expit,
            "erf": special.erf,
            "rsqrt": lambda x: 1 / np.sqrt(x),
            "softmax": special.softmax,
            "logsumexp": lambda x, axis, keepdims: special.logsumexp(x, axis, keepdims=keepdims),
            "cumsum": _scanned(np.add),
            "cummax": _scanned(np.maximum),
            "cummin": _scanned(np.minimum),
            "flatten": lambda x, low, _: (
                x.reshape(*x.shape[:low], -1)
                if x.size
                else x.reshape(*x.shape[:low], int(np.prod(x.shape[low:])))
            ),
            "array": np.array,
        }
        self._named = {name: _referenced(f) for name, f in named.items()}

    def __getattr__(self, name: str) -> Any:
        return self._named.get(name) or _referenced(getattr(np, name))


NUMBERS = Numbers()


def run(program: Program, core: Any, leaves: Arrays | None = None) -> Arrays:
    """All values of a program on one of the three."""
    if leaves is not None:
        values = list(leaves)
    elif core is NUMBERS:
        wide = [a.astype(np.float64) if a.dtype == np.float32 else a for a in program.leaves]
        values = [a.view(Reference) for a in wide]
    else:
        values = [core.array(a) for a in program.leaves]
    for line in program.lines:
        code = COMPILED.get(line.text)
        if code is None:
            code = COMPILED[line.text] = compile(
                line.text.format("v[0]", "v[1]", "v[2]"), "<program>", "eval"
            )
        values.append(eval(code, {"mx": core, "v": [values[k] for k in line.reads]}))
    return values


COMPILED: dict[str, Any] = {}


def outputs(program: Program, core: Any) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        values = run(program, core)
        out = [values[k] for k in program.outputs]
        del values
        if core is mx:
            mx.eval(out)
        return [np.array(v) for v in out]


def apart(a: np.ndarray, b: np.ndarray) -> str:
    """How two results differ; empty if they do not."""
    if a.shape != b.shape:
        return f"shapes {a.shape} and {b.shape}"
    with np.errstate(all="ignore"):
        if a.dtype.kind in "biu" and b.dtype.kind in "biu":
            wrong = a != b
        else:
            wrong = ~np.isclose(a, b, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
    if not wrong.any():
        return ""
    return f"{int(wrong.sum())} of {a.size}: {a[wrong].flat[0]!r} and {b[wrong].flat[0]!r}"


class Switches:
    """Options of the engine inside a `with` block, and no plans from before."""

    def __init__(self, **switches: bool) -> None:
        self.switches = switches

    def __enter__(self) -> None:
        self.before = dict(_core._options())
        _core._options(**self.switches)
        _core._clear_plan_cache()

    def __exit__(self, *failure: object) -> None:
        _core._options(**self.before)
        _core._clear_plan_cache()


def variants(program: Program) -> dict[str, list[np.ndarray]]:
    """The outputs under every way of running a program."""
    out = {"NumPy": outputs(program, NUMBERS), "MLX": outputs(program, omx)}
    with Switches(verify=True):
        out["lamina"] = outputs(program, mx)
        out["lamina, planned before"] = outputs(program, mx)
    for name, switches in (("unfused", {"fuse": False}), ("nothing donated", {"donate": False})):
        with Switches(verify=True, **switches):
            out[f"lamina, {name}"] = outputs(program, mx)
    return out


def compare(results: dict[str, list[np.ndarray]]) -> str:
    """The first disagreement with NumPy, or, where MLX agrees with NumPy no more, with both."""
    want, other = results["NumPy"], results["MLX"]
    for name, got in results.items():
        if name in ("NumPy", "MLX"):
            continue
        for k, (a, b, c) in enumerate(zip(got, want, other, strict=True)):
            # Of what float32 cannot tell NumPy's float64 says little: then MLX is asked.
            if (text := apart(a, b)) and (also := apart(a, c)):
                return f"{name}, output {k}: {text} in NumPy, {also} in MLX"
    return ""


# --- transforms ---------------------------------------------------------------------------------


def scalar(program: Program, core: Any) -> tuple[Callable[..., Any], list[int], Arrays]:
    """A function of the floating leaves, the sum of the floating outputs."""
    at = [k for k, a in enumerate(program.leaves) if a.dtype == np.float32]
    first = len(program.leaves)
    kinds = ["f" if a.dtype == np.float32 else "i" for a in program.leaves]
    kinds += [line.value.kind for line in program.lines]
    chosen = [k for k in program.outputs if kinds[k] == "f" and k >= first]
    leaves = [core.array(a) for a in program.leaves]

    def f(*floats: Any) -> Any:
        given = list(leaves)
        for k, x in zip(at, floats, strict=True):
            given[k] = x
        values = run(program, core, given)
        return sum((core.sum(values[k]) for k in chosen), core.array(0.0))

    return f, at, [leaves[k] for k in at]


def gradients(program: Program, core: Any) -> list[np.ndarray]:
    f, at, xs = scalar(program, core)
    grads = core.grad(f, argnums=tuple(range(len(at))))(*xs)
    return [np.array(g) for g in (grads if isinstance(grads, (list, tuple)) else [grads])]


def by_grad(program: Program) -> str:
    mine = gradients(program, mx)
    with Switches(fuse=False, donate=False):
        plain = gradients(program, mx)
    for k, (a, b) in enumerate(zip(mine, plain, strict=True)):
        if text := apart(a, b):
            return f"gradient {k}, fused and not: {text}"
    for k, (a, b) in enumerate(zip(mine, gradients(program, omx), strict=True)):
        if text := apart(a, b):
            return f"gradient {k}: {text} in MLX"
    return ""


def by_jvp(program: Program) -> str:
    f, _, xs = scalar(program, mx)
    g = np.random.default_rng(len(program.lines))
    ts = [mx.array(g.standard_normal(x.shape).astype(np.float32)) for x in xs]
    slope = float(mx.jvp(f, xs, ts)[1][0].item())
    grads = mx.vjp(f, xs, [mx.array(1.0)])[1]
    terms = [
        np.array(a, np.float64) * np.array(t, np.float64) for a, t in zip(grads, ts, strict=True)
    ]
    back, size = sum(float(t.sum()) for t in terms), sum(float(np.abs(t).sum()) for t in terms)
    near = abs(slope - back) <= 1e-3 * (1 + size) or not np.isfinite(slope + back)
    return "" if near else f"jvp {slope!r}, vjp {back!r}"


def by_compile(program: Program) -> str:
    def f(*leaves: Any) -> Arrays:
        values = run(program, mx, list(leaves))
        return [values[k] for k in program.outputs]

    leaves = [mx.array(a) for a in program.leaves]
    got = [np.array(v) for v in mx.compile(f)(*leaves)]
    for k, (a, b) in enumerate(zip(got, [np.array(v) for v in f(*leaves)], strict=True)):
        if text := apart(a, b):
            return f"compiled, output {k}: {text} otherwise"
    return ""


def by_vmap(program: Program) -> str:
    """Over two copies of every leaf, the second negated."""
    batch = [np.stack([a, -a]) for a in program.leaves]

    def f(*leaves: Any) -> Arrays:
        values = run(program, mx, list(leaves))
        return [values[k] for k in program.outputs]

    got = mx.vmap(f)(*[mx.array(a) for a in batch])
    rows = [f(*[mx.array(a[n]) for a in batch]) for n in (0, 1)]
    for k, a in enumerate(got):
        if text := apart(np.array(a), np.stack([np.array(r[k]) for r in rows])):
            return f"vmap, output {k}: {text} in a loop"
    return ""


TRANSFORMS = [by_grad, by_jvp, by_compile, by_vmap]


# --- mismatches ---------------------------------------------------------------------------------


def checks(seed: int) -> list[Callable[[Program], str]]:
    return [lambda p: compare(variants(p)), TRANSFORMS[seed % len(TRANSFORMS)]]


def verdict(check: Callable[[Program], str], program: Program) -> str:
    try:
        return check(program)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def cut(program: Program, kept: list[int], leaf: int = -1, value: Any = None) -> Program:
    """The program with only the values `kept`; the line that made `leaf` gives way to a value."""
    first, out, to = len(program.leaves), Program([]), {}
    made = [k for k in kept if k < first or k == leaf]
    for k in made:
        to[k] = len(to)
        out.leaves.append(program.leaves[k] if k != leaf else value)
    for k in kept:
        if k not in to:
            line = program.lines[k - first]
            to[k] = len(to)
            out.lines.append(Line(line.text, [to[r] for r in line.reads], line.value))
    out.outputs = [to[k] for k in program.outputs if k in to]
    return out


def pruned(program: Program) -> Program:
    return cut(program, program.needed())


def smallest(program: Program, check: Callable[[Program], str]) -> Program:
    """A shorter program on which the check still fails."""
    for k in program.outputs:
        alone = pruned(Program(program.leaves, program.lines, [k]))
        if verdict(check, alone):
            program = alone
            break
    at = len(program.leaves) + len(program.lines)
    while (at := at - 1) >= len(program.leaves):
        if at in program.outputs or at >= len(program.leaves) + len(program.lines):
            continue
        made = program.lines[at - len(program.leaves)].value
        if made.kind == "b":
            continue
        with np.errstate(all="ignore"):
            value = np.array(run(program, NUMBERS)[at])
        value = value.astype(np.int32 if made.kind == "i" else np.float32)
        everything = list(range(len(program.leaves) + len(program.lines)))
        shorter = pruned(cut(program, everything, at, value))
        if len(shorter.lines) < len(program.lines) and verdict(check, shorter):
            program = shorter
            at = len(program.leaves) + len(program.lines)
    return program


def examine(seed: int, least: int, most: int) -> tuple[str, str]:
    """What went wrong with a seed, and the shortest program for it; two empty texts if nothing."""
    program = Generator(seed, least, most).program
    for check in checks(seed):
        if text := verdict(check, program):
            short = smallest(program, check)
            return f"{text}; at its shortest: {verdict(check, short)}", short.source()
    return "", ""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--least", type=int, default=10, help="fewest operations")
    parser.add_argument("--most", type=int, default=200, help="most operations")
    parser.add_argument("--state", type=Path, help="where to go on, and all mismatches")
    options = parser.parse_args()
    state: dict[str, Any] = {"next": options.first, "mismatches": {}}
    if options.state and options.state.exists():
        state = json.loads(options.state.read_text(encoding="utf-8"))
    begun, start = time.perf_counter(), state["next"]
    end = options.first + options.count
    for seed in range(start, end):
        text, source = examine(seed, options.least, options.most)
        if text:
            state["mismatches"][str(seed)] = [text, source]
            print(f"seed {seed}: {text}\n{source}\n", flush=True)
        state["next"] = seed + 1
        done = seed + 1 - start
        if done % 100 == 0 or seed + 1 == end:
            rate = done / (time.perf_counter() - begun)
            print(
                f"{done} graphs, {rate:.1f} a second, {len(state['mismatches'])} mismatches",
                flush=True,
            )
            if options.state:
                options.state.write_text(json.dumps(state), encoding="utf-8")
    return 1 if state["mismatches"] else 0


if __name__ == "__main__":
    sys.exit(main())

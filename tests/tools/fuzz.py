"""Random programs on lamina, MLX and NumPy, and a short program for every disagreement.

    python tests/tools/fuzz.py --first 0 --count 1000        # seeds 0 to 999
    python tests/tools/fuzz.py --count 1000000 --state fuzz.json    # goes on where it stopped

Each seed is a program of 10 to 200 operations (tests/tools/graphs.py). It runs

- on NumPy in float64 and on MLX,
- on lamina: as it is, again from the plan cache, and, in turn by seed, without fusion or without
  donated memory, with every graph and plan checked against its grammar,
- and, in turn by seed, under one transform: `grad` beside MLX's and beside itself without fusion,
  `jvp` beside `vjp`, `vmap` beside a loop, `compile`.

A difference is put down to float32 where the same check passes in float64 (on lamina, with MLX as
the other), and lamina in float32 is no farther from MLX in float64 than MLX in float32 gets when
each of its results is off by a last bit. What is left is a mismatch: it prints the seed, what
differs, and the shortest program that still differs: one output, and as many operations as could be
replaced by their values. The exit status tells whether there was one. --state keeps the next seed,
the seeds put down to float32, and all mismatches in a file.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
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
FLOAT32 = "float32"


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


class Wide:
    """One of the two frameworks with float64 in place of float32."""

    def __init__(self, core: Any) -> None:
        self._core = core
        self.float32 = core.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def array(self, x: Any) -> Any:
        floats = isinstance(x, float) or (isinstance(x, np.ndarray) and x.dtype == np.float32)
        return self._core.array(x, self.float32) if floats else self._core.array(x)


class Shaken:
    """MLX with every floating result of a line off by about a last bit of float32."""

    def __init__(self, core: Any, seed: int) -> None:
        self._core, self._random = core, np.random.default_rng(seed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def shake(self, x: Any) -> Any:
        if x.dtype != self._core.float32:
            return x
        bits = self._random.uniform(-1, 1, x.shape).astype(np.float32) * np.float32(2**-23)
        return x + x * self._core.array(bits)

    # Their derivatives are written with their results, and lose where those are near one.
    def tanh(self, x: Any) -> Any:
        return self._by_result(self._core.tanh, lambda y: 1 - y * y, x)

    def sigmoid(self, x: Any) -> Any:
        return self._by_result(self._core.sigmoid, lambda y: y * (1 - y), x)

    def _by_result(self, f: Any, slope: Any, x: Any) -> Any:
        y = self._core.stop_gradient(self.shake(f(x)))
        through = slope(y) * x
        return y + (through - self._core.stop_gradient(through))


@dataclass
class Cores:
    """Who runs a program: lamina, and MLX beside it."""

    mine: Any
    other: Any


SINGLE = Cores(mx, omx)
DOUBLE = Cores(Wide(mx), Wide(omx))
Check = Callable[[Program, Cores], str]


def run(program: Program, core: Any, leaves: Arrays | None = None) -> Arrays:
    """All values of a program on one of the three."""
    if leaves is not None:
        values = list(leaves)
    elif core is NUMBERS:
        wide = [a.astype(np.float64) if a.dtype == np.float32 else a for a in program.leaves]
        values = [a.view(Reference) for a in wide]
    else:
        values = [core.array(a) for a in program.leaves]
    names: dict[str, Any] = {"mx": core}
    shake = core.shake if isinstance(core, Shaken) else None
    for line in program.lines:
        names["v"] = [values[k] for k in line.reads]
        value = eval(compiled(line.text), names)
        values.append(shake(value) if shake else value)
    return values


@functools.lru_cache(maxsize=1 << 16)
def compiled(text: str) -> Any:
    return compile(text.format("v[0]", "v[1]", "v[2]"), "<program>", "eval")


def outputs(program: Program, core: Any) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        values = run(program, core)
        out = [values[k] for k in program.outputs]
        del values
        if core is not NUMBERS:
            core.eval(out)
        return [np.array(v) for v in out]


def apart(a: np.ndarray, b: np.ndarray) -> str:
    """How two results differ; empty if they do not."""
    if a.shape != b.shape:
        return f"shapes {a.shape} and {b.shape}"
    with np.errstate(all="ignore"):
        if a.dtype.kind in "biu" and b.dtype.kind in "biu":
            wrong = a != b
        elif (np.abs(a - b) < ABSOLUTE + RELATIVE * np.abs(b)).all():
            return ""  # in a tenth of the time of isclose; never where one is not finite
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


PLAIN = {"unfused": {"fuse": False}, "nothing donated": {"donate": False}}


def variants(
    program: Program, plain: list[str] | None = None, cores: Cores = SINGLE
) -> dict[str, list[np.ndarray]]:
    """The outputs under every way of running a program."""
    mx = cores.mine
    out = {"NumPy": outputs(program, NUMBERS), "MLX": outputs(program, cores.other)}
    with Switches(verify=True):
        out["lamina"] = outputs(program, mx)
        out["lamina, planned before"] = outputs(program, mx)
    for name in plain if plain is not None else list(PLAIN):
        with Switches(verify=True, **PLAIN[name]):
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


def by_grad(program: Program, cores: Cores = SINGLE) -> str:
    mine = gradients(program, cores.mine)
    with Switches(fuse=False, donate=False):
        plain = gradients(program, cores.mine)
    for k, (a, b) in enumerate(zip(mine, plain, strict=True)):
        if text := apart(a, b):
            return f"gradient {k}, fused and not: {text}"
    for k, (a, b) in enumerate(zip(mine, gradients(program, cores.other), strict=True)):
        if text := apart(a, b):
            return f"gradient {k}: {text} in MLX"
    return ""


def by_jvp(program: Program, cores: Cores = SINGLE) -> str:
    mx = cores.mine
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


def by_compile(program: Program, cores: Cores = SINGLE) -> str:
    mx = cores.mine

    def f(*leaves: Any) -> Arrays:
        values = run(program, mx, list(leaves))
        return [values[k] for k in program.outputs]

    leaves = [mx.array(a) for a in program.leaves]
    got = [np.array(v) for v in mx.compile(f)(*leaves)]
    for k, (a, b) in enumerate(zip(got, [np.array(v) for v in f(*leaves)], strict=True)):
        if text := apart(a, b):
            return f"compiled, output {k}: {text} otherwise"
    return ""


def by_vmap(program: Program, cores: Cores = SINGLE) -> str:
    """Over two copies of every leaf, the second negated."""
    mx = cores.mine
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


def checks(seed: int) -> list[Check]:
    plain = [list(PLAIN)[seed // len(TRANSFORMS) % len(PLAIN)]]
    values = lambda p, cores: compare(variants(p, plain, cores))
    return [values, TRANSFORMS[seed % len(TRANSFORMS)]]


def of_float32(check: Check, program: Program) -> bool:
    """Whether float32 alone explains that a check fails."""
    if check(program, DOUBLE):
        return False
    if check in (by_jvp, by_vmap):
        return True
    results = gradients if check is by_grad else outputs
    true = results(program, DOUBLE.other)
    cores = [omx, *(Shaken(omx, k) for k in range(8))]
    apart_most = [np.zeros(a.shape) for a in true]
    with np.errstate(all="ignore"):
        for core in cores:
            for most, a, b in zip(apart_most, results(program, core), true, strict=True):
                np.fmax(most, np.abs(np.subtract(a, b, dtype=np.float64)), out=most)
        return all(
            bool((np.abs(np.subtract(a, b, dtype=np.float64)) <= 8 * most + ABSOLUTE).all())
            for a, b, most in zip(results(program, mx), true, apart_most, strict=True)
        )


def wrong_by_rounding(check: Check, program: Program) -> bool:
    try:
        return of_float32(check, program)
    except Exception:
        return False  # what raises in float64, too, is no rounding


def verdict(check: Check, program: Program) -> str:
    try:
        return check(program, SINGLE)
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


def smallest(program: Program, check: Check) -> Program:
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
    """What went wrong with a seed, and the shortest program for it; two empty texts if nothing.

    FLOAT32 and no program where the rounding of float32 explains it.
    """
    program = Generator(seed, least, most).program
    text = ""
    for check in checks(seed):
        if wrong := verdict(check, program):
            if wrong_by_rounding(check, program):
                text = FLOAT32
                continue
            short = smallest(program, check)
            return f"{wrong}; at its shortest: {verdict(check, short)}", short.source()
    return text, ""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--least", type=int, default=10, help="fewest operations")
    parser.add_argument("--most", type=int, default=200, help="most operations")
    parser.add_argument("--state", type=Path, help="where to go on, and all mismatches")
    options = parser.parse_args()
    state: dict[str, Any] = {"next": options.first, "mismatches": {}, "float32": []}
    if options.state and options.state.exists():
        state = json.loads(options.state.read_text(encoding="utf-8"))
    begun, start = time.perf_counter(), state["next"]
    end = options.first + options.count
    for seed in range(start, end):
        text, source = examine(seed, options.least, options.most)
        if text == FLOAT32:
            state["float32"].append(seed)
        elif text:
            state["mismatches"][str(seed)] = [text, source]
            print(f"seed {seed}: {text}\n{source}\n", flush=True)
        state["next"] = seed + 1
        done = seed + 1 - start
        if done % 100 == 0 or seed + 1 == end:
            rate = done / (time.perf_counter() - begun)
            print(
                f"{done} graphs, {rate:.1f} a second, {len(state['mismatches'])} mismatches, "
                f"{len(state['float32'])} of float32",
                flush=True,
            )
            if options.state:
                options.state.write_text(json.dumps(state), encoding="utf-8")
    return 1 if state["mismatches"] else 0


if __name__ == "__main__":
    sys.exit(main())

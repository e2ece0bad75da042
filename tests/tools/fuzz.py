"""Random programs on lamina, MLX and NumPy, and a short program for every disagreement.

    python tests/tools/fuzz.py --first 0 --count 1000        # seeds 0 to 999
    python tests/tools/fuzz.py --count 1000000 --jobs 2 --state fuzz.json    # where it stopped

Each seed is a program of 10 to 200 operations (tests/tools/graphs.py). It runs

- on NumPy in float64 and on MLX,
- on lamina: as it is, again from the plan cache, and, in turn by seed, without fusion or without
  donated memory, with every graph and plan checked against its grammar,
- and, in turn by seed, under one transform: `grad` beside MLX's and beside itself without fusion,
  `jvp` beside `vjp`, `vmap` beside a loop, `compile`.

A difference is put down to float32 where the same check passes in float64 (on lamina, with MLX as
the other), and lamina in float32 is no farther from MLX in float64 than MLX in float32 gets when
each of its results is off by a last bit; for `jvp`, also where the difference shrinks from float32
to float64 as rounding does. What is left is a mismatch: it prints the seed, what differs, and the
shortest program that still differs: one output, and as many operations as could be replaced by
their values. Seeds run in processes of their own: one that does not answer, or dies, is tried again
without MLX, and is a mismatch only if that, too, fails. The exit status tells whether there was a
mismatch. --state keeps the next seed, the seeds put down to float32 or run without MLX, and all
mismatches in a file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parent)]

from graphs import Generator, Line, Program  # noqa: E402
from lamina import _core  # noqa: E402
from oracles import (  # noqa: E402
    ALONE,
    DOUBLE,
    NUMBERS,
    SINGLE,
    Arrays,
    Cores,
    Eager,
    Shaken,
    mx,
    omx,
    outputs,
    run,
)

Check = Callable[[Program, Cores], str]
RELATIVE, ABSOLUTE = 2e-3, 3e-4
FLOAT32 = "float32"
BLOCK = 100  # seeds that a process is given at a time
PATIENCE = 60.0  # seconds for one seed


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
    other = NUMBERS if cores.other is None else cores.other
    out = {"NumPy": outputs(program, NUMBERS), "MLX": outputs(program, other)}
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
    if cores.other is None:
        return ""
    for k, (a, b) in enumerate(zip(mine, gradients(program, cores.other), strict=True)):
        if text := apart(a, b):
            return f"gradient {k}: {text} in MLX"
    return ""


def slopes(program: Program, cores: Cores) -> tuple[float, float, float]:
    """The slope along some tangents, forward and in reverse, and how large the terms of it are."""
    mx = cores.mine
    f, _, xs = scalar(program, mx)
    g = np.random.default_rng(len(program.lines))
    ts = [mx.array(g.standard_normal(x.shape).astype(np.float32)) for x in xs]
    slope = float(mx.jvp(f, xs, ts)[1][0].item())
    grads = mx.vjp(f, xs, [mx.array(1.0)])[1]
    terms = [
        np.array(a, np.float64) * np.array(t, np.float64) for a, t in zip(grads, ts, strict=True)
    ]
    return slope, sum(float(t.sum()) for t in terms), sum(float(np.abs(t).sum()) for t in terms)


def by_jvp(program: Program, cores: Cores = SINGLE) -> str:
    slope, back, size = slopes(program, cores)
    near = abs(slope - back) <= 1e-3 * (1 + size) or not np.isfinite(slope + back)
    return "" if near else f"jvp {slope!r}, vjp {back!r}"


def rounded_away(program: Program) -> bool:
    """Whether forward and reverse differ as rounding does: less by 2**20 and more in float64, which
    has 29 bits more. Terms of 1e18 that cancel differ by hundreds even there."""
    in_double, in_single = slopes(program, DOUBLE), slopes(program, SINGLE)
    return abs(in_double[0] - in_double[1]) * 2**20 <= abs(in_single[0] - in_single[1])


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


def by_eager(program: Program, cores: Cores = SINGLE) -> str:
    """Values and gradients where some lines are evaluated before the next ones are built."""
    eager = Eager(cores.mine, len(program.lines))
    for what, results in (("output", outputs), ("gradient", gradients)):
        for k, (a, b) in enumerate(
            zip(results(program, eager), results(program, cores.mine), strict=True)
        ):
            if text := apart(a, b):
                return f"eager, {what} {k}: {text} otherwise"
    return ""


TRANSFORMS = [by_grad, by_jvp, by_compile, by_vmap, by_eager]


# --- mismatches ---------------------------------------------------------------------------------


def checks(seed: int) -> list[Check]:
    plain = [list(PLAIN)[seed // len(TRANSFORMS) % len(PLAIN)]]
    values = lambda p, cores: compare(variants(p, plain, cores))
    return [values, TRANSFORMS[seed % len(TRANSFORMS)]]


def of_float32(check: Check, program: Program) -> bool:
    """Whether float32 alone explains that a check fails."""
    if check(program, DOUBLE):
        return check is by_jvp and rounded_away(program)
    if check in (by_jvp, by_vmap, by_eager):
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


def verdict(check: Check, program: Program, cores: Cores = SINGLE) -> str:
    try:
        return check(program, cores)
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
    """A shorter program on which the check still fails: the shortest found in half of PATIENCE."""
    deadline = time.monotonic() + PATIENCE / 2
    for k in program.outputs:
        alone = pruned(Program(program.leaves, program.lines, [k]))
        if verdict(check, alone):
            program = alone
            break
    at = len(program.leaves) + len(program.lines)
    while (at := at - 1) >= len(program.leaves) and time.monotonic() < deadline:
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


def examine(seed: int, least: int, most: int, cores: Cores = SINGLE) -> tuple[str, str]:
    """What went wrong with a seed, and the shortest program for it; two empty texts if nothing.

    FLOAT32 and no program where the rounding of float32 explains it.
    """
    program = Generator(seed, least, most).program
    text = ""
    for check in checks(seed):
        if wrong := verdict(check, program, cores):
            if cores is SINGLE and wrong_by_rounding(check, program):
                text = FLOAT32
                continue
            short = smallest(program, check)
            return f"{wrong}; at its shortest: {verdict(check, short)}", short.source()
    return text, ""


# --- many seeds ---------------------------------------------------------------------------------


def work(pipe: Connection, least: int, most: int) -> None:
    """In a process of its own: takes (first, end, without MLX or not), tells each seed's result."""
    while True:
        first, end, alone = pipe.recv()
        for seed in range(first, end):
            pipe.send((seed, *examine(seed, least, most, ALONE if alone else SINGLE)))


class Worker:
    """A process that examines seeds, and can be given up on."""

    def __init__(self, least: int, most: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, least, most), daemon=True)
        self.process.start()
        theirs.close()
        self.first = self.next = self.end = 0
        self.alone = False

    def give(self, first: int, end: int, alone: bool = False) -> None:
        self.first, self.next, self.end, self.alone = first, first, end, alone
        self.heard = time.monotonic()
        self.pipe.send((first, end, alone))

    def answer(self) -> tuple[str, str] | None:
        """What was said of seed `next`; None if its process is gone."""
        try:
            seed, text, source = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            return None
        assert seed == self.next
        self.heard = time.monotonic()
        return text, source

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class Campaign:
    """Seeds from `state["next"]` to `end`, in `jobs` processes."""

    def __init__(self, state: dict[str, Any], end: int, jobs: int, sizes: tuple[int, int]) -> None:
        self.state, self.end, self.jobs, self.sizes = state, end, jobs, sizes
        self.begin = state["next"]
        self.workers: list[Worker] = []

    def run(self) -> Iterator[int]:
        """Yields how many seeds are done, after each block."""
        at = self.begin
        while at < self.end or self.workers:
            while at < self.end and len(self.workers) < self.jobs:
                self.start(at, at := min(at + BLOCK, self.end))
            pipes = {w.pipe: w for w in self.workers}
            for pipe in wait(list(pipes), timeout=1):
                worker = pipes[pipe]  # type: ignore[index]
                said = worker.answer()
                if said is None:
                    self.lost(worker, "its process died")
                    continue
                self.note(worker.next, *said)
                worker.next += 1
                if worker.next == worker.end:
                    if at < self.end:
                        worker.give(at, at := min(at + BLOCK, self.end))
                    else:
                        self.retire(worker)
                    self.state["next"] = min([w.next for w in self.workers], default=self.end)
                    yield self.state["next"] - self.begin
            for worker in list(self.workers):
                if time.monotonic() - worker.heard > PATIENCE:
                    self.lost(worker, f"no answer in {PATIENCE:.0f} s")
        self.state["next"] = self.end
        yield self.end - self.begin

    def start(self, first: int, end: int, alone: bool = False) -> None:
        worker = Worker(*self.sizes)
        worker.give(first, end, alone)
        self.workers.append(worker)

    def retire(self, worker: Worker) -> None:
        worker.stop()
        self.workers.remove(worker)

    def lost(self, worker: Worker, why: str) -> None:
        """Tries the seed again without MLX, which may be to blame, and goes on behind it."""
        seed, end = worker.next, worker.end
        self.retire(worker)
        if worker.alone:
            self.note(seed, f"without MLX: {why}", Generator(seed, *self.sizes).program.source())
        else:
            self.state["without MLX"][str(seed)] = why
            self.start(seed, seed + 1, alone=True)
        if seed + 1 < end:
            self.start(seed + 1, end)

    def note(self, seed: int, text: str, source: str) -> None:
        if text == FLOAT32:
            self.state["float32"] = sorted({*self.state["float32"], seed})
        elif text:
            self.state["mismatches"][str(seed)] = [text, source]
            print(f"seed {seed}: {text}\n{source}\n", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--least", type=int, default=10, help="fewest operations")
    parser.add_argument("--most", type=int, default=200, help="most operations")
    parser.add_argument("--state", type=Path, help="where to go on, and all mismatches")
    options = parser.parse_args()
    state: dict[str, Any] = {"next": options.first, "mismatches": {}}
    state |= {"float32": [], "without MLX": {}}
    if options.state and options.state.exists():
        state |= json.loads(options.state.read_text(encoding="utf-8"))
    begun, end = time.perf_counter(), options.first + options.count
    campaign = Campaign(state, end, options.jobs, (options.least, options.most))
    for done in campaign.run():
        print(
            f"{done} graphs, {done / (time.perf_counter() - begun):.1f} a second, "
            f"{len(state['mismatches'])} mismatches, {len(state['float32'])} of float32, "
            f"{len(state['without MLX'])} without MLX",
            flush=True,
        )
        if options.state:
            options.state.write_text(json.dumps(state), encoding="utf-8")
    return 1 if state["mismatches"] else 0


if __name__ == "__main__":
    sys.exit(main())

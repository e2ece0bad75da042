"""What tests/tools/fuzz.py runs a program on: lamina, MLX, and NumPy under their names."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "tools"), str(TESTS / "core")]

import lamina.core as mx  # noqa: E402
import mlx.core as omx  # noqa: E402
from graphs import Program  # noqa: E402

Arrays = list[Any]


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


class Exact(Wide):
    """MLX in float64, also where MLX computes in float32 even then: `sin`, `cos`, `erf`, `exp` and
    all that is made of it are NumPy's and SciPy's there, with derivatives."""

    def __init__(self, core: Any) -> None:
        super().__init__(core)
        from scipy import special

        named = {
            "exp": (np.exp, np.exp),
            "sin": (np.sin, np.cos),
            "cos": (np.cos, lambda x: -np.sin(x)),
            "sigmoid": (special.expit, lambda x: special.expit(x) * special.expit(-x)),
            "erf": (special.erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-np.square(x))),
            "softplus": (lambda x: np.logaddexp(x, 0), special.expit),
        }
        self._named = {name: self._exact(f, slope) for name, (f, slope) in named.items()}

    def _exact(self, f: Any, slope: Any) -> Callable[[Any], Any]:
        core = self._core

        def wide(f: Any, x: Any) -> Any:
            with np.errstate(all="ignore"):
                return core.array(np.asarray(f(np.array(x)), np.float64), core.float64)

        called = core.custom_function(lambda x: wide(f, x))
        called.vjp(lambda x, cotangent, _: cotangent * wide(slope, x))
        return lambda x: called(x.astype(core.float64))

    def __getattr__(self, name: str) -> Any:
        return self._named.get(name) or super().__getattr__(name)

    def logaddexp(self, a: Any, b: Any) -> Any:
        return b + self.softplus(a - b)

    def logsumexp(self, x: Any, axis: Any, keepdims: bool) -> Any:
        most = self._core.stop_gradient(self._core.max(x, axis=axis, keepdims=True))
        total = self._core.sum(self.exp(x - most), axis=axis, keepdims=True)
        out = self._core.log(total) + most
        return out if keepdims else self._core.squeeze(out, axis)

    def softmax(self, x: Any, axis: int) -> Any:
        powers = self.exp(x - self._core.stop_gradient(self._core.max(x, axis=axis, keepdims=True)))
        return powers / self._core.sum(powers, axis=axis, keepdims=True)


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


class Eager:
    """A core that evaluates lines at random, so that what follows meets data in the place of a
    graph, and adds repeated scalars that are evaluated, which derivative rules look for."""

    def __init__(self, core: Any, seed: int) -> None:
        self._core, self._random = core, np.random.default_rng(seed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def shake(self, x: Any) -> Any:
        draw = self._random.random()
        if draw < 0.1 and x.dtype == self._core.float32:
            one = self._core.broadcast_to(self._core.array(1.0), x.shape)
            self._core.eval(one)
            x = one * x
        if draw < 0.4:
            self._core.eval(x)
        return x


@dataclass
class Cores:
    """Who runs a program: lamina, and MLX beside it, if any."""

    mine: Any
    other: Any


SINGLE = Cores(mx, omx)
DOUBLE = Cores(Wide(mx), Exact(omx))
ALONE = Cores(mx, None)


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
    shake = core.shake if isinstance(core, (Shaken, Eager)) else None
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

"""Calls every public function with arguments it was not made for.

    python tests/tools/misuse.py --seed 1 --calls 3000

Each call either works or raises something that was meant: never a crash, a hang, or Python's own
complaint from inside (AttributeError, OverflowError, a message of the C++ library). The call under
way is written to --log first, so that it is known after a crash.
"""

from __future__ import annotations

import argparse
import inspect
import math
import random
import signal
import sys
from collections.abc import Callable
from typing import Any

import lamina.core as mx
import numpy as np

# They change the process, write files, or wait for others.
LEFT_OUT = {
    "clear_cache",
    "disable_compile",
    "enable_compile",
    "export_function",
    "export_to_dot",
    "exporter",
    "load",
    "save",
    "save_gguf",
    "save_safetensors",
    "savez",
    "savez_compressed",
    "set_cache_limit",
    "set_default_device",
    "set_default_stream",
    "set_memory_limit",
    "set_printoptions",
    "set_wired_limit",
}
MODULES = ("random", "linalg", "fast", "fft")
UNMEANT = (
    "AssertionError",
    "AttributeError",
    "InternalError",
    "KeyError",
    "NameError",
    "OverflowError",
    "RecursionError",
    "StopIteration",
    "SystemError",
    "TimeoutError",
    "UnboundLocalError",
    "ZeroDivisionError",
)
FROM_INSIDE = (
    "std::",
    "vector::",
    "basic_string",
    "unordered_map",
    "bad_",
    "too big to convert",
    "incompatible function arguments",
    "incompatible constructor arguments",
)
DTYPES = [v for v in vars(mx).values() if isinstance(v, mx.Dtype)]
SHAPES = [
    (), (0,), (1,), (3,), (4,), (2, 3), (3, 2), (3, 3), (1, 3), (0, 3), (2, 0, 2), (2, 3, 4),
    (2, 1, 3), (1, 1, 1, 1), (2, 2, 2, 2), (2, 3, 3, 2), (7, 5),
]  # fmt: skip
INTS = [0, 1, -1, 2, 3, -2, 5, 7, -7, 100, -100, 2**31, 2**63 - 1, -(2**63), 2**64, 10**30]
FLOATS = [0.0, 1.0, -1.5, math.nan, math.inf, -math.inf, 1e308, 1e-320]
OTHERS: list[Any] = [
    "", "sum", "ij,jk->ik", "abc", "i->", "...i,i", "reflect", "edge", b"x", slice(None),
    slice(0, -1, 2), slice(5, 1, -1), slice(0, 10**20), Ellipsis, np.int64(3), np.float32(2), 1j,
    None, True, False, {}, object(),
]  # fmt: skip


class Arguments:
    """Values of all kinds, drawn from one seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def array(self) -> mx.array:
        shape, dtype, how = self.draw.choice(SHAPES), self.draw.choice(DTYPES), self.draw.random()
        numbers = np.random.default_rng(self.draw.randrange(1 << 30)).normal(size=shape) * 3
        x = mx.array(numbers.astype(np.float32)).astype(dtype)
        if how < 0.15 and len(shape) >= 2:
            return x.T
        if how < 0.25 and shape and shape[0] > 1:
            return x[::-1]
        if how < 0.3 and shape:
            return mx.broadcast_to(x, (2, *shape))
        if how < 0.35 and mx.issubdtype(dtype, mx.floating):
            return x * math.nan
        return x

    def value(self, depth: int = 0) -> Any:
        kind = self.draw.random()
        if kind < 0.42:
            return self.array()
        if kind < 0.62:
            return self.draw.choice(INTS)
        if kind < 0.7:
            return self.draw.choice(FLOATS)
        if kind < 0.78:
            return self.draw.choice(DTYPES)
        if kind < 0.86:
            return self.draw.choice(OTHERS)
        if kind < 0.89:
            dtype = self.draw.choice(["f4", "i8", "f8", "i2", "?", "c8", "u1"])
            return np.ones(self.draw.choice(SHAPES), dtype)
        if kind < 0.92:
            return self.function()
        if depth < 2:
            many = [self.value(depth + 1) for _ in range(self.draw.randrange(4))]
            return self.draw.choice([list, tuple])(many)
        return {"a": self.array()}

    def function(self) -> Callable[..., Any]:
        wrong = self.draw.choice([None, 1, "a"])
        return lambda *a, **k: mx.sum(a[0]) if a and isinstance(a[0], mx.array) else wrong


def targets() -> list[tuple[str, Callable[..., Any]]]:
    found = []
    for prefix, space in [("", mx), *((m + ".", getattr(mx, m, None)) for m in MODULES)]:
        for name in getattr(space, "__all__", dir(space)) if space else ():
            f = getattr(space, name)
            helper = getattr(f, "__module__", "") == "lamina._arguments"
            usable = callable(f) and not inspect.isclass(f) and not helper
            if usable and not name.startswith("_") and name not in LEFT_OUT:
                found.append((prefix + name, f))
    return found


def methods() -> list[str]:
    special = {"__len__", "__bool__", "__float__", "__int__", "__index__", "__array__"}
    special |= {n for n in dir(mx.array) if n.startswith(("__get", "__set", "__r", "__d", "__c"))}
    special -= {"__getattribute__", "__setattr__", "__delattr__", "__dir__", "__class__"}
    special -= {"__reduce_ex__", "__getstate__", "__setstate__", "__repr__", "__doc__"}
    public = [n for n in dir(mx.array) if not n.startswith("_")]
    return [n for n in [*public, *sorted(special)] if callable(getattr(mx.array, n))]


def text(value: Any) -> str:
    if isinstance(value, mx.array):
        return f"array{tuple(value.shape)}:{value.dtype}"
    if isinstance(value, np.ndarray):
        return f"numpy{value.shape}:{value.dtype}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(text, value))}]"
    return repr(value)[:60]


def read(result: Any, depth: int = 0) -> None:
    if isinstance(result, mx.array):
        if result.size < 10**6:
            repr(result)
    elif isinstance(result, (list, tuple)) and depth < 3:
        for r in result:
            read(r, depth + 1)


def optional(f: Callable[..., Any], given: int, a: Arguments) -> dict[str, Any]:
    try:
        parameters = list(inspect.signature(f).parameters.values())[given:]
    except (TypeError, ValueError):
        return {}
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in kinds and p.name != "stream"]
    return {n: a.value() for n in names if a.draw.random() < 0.25}


def hang(*_: Any) -> None:
    raise TimeoutError("no answer for 20 seconds")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--log", default="")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, hang)
    a, functions, names = Arguments(options.seed), targets(), methods()
    bad = 0
    for i in range(options.calls):
        if a.draw.random() < 0.7:
            name, f = a.draw.choice(functions)
        else:
            method = a.draw.choice(names)
            name, f = f"array.{method}", getattr(a.array(), method)
        args = [a.value() for _ in range(a.draw.randrange(5))]
        kwargs = optional(f, len(args), a)
        line = f"{i} {name}{text(args)} { {k: text(v) for k, v in kwargs.items()} }"
        if options.log:
            with open(options.log, "w") as log:
                log.write(line)
        signal.alarm(20)
        try:
            read(f(*args, **kwargs))
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            if type(error).__name__ in UNMEANT or any(m in message for m in FROM_INSIDE):
                bad += 1
                print(f"{line}\n  {message[:300]}", flush=True)
        finally:
            signal.alarm(0)
    print(f"{options.calls} calls, {bad} answered by accident")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

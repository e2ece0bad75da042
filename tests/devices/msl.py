"""What the tests of software Metal share: source in, result and counts out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lamina import core as mx
from lamina import soft_metal

HEAD = "#include <metal_stdlib>\nusing namespace metal;\n"


def pipeline(source: str, name: str | None = None, **options: Any) -> Any:
    constants = options.pop("constants", {})
    threads = options.pop("max_threads", 0)
    library = soft_metal.Library(HEAD + source, **options)
    return library.pipeline(name or library.functions[0], constants, threads)


def run(source: str, buffers: dict[int, Any], grid: Any, group: Any = 32, **options: Any) -> Any:
    """Compiles the source's first kernel and runs it; returns its counts."""
    dispatch = {k: options.pop(k) for k in ("threadgroup", "offsets", "in_threads") if k in options}
    return pipeline(source, **options).run(buffers, grid, group, **dispatch)


def value(expression: str, kind: str = "float", **inputs: Any) -> Any:
    """The value of an MSL expression of NumPy values, through a kernel of one thread."""
    types = {
        "float32": "float",
        "int32": "int",
        "uint32": "uint",
        "int64": "long",
        "uint8": "uchar",
    }
    types |= {"float16": "half", "int16": "short", "uint16": "ushort", "uint64": "ulong"}
    names = {name: np.asarray(v) for name, v in inputs.items()}
    params = "".join(f", device const {types[v.dtype.name]}* {n}_" for n, v in names.items())
    loads = "".join(f"const auto {n} = *{n}_;" for n in names)
    lanes = int(kind[-1]) if kind[-1] in "234" else 1
    base = kind.rstrip("234")
    numpy = {"float": "f4", "half": "f2", "int": "i4", "uint": "u4", "short": "i2", "uchar": "u1"}
    numpy |= {
        "long": "i8",
        "ulong": "u8",
        "bool": "?",
        "char": "i1",
        "ushort": "u2",
        "bfloat": "u2",
    }
    out = np.zeros(4 if lanes == 3 else lanes, numpy[base])
    source = f"kernel void f(device {kind}* out{params}) {{ {loads} *out = {expression}; }}"
    run(source, {0: out, **{i + 1: v.reshape(-1) for i, v in enumerate(names.values())}}, 1, 1)
    return out[0] if lanes == 1 else out[:lanes]


def broken(rule: str, *words: str) -> Any:
    """Expects a DeviceError of that rule whose message has these words."""
    return _Broken(rule, words)


class _Broken:
    def __init__(self, rule: str, words: tuple[str, ...]) -> None:
        self.rule, self.words = rule, words
        self.context = pytest.raises(mx.DeviceError)

    def __enter__(self) -> Any:
        self.info = self.context.__enter__()
        return self.info

    def __exit__(self, *error: Any) -> Any:
        caught = self.context.__exit__(*error)
        assert self.info.value.rule == self.rule, str(self.info.value)
        for word in self.words:
            assert word in str(self.info.value), f"{word!r} not in: {self.info.value}"
        return caught

"""Kernels as text: what a device that compiles source is given, in both dialects."""

from __future__ import annotations

import lamina.core as mx
import pytest
from lamina import _core


def texts(array: mx.array, dialect: str, vector_bytes: int = 16) -> list[dict]:
    mx.eval(array)
    return _core._kernel_texts(dialect, vector_bytes)


@pytest.mark.parametrize("dialect", ["msl", "cuda"])
def test_one_text_serves_all_sizes_and_scalars(dialect):
    def source(n: int, factor: float) -> str:
        x = mx.zeros((n,))
        mx.eval(x)
        (step,) = texts(x * factor + 1.0, dialect)
        (launch,) = step["launches"]
        return launch["source"]

    assert source(100_000, 2.0) == source(300_001, 5.0)


def test_unknown_dialect_is_named():
    mx.eval(mx.zeros((4,)) + 1)
    with pytest.raises(ValueError, match="no dialect 'spirv'"):
        _core._kernel_texts("spirv")


def test_float64_is_refused_where_the_device_has_none():
    x = mx.zeros((8,), dtype=mx.float64)
    mx.eval(x)
    y = mx.exp(x)
    mx.eval(y)
    with pytest.raises(TypeError, match=r"exp: float64 is no dtype of this device\n.*float32"):
        _core._kernel_texts("msl")
    (step,) = _core._kernel_texts("cuda")
    assert "double" in step["launches"][0]["source"]

"""How arrays are shown, graphs are drawn, and the small names of MLX's interface."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest

VALUES: list[Any] = [
    [1.23456789, 2.0],
    [1e-5, 1e7, 123456.789],
    [0.1, float("nan"), float("inf"), -float("inf"), -0.0],
    [1e20, 3e38, 1e-38],
    1.5,
    [1 + 2.3456j, 1 - 1e-9j],
    [True],
    [3, -4],
]


@pytest.mark.parametrize("precision", [-1, 0, 2, 5, 40, 64])
def test_precision_as_mlx(precision: int) -> None:
    with mx.printoptions(precision=precision), omx.printoptions(precision=precision):
        for value in VALUES:
            assert str(mx.array(value)) == str(omx.array(value))


def test_options_nest_and_are_set() -> None:
    x = mx.array(1.25)
    assert mx.get_printoptions().precision == -1
    try:
        mx.set_printoptions(precision=1)
        with mx.printoptions(3):
            with mx.printoptions():
                assert str(x) == "array(1.25, dtype=float32)"
            assert str(x) == "array(1.250, dtype=float32)"
        assert str(x) == "array(1.2, dtype=float32)"
        assert mx.get_printoptions().precision == 1
    finally:
        mx.set_printoptions()
    assert str(x) == "array(1.25, dtype=float32)"


@pytest.mark.parametrize("wrong", [-2, 65])
def test_precision_is_bounded(wrong: int) -> None:
    message = f"printoptions: precision must lie between 0 and 64, or be -1, got {wrong}"
    for use in (mx.PrintOptions, mx.set_printoptions, mx.printoptions):
        with pytest.raises(ValueError, match=message):
            use(precision=wrong)
    with pytest.raises(TypeError, match=r"printoptions: precision must be an int, got 2\.5"):
        mx.set_printoptions(2.5)


def test_a_graph_is_drawn(tmp_path: Path) -> None:
    x = mx.array([1.0, 2.0])
    y = x + 2
    out = y * y
    text = io.StringIO()
    mx.export_to_dot(text, out, x=x)
    assert text.getvalue() == (
        "digraph {\n"
        '{ rank=source; "x" [label="x\\nfloat32 (2,)"]; }\n'
        '{ rank=source; "A" [label="A\\nfloat32 ()"]; }\n'
        '{ "B" [label="B\\nfloat32 (2,)"]; }\n'
        '{ op2 [label="add", shape=rectangle]; }\n'
        '"x" -> op2\n"A" -> op2\nop2 -> "B"\n'
        '{ rank=sink; "C" [label="C\\nfloat32 (2,)"]; }\n'
        '{ op3 [label="multiply", shape=rectangle]; }\n'
        '"B" -> op3\n"B" -> op3\nop3 -> "C"\n'
        "}\n"
    )
    mx.export_to_dot(str(tmp_path / "graph.dot"), out=out)
    assert '"out" [label="out' in (tmp_path / "graph.dot").read_text()
    mx.eval(out)
    drawn = io.StringIO()
    mx.export_to_dot(drawn, out)
    assert "rectangle" not in drawn.getvalue()
    with pytest.raises(TypeError, match=r"export_to_dot: expected arrays, got 3 \(int\)"):
        mx.export_to_dot(drawn, 3)


def test_a_deep_graph_is_drawn() -> None:
    x = mx.array(1.0)
    for _ in range(3000):
        x = x + 1
    text = io.StringIO()
    mx.export_to_dot(text, x)
    assert text.getvalue().count("rectangle") == 3000


def test_buffers_are_counted_once() -> None:
    x = mx.arange(1000, dtype=mx.float32) + 1
    mx.eval(x)
    rows = x[:10]
    mx.eval(rows)
    assert mx.get_array_buffer_size() == 0
    assert mx.get_array_buffer_size(x, {"x": [x, 3, "a"]}) == mx.get_array_buffer_size(x) >= 4000
    assert mx.get_array_buffer_size(x, rows) >= 4000
    with pytest.raises(ValueError, match=r"get_array_buffer_size: an array of shape \(3,\) has no"):
        mx.get_array_buffer_size(mx.ones((3,)) + 1)


def test_iterators() -> None:
    steps = iter(mx.arange(3))
    assert isinstance(steps, mx.ArrayIterator) and iter(steps) is steps
    assert [x.item() for x in steps] == [0, 1, 2]
    with pytest.raises(StopIteration):
        next(steps)
    with pytest.raises(TypeError, match="iteration over an array with no axes"):
        iter(mx.array(1))


def test_array_like() -> None:
    class Wrapped:
        def __mlx_array__(self) -> mx.array:
            return mx.array([1, 2])

    assert mx.array(mx.ArrayLike(Wrapped())).tolist() == [1, 2]
    assert (mx.array([1, 1]) + mx.ArrayLike(Wrapped())).tolist() == [2, 3]
    with pytest.raises(TypeError, match=r"ArrayLike: the object must have __mlx_array__, got 3"):
        mx.ArrayLike(3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bool_", "complex64", "int8"])
def test_state(dtype: str) -> None:
    x = mx.array([1, 0, 3]).astype(getattr(mx, dtype))
    other = mx.array(9.0)
    other.__setstate__(x.__getstate__())
    for y in (other, pickle.loads(pickle.dumps(x))):
        assert y.dtype == x.dtype and mx.array_equal(x, y).item()


def test_old_division() -> None:
    x = mx.array([1.0, 4.0])
    assert x.__div__(2).tolist() == [0.5, 2.0] and x.__rdiv__(2).tolist() == [2.0, 0.5]


def test_array_namespace() -> None:
    x = mx.array(1)
    space = x.__array_namespace__()
    assert space.__name__ == "lamina.array_api"
    assert x.__array_namespace__(api_version="2024.12") is space
    assert space.add is mx.add
    with pytest.raises(ValueError, match=r"__array_namespace__: api_version must .*, got '1999'"):
        x.__array_namespace__(api_version="1999")


def test_limits_and_devices_are_seen_on_the_class() -> None:
    for owner, names in {
        mx.finfo: ["bits", "dtype", "eps", "max", "min", "smallest_normal"],
        mx.iinfo: ["dtype", "max", "min"],
        mx.Device: ["type"],
        mx.Stream: ["device"],
        mx.ThreadLocalStream: ["device"],
    }.items():
        assert all(hasattr(owner, name) for name in names)
    assert mx.finfo(mx.float32).eps == np.finfo(np.float32).eps
    stream = pickle.loads(pickle.dumps(mx.default_stream(mx.cpu)))
    assert stream == mx.default_stream(mx.cpu) and stream.device.type is mx.cpu

"""Functions in files: what comes back, what is refused, and files that are damaged."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest
from arrays import check, to_numpy
from functions import FUNCTIONS
from lamina import _export, nn


def round_trip(file: Path, fun: Any, *args: Any, **kwargs: Any) -> Any:
    mx.export_function(str(file), fun, *args, **kwargs)
    return mx.import_function(str(file))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "function.lmfn"


def scaled(x: mx.array, y: Any = None) -> Any:
    out = mx.exp(x) * 3
    return out if y is None else out + y


def test_arguments_and_results(file: Path) -> None:
    x, y = mx.array([1.0, 2.0]), mx.array([3.0, 4.0])
    f = round_trip(file, scaled, x, y=y)
    for got in (f(x, y=y), f((x,), {"y": y}), f([x], y=y), f(x, {"y": y})):
        assert isinstance(got, tuple) and len(got) == 1
        check(got[0], to_numpy(scaled(x, y)))
    again = round_trip(file, scaled, (x,), {"y": y})
    check(again(x + 1, y=y)[0], to_numpy(scaled(x + 1, y)))
    pair = round_trip(file, lambda a: [a, a + 1], x)
    assert [out.tolist() for out in pair(x)] == [[1, 2], [2, 3]]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_come_back(name: str, file: Path) -> None:
    x = mx.random.normal((4, 3), key=mx.random.key(4))
    expected = FUNCTIONS[name](x)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for got, want in zip(round_trip(file, FUNCTIONS[name], x)(x), expected, strict=True):
        assert got.dtype == want.dtype
        check(got, to_numpy(want))


@pytest.mark.parametrize("dtype", ["bool_", "int8", "uint64", "float16", "bfloat16", "complex64"])
def test_captured_arrays_are_written(dtype: str, file: Path) -> None:
    kept = mx.array([[1, 0], [2, 3]]).astype(getattr(mx, dtype))
    view = kept.T
    f = round_trip(file, lambda x: (mx.where(x, kept, kept), view, mx.array(2.5)), mx.array(True))
    whole, turned, number = f(mx.array(False))
    assert whole.dtype == kept.dtype and mx.array_equal(whole, kept).item()
    assert mx.array_equal(turned, view).item() and number.item() == 2.5


def test_a_model_is_written_once(file: Path) -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    with mx.exporter(str(file), model, metadata='{"kind": "mlp"}') as out:
        for rows in (1, 5, 5):
            out(mx.ones((rows, 64)))
    weights = sum(v.nbytes for _, v in nn.utils.tree_flatten(model.parameters()))
    assert weights < file.stat().st_size < weights + 8000
    f, metadata = mx.import_function(str(file), return_metadata=True)
    assert metadata == '{"kind": "mlp"}'
    for rows in (1, 5):
        x = mx.random.normal((rows, 64), key=mx.random.key(rows))
        check(f(x)[0], to_numpy(model(x)))
    with pytest.raises(ValueError, match=r"has no trace for \(float32 \(2, 64\)\)\nIt has:\n"):
        f(mx.ones((2, 64)))


def test_transforms_work_on_what_comes_back(file: Path) -> None:
    x = mx.array([0.5, 1.5])
    f = round_trip(file, lambda a: mx.sin(a) * 2, x)
    check(mx.grad(lambda a: f(a)[0].sum())(x), 2 * np.cos(to_numpy(x)), 1e-6)
    check(mx.compile(f)(x)[0], 2 * np.sin(to_numpy(x)), 1e-6)
    check(mx.vmap(lambda a: f(a)[0])(mx.stack([x, x + 1]))[1], 2 * np.sin(to_numpy(x) + 1), 1e-6)


def test_of_a_custom_function_the_outputs_stay(file: Path) -> None:
    @mx.custom_function
    def own(x: mx.array) -> Any:
        return mx.exp(x), x * 2

    @own.vjp
    def own_vjp(x: mx.array, cotangents: Any, outputs: Any) -> mx.array:
        return cotangents[0] * 100

    x = mx.array([0.0, 1.0])
    f = round_trip(file, lambda a: own(a)[0] + own(a)[1], x)
    check(f(x)[0], np.exp(to_numpy(x)) + 2 * to_numpy(x), 1e-6)
    check(mx.grad(lambda a: f(a)[0].sum())(x), np.exp(to_numpy(x)) + 2, 1e-6)


def test_a_callback_is_told(file: Path) -> None:
    told: list[dict[str, Any]] = []
    x, y = mx.array([1.0, 2.0]), mx.array([3.0, 4.0])
    mx.export_function(told.append, lambda a, b: mx.exp(a) * 3 + b, x, b=y)
    kind = ((2,), mx.float32)
    assert [t["type"] for t in told[:4]] == ["inputs", "keyword_inputs", "outputs", "constants"]
    assert told[0]["inputs"] == [("A", *kind), ("B", *kind)]
    assert told[1]["keywords"] == [("b", "B")]
    assert told[3]["constants"][0][1].item() == 3
    steps = [(t["name"], [i[0] for i in t["inputs"]], t["outputs"][0][0]) for t in told[4:]]
    assert steps == [("exp", ["A"], "D"), ("multiply", ["D", "C"], "E"), ("add", ["E", "B"], "F")]
    assert told[2]["outputs"] == [("F", *kind)]
    theirs: list[dict[str, Any]] = []
    omx.export_function(theirs.append, lambda a, b: omx.exp(a) + b, omx.array([1.0]), b=omx.ones(1))
    for ours, other in zip(told[:4], theirs[:4], strict=True):
        assert ours.keys() == other.keys()
    assert told[4].keys() == theirs[4].keys()
    with pytest.raises(ValueError, match="export_function: metadata go into a file"):
        mx.export_function(told.append, scaled, x, metadata="m")


# --- refusals ------------------------------------------------------------------------------------


def test_refusals(file: Path) -> None:
    x = mx.array([1.0])
    with pytest.raises(
        ValueError, match=r"export_function: the arguments must be arrays, got 3 \(int\)"
    ):
        mx.export_function(str(file), scaled, 3)
    with pytest.raises(ValueError, match="the function must return an array, or a tuple or list"):
        mx.export_function(str(file), lambda a: {"a": a}, x)
    with pytest.raises(mx.TraceError, match="eval: an input of a function that vmap or compile"):
        mx.export_function(str(file), lambda a: a.item(), x)
    with pytest.raises(mx.TraceError, match="reads an array of a transform around it"):
        mx.grad(lambda a: mx.export_function(str(file), lambda b: a * b, x))(mx.array(1.0))
    assert not file.exists()


def test_an_exporter_closes_once(file: Path) -> None:
    out = mx.exporter(str(file), scaled)
    with pytest.raises(ValueError, match="has no trace: call it with example arrays"):
        out.close()
    out(mx.array([1.0]))
    out.close()
    out.close()
    with pytest.raises(ValueError, match="is closed and takes no more traces"):
        out(mx.array([1.0]))
    with pytest.raises(ZeroDivisionError), mx.exporter(str(file) + "2", scaled):
        raise ZeroDivisionError
    assert not Path(str(file) + "2").exists()


def test_operations_of_the_program_are_refused(file: Path) -> None:
    kernel = mx.fast.metal_kernel(
        "twice", ["a"], ["out"], "out[thread_position_in_grid.x] = a[thread_position_in_grid.x];"
    )

    def f(x: mx.array) -> mx.array:
        return kernel(
            inputs=[x],
            output_shapes=[x.shape],
            output_dtypes=[x.dtype],
            grid=(x.size, 1, 1),
            threadgroup=(1, 1, 1),
        )[0]

    with pytest.raises(mx.TraceError, match="is registered by this program and cannot be written"):
        mx.export_function(str(file), f, mx.array([1.0]))


# --- files ---------------------------------------------------------------------------------------


def test_files_that_are_none(file: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mx.import_function(str(file))
    for content in (b"", b"junk", b"LAMINAFN", bytes(200)):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="is no function that lamina exported"):
            mx.import_function(str(file))
    mx.export_function(str(file), scaled, mx.array([1.0]))
    raw = bytearray(file.read_bytes())
    raw[8] = 9
    file.write_bytes(raw)
    with pytest.raises(ValueError, match="has format version 9, this lamina reads up to 2"):
        mx.import_function(str(file))


def test_damaged_files_are_noticed(file: Path) -> None:
    weights = mx.random.normal((8, 8), key=mx.random.key(1))
    mx.export_function(str(file), lambda x: x @ weights, mx.ones((2, 8)))
    whole = file.read_bytes()
    rng = random.Random(2)
    for _ in range(500):
        raw = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.2:
            del raw[rng.randrange(len(raw)) :]
        if raw == whole:
            continue
        file.write_bytes(raw)
        with pytest.raises(ValueError, match=r"import_function: .*function\.lmfn: (is|has) "):
            mx.import_function(str(file))


def rewritten(file: Path, change: Any) -> None:
    """The file with another header, and a digest that fits it."""
    raw = file.read_bytes()
    magic, version, length, _ = _export._HEAD.unpack(raw[: _export._HEAD.size])
    body = raw[_export._HEAD.size :]
    header = json.loads(body[:length])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * _export._padding(_export._HEAD.size + len(text))
    body = text + body[length:]
    head = _export._HEAD.pack(magic, version, len(text), hashlib.sha256(body).digest())
    file.write_bytes(head + body)


def first_step(header: dict[str, Any]) -> dict[str, Any]:
    step: dict[str, Any] = header["functions"][0]["steps"][0]
    return step


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: first_step(h).update(operation="exq"), "no operation is called 'exq'"),
        (lambda h: first_step(h).update(operation="placeholder"), "no operation is called"),
        (lambda h: first_step(h).update(inputs=[99]), r"exp reads value 99 of \d"),
        (lambda h: first_step(h).update(inputs=[-1]), "exp reads value -1"),
        (lambda h: first_step(h).update(shape=[-2]), r"exp has the shape \(-2,\)"),
        (lambda h: first_step(h).update(shape=[2**40, 2**40]), "exp has the shape"),
        (lambda h: first_step(h).update(parameters=[1, 2]), "exp does not have 2 parameters"),
        (lambda h: first_step(h).update(parameters=[2**70]), "its header is not understood"),
        (lambda h: first_step(h).update(dtype="float31"), "float31"),
        (lambda h: h["functions"][0].update(outputs=[77]), "the result reads value 77"),
        (lambda h: h.pop("constants"), "its header is not understood: KeyError"),
        (lambda h: h["constants"][0].update(bytes=1), "buffer"),
    ],
)
def test_headers_that_cannot_be(change: Any, message: str, file: Path) -> None:
    kept = mx.array([2.0, 3.0])
    mx.export_function(str(file), lambda x: mx.exp(x) * kept, mx.array([1.0, 2.0]))
    rewritten(file, lambda h: None)
    assert mx.import_function(str(file))(mx.zeros((2,)))[0].tolist() == [2, 3]
    rewritten(file, change)
    with pytest.raises((ValueError, TypeError), match=message):
        mx.import_function(str(file))

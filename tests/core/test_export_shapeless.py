"""Functions in files for all sizes: one trace is written as calls, which are right or refuse."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest
from functions import FUNCTIONS
from lamina import _arguments, _export
from lamina._shapeless import OPERATORS, operator_named
from test_export import file as file  # a fixture
from test_export import rewritten
from test_shapeless import MODELS, OF_SIZES, SIZES, TRANSFORMED, leaves, normal, same


def exported(file: Path, f: Any, *args: Any, **kwargs: Any) -> Any:
    mx.export_function(str(file), f, *args, shapeless=True, **kwargs)
    return mx.import_function(str(file))


def arrays(f: Any) -> Any:
    """`f` with the arrays of its results alone."""
    return lambda *args: [x for x in leaves(f(*args)) if isinstance(x, mx.array)]


@pytest.mark.parametrize("name", [*FUNCTIONS, *OF_SIZES, *TRANSFORMED])
def test_functions_come_back_for_all_sizes(name: str, file: Path) -> None:
    f = arrays({**FUNCTIONS, **OF_SIZES, **TRANSFORMED}[name])
    g = exported(file, f, normal(4, 3))
    for shape in [*SIZES, (6, 3), (7, 7)]:
        x = normal(*shape, seed=1)
        try:
            want = f(x)
            mx.eval(want)
        except (ValueError, IndexError) as error:
            with pytest.raises(type(error)):
                mx.eval(g(x))
        else:
            same(list(g(x)), want)


@pytest.mark.parametrize("name", MODELS)
def test_models_come_back(name: str, file: Path) -> None:
    make, shapes = MODELS[name]
    model = make()
    model.eval()
    run = (lambda x: model(x, None)) if name == "transformer" else model
    g = exported(file, run, normal(*shapes[0]))
    for shape in shapes:
        same(g(normal(*shape))[0], run(normal(*shape)))


def test_several_traces_and_names(file: Path) -> None:
    kept = mx.array([1.0, 2.0, 3.0])

    def f(x: mx.array, *rest: mx.array, scale: Any = None) -> mx.array:
        out = sum(rest, x + kept) / x.shape[0]
        return out if scale is None else out * scale.shape[0]

    with mx.exporter(str(file), f, shapeless=True, metadata="m") as out:
        for x in (mx.ones((2, 3)), mx.ones((5, 3)), mx.ones((3,)), mx.ones((2, 3), mx.float16)):
            out(x)
        out(mx.ones((2, 3)), mx.ones((2, 1)))
        out(mx.ones((2, 3)), scale=mx.ones((7,)))
    raw = file.read_bytes()[_export._HEAD.size :]
    header = json.JSONDecoder().raw_decode(raw.decode("latin1"))[0]
    assert len(header["functions"]) == 5 and len(header["constants"]) == 1
    g, metadata = mx.import_function(str(file), return_metadata=True)
    assert metadata == "m"
    for rows in (1, 4):
        x, y = normal(rows, 3), normal(rows, 1)
        same(g(x)[0], f(x))
        same(g(x, y)[0], f(x, y))
        same(g(x, scale=mx.ones((rows,)))[0], f(x, scale=mx.ones((rows,))))
        same(g(x.astype(mx.float16))[0], f(x.astype(mx.float16)))
    with pytest.raises(
        ValueError, match=r"no trace for \(int32 \(2, 3\)\)\nIt has:\n\(float32 \(\?, \?\)\)"
    ):
        g(mx.ones((2, 3), mx.int32))
    with pytest.raises(ValueError, match=r"\(float32 \(\?,\)\)"):
        g(mx.ones((2, 3, 4)))


def test_a_size_that_decided_is_refused(file: Path) -> None:
    g = exported(file, lambda x: x if x.shape[0] > 2 else -x, normal(4, 3))
    same(g(normal(3, 3))[0], normal(3, 3))
    with pytest.raises(
        mx.TraceError, match=r"decided by shape\[0\] of input 0 > 2, which was True"
    ):
        g(normal(2, 3))


def test_transforms_work_on_what_comes_back(file: Path) -> None:
    def f(x: mx.array) -> mx.array:
        return mx.sin(x.reshape(-1, x.shape[0])) / x.shape[1]

    g = exported(file, f, normal(4, 3))
    one = lambda a: g(a)[0]
    compiled = mx.compile(one, shapeless=True)
    for shape in SIZES:
        x = normal(*shape)
        same(mx.grad(lambda a: one(a).sum())(x), mx.grad(lambda a: f(a).sum())(x))
        same(mx.vmap(one)(normal(2, *shape)), mx.vmap(f)(normal(2, *shape)))
        same(mx.compile(one)(x), f(x))
        same(compiled(x), f(x))
    again = exported(file, one, normal(4, 3))
    same(again(normal(5, 2))[0], f(normal(5, 2)))
    assert compiled._traces.traced == 1


def test_of_a_custom_function_the_outputs_stay(file: Path) -> None:
    @mx.custom_function
    def own(x: mx.array) -> Any:
        return mx.exp(x), x * x.shape[0]

    @own.vjp
    def own_vjp(x: mx.array, cotangents: Any, outputs: Any) -> mx.array:
        return cotangents[0] * 100

    g = exported(file, lambda a: own(a)[0] + own(a)[1], normal(4))
    for n in (2, 5):
        x = normal(n)
        same(g(x)[0], mx.exp(x) + x * n)
        same(mx.grad(lambda a: g(a)[0].sum())(x), mx.exp(x) + n)


def test_values_of_every_kind_are_written(file: Path) -> None:
    def f(x: mx.array) -> Any:
        return [
            mx.maximum(x, -mx.inf),
            x * (1 + 2j),
            x.astype(mx.bfloat16),
            x[..., None, 0, 1:],
            mx.sum(x, axis=(0,), keepdims=True, stream=mx.cpu),
            mx.concatenate([x, x], axis=-1),
            mx.einsum("ij->ji", x),
            mx.pad(x, 1, mode="edge"),
        ]

    for rows in (3, 5):
        x = normal(rows, 2)[:, None][:, 0]
        if rows == 3:
            g = exported(file, lambda a: [y for y in f(a) if y.ndim], mx.ones((2, 2)))
        same(list(g(x)), f(x))


def test_refusals(file: Path) -> None:
    x = mx.ones((2, 3))
    with pytest.raises(mx.TraceError, match=r"a callback is told .* refused\nExport to a file, or"):
        mx.export_function(print, mx.exp, x, shapeless=True)
    with pytest.raises(mx.TraceError, match="argument of type ndarray cannot be written to a file"):
        exported(file, lambda a: a[np.array([0])], x)
    with pytest.raises(mx.TraceError, match="reads an array of a transform around it"):
        mx.grad(lambda a: exported(file, lambda b: a * b, x) and a)(mx.array(1.0))
    with pytest.raises(mx.TraceError, match="eval: an input of a function that vmap or compile"):
        exported(file, lambda a: a.sum().item(), x)
    kernel = mx.fast.metal_kernel("twice", ["a"], ["out"], "out[0] = a[0];")
    with pytest.raises(mx.TraceError, match="is registered by this program and cannot be written"):
        exported(
            file,
            lambda a: kernel(
                inputs=[a],
                output_shapes=[a.shape],
                output_dtypes=[a.dtype],
                grid=(a.size, 1, 1),
                threadgroup=(1, 1, 1),
            )[0],
            x,
        )
    assert not file.exists()


def test_versions(file: Path) -> None:
    def version() -> int:
        number: int = struct.unpack("<I", file.read_bytes()[8:12])[0]
        return number

    mx.export_function(str(file), mx.exp, mx.ones((2,)))
    assert version() == 1  # which older ones read
    mx.export_function(str(file), mx.exp, mx.ones((2,)), shapeless=True)
    assert version() == 2


def test_every_name_that_a_call_may_have_is_found() -> None:
    assert all(callable(operator_named(name)) for name in OPERATORS)
    assert {"lamina._shaping.pad", "lamina.fft.fft"} <= set(_arguments.wholes)


def first(header: dict[str, Any]) -> dict[str, Any]:
    step: dict[str, Any] = header["functions"][0]["calls"][0]
    return step


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: first(h).update(call="core.exq"), "no operation is called 'exq'"),
        (lambda h: first(h).update(call="operator.attrgetter"), "no operation is called"),
        (lambda h: first(h).update(call="os.system"), "no operation is called 'system'"),
        (lambda h: first(h).update(call="core._load_primitives", arguments=["x.so"]), "no value"),
        (lambda h: first(h).update(arguments=[{"slot": 9}]), "value 9 is read before it is"),
        (lambda h: first(h).update(arguments=[{"what": 9}]), "not understood: KeyError"),
        (lambda h: first(h).update(arguments=[{"op": "eval", "of": []}]), "'eval' is not known"),
        (lambda h: first(h).update(kinds=7), "its header is not understood"),
        (lambda h: first(h).pop("first"), "its header is not understood: KeyError"),
        (lambda h: h["functions"][0].update(results=[{"slot": 77}]), "value 77 is read before"),
        (lambda h: h["functions"][0].update(constants=[5]), "its header is not understood"),
    ],
)
def test_headers_that_cannot_be(change: Any, message: str, file: Path) -> None:
    kept = mx.array([2.0, 3.0])
    exported(file, lambda x: mx.exp(x) * kept, mx.array([1.0, 2.0]))
    rewritten(file, lambda h: None)
    assert mx.import_function(str(file))(mx.zeros((2,)))[0].tolist() == [2, 3]
    rewritten(file, change)
    with pytest.raises((ValueError, TypeError), match=message):
        mx.import_function(str(file))


def test_headers_changed_at_random_give_errors(file: Path) -> None:
    """Whatever a header says, importing and calling gives arrays or an error of Python's."""
    exported(file, TRANSFORMED["grad"], normal(4, 3))
    whole = file.read_bytes()
    rng = random.Random(3)
    places: list[tuple[Any, Any]] = []

    def walk(tree: Any) -> None:
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            places.append((tree, key))
            if isinstance(tree[key], (dict, list)):
                walk(tree[key])

    def change(header: dict[str, Any]) -> None:
        places.clear()
        walk(header["functions"])
        tree, key = rng.choice(places)
        tree[key] = rng.choice([None, -1, 3, "add", [], {}, 1.5, {"slot": 0}, [{"slot": 1}], True])

    good = 0
    for _ in range(300):
        file.write_bytes(whole)
        rewritten(file, change)
        try:
            mx.eval(mx.import_function(str(file))(normal(5, 2)))
            good += 1
        except (ValueError, TypeError, IndexError, KeyError, AttributeError, ArithmeticError):
            continue
    assert 0 < good < 300


def test_as_mlx_does(file: Path) -> None:
    """What MLX exports without shapes gives the same here."""
    theirs = str(file) + ".mlxfn"

    def f(m: Any, x: Any, w: Any) -> Any:
        return m.softmax(m.matmul(x, w).flatten(0, 1) * 2, axis=-1)

    shapes = [(2, 3, 4), (5, 1, 4)]
    ox, ow = omx.ones(shapes[0]), omx.ones((4, 6))
    omx.export_function(theirs, lambda x, w: f(omx, x, w), ox, ow, shapeless=True)
    g = exported(file, lambda x, w: f(mx, x, w), mx.ones(shapes[0]), mx.ones((4, 6)))
    h = omx.import_function(theirs)
    for shape in shapes:
        x, w = normal(*shape), normal(4, 6)
        want = h(omx.array(np.array(x)), omx.array(np.array(w)))[0]
        np.testing.assert_allclose(np.array(g(x, w)[0]), np.array(want), rtol=1e-5)

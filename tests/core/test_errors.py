"""Mistakes: each gives a typed exception that says what is wrong, and leaves everything usable."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from arrays import check, to_numpy
from lamina import _core


def a() -> mx.array:
    return mx.ones((2, 3))


def v() -> mx.array:
    return mx.array([1, 2, 3])


def z(*shape: int) -> mx.array:
    return mx.zeros(shape)


# (exception, part of the message, mistake)
MISTAKES: list[tuple[type[Exception], str, Callable[[], Any]]] = [
    # shapes
    (mx.ShapeError, "add: shapes do not broadcast: (2, 3) and (4,)", lambda: a() + z(4)),
    (mx.ShapeError, "matmul: inner sizes differ: (2, 3) @ (4, 5), 3 != 4", lambda: a() @ z(4, 5)),
    (mx.ShapeError, "matmul: needs at least one axis", lambda: mx.array(1.0) @ a()),
    (
        mx.ShapeError,
        "where: shapes do not broadcast: (2, 3) and (2, 3) and (7,)",
        lambda: mx.where(a(), a(), z(7)),
    ),
    (mx.ShapeError, "(2, 3) has 6 elements, (4, 2) needs 8", lambda: a().reshape(4, 2)),
    (mx.ShapeError, "reshape: bad shape (-1, -1)", lambda: a().reshape(-1, -1)),
    (mx.ShapeError, "cannot infer -1 in (-1, 4)", lambda: a().reshape(-1, 4)),
    (mx.ShapeError, "axis 0 of (2, 3) has size 2, not 1", lambda: mx.squeeze(a(), 0)),
    (mx.ShapeError, "(2, 3) does not broadcast to (2, 4)", lambda: mx.broadcast_to(a(), (2, 4))),
    (mx.ShapeError, "broadcast_to: negative size in shape (-3,)", lambda: mx.broadcast_to(2, -3)),
    (mx.ShapeError, "beside axis 0: (2, 3) and (2, 4)", lambda: mx.concatenate([a(), z(2, 4)])),
    (mx.ShapeError, "stack: shapes differ: (2, 3) and (3,)", lambda: mx.stack([a(), v()])),
    (
        mx.ShapeError,
        "axis 1 of size 3 does not split into (2, 2)",
        lambda: mx.unflatten(a(), 1, (2, 2)),
    ),
    (mx.ShapeError, "take_along_axis: indices (3,)", lambda: mx.take_along_axis(a(), v(), axis=0)),
    (mx.ShapeError, "value of shape (5,)", lambda: a().__setitem__(0, z(5))),
    (mx.ShapeError, "diagonal: needs 2 axes", lambda: mx.diagonal(v())),
    (
        mx.ShapeError,
        "layer_norm: weight must have shape (3,)",
        lambda: mx.fast.layer_norm(a(), z(4), None, 1e-5),
    ),
    (
        mx.ShapeError,
        "input has 3 channels, weight expects 2",
        lambda: mx.conv2d(z(1, 5, 5, 3), z(4, 3, 3, 2)),
    ),
    (mx.ShapeError, "kernel reaches 3", lambda: mx.conv2d(z(1, 2, 2, 3), z(4, 3, 3, 3))),
    (mx.ShapeError, "groups=3", lambda: mx.conv2d(z(1, 5, 5, 4), z(4, 3, 3, 2), groups=3)),
    (mx.ShapeError, "negative size in shape (-1,)", lambda: mx.zeros((-1,))),
    (mx.ShapeError, "view: the last axis of (2, 3) float32", lambda: a().view(mx.float64)),
    (
        mx.ShapeError,
        "vjp: a cotangent of shape (3,)",
        lambda: mx.vjp(lambda x: x * 2, [a()], [v()]),
    ),
    (mx.ShapeError, "jvp: a tangent of shape (3,)", lambda: mx.jvp(lambda x: x * 2, [a()], [v()])),
    (
        mx.ShapeError,
        "vmap: batch sizes differ: 2 and 5",
        lambda: mx.vmap(lambda x, y: x + y)(a(), z(5)),
    ),
    (
        mx.ShapeError,
        "grad: the function must return a scalar, got shape (2, 3)",
        lambda: mx.grad(lambda x: x * 2)(a()),
    ),
    (ValueError, "conv2d: input and weight must have 4 axes", lambda: mx.conv2d(a(), a())),
    (ValueError, "split: 2 sections do not divide", lambda: mx.split(a(), 2, axis=1)),
    (ValueError, "more than 2^63 elements", lambda: mx.zeros((2**40, 2**40))),
    # axes
    (
        ValueError,
        "sum: axis 2 is out of bounds for an array with 2 axes",
        lambda: mx.sum(a(), axis=2),
    ),
    (ValueError, "sum: axes (0, 0) name an axis twice", lambda: mx.sum(a(), axis=(0, 0))),
    (ValueError, "transpose: axes (0, 0) name an axis twice", lambda: mx.transpose(a(), (0, 0))),
    (ValueError, "transpose: 1 axes", lambda: mx.transpose(a(), (0,))),
    (ValueError, "expand_dims: axis 5", lambda: mx.expand_dims(a(), 5)),
    (ValueError, "sort: axis 3", lambda: mx.sort(a(), axis=3)),
    (ValueError, "softmax: axis 4", lambda: mx.softmax(a(), axis=4)),
    (ValueError, "moveaxis: axis 3", lambda: mx.moveaxis(a(), 3, 0)),
    (ValueError, "swapaxes: axis 9", lambda: mx.swapaxes(a(), 0, 9)),
    (ValueError, "cumsum: axis 7", lambda: mx.cumsum(a(), axis=7)),
    (ValueError, "diagonal: axis1 and axis2", lambda: mx.diagonal(a(), 0, 1, 1)),
    (ValueError, "vmap: axis 5", lambda: mx.vmap(lambda x: x, in_axes=5)(a())),
    (
        ValueError,
        "take_along_axis: axis 3",
        lambda: mx.take_along_axis(a(), mx.zeros((2, 3), mx.int32), axis=3),
    ),
    (TypeError, "", lambda: mx.sum(a(), axis="x")),
    (TypeError, "", lambda: mx.sum(a(), axis=1.0)),
    # values
    (ValueError, "concatenate: needs at least one array", lambda: mx.concatenate([])),
    (ValueError, "max: no elements to choose from", lambda: mx.max(z(0))),
    (ValueError, "argmax: no elements to choose from", lambda: mx.argmax(z(3, 0), axis=1)),
    (ValueError, "partition: kth 9", lambda: mx.partition(a(), 9)),
    (ValueError, "topk: k=9", lambda: mx.topk(a(), 9)),
    (
        ValueError,
        "stride and dilation must be 1 or more",
        lambda: mx.conv2d(z(1, 5, 5, 3), z(4, 3, 3, 3), stride=0),
    ),
    (ValueError, "arange: step must not be 0", lambda: mx.arange(0, 10, 0)),
    (ValueError, "arange: too many elements", lambda: mx.arange(0, 1e30)),
    (ValueError, "linspace: num must not be negative", lambda: mx.linspace(0, 1, -3)),
    (ValueError, "repeat: repeats must not be negative", lambda: mx.repeat(a(), -1)),
    (ValueError, "pad: widths must not be negative", lambda: mx.pad(a(), -1)),
    (ValueError, "reaches elements 0 to 8 of 6", lambda: mx.as_strided(a(), (5, 5), (1, 1), 0)),
    (ValueError, "as_strided", lambda: mx.as_strided(a(), (2, 2), (2**62, 2**62), 0)),
    (ValueError, "limit must not be negative", lambda: mx.set_memory_limit(-5)),
    (ValueError, "only an array with one element", lambda: bool(a())),
    (ValueError, "only an array with one element", lambda: float(a())),
    (ValueError, "only an array with one element", lambda: a().item()),
    (ValueError, "300 does not fit uint8", lambda: mx.array(300, mx.uint8)),
    (ValueError, "ragged", lambda: mx.array([[1, 2], [3]])),
    (ValueError, "ragged", lambda: mx.array([[1, 2], 3])),
    (ValueError, "ragged", lambda: mx.array([1, [2, 3]])),
    # dtypes and types
    (mx.DtypeError, "bitwise_and: needs integers or booleans, got float32", lambda: a() & a()),
    (mx.DtypeError, "left_shift: needs integers", lambda: a() << 1),
    (
        mx.DtypeError,
        "matmul: needs a floating or complex dtype, got int32",
        lambda: mx.matmul(v(), v()),
    ),
    (
        TypeError,
        "depends: inputs must be an array or a list of arrays, got int",
        lambda: mx.depends(3, [a()]),
    ),
    (
        TypeError,
        "depends: dependencies must be an array or a list of arrays, got a list with str",
        lambda: mx.depends(a(), [a(), "b"]),
    ),
    (mx.DtypeError, "indices must be integers, got float32", lambda: mx.take(a(), mx.array([0.5]))),
    (mx.DtypeError, "expected a Dtype such as mx.float32, got str", lambda: a().astype("float32")),
    (
        mx.DtypeError,
        "rms_norm: needs a floating dtype, got int32",
        lambda: mx.fast.rms_norm(v(), None, 1e-5),
    ),
    (
        mx.DtypeError,
        "gradients need floating inputs, got int32",
        lambda: mx.grad(lambda x: mx.sum(x))(v()),
    ),
    (TypeError, "cannot make an array from str", lambda: mx.array("abc")),
    (TypeError, "cannot make an array from NoneType", lambda: mx.array([1, None])),
    (TypeError, "cannot make an array from str", lambda: mx.exp("x")),
    (TypeError, "exp: takes 1 array, got 3 arguments", lambda: mx.exp(a(), a(), a())),
    (TypeError, "add: needs 2 arrays", lambda: mx.add(a())),
    (TypeError, "add: unexpected keyword 'other'", lambda: mx.add(a(), other=a())),
    (TypeError, "expected a list of arrays, got one array", lambda: mx.concatenate(a())),
    (TypeError, "no operator takes an array and str", lambda: a() + "x"),
    (ValueError, "no operator takes an array and NoneType", lambda: a() + None),
    (TypeError, "no operator takes an array and str", lambda: a() < "x"),
    (TypeError, "no operator takes an array and NoneType", lambda: a() > None),
    (TypeError, "no length", lambda: len(mx.array(1))),
    (TypeError, "no axes", lambda: list(mx.array(1))),
    (TypeError, "str32 is not supported", lambda: mx.array(np.array(["a"]))),
    (TypeError, "must return an array", lambda: mx.grad(lambda x: 3)(a())),
    (TypeError, "eval: expected arrays", lambda: mx.eval(object())),
    (AttributeError, "foo", lambda: a().foo),
    (AttributeError, "", lambda: setattr(a(), "shape", (1,))),
    # indices
    (IndexError, "index 5 is out of bounds for axis 0 with size 2", lambda: a()[5]),
    (IndexError, "index -3 is out of bounds for axis 0 with size 2", lambda: a()[-3]),
    (IndexError, "too many indices: 3", lambda: a()[0, 0, 0]),
    (IndexError, "cannot index with str", lambda: a()["x"]),
    (IndexError, "cannot index with float", lambda: a()[1.5]),
    (IndexError, "mask of shape (3,)", lambda: a()[mx.array([True, False, True])]),
    (IndexError, "index 5", lambda: a().__setitem__(5, 1.0)),
    (
        IndexError,
        "index 7 is out of bounds for axis 0 with size 2",
        lambda: mx.eval(mx.take(a(), mx.array([7]), axis=0)),
    ),
    (
        IndexError,
        "index 9 is out of bounds",
        lambda: mx.eval(mx.take_along_axis(a(), mx.full((2, 3), 9, mx.int32), axis=1)),
    ),
    (
        IndexError,
        "index 9 is out of bounds",
        lambda: mx.eval(mx.put_along_axis(a(), mx.full((2, 3), 9, mx.int32), a(), axis=1)),
    ),
    (IndexError, "index 4", lambda: mx.eval(a().at[mx.array([4])].add(1.0))),
    # transforms
    (
        ValueError,
        "argnums 3 but only 1 positional",
        lambda: mx.grad(lambda x: mx.sum(x), argnums=3)(a()),
    ),
    (
        ValueError,
        "argnums name an argument twice",
        lambda: mx.grad(lambda x: mx.sum(x), argnums=(0, 0))(a()),
    ),
    (
        ValueError,
        "argnums must not be negative",
        lambda: mx.grad(lambda x: mx.sum(x), argnums=-1)(a()),
    ),
    (
        ValueError,
        "no keyword argument is named y",
        lambda: mx.grad(lambda x: mx.sum(x), argnames="y")(a()),
    ),
    (ValueError, "1 outputs but 0 cotangents", lambda: mx.vjp(lambda x: x * 2, [a()], [])),
    (ValueError, "slices none of the inputs", lambda: mx.vmap(lambda x: x, in_axes=None)(a())),
    (ValueError, "2 axes for 1 arguments", lambda: mx.vmap(lambda x: x, in_axes=(0, 0))(a())),
    (ValueError, "out_axes is None", lambda: mx.vmap(lambda x: x, out_axes=None)(a())),
    (mx.TraceError, "or compile traces has no value", lambda: mx.vmap(lambda x: mx.eval(x))(a())),
    (mx.TraceError, "traces has no value", lambda: mx.vmap(lambda x: mx.sum(x).item())(a())),
    (mx.TraceError, "traces has no value", lambda: mx.compile(lambda x: x.tolist())(a())),
    (ValueError, "compile: arguments must be", lambda: mx.compile(lambda x: x)(object())),
    (TypeError, "", lambda: mx.grad(3)),
]


@pytest.mark.parametrize("case", MISTAKES, ids=lambda c: f"{c[0].__name__}: {c[1]}")
def test_mistake(case: Any) -> None:
    kind, message, act = case
    with pytest.raises(kind) as caught:
        act()
    assert message in str(caught.value)
    assert "please report" not in str(caught.value)


def test_form_of_messages() -> None:
    """`op: fact`, in the words of the interface."""
    for kind, _, act in MISTAKES:
        if not issubclass(kind, mx.LaminaError):
            continue
        with pytest.raises(kind) as caught:
            act()
        assert re.match(r"[a-z_0-9]+: \S", str(caught.value)), str(caught.value)
        assert not str(caught.value).endswith(".")


def test_classes() -> None:
    """Each error is lamina's own and also the built-in kind that programs catch."""
    for name, builtin in {
        "ShapeError": ValueError,
        "ArgumentError": ValueError,
        "DtypeError": TypeError,
        "BoundsError": IndexError,
        "OutOfMemoryError": MemoryError,
        "TraceError": ValueError,
        "DeviceError": RuntimeError,
        "InternalError": RuntimeError,
    }.items():
        kind = getattr(mx, name)
        assert issubclass(kind, builtin)
        assert issubclass(kind, mx.LaminaError)
        assert kind.__doc__


def test_comparing_with_other_things() -> None:
    x = mx.array([1, 2])
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711
    assert (mx.float32 == None) is False  # noqa: E711
    assert (mx.float32 != None) is True  # noqa: E711
    assert (x == "x") is False
    assert x is not None
    assert x in [x]


# --- failed arrays stay failed ------------------------------------------------------------------


def test_failed_stays_failed() -> None:
    bad = mx.take(mx.arange(3), mx.array([10]))
    after = bad * 2
    for _ in range(3):
        with pytest.raises(IndexError, match="index 10"):
            mx.eval(bad)
    for read in (
        after.tolist,
        lambda: np.array(after),
        lambda: mx.eval(after),
        lambda: repr(after),
        (after + 1).item,
    ):
        with pytest.raises(IndexError, match="index 10"):
            read()
    with pytest.raises(IndexError, match="index 10"):
        mx.async_eval(after)
    assert "failed" in bad._repr_html_()


def test_failure_spares_the_others() -> None:
    """What does not depend on the failed node is computed, at the latest when read again."""
    x = mx.arange(4)
    good, bad = x * 3, x[mx.array([9])]
    with pytest.raises(IndexError):
        mx.eval(good, bad)
    check(good, [0, 3, 6, 9])
    check(x + 1, [1, 2, 3, 4])


def test_failure_in_place() -> None:
    """An array updated in place at a bad index can be assigned anew."""
    x = mx.zeros((3,))
    with pytest.raises(IndexError):
        x[5] = 1
    check(x, [0, 0, 0])
    x[mx.array([7])] = 1
    with pytest.raises(IndexError):
        mx.eval(x)
    x = mx.zeros((3,))
    x[1] = 2
    check(x, [0, 2, 0])


# --- memory -------------------------------------------------------------------------------------


def test_huge_request() -> None:
    """10^14 elements: an error with sizes, and work goes on."""
    keep = mx.arange(5) + 1
    mx.eval(keep)
    gc.collect()  # what other tests left in cycles is no part of what is counted
    before = mx.get_active_memory()
    huge = mx.zeros((10**7, 10**7)) + 1
    with pytest.raises(mx.OutOfMemoryError, match=r"asked 400\.0 TB") as caught:
        mx.eval(huge)
    assert caught.value.bytes_asked >= 4 * 10**14
    assert 0 < caught.value.bytes_free < caught.value.bytes_asked
    assert isinstance(caught.value, MemoryError)
    with pytest.raises(MemoryError):
        mx.eval(mx.random.normal((10**7, 10**7)))
    assert mx.get_active_memory() == before
    check(keep * 2, [2, 4, 6, 8, 10])
    # What needs no memory of that size works at that size.
    assert mx.zeros((10**7, 10**7))[3, :2].tolist() == [0, 0]
    assert huge.shape == (10**7, 10**7)
    del huge


def test_memory_limit() -> None:
    x = mx.ones((1 << 18,))
    mx.eval(x)
    before = mx.set_memory_limit(mx.get_active_memory() + (1 << 19))
    try:
        with pytest.raises(mx.OutOfMemoryError, match="free of"):
            mx.eval(mx.exp(x))
    finally:
        mx.set_memory_limit(before)
    assert mx.exp(x)[0].item() == pytest.approx(np.e)


# --- exceptions of user code --------------------------------------------------------------------


class MineError(Exception):
    pass


def raising(*_: Any) -> Any:
    raise MineError("my own")


def test_exception_inside_transforms() -> None:
    x = mx.array([1.0, 2.0])
    for f in (
        mx.grad(raising),
        mx.value_and_grad(raising),
        mx.vmap(raising),
        mx.checkpoint(raising),
    ):
        with pytest.raises(MineError, match="my own"):
            f(x)
    for f in (mx.vjp, mx.jvp):
        with pytest.raises(MineError, match="my own"):
            f(raising, [x], [x])
    # No trace is left open.
    check(mx.grad(lambda x: mx.sum(x * x))(x), [2, 4])
    check(mx.vmap(lambda x: x + 1)(x), [2, 3])


@pytest.mark.parametrize("rule", ["vjp", "jvp", "vmap"])
def test_exception_in_rule(rule: str) -> None:
    f = mx.custom_function(lambda x: mx.sum(x * x))
    getattr(f, rule)(raising)
    x = mx.ones((3,))
    check(f(x), 3.0)
    act = {
        "vjp": lambda: mx.grad(f)(x),
        "jvp": lambda: mx.jvp(f, [x], [x]),
        "vmap": lambda: mx.vmap(f)(mx.ones((2, 3))),
    }[rule]
    for _ in range(2):
        with pytest.raises(MineError, match="my own"):
            act()
    check(f(x) + 1, 4.0)


def test_rule_with_wrong_result() -> None:
    f = mx.custom_function(lambda x, y: x * y)
    f.vjp(lambda primals, cotangent, output: cotangent)
    x = mx.array(2.0)
    with pytest.raises(mx.TraceError, match="1 cotangents for 2 inputs"):
        mx.grad(f)(x, x)
    g = mx.custom_function(lambda x: x * 2)
    g.vjp(lambda primals, cotangent, output: mx.ones((7,)))
    with pytest.raises(mx.ShapeError, match=r"\(7,\)"):
        mx.grad(lambda x: mx.sum(g(x)))(mx.ones((3,)))


def test_exception_in_checkpoint_recomputation() -> None:
    calls = []

    @mx.checkpoint
    def f(x: mx.array) -> mx.array:
        calls.append(1)
        if len(calls) > 1:
            raise MineError("second call")
        return mx.sum(mx.sin(x))

    with pytest.raises(MineError, match="second call"):
        mx.grad(f)(mx.ones((3,)))
    check(mx.grad(lambda x: mx.sum(mx.sin(x)))(mx.zeros((2,))), [1, 1])


# --- deep graphs --------------------------------------------------------------------------------


def test_deep_graph() -> None:
    """100,000 nodes in a row: built, evaluated, and destroyed unevaluated, without recursion."""
    x = mx.array([0.0, 1.0])
    y = x
    for _ in range(100_000):
        y = y + 1
    check(y, [100_000, 100_001])
    y = x
    for i in range(100_000):
        y = mx.sin(y) if i % 2 else y + x
    del y
    check(x, [0, 1])


def test_deep_gradient() -> None:
    def f(x: mx.array) -> mx.array:
        for _ in range(5_000):
            x = x * 1.0001
        return x

    assert mx.grad(f)(mx.array(1.0)).item() == pytest.approx(1.0001**5000, rel=1e-2)


def test_wide_graph() -> None:
    x = mx.arange(3)
    total = sum((x + i for i in range(3_000)), mx.zeros((3,), mx.int32))
    check(total, np.arange(3) * 3000 + 3000 * 2999 // 2)


# --- threads and reentry ------------------------------------------------------------------------


def test_threads() -> None:
    """Evaluations from several threads, failures among them."""
    import threading

    results: list[Any] = [None] * 8

    def work(k: int) -> None:
        try:
            x = mx.arange(1000) * k
            for _ in range(20):
                x = x + 1
                mx.eval(x)
            if k % 4 == 3:
                mx.eval(x[mx.array([5000])])
            results[k] = to_numpy(x)
        except IndexError as e:
            results[k] = e

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k, r in enumerate(results):
        if k % 4 == 3:
            assert isinstance(r, IndexError)
        else:
            np.testing.assert_array_equal(r, np.arange(1000) * k + 20)


def test_traces_do_not_leak() -> None:
    """After a raising gradient, evaluated arrays drop their graphs again."""
    x = mx.ones((10,))
    with pytest.raises(MineError):
        mx.grad(lambda x: raising(x * 2))(x)
    y = x * 2
    before = _core._refs(x)
    mx.eval(y)
    assert _core._refs(x) == before - 1

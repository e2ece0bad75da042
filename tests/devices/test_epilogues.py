"""Matrix products and convolutions that take an elementwise group along in their text: values, the
decisions, the predicted bytes and the text, on every device that compiles text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from arrays import TOLERANCE
from lamina import _core
from present import LACKS, TEXT


@pytest.fixture(params=TEXT)
def on_text(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The device's name; it takes groups along up to a million multiplications."""
    monkeypatch.setenv("LAMINA_GPU", request.param)
    name: str = request.param
    number = _core._device_named(name)
    before = _core._epilogue_work(number, 1 << 20)
    with mx.stream(mx.gpu):
        yield name
    _core._epilogue_work(number, before)


def f32(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape) + len(shape)).standard_normal(shape).astype(np.float32)


def plan_of(*outputs: mx.array) -> dict[str, Any]:
    mx.eval(*outputs)
    plan: dict[str, Any] = json.loads(_core._plan_describe(_core._last_plan()))
    return plan


def pieces(x: mx.array, w: mx.array) -> mx.array:
    return mx.concatenate([mx.tanh(x @ w), mx.exp(-mx.abs(x @ w + 1))], axis=1)


# What is computed, and the shapes of its inputs. One launch each, unless said otherwise below.
PROGRAMS: dict[str, tuple[Callable[..., mx.array], list[tuple[int, ...]]]] = {
    "bias": (lambda x, w, b: x @ w + b, [(70, 33), (33, 50), (50,)]),
    "bias and relu": (lambda x, w, b: mx.maximum(x @ w + b, 0), [(70, 33), (33, 50), (50,)]),
    "column": (lambda x, w, b: (x @ w) * b, [(70, 33), (33, 50), (70, 1)]),
    "residual": (lambda x, w, r: r + mx.tanh(x @ w), [(65, 20), (20, 130), (65, 130)]),
    "transposed operand": (lambda x, w, r: r.T * (x @ w), [(65, 20), (20, 30), (30, 65)]),
    "its own factor": (lambda x, w: x @ w + x, [(40, 40), (40, 40)]),
    "scalar": (lambda x, w: (x @ w) * 0.125 + 3, [(9, 200), (200, 17)]),
    "batch": (
        lambda x, w, b: mx.exp(-mx.abs(x @ w)) + b,
        [(3, 2, 17, 9), (3, 2, 9, 12), (2, 1, 12)],
    ),
    "rows of a batch": (lambda x, w, b: x @ w + b, [(4, 18, 9), (9, 12), (12,)]),
    "rows of a batch, each its own": (
        lambda x, w, b: mx.sigmoid(x @ w + b),
        [(4, 18, 9), (9, 12), (4, 1, 12)],
    ),
    "seen in other axes": (
        lambda x, w, b: (x @ w).reshape(6, 3, 4, 5) + b,
        [(18, 9), (9, 20), (3, 4, 1)],
    ),
    "axes across rows": (
        lambda x, w, b: (x @ w).reshape(10, 6) * b,
        [(4, 9), (9, 15), (10, 1)],
    ),
    "index": (
        lambda x, w: mx.where(mx.arange(21)[:, None] >= mx.arange(21), x @ w, -1e9),
        [(21, 8), (8, 21)],
    ),
    "a row": (lambda x, w, b: mx.maximum(x @ w + b, 0), [(1, 300), (300, 70), (70,)]),
    "a row times transposed": (lambda x, w, b: x @ w.T + b, [(1, 300), (70, 300), (70,)]),
    "a row of a batch": (lambda x, w, b: x @ w + b, [(1, 1, 40), (40, 70), (70,)]),
    "a column": (lambda x, w, r: x @ w - r, [(90, 60), (60, 1), (90, 1)]),
    "rows of a batch of vectors": (
        lambda x, w, r: mx.exp(x @ w) * r,
        [(5, 1, 30), (5, 30, 20), (5, 1, 1)],
    ),
    "split depth": (lambda x, w, b: mx.tanh(x @ w) + b, [(8, 3000), (3000, 30), (30,)]),
    "split depth, a vector": (lambda x, w, b: x @ w + b, [(1, 40000), (40000, 8), (8,)]),
    "convolution": (
        lambda x, w, b: mx.maximum(mx.conv2d(x, w, padding=1) + b, 0),
        [(2, 9, 7, 5), (6, 3, 3, 5), (6,)],
    ),
    "convolution of groups": (
        lambda x, w, r: mx.conv1d(x, w, groups=3) * r,
        [(2, 19, 6), (9, 4, 2), (2, 16, 9)],
    ),
    "convolution, strided": (
        lambda x, w, r: r + mx.conv2d(x, w, stride=2, dilation=2),
        [(2, 13, 11, 4), (5, 2, 2, 4), (1, 5, 1)],
    ),
    "convolution, transposed": (
        lambda x, w, b: mx.conv_transpose1d(x, w, stride=2) + b,
        [(2, 9, 4), (7, 3, 4), (7,)],
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_one_launch(name: str, on_text: str) -> None:
    program, shapes = PROGRAMS[name]
    inputs = [f32(*s) for s in shapes]
    got = program(*map(mx.array, inputs))
    plan = plan_of(got)
    with mx.stream(mx.cpu):
        want = program(*map(mx.array, inputs))
        mx.eval(want)
    np.testing.assert_allclose(np.array(got), np.array(want), rtol=2e-5, atol=2e-5)
    kinds = [g["kind"] for g in plan["groups"]]
    assert kinds == ["call"], [g["label"] for g in plan["groups"]]
    (group,) = plan["groups"]
    assert group["label"].count("+") >= 1
    assert "epilogue, at each element:" in group["program"]
    assert "finish(" in group["text"] or "result(" in group["text"]


def test_the_edge_is_fused_and_the_result_never_stored(on_text: str) -> None:
    x, w, b = mx.array(f32(130, 70)), mx.array(f32(70, 90)), mx.array(f32(90))
    plan = plan_of(mx.maximum(x @ w + b, 0))
    nodes = {n["id"]: n["op"] for n in plan["nodes"]}
    product = [e for e in plan["edges"] if nodes[e["src"]] == "matmul"]
    assert [(nodes[e["dst"]], e["fused"], e["reason"]) for e in product] == [("add", True, "")]
    (launch,) = plan["launches"]
    assert launch["reads"] == 4 * (130 * 70 + 70 * 90 + 90)
    assert launch["writes"] == 4 * 130 * 90
    assert plan["traffic"]["fused"] == launch["reads"] + launch["writes"]
    assert "matmul_add_maximum" in plan["groups"][0]["text"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "complex64"])
def test_other_dtypes_round_the_product_first(dtype: str, on_text: str) -> None:
    if dtype in LACKS[on_text]:
        pytest.skip(f"not applicable: {on_text} has no {dtype}")
    d = getattr(mx, dtype)
    for shapes in ([(33, 40), (40, 50), (50,)], [(1, 2048), (2048, 50), (50,)]):
        x, w, b = (mx.array(f32(*s)).astype(d) for s in shapes)
        mx.eval(x, w, b)
        fused = (x @ w) * 3 + b
        alone = x @ w
        assert [g["kind"] for g in plan_of(fused)["groups"]] == ["call"]
        mx.eval(alone)
        want = alone * 3 + b
        mx.eval(want)
        as_f32 = mx.float32 if dtype == "bfloat16" else d
        got, wanted = np.array(fused.astype(as_f32)), np.array(want.astype(as_f32))
        if on_text == "cuda":  # where the product alone is a library's, which sums in its own order
            np.testing.assert_allclose(
                got, wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * 40
            )
        else:
            np.testing.assert_array_equal(got, wanted)


def test_beyond_what_the_device_wants_it_is_a_launch_of_its_own(on_text: str) -> None:
    x, w, b = mx.array(f32(130, 120)), mx.array(f32(120, 140)), mx.array(f32(140))
    plan = plan_of(got := mx.tanh(x @ w + b))
    want = np.tanh(f32(130, 120) @ f32(120, 140) + f32(140))
    np.testing.assert_allclose(np.array(got), want, atol=1e-4)
    assert [g["kind"] for g in plan["groups"]] == ["call", "map"]
    nodes = {n["id"]: n["op"] for n in plan["nodes"]}
    (edge,) = [e for e in plan["edges"] if nodes[e["src"]] == "matmul"]
    assert edge["reason"] == "opaque_call"


def test_several_results(on_text: str) -> None:
    x, w = mx.array(f32(40, 30)), mx.array(f32(30, 20))
    y = mx.exp(-mx.abs(x @ w))
    z = y * 2 + mx.array(f32(20))
    plan = plan_of(y, z)
    assert [g["kind"] for g in plan["groups"]] == ["call"]
    with mx.stream(mx.cpu):
        want = np.exp(-np.abs(np.array(x) @ np.array(w)))
    np.testing.assert_allclose(np.array(y), want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.array(z), want * 2 + f32(20), rtol=1e-5, atol=1e-5)


def test_a_result_written_into_a_part(on_text: str) -> None:
    x, w = mx.array(f32(20, 30)), mx.array(f32(30, 24))
    plan = plan_of(joined := pieces(x, w))
    with mx.stream(mx.cpu):
        want = pieces(x, w)
        mx.eval(want)
    np.testing.assert_allclose(np.array(joined), np.array(want), rtol=1e-5, atol=1e-5)
    assert len(plan["groups"]) <= 3


def test_what_the_program_holds_is_stored(on_text: str) -> None:
    x, w = mx.array(f32(20, 30)), mx.array(f32(30, 24))
    product = x @ w
    out = mx.tanh(product)
    plan = plan_of(out, product)
    assert sorted(g["kind"] for g in plan["groups"]) == ["call", "map"]
    np.testing.assert_allclose(np.array(out), np.tanh(np.array(product)), rtol=1e-5, atol=1e-5)


def test_nothing_to_sum_or_to_write(on_text: str) -> None:
    bias = mx.array(f32(6))
    np.testing.assert_array_equal(
        np.array(mx.zeros((5, 0)) @ mx.zeros((0, 6)) + bias), np.tile(f32(6), (5, 1))
    )
    assert np.array(mx.zeros((0, 4)) @ mx.zeros((4, 6)) + bias).shape == (0, 6)


def test_weight_gradients(on_text: str) -> None:
    """The update of a convolution's weight is part of its gradient."""

    def step(x: mx.array, w: mx.array) -> mx.array:
        return w - 0.1 * mx.grad(lambda w: mx.sum(mx.conv2d(x, w) * 0.5))(w)

    x, w = mx.array(f32(2, 8, 9, 3)), mx.array(f32(4, 3, 2, 3))
    plan = plan_of(got := step(x, w))
    assert any(
        g["kind"] == "call" and "convolution_weight_gradient" in g["label"] and "+" in g["label"]
        for g in plan["groups"]
    )
    with mx.stream(mx.cpu):
        want = step(x, w)
        mx.eval(want)
    np.testing.assert_allclose(np.array(got), np.array(want), rtol=1e-4, atol=1e-4)


def test_other_sizes_of_one_program(on_text: str) -> None:
    """A plan that is put on other sizes asks again: a vector in other axes takes none."""

    def program(x: mx.array, w: mx.array, b: mx.array) -> mx.array:
        return mx.tanh(x @ w + b)

    for n in (5, 70, 150, 33):
        inputs = [f32(n, 30), f32(30, n + 7), f32(n + 7)]
        got = program(*map(mx.array, inputs))
        assert [g["kind"] for g in plan_of(got)["groups"]] == ["call"]
        a, b, c = inputs
        np.testing.assert_allclose(np.array(got), np.tanh(a @ b + c), rtol=1e-5, atol=1e-5)

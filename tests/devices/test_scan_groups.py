"""Scans whose text computes what elementwise groups make of each element, before and behind:
values, the decisions, the predicted bytes, other sizes, on every device that compiles text."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from arrays import TOLERANCE
from lamina import _core
from present import LACKS, TEXT

SCANS = ["cumsum", "cumprod", "cummax", "cummin", "logcumsumexp"]


@pytest.fixture(params=TEXT)
def on_text(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("LAMINA_GPU", request.param)
    with mx.stream(mx.gpu):
        yield request.param


def f32(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(sum(shape) + len(shape)).standard_normal(shape).astype(np.float32)


def run(program: Callable[..., mx.array], *inputs: mx.array) -> tuple[mx.array, dict[str, Any]]:
    """The result on the device, compared with the CPU's, and its plan."""
    mx.eval(*inputs)
    got = program(*inputs)
    mx.eval(got)
    plan: dict[str, Any] = json.loads(_core._plan_describe(_core._last_plan()))
    with mx.stream(mx.cpu):
        want = program(*inputs)
        mx.eval(want)
    assert got.dtype == want.dtype
    tolerance = max(TOLERANCE.get(str(want.dtype).removeprefix("mlx.core."), 0), 2e-5)
    as_f32 = mx.float32 if want.dtype == mx.bfloat16 else want.dtype
    np.testing.assert_allclose(
        np.array(got.astype(as_f32)),
        np.array(want.astype(as_f32)),
        rtol=tolerance,
        atol=tolerance * 4,
    )
    return got, plan


def labels(plan: dict[str, Any]) -> list[str]:
    return [g["label"] for g in plan["groups"]]


Program = tuple[Callable[..., mx.array], list[tuple[int, ...]], str]
# What is computed, the shapes of its inputs, and the one launch that comes of it.
PROGRAMS: dict[str, Program] = {
    "before": (lambda x: mx.cumsum(x * 2, axis=1), [(37, 300)], "multiply+cumsum"),
    "behind": (
        lambda x: mx.exp(-mx.abs(mx.cumsum(x, axis=1))),
        [(37, 300)],
        "cumsum+abs+negative+exp",
    ),
    "both": (
        lambda x, w, b: mx.cumsum(x * w, axis=1) + b,
        [(37, 300), (300,), (37, 1)],
        "multiply+cumsum+add",
    ),
    "down the columns": (
        lambda x, w: mx.cumsum(x * w, axis=0) - x,
        [(40, 700), (700,)],
        "multiply+cumsum+subtract",
    ),
    "backwards": (
        lambda x, w: mx.cumsum(x * w, axis=1, reverse=True) * x,
        [(9, 500), (500,)],
        "multiply+cumsum+multiply",
    ),
    "backwards down the columns": (
        lambda x, w: mx.cummax(x * w, axis=0, reverse=True) * x,
        [(90, 600), (600,)],
        "multiply+cummax+multiply",
    ),
    "without itself": (
        lambda x: mx.cumsum(x + 1, axis=1, inclusive=False) * x,
        [(9, 500)],
        "add+cumsum+multiply",
    ),
    "without itself, a short row": (
        lambda x: mx.cumsum(x + 1, axis=1, inclusive=False) * x,
        [(50, 9)],
        "add+cumsum+multiply",
    ),
    "an axis between": (
        lambda x, b: mx.cummin(x * 3, axis=1) + b,
        [(3, 70, 5), (3, 1, 5)],
        "multiply+cummin+add",
    ),
    "an axis between, many": (
        lambda x, b: mx.cummin(x * 3, axis=1) + b,
        [(3, 70, 400), (400,)],
        "multiply+cummin+add",
    ),
    "one axis": (lambda x: mx.cummax(x * 3) + 1, [(300,)], "multiply+cummax+add"),
    "a long row": (
        lambda x: mx.cumsum(mx.sin(x) * 2) - 2,
        [(30_000,)],
        "sin+multiply+cumsum+subtract",
    ),
    "long rows, backwards": (
        lambda x, b: mx.cummax(x * 2, axis=1, reverse=True) + b,
        [(3, 9000), (3, 1)],
        "multiply+cummax+add",
    ),
    "a transposed group": (
        lambda x: mx.cumsum((x * 3).T, axis=1) + 1,
        [(37, 60)],
        "multiply+cumsum+add",
    ),
    "seen in other axes": (
        lambda x, b: mx.cumsum(x * 3, axis=1).reshape(6, 5, 20) * b,
        [(10, 60), (5, 1)],
        "multiply+cumsum+multiply",
    ),
    "what it reads behind it again": (
        lambda x: mx.cumsum(x * x, axis=1) * (x * x),
        [(12, 90)],
        "multiply+cumsum+multiply",
    ),
    "a repeated row": (
        lambda x: mx.cumsum(mx.broadcast_to(x * 2, (8, 90)), axis=0),
        [(90,)],
        "multiply+cumsum",
    ),
    "positions": (
        lambda x: mx.cumsum(mx.arange(90) * x, axis=1) < 3,
        [(4, 90)],
        "astype+multiply+cumsum+less",
    ),
    "other dtypes": (
        lambda x: mx.cumsum(x > 0, axis=1).astype(mx.float32) / 7,
        [(12, 90)],
        "greater+astype+cumsum+astype+divide",
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_one_launch(name: str, on_text: str) -> None:
    program, shapes, label = PROGRAMS[name]
    _, plan = run(program, *(mx.array(f32(*s)) for s in shapes))
    assert labels(plan) == [label]
    (launch,) = plan["launches"]
    inputs = [n for n in plan["nodes"] if n["kind"] == "leaf"]
    outputs = [n for n in plan["nodes"] if n["role"] == "output"]
    # A long row is gone over twice, and the totals of its chunks come with it.
    passes, rest = (2, 0.002) if "long" in name else (1, 0)
    reads = passes * sum(n["bytes"] for n in inputs)
    writes = sum(n["bytes"] for n in outputs)
    assert reads <= launch["reads"] <= reads * (1 + rest)
    assert writes <= launch["writes"] <= writes * (1 + rest)
    assert plan["memory"]["arena_bytes"] == 0
    edges = {e["reason"] for e in plan["edges"]}
    assert edges <= {"", "leaf_input", "device_boundary"}


@pytest.mark.parametrize(
    ("scan", "dtype"),
    [*itertools.product(SCANS, ["float16", "bfloat16", "int32"]), ("cumsum", "complex64")],
)
def test_every_scan_and_dtype(scan: str, dtype: str, on_text: str) -> None:
    if dtype in LACKS[on_text]:
        pytest.skip(f"not applicable: {on_text} has no {dtype}")
    x = mx.array(f32(5, 40) * 0.5).astype(getattr(mx, dtype))
    _, plan = run(lambda v: getattr(mx, scan)(v + v, axis=1) + 1, x)
    assert len(plan["groups"]) == 1 and f"+{scan}+" in labels(plan)[0]


def test_text_of_each_part(on_text: str) -> None:
    x, w = mx.array(f32(3, 30_000)), mx.array(f32(30_000))
    _, plan = run(lambda x, w: mx.cummax(x * w, axis=1) + 1, x, w)
    (group,) = plan["groups"]
    totals, chunks = group["text"].split(" scan_of_totals(")
    assert " scan_totals_" in totals and " scan_chunks_" in chunks
    assert "fetch(" in totals and "finish(" not in totals
    assert "fetch(" in chunks and "finish(" in chunks
    assert "and what it reads (a4), at each element:" in group["program"]


def test_a_result_that_is_kept_stays_outside(on_text: str) -> None:
    x = mx.array(f32(7, 80))
    mx.eval(x)
    before = x * 2
    behind = mx.cumsum(before, axis=1)
    last = behind + 1
    mx.eval(before, behind, last)
    plan = json.loads(_core._plan_describe(_core._last_plan()))
    assert labels(plan) == ["multiply", "cumsum", "add"]
    reasons = [e["reason"] for e in plan["edges"]]
    assert reasons[1:] == ["kept_for_user", "kept_for_user"]


def test_what_is_dear_is_computed_once(on_text: str) -> None:
    x = mx.array(f32(12, 90))
    _, plan = run(lambda x: mx.cumsum(mx.exp(mx.sin(x)), axis=1) * mx.exp(mx.sin(x)), x)
    assert labels(plan) == ["sin+exp", "cumsum+multiply"]
    (edge,) = [e for e in plan["edges"] if plan["nodes"][e["dst"]]["op"] == "cumsum"]
    assert edge["reason"] == "several_consumers"


def test_rows_and_products_keep_what_follows_them(on_text: str) -> None:
    x = mx.array(f32(12, 90))
    _, plan = run(lambda x: mx.cumsum(mx.softmax(x, axis=-1), axis=-1) < 0.9, x)
    assert len(plan["groups"]) == 2 and labels(plan)[1] == "cumsum+less"
    _, plan = run(lambda x: mx.cumsum((x @ x.T) * 2, axis=-1) + 1, x)
    # What is a product's epilogue stays one; whether it is, the device decides.
    assert labels(plan) in (["matmul+multiply", "cumsum+add"], ["matmul", "multiply+cumsum+add"])


def test_a_scan_of_a_scan(on_text: str) -> None:
    x = mx.array(f32(12, 90))
    _, plan = run(lambda x: mx.cummax(mx.cumsum(x * 2, axis=1) - 1, axis=0) + 1, x)
    assert labels(plan) == ["multiply+cumsum+subtract", "cummax+add"]


def test_other_sizes_have_the_plan_put_on_them(on_text: str) -> None:
    """With `verify`, as in all tests, each is compared with one made anew."""
    for rows, length in [(5, 40), (6, 50), (3, 9000), (700, 40), (5, 33), (2, 3)]:
        x, w, b = mx.array(f32(rows, length)), mx.array(f32(length)), mx.array(f32(rows, 1))
        _, plan = run(lambda x, w, b: mx.cumsum(x * w, axis=1) + b, x, w, b)
        assert labels(plan) == ["multiply+cumsum+add"]
        assert plan["outcome"] == "polymorphic" or (rows, length) == (5, 40)


def test_an_update_in_place(on_text: str) -> None:
    """What is read through the group is not what it writes over."""

    def program(x: mx.array) -> mx.array:
        y = x * 1
        y[:, ::-1] = mx.cumsum(y * 2, axis=1) + y
        return y

    run(program, mx.array(f32(6, 70)))
    run(program, mx.array(f32(2, 20_000)))


def test_empty_arrays(on_text: str) -> None:
    for shape in [(0, 4), (4, 0), (0,)]:
        got, _ = run(lambda x: mx.cumsum(x * 2, axis=-1) + 1, mx.zeros(shape))
        assert got.shape == shape


def test_gradients_of_a_fused_scan(on_text: str) -> None:
    x = mx.array(f32(5, 60))
    run(mx.grad(lambda x: (mx.cumsum(x * x, axis=1) * mx.sin(x)).sum()), x)
    run(mx.grad(lambda x: (mx.cummax(x * 2, axis=1) * x).sum()), x)

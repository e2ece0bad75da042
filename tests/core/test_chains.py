"""Chains of sums, differences and products give without memory in between what they give apart."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import lamina.core as mx
import numpy as np
import pytest

Step = Callable[[mx.array, mx.array], mx.array]
STEPS: dict[str, Step] = {
    "add": lambda a, x: a + x,
    "subtract": lambda a, x: a - x,
    "subtract_from": lambda a, x: x - a,
    "multiply": lambda a, x: a * x,
}
# How an operand lies under a result of (rows, columns).
LAYOUTS = ("full", "row", "column", "one", "strided", "reversed", "transposed")


def operand(rng: np.random.Generator, layout: str, rows: int, columns: int) -> mx.array:
    def normal(*shape: int) -> mx.array:
        return mx.array(rng.standard_normal(shape, dtype=np.float32))

    made = {
        "full": lambda: normal(rows, columns),
        "row": lambda: normal(1, columns),
        "column": lambda: normal(rows, 1),
        "one": lambda: normal(1, 1),
        "strided": lambda: normal(rows, 2 * columns)[:, ::2],
        "reversed": lambda: normal(rows, columns)[::-1, ::-1],
        "transposed": lambda: normal(columns, rows).T,
    }[layout]()
    mx.eval(made)
    return made


def apart(operands: list[mx.array], names: tuple[str, ...]) -> np.ndarray:
    value = operands[0]
    for name, x in zip(names, operands[1:], strict=True):
        value = STEPS[name](value, x)
        mx.eval(value)
    return np.array(value)


def together(operands: list[mx.array], names: tuple[str, ...]) -> np.ndarray:
    value = operands[0]
    for name, x in zip(names, operands[1:], strict=True):
        value = STEPS[name](value, x)
    return np.array(value)


@pytest.mark.parametrize("length", [2, 3, 5])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 129), (64, 2500), (1, 4099)])
def test_a_chain_gives_what_its_steps_give(length: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(length)
    every = list(itertools.product(STEPS, repeat=length))
    for k in rng.permutation(len(every))[:40]:
        layouts = ["full", *rng.choice(LAYOUTS, length)]
        rng.shuffle(layouts)
        operands = [operand(rng, str(layout), *shape) for layout in layouts]
        expected, got = apart(operands, every[k]), together(operands, every[k])
        assert np.array_equal(got, expected), (every[k], layouts)


@pytest.mark.parametrize("name", STEPS)
def test_signed_zeros_and_special_values_pass_through(name: str) -> None:
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1e-40, 3e38], np.float32)
    a, b = (mx.array(x.reshape(-1).copy()) for x in np.meshgrid(special, special))
    for scalar in (0.0, -0.0, float("inf"), 2.0):
        for second in STEPS:
            operands = [a, b, mx.array(scalar)]
            expected, got = apart(operands, (name, second)), together(operands, (name, second))
            assert np.array_equal(got, expected, equal_nan=True)
            assert np.array_equal(np.signbit(got), np.signbit(expected))


@pytest.mark.parametrize("shape", [(1, 7), (5, 64), (33, 1000), (2, 5000), (1, 100_003)])
@pytest.mark.parametrize("axis", [0, 1, None])
def test_a_sum_of_products_is_the_sum_of_the_products(
    shape: tuple[int, int], axis: int | None
) -> None:
    rng = np.random.default_rng(3)
    for first, second in itertools.product(("full", "strided", "row", "column"), repeat=2):
        x, y = operand(rng, first, *shape), operand(rng, second, *shape)
        product = x * y
        mx.eval(product)
        expected = np.array(mx.sum(product, axis=axis))
        got = np.array(mx.sum(x * y, axis=axis))
        np.testing.assert_allclose(got, expected, rtol=2e-6, atol=2e-5)
    x = operand(rng, "full", *shape)
    got = np.array(mx.sum(x * x, axis=axis))
    exact = np.sum(np.array(x).astype(np.float64) ** 2, axis=axis)
    np.testing.assert_allclose(got, exact, rtol=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("exponent", [-1, 1, 2, 3, 4, 5, 0.5, -2, 0])
def test_one_power_of_many(dtype: str, exponent: float) -> None:
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, -2.5, 1e-20, 1e20, 3.0]
    x = mx.array(np.array(special * 20), dtype=mx.float64).astype(getattr(mx, dtype))
    wide = np.array(x.astype(mx.float64))
    with np.errstate(all="ignore"):
        expected = mx.array(np.power(wide, np.full_like(wide, exponent)), dtype=mx.float64)
        expected = expected.astype(getattr(mx, dtype))
    got, want = (np.array(v.astype(mx.float64)) for v in (x**exponent, expected))
    bits = {"float32": 23, "float64": 52, "float16": 10, "bfloat16": 7}[dtype]
    np.testing.assert_allclose(got, want, rtol=4 * 2.0**-bits, atol=1e-40)
    number = ~np.isnan(want)
    assert np.array_equal(np.signbit(got)[number], np.signbit(want)[number])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 7, 8, 63, 64, 65, 200, 5000])
@pytest.mark.parametrize("form", ["max", "min", "argmax", "argmin"])
def test_a_nan_anywhere_wins(form: str, n: int, dtype: str) -> None:
    rng = np.random.default_rng(n)
    x = rng.standard_normal((3, n)).astype(dtype)
    places = {0, n - 1, n // 2, int(rng.integers(n))}
    for place in places:
        holed = x.copy()
        holed[1, place] = np.nan
        got = np.array(getattr(mx, form)(mx.array(holed, dtype=getattr(mx, dtype)), axis=1))
        expected = getattr(np, form)(holed, axis=1)
        assert np.array_equal(got, expected, equal_nan="arg" not in form)

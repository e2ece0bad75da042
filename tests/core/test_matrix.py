"""Every cell of docs/transforms.md: each operation of the registry under each transform."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
import tables
from arrays import TOLERANCE, check, check_vmap, directional, name_of, sample, to_numpy
from lamina import _core
from row_examples import ALL, COMPLEX, RESULTS, ROWS, Example

NAMES = list(ROWS)
DIFFERENTIABLE = [n for n in NAMES if ROWS[n]["differentiable"]]
CONSTANT = [n for n in NAMES if not ROWS[n]["differentiable"]]
Arrays = list[mx.array]
Function = Callable[..., mx.array]


def like(x: mx.array, seed: int) -> mx.array:
    return sample(name_of(x), x.shape, seed)


def dot(xs: Any, ys: Any) -> float:
    """The real inner product, in double precision."""
    wide = [np.complex128 if np.iscomplexobj(to_numpy(x)) else np.float64 for x in xs]
    return sum(
        float(np.sum(np.conj(to_numpy(x).astype(w)) * to_numpy(y)).real)
        for x, y, w in zip(xs, ys, wide, strict=True)
    )


def slope_of(f: Function, ts: Arrays, ct: mx.array) -> Function:
    """x -> <ct, f'(x) t>, by reverse mode."""

    def slope(*at: mx.array) -> mx.array:
        grads = mx.vjp(f, list(at), [ct])[1]
        return sum(mx.sum(mx.real(g * mx.conjugate(t))) for g, t in zip(grads, ts, strict=True))

    return slope


def by_forward(f: Function, ts: Arrays, ct: mx.array) -> Function:
    """The same by forward mode."""
    return lambda *at: mx.sum(mx.real(mx.jvp(f, list(at), ts)[1][0] * mx.conjugate(ct)))


def pull(f: Function, ct: mx.array) -> Callable[..., Arrays]:
    return lambda *xs: mx.vjp(f, list(xs), [ct])[1]


# --- the table -----------------------------------------------------------------------------------


def test_every_row_has_an_example_that_uses_it() -> None:
    assert set(ALL) == set(NAMES)
    assert set(RESULTS) <= {r["name"] for r in _core._registry()}
    for name, example in ALL.items():
        told: list[dict[str, Any]] = []
        mx.export_function(told.append, example.f, *example.inputs())
        operations = {t["name"] for t in told if t["type"] == "primitive"}
        assert name in operations, f"{name}: its example has {operations}"


def test_every_row_has_rules() -> None:
    """Each has a derivative of both modes or says why there is none, and can be batched."""
    for name, row in ROWS.items():
        assert row["differentiable"] == row["jvp"], name
        assert row["differentiable"] or row["nondifferentiable"], name
        assert row["vmap"] or row["kind"] == "iota", name


# --- derivatives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_both_modes_and_both_orders(name: str) -> None:
    """Forward against differences; the four ways to the second order against each other."""
    e = ALL[name]
    xs = e.inputs(seed=3)
    ts, us = ([like(x, k + i) for i, x in enumerate(xs)] for k in (20, 40))
    out, (tangent,) = mx.jvp(e.f, xs, ts)
    ct = like(out[0], 60)
    narrow = 1e-4 if e.base == "float32" or e.step > 1e-3 else 1e-8
    if e.exact:
        check(tangent, directional(e.f, xs, ts, e.step), e.tolerance, "jvp against differences")
    grads = mx.vjp(e.f, xs, [ct])[1]
    left, right = dot([ct], [tangent]), dot(grads, ts)
    assert abs(left - right) <= narrow * (1 + abs(left)), "vjp against jvp"
    one = mx.ones((), dtype=tangent.dtype)
    seconds = []
    for slope in (slope_of(e.f, ts, ct), by_forward(e.f, ts, ct)):
        value, (forward,) = mx.jvp(slope, xs, us)
        assert abs(value[0].item() - left) <= narrow * (1 + abs(left))
        seconds += [forward.item(), dot(mx.vjp(slope, xs, [one.astype(value[0].dtype)])[1], us)]
        if e.exact and e.base == "float64" and e.step < 1e-3:
            check(forward, directional(slope, xs, us, e.step), 40 * e.tolerance, "second order")
    for other in seconds[1:]:
        assert abs(other - seconds[0]) <= 10 * narrow * (1 + abs(seconds[0])), seconds


def scale(a: np.ndarray) -> float:
    return float(np.max(np.abs(a), initial=1.0))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_every_dtype_to_second_order(name: str) -> None:
    """In each floating dtype what the widest gives for the same numbers, in that dtype."""
    e = ALL[name]
    for dtype in e.dtypes:
        xs = e.inputs(dtype, seed=3)
        ts, us = ([like(x, k + i) for i, x in enumerate(xs)] for k in (20, 40))
        ct = like(e.f(*xs), 60)
        got = [
            mx.jvp(e.f, xs, ts)[1][0],
            *mx.vjp(e.f, xs, [ct])[1],
            mx.jvp(slope_of(e.f, ts, ct), xs, us)[1][0],
        ]
        for g, x in zip(got[1:-1], xs, strict=True):
            assert g.dtype == x.dtype and g.shape == x.shape
        assert got[0].dtype == ct.dtype
        wide = getattr(mx, e.base)
        wx, wt, wu = ([a.astype(wide) for a in arrays] for arrays in (xs, ts, us))
        wct = (
            ct
            if ct.dtype == mx.float32 and e.f(*wx).dtype == mx.float32
            else ct.astype(e.f(*wx).dtype)
        )
        want = [
            mx.jvp(e.f, wx, wt)[1][0],
            *mx.vjp(e.f, wx, [wct])[1],
            mx.jvp(slope_of(e.f, wt, wct), wx, wu)[1][0],
        ]
        tolerance = max(20 * TOLERANCE[dtype], 1e-3 if e.step > 1e-3 else 0)
        for a, b in zip(got, want, strict=True):
            a, b = to_numpy(a).astype(np.float64), to_numpy(b)
            np.testing.assert_allclose(
                a, b, rtol=tolerance, atol=tolerance * scale(b), err_msg=dtype
            )


def takes_complex(name: str) -> bool:
    return name in COMPLEX or bool(ROWS[name].get("types", 0) & 8)


@pytest.mark.parametrize("name", [n for n in DIFFERENTIABLE if takes_complex(n)])
def test_complex_to_second_order(name: str) -> None:
    """The modes are adjoint under Re(conj(a) b), and the ways to the second order agree."""
    e = ALL[name]
    xs = e.inputs("complex64", seed=3)
    ts, us = ([like(x, k + i) for i, x in enumerate(xs)] for k in (20, 40))
    out, (tangent,) = mx.jvp(e.f, xs, ts)
    ct = like(out[0], 60)
    left, right = dot([ct], [tangent]), dot(mx.vjp(e.f, xs, [ct])[1], ts)
    size = 1 + abs(left) + float(np.linalg.norm(to_numpy(tangent)))
    assert abs(left - right) <= 1e-3 * size, (left, right)
    seconds = []
    for slope in (slope_of(e.f, ts, ct), by_forward(e.f, ts, ct)):
        value, (forward,) = mx.jvp(slope, xs, us)
        assert abs(value[0].item() - left) <= 1e-3 * size
        one = mx.ones((), dtype=value[0].dtype)
        seconds += [forward.item(), dot(mx.vjp(slope, xs, [one])[1], us)]
    for other in seconds[1:]:
        assert abs(other - seconds[0]) <= 3e-3 * (size + abs(seconds[0])), seconds


@pytest.mark.parametrize("name", CONSTANT)
def test_a_row_without_a_derivative_is_a_constant(name: str) -> None:
    e = ALL[name]
    xs = e.inputs("float32")
    out = e.f(*xs)
    zeros = [to_numpy(mx.zeros_like(x)) for x in xs]
    if mx.issubdtype(out.dtype, mx.inexact):
        for got, zero in zip(mx.vjp(e.f, xs, [mx.ones_like(out)])[1], zeros, strict=True):
            check(got, zero)
        assert not to_numpy(mx.jvp(e.f, xs, xs)[1][0]).any()
    # Beside a path that has one.
    grads = gradients(
        lambda *at: mx.sum(e.f(*at).astype(mx.float32)) + 2 * sum(mx.sum(x) for x in at), len(xs)
    )(*xs)
    for got, zero in zip(grads, zeros, strict=True):
        check(got, zero + 2)


# --- batching ------------------------------------------------------------------------------------


def batches(e: Example, seed: int = 0) -> Arrays:
    """Three of each input, along axis 0."""
    return [
        mx.stack(x) for x in zip(*(e.inputs(seed=seed + 10 * k) for k in range(3)), strict=True)
    ]


def near(e: Example) -> float:
    return 1e-5 if e.base == "float32" or e.step > 1e-3 else 1e-8


@pytest.mark.parametrize("name", NAMES)
def test_vmap(name: str) -> None:
    e = ALL[name]
    xs, single = batches(e), e.inputs(seed=5)
    check_vmap(e.f, *xs, axes=(0,) * len(xs), tolerance=near(e))
    for i in range(len(xs)) if len(xs) > 1 else ():
        mixed = [b if k == i else s for k, (b, s) in enumerate(zip(xs, single, strict=True))]
        axes = tuple(0 if k == i else None for k in range(len(xs)))
        check_vmap(e.f, *mixed, axes=axes, tolerance=near(e))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_vmap_and_derivatives_in_both_orders(name: str) -> None:
    e = ALL[name]
    xs = batches(e)
    ts, ct = [like(x, 20 + i) for i, x in enumerate(xs)], like(mx.vmap(e.f)(*xs), 60)
    rows = [[x[k] for x in xs] for k in range(3)]
    want = [mx.vjp(e.f, row, [ct[k]])[1] for k, row in enumerate(rows)]
    inside = mx.vmap(lambda c, *at: mx.vjp(e.f, list(at), [c])[1])(ct, *xs)
    outside = mx.vjp(mx.vmap(e.f), xs, [ct])[1]
    for i in range(len(xs)):
        numbers = np.stack([to_numpy(row[i]) for row in want])
        check(inside[i], numbers, 10 * near(e) * scale(numbers), "vmap of vjp")
        check(outside[i], numbers, 10 * near(e) * scale(numbers), "vjp of vmap")
    tangents = [to_numpy(mx.jvp(e.f, row, [t[k] for t in ts])[1][0]) for k, row in enumerate(rows)]
    numbers = np.stack(tangents)
    n = len(xs)
    within = mx.vmap(lambda *at: mx.jvp(e.f, list(at[:n]), list(at[n:]))[1][0])(*xs, *ts)
    check(within, numbers, 10 * near(e) * scale(numbers), "vmap of jvp")
    around = mx.jvp(mx.vmap(e.f), xs, ts)[1][0]
    check(around, numbers, 10 * near(e) * scale(numbers), "jvp of vmap")


# --- graphs that are kept ------------------------------------------------------------------------


def gradients(f: Callable[..., mx.array], count: int) -> Callable[..., Arrays]:
    """By every input; of a single one `grad` gives the gradient itself."""
    g = mx.grad(f, list(range(count)))
    return lambda *xs: list(g(*xs)) if count > 1 else [g(*xs)]


def functions(name: str) -> list[Callable[..., Arrays]]:
    """The example, and its derivatives to second order as one function of the inputs."""
    e = ALL[name]
    out: list[Callable[..., Arrays]] = [lambda *xs: [e.f(*xs)]]
    if ROWS[name]["differentiable"]:

        def derivatives(*xs: mx.array) -> Arrays:
            slope = lambda *at: mx.sum(mx.sin(e.f(*at)))
            slopes = gradients(slope, len(xs))
            grads = slopes(*xs)
            second = mx.jvp(slopes, list(xs), list(xs))[1]
            return [*grads, *second]

        out.append(derivatives)
    return out


def equal(got: Any, want: Arrays) -> None:
    for a, b in zip(got, want, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(to_numpy(a), to_numpy(b))


@pytest.mark.parametrize("name", NAMES)
def test_compile(name: str) -> None:
    for f in functions(name):
        g = mx.compile(f)
        for seed in (1, 2):
            xs = ALL[name].inputs(seed=seed)
            equal(g(*xs), f(*xs))
        assert g._traces.traced == 1


@pytest.mark.parametrize("name", NAMES)
def test_shapeless(name: str) -> None:
    e = ALL[name]
    for f in functions(name):
        g = mx.compile(f, shapeless=True)
        for size in range(len(e.shapes)):
            xs = e.inputs(size=size, seed=size)
            equal(g(*xs), f(*xs))
        assert g._traces.traced == 1


@pytest.mark.parametrize("name", NAMES)
def test_export(name: str, tmp_path: Path) -> None:
    e = ALL[name]
    for f in functions(name):
        for shapeless in (False, True):
            file = str(tmp_path / f"{shapeless}.lmfn")
            mx.export_function(file, f, *e.inputs(), shapeless=shapeless)
            g = mx.import_function(file)
            for size in range(len(e.shapes) if shapeless else 1):
                xs = e.inputs(size=size, seed=size)
                equal(g(*xs), f(*xs))


def test_the_page_has_every_row() -> None:
    text = tables.transforms()
    for name, row in ROWS.items():
        (line,) = [x for x in text.splitlines() if x.startswith(f"| `{name}` |")]
        first = "yes" if row["differentiable"] else "no derivative because "
        assert line.split(" | ")[1].startswith(first)

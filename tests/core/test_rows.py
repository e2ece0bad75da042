"""Every elementwise row of the registry: values, dtypes, derivatives, batching, fusion, layouts."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest
import scipy.special
from arrays import (
    DTYPES,
    FLOATS,
    INTEGERS,
    SPECIAL,
    TOLERANCE,
    bits,
    check,
    check_derivatives,
    check_vmap,
    name_of,
    options,
    rng,
    sample,
    to_numpy,
    wide,
)
from lamina import _core

ROWS = {r["name"]: r for r in _core._registry() if r["kind"] == "elementwise"}
NAMES = sorted(ROWS)
DIFFERENTIABLE = [n for n in NAMES if ROWS[n]["differentiable"]]
BOOLEAN, INTEGRAL, SELECTION = 2, 3, 4  # the row's `accepts`
SHIFTS = {"left_shift", "right_shift"}
WHOLE_DIVISION = {"floor_divide", "remainder"}


def function(name: str, core: Any = mx) -> Any:
    return getattr(core, {"select": "where"}.get(name, name))


def refuses(name: str, dtype: str) -> bool:
    """Whether the row must raise DtypeError for inputs of this dtype."""
    row = ROWS[name]
    kind = 1 if dtype == "bool_" else 2 if dtype in INTEGERS else 8 if dtype == "complex64" else 4
    if row["accepts"] == BOOLEAN:
        return False
    if row["accepts"] == INTEGRAL:
        return kind in (4, 8)
    if kind == 1 and row["arity"] == 1 and not row["types"] & 1 and row["types"] & 2:
        return True  # alone, a boolean is no number
    return kind == 8 and not row["types"] & 8


def inputs(name: str, dtype: str, shape: tuple[int, ...], seed: int = 0) -> list[mx.array]:
    row = ROWS[name]
    low, high = row["domain"]
    xs = []
    for i in range(row["arity"]):
        if name in SHIFTS and i == 1:
            xs.append(sample(dtype, shape, seed + i, 0, 7))
        elif name in WHOLE_DIVISION and dtype in INTEGERS:
            xs.append(sample(dtype, shape, seed + i, *((-9, 9) if i == 0 else (1, 4))))
        elif name == "power" and dtype in INTEGERS:
            xs.append(sample(dtype, shape, seed + i, *((-3, 3) if i == 0 else (0, 3))))
        elif dtype in INTEGERS:
            xs.append(sample(dtype, shape, seed + i, max(low, -4) if low < 0 else 1, min(high, 8)))
        elif row["accepts"] == SELECTION and i == 0:
            xs.append(sample("bool_", shape, seed + i))
        else:
            xs.append(sample(dtype, shape, seed + i, low, high))
    return xs


def reference(name: str, xs: list[np.ndarray]) -> np.ndarray:
    scope = dict(zip("xyz", xs, strict=False), np=np, scipy=scipy)
    with np.errstate(all="ignore"):
        return np.asarray(eval(ROWS[name]["numpy"], scope))


def expected(name: str, xs: list[mx.array], computed: str) -> np.ndarray:
    """NumPy's value, in the widest dtype of the kind the row computes in."""
    arrays = [wide(x) for x in xs]
    first = 1 if ROWS[name]["accepts"] == SELECTION else 0
    if computed in (*FLOATS, "complex64"):
        kind = np.complex128 if computed == "complex64" else np.float64
        arrays[first:] = [a.astype(kind) for a in arrays[first:]]
    return reference(name, arrays)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_value(name: str, dtype: str) -> None:
    f = function(name)
    xs = inputs(name, dtype, (5, 37))
    if refuses(name, dtype):
        with pytest.raises(mx.DtypeError, match=name):
            f(*xs)
        return
    y = f(*xs)
    computed = name_of(y)
    if computed == "bool_" or name in ("abs", "real", "imag"):
        computed = dtype
    if name in WHOLE_DIVISION and dtype == "bool_":
        return  # half the divisors are zero
    try:
        want = expected(name, xs, computed)
    except TypeError:
        if dtype == "bool_":
            return  # neither NumPy nor MLX subtracts booleans
        want = to_numpy(function(name, omx)(*[omx.array(to_numpy(x)) for x in xs]))
    with np.errstate(all="ignore"):
        check(y, want.astype(to_numpy(y).dtype), context=name)


@pytest.mark.parametrize("name", NAMES)
def test_dtype_is_mlx(name: str) -> None:
    """The result's dtype for every combination of input dtypes, where MLX accepts it."""
    if not hasattr(omx, "where" if name == "select" else name):
        pytest.fail(f"mlx.core has no {name}")
    arity = ROWS[name]["arity"]
    wrong = []
    for dtypes in itertools.product(DTYPES, repeat=min(arity, 2)):
        full = ("bool_", *dtypes) if arity == 3 else dtypes
        try:
            want = function(name, omx)(*[omx.zeros((2,), getattr(omx, d)) for d in full])
        except (ValueError, TypeError, RuntimeError):
            continue
        try:
            got = name_of(function(name)(*[mx.zeros((2,), getattr(mx, d)) for d in full]))
        except TypeError:
            got = "refused"
        if got != name_of(want):
            wrong.append((full, got, name_of(want)))
    assert not wrong, wrong


@pytest.mark.parametrize("name", [n for n in NAMES if ROWS[n]["arity"] == 2])
def test_scalar_dtype_is_mlx(name: str) -> None:
    wrong = []
    for dtype, scalar, swap in itertools.product(DTYPES, (True, 2, 2.5, 1j), (False, True)):
        got = []
        for core in (omx, mx):
            pair = [core.zeros((2,), getattr(core, dtype)), scalar]
            try:
                got.append(name_of(function(name, core)(*(pair[::-1] if swap else pair))))
            except (ValueError, TypeError, RuntimeError):
                got.append(None)
        if got[0] and got[0] != got[1]:
            wrong.append((dtype, scalar, got))
    assert not wrong, wrong


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_special_values(name: str, dtype: str) -> None:
    """Zeros of both signs, infinities and NaN, in every combination."""
    if refuses(name, dtype):
        return
    arity = ROWS[name]["arity"]
    grid = list(np.array(list(itertools.product(SPECIAL, repeat=min(arity, 2)))).T)
    if arity == 3:
        grid = [grid[0] > 0, *grid]
    arrays = [a if a.dtype == bool else a.astype(dtype) for a in grid]
    y = to_numpy(
        function(name)(
            *[
                mx.array(a, dtype=mx.bool_ if a.dtype == bool else getattr(mx, dtype))
                for a in arrays
            ]
        )
    )
    want = reference(name, [a if a.dtype == bool else a.astype(np.float64) for a in arrays])
    with np.errstate(all="ignore"):
        want = want.astype(y.dtype)
    t = TOLERANCE[dtype]
    for i in range(y.size):
        at = [a[i] for a in arrays]
        np.testing.assert_allclose(y[i], want[i], rtol=t, atol=t, err_msg=f"{name}{at}")


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize(
    "name", [n for n in NAMES if ROWS[n]["types"] & 2 and ROWS[n]["accepts"] != 1]
)
def test_integer_extremes(name: str, dtype: str) -> None:
    """The ends of the range; arithmetic wraps as in NumPy."""
    if name in ("power", *SHIFTS):
        return
    info = np.iinfo(dtype)
    ends = [info.min, info.max, 0, 1, info.max - 1, info.min + 1]
    arity = ROWS[name]["arity"]
    grid = list(np.array(list(itertools.product(ends, repeat=min(arity, 2))), dtype).T)
    if name in WHOLE_DIVISION:
        keep = (grid[1] != 0) & ~((grid[0] == info.min) & (grid[1] == np.array(-1).astype(dtype)))
        grid = [a[keep] for a in grid]
    if arity == 3:
        grid = [grid[0] > 0, *grid]
    y = function(name)(*[mx.array(a) for a in grid])
    with np.errstate(all="ignore"):
        want = np.floor_divide(*grid) if name == "floor_divide" else reference(name, grid)
    np.testing.assert_array_equal(to_numpy(y), want.astype(to_numpy(y).dtype))


# --- derivatives --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_derivatives(name: str) -> None:
    """float64: against differences, against each other, second order."""
    xs = inputs(name, "float64", (3, 5), seed=3)
    if ROWS[name]["accepts"] == SELECTION:
        check_derivatives(lambda a, b: mx.where(xs[0], a, b), *xs[1:])
        return
    check_derivatives(function(name), *xs)


@pytest.mark.parametrize("name", [n for n in DIFFERENTIABLE if ROWS[n]["arity"] == 2])
def test_derivatives_broadcast(name: str) -> None:
    low, high = ROWS[name]["domain"]
    a, b = (sample("float64", s, i, low, high) for i, s in enumerate([(4, 1, 3), (2, 1)]))
    check_derivatives(function(name), a, b)


HOLOMORPHIC = [
    n
    for n in DIFFERENTIABLE
    if ROWS[n]["types"] & 8
    and n not in ("abs", "real", "imag", "conjugate", "sign", "round")
    and n not in ("maximum", "minimum", "floor_divide", "select", "logaddexp", "degrees", "radians")
]


@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_complex_derivatives(name: str) -> None:
    """jvp against NumPy's differences in complex128; vjp is the adjoint of jvp."""
    xs = inputs(name, "complex64", (6,), seed=5)
    ts = [sample("complex64", (6,), 20 + i) for i in range(len(xs))]
    ct = sample("complex64", (6,), 30)
    h = 1e-6
    arrays, steps = [wide(x) for x in xs], [wide(t) for t in ts]
    ahead, behind = (
        reference(name, [a + s * h * t for a, t in zip(arrays, steps, strict=True)])
        for s in (1, -1)
    )
    got = to_numpy(mx.jvp(function(name), xs, ts)[1][0])
    np.testing.assert_allclose(got, (ahead - behind) / (2 * h), rtol=2e-4, atol=2e-4)
    cts = mx.vjp(function(name), xs, [ct])[1]
    left = np.sum(np.conj(to_numpy(ct)) * got).real
    right = sum(
        np.sum(np.conj(to_numpy(c)) * to_numpy(t)).real for c, t in zip(cts, ts, strict=True)
    )
    assert abs(left - right) < 1e-3 * (1 + abs(left))


@pytest.mark.parametrize("name", ["abs", "sign", "real", "imag", "conjugate"])
def test_complex_adjoint(name: str) -> None:
    """Functions that are only real-linear in their differentials."""
    x, t, ct = (sample("complex64", (6,), i) for i in range(3))
    y = function(name)(x)
    if name not in ("conjugate", "sign"):
        ct = mx.real(ct)
    assert y.dtype == ct.dtype
    h = 1e-6
    a, s = wide(x), wide(t)
    difference = (reference(name, [a + h * s]) - reference(name, [a - h * s])) / (2 * h)
    got = to_numpy(mx.jvp(function(name), [x], [t])[1][0])
    np.testing.assert_allclose(got, difference, rtol=1e-4, atol=1e-4)
    back = to_numpy(mx.vjp(function(name), [x], [ct])[1][0])
    left = np.sum(np.conj(to_numpy(ct)) * got).real
    assert abs(left - np.sum(np.conj(back) * s).real) < 1e-4 * (1 + abs(left))


@pytest.mark.parametrize("name", [n for n in NAMES if not ROWS[n]["differentiable"]])
def test_no_derivative_is_zero(name: str) -> None:
    """What gives booleans or bits stops derivatives: no error where other paths carry them."""
    if ROWS[name]["accepts"] == INTEGRAL:
        return
    xs = inputs(name, "float32", (4,))

    def f(x: mx.array) -> mx.array:
        return mx.sum(mx.where(function(name)(x, *xs[1:]), x, 2 * x))

    g = to_numpy(mx.grad(f)(xs[0]))
    assert set(g) <= {1.0, 2.0}


# --- batching -----------------------------------------------------------------------------------

PAIRS = [(0, 0), (0, None), (None, 0), (1, 0), (-2, 1)]


@pytest.mark.parametrize("name", NAMES)
def test_vmap(name: str) -> None:
    dtype = "int32" if ROWS[name]["accepts"] == INTEGRAL else "float32"
    xs = inputs(name, dtype, (4, 4, 3))
    arity = len(xs)
    cases = {1: [(0,), (2,)], 2: PAIRS, 3: [(0, 0, 0), (0, None, None), (None, 0, 1)]}[arity]
    for axes in cases:
        check_vmap(function(name), *xs, axes=axes)
    if arity == 2:
        check_vmap(function(name), xs[0], xs[1][0, 0], axes=(0, None))
        check_vmap(function(name), xs[0][:, 0, 0], xs[1], axes=(0, 0))


# --- fusion and layouts -------------------------------------------------------------------------


def chain(name: str, xs: list[mx.array]) -> mx.array:
    y = function(name)(*xs)
    if y.dtype == mx.bool_:
        y = mx.where(y, xs[0], -xs[0]) if xs[0].dtype != mx.bool_ else mx.logical_not(y)
    return mx.transpose(y + y) * y if y.dtype != mx.bool_ else y


@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "bfloat16", "int32", "uint8", "complex64", "bool_"]
)
@pytest.mark.parametrize("name", NAMES)
def test_fused_is_unfused(name: str, dtype: str) -> None:
    if refuses(name, dtype):
        return
    xs = inputs(name, dtype, (33, 33))
    fused = chain(name, xs)
    mx.eval(fused)
    with options(fuse=False, donate=False, verify=True):
        apart = chain(name, xs)
        mx.eval(apart)
    assert fused.dtype == apart.dtype
    loose = {"float16": 1e-2, "bfloat16": 5e-2}.get(dtype)
    check(fused, to_numpy(apart), loose, name)


def layouts(x: mx.array) -> dict[str, mx.array]:
    """Views of a (24, 18) array; each a layout kernels must read."""
    return {
        "strided": x[::3, 1::2],
        "reversed": x[::-1, ::-1],
        "negative": x[::-2, -2::-3],
        "transposed": mx.transpose(x),
        "inner": mx.transpose(mx.reshape(x, (4, 6, 18)), (2, 0, 1)),
        "broadcast": mx.broadcast_to(x[3:4, 5:6], (7, 9)),
        "rows": mx.broadcast_to(x[:, 2:3], (24, 5)),
        "columns": mx.broadcast_to(x[1], (3, 18)),
        "one": x[5:6, 7:8],
        "scalar": x[2, 3],
        "empty": x[:0],
        "hollow": mx.reshape(x[:0], (3, 0, 18)),
        "window": mx.as_strided(x, (20, 4), (1, 2), 3),
    }


@pytest.mark.parametrize("dtype", ["float32", "int16", "bool_", "complex64", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_layouts(name: str, dtype: str) -> None:
    """Each layout gives what a contiguous copy of it gives."""
    if refuses(name, dtype):
        return
    views = [layouts(x) for x in inputs(name, dtype, (24, 18))]
    for kind in views[0]:
        xs = [v[kind] for v in views]
        plain = [mx.array(to_numpy(x)).astype(x.dtype) for x in xs]
        got, want = function(name)(*xs), function(name)(*plain)
        check(got, to_numpy(want), None, f"{name} {kind}")
        if len(xs) == 2:
            check(function(name)(xs[0], plain[1]), to_numpy(want), None, f"{name} {kind} left")
            check(function(name)(plain[0], xs[1]), to_numpy(want), None, f"{name} {kind} right")


@pytest.mark.parametrize("name", NAMES)
def test_length_does_not_matter(name: str) -> None:
    """A value is the same bits wherever it stands in an array of whatever length."""
    dtype = "int32" if ROWS[name]["accepts"] == INTEGRAL else "float32"
    xs = inputs(name, dtype, (4099,))
    whole = bits(function(name)(*xs))
    size = to_numpy(function(name)(*xs)).dtype.itemsize if whole.dtype == np.uint8 else 1
    if to_numpy(function(name)(*xs)).dtype.kind != "f":
        size = 1
    for n in (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 127, 2047, 2049):
        part = bits(function(name)(*[x[1 : n + 1] for x in xs]))
        np.testing.assert_array_equal(part, whole[size : (n + 1) * size], err_msg=f"length {n}")


def test_broadcast_outer() -> None:
    x, y = sample("float32", (7, 1, 5), 1), sample("float32", (1, 6, 1), 2)
    z = sample("float32", (5,), 3)
    check(x * y + z, to_numpy(x) * to_numpy(y) + to_numpy(z))
    check(mx.where(x > 0, y, z), np.where(to_numpy(x) > 0, to_numpy(y), to_numpy(z)))


@pytest.mark.parametrize("source", DTYPES)
def test_astype(source: str) -> None:
    """Conversion of values every dtype can hold, and truncation toward zero."""
    x = sample(source, (70,), 1, 0, 100)
    for target in DTYPES:
        y = x.astype(getattr(mx, target))
        assert name_of(y) == target
        a = to_numpy(x)
        kind = {"bool_": np.bool_, "bfloat16": np.float32}.get(target) or getattr(np, target)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
            want = a.astype(kind) if target != "bool_" else a != 0
        check(
            y,
            want,
            8e-3 if target == "bfloat16" else 1e-3 if target == "float16" else 0,
            f"{source} to {target}",
        )


def test_registry_is_whole() -> None:
    assert _core._registry_verify() == []
    assert len(NAMES) > 60
    for name in NAMES:
        assert ROWS[name]["doc"].endswith("."), name
        assert ROWS[name]["differentiable"] or ROWS[name]["nondifferentiable"], name
        assert callable(function(name)), name


def test_random_operands_keep_dtype() -> None:
    g = rng(4)
    for _ in range(40):
        d = DTYPES[g.integers(len(DTYPES))]
        x = sample(d, (int(g.integers(0, 40)),), int(g.integers(100)))
        y = mx.maximum(x, x) if d != "complex64" else mx.conjugate(x)
        assert y.dtype == x.dtype

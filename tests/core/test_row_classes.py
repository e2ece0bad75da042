"""Every row of the registry in the five classes that wrong numbers come from.

Size, stride, dtype and special value, degenerate shape, error path. What is compared with is the
same row on plain memory, in the widest dtype, or of MLX; values themselves are other tests'.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest
import row_examples
from arrays import DTYPES, SPECIAL, TOLERANCE, check, name_of, rng, to_numpy
from lamina import _core
from row_examples import ALL, ROWS, Example

NAMES = list(ROWS)
Arrays = list[mx.array]


def outcome(f: Callable[..., Any], xs: Any) -> Any:
    """The evaluated result, or the error where it is one of those that docs/errors.md names."""
    try:
        y = f(*xs)
        mx.eval(y)
        return y
    except mx.InternalError:
        raise
    except mx.LaminaError as e:
        return e


def agrees(got: Any, want: Any, tolerance: float, context: str) -> None:
    if isinstance(want, mx.LaminaError):
        assert type(got) is type(want), f"{context}: {got!r} beside {want!r}"
        return
    assert not isinstance(got, mx.LaminaError), f"{context}: {got}"
    assert (got.shape, got.dtype) == (want.shape, want.dtype), context
    check(got, to_numpy(want), tolerance, context)


# --- size -----------------------------------------------------------------------------------------

HUGE = (1 << 31) + 4096  # elements


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """More than 2^31 elements, of which few have memory."""
    path = tmp_path_factory.mktemp("huge") / "elements"
    path.touch()
    with path.open("r+b") as f:
        f.truncate(4 * HUGE)
    return np.memmap(path, np.float32, "r+", shape=(HUGE,))


def spread_out(memory: np.ndarray, x: mx.array) -> mx.array:
    """x with its elements so far apart that the last one is past 2^31."""
    a = to_numpy(x)
    outer = next((i for i, n in enumerate(a.shape) if n > 1), None)
    if outer is None:  # one element, behind all others
        memory[HUGE - 1] = a.reshape(())
        return mx.as_strided(mx.asarray(memory), a.shape, (0,) * a.ndim, HUGE - 1)
    strides = [s // a.itemsize for s in np.empty(a.shape, a.dtype).strides]
    strides[outer] = (1 << 31) // (a.shape[outer] - 1) + 1
    view = np.lib.stride_tricks.as_strided(memory, a.shape, [4 * s for s in strides])
    view[...] = a
    return mx.as_strided(mx.asarray(memory), a.shape, strides, 0)


@pytest.mark.parametrize("name", NAMES)
def test_indices_past_2_to_the_31(name: str, huge: np.ndarray) -> None:
    e = ALL[name]
    for size in range(len(e.shapes)):
        xs = e.inputs("float32", size, seed=size)
        far = []
        for x in xs:
            # Each in its turn, so that they do not write over each other.
            want = outcome(e.f, xs)
            far = [spread_out(huge, y) if y is x else y for y in xs]
            agrees(outcome(e.f, far), want, 1e-5, f"{name} {size}")


# --- stride ---------------------------------------------------------------------------------------


def every_other(x: mx.array) -> mx.array:
    """x between elements of other arrays."""
    wide = mx.zeros([2 * n + 1 for n in x.shape], x.dtype) - 77
    wide[tuple(slice(1, None, 2) for _ in x.shape)] = x
    mx.eval(wide)
    return wide[tuple(slice(1, None, 2) for _ in x.shape)]


def backwards(x: mx.array) -> mx.array:
    turn = tuple(slice(None, None, -1) for _ in x.shape)
    plain = mx.contiguous(x[turn])
    mx.eval(plain)
    return plain[turn]


def columns(x: mx.array) -> mx.array:
    plain = mx.contiguous(x.T)
    mx.eval(plain)
    return plain.T


def shifted(x: mx.array) -> mx.array:
    """x behind others in one buffer, not aligned to a vector."""
    flat = mx.concatenate([mx.zeros(3, x.dtype) - 77, x.reshape(-1)])
    mx.eval(flat)
    return flat[3:].reshape(x.shape)


STRIDES = {f.__name__: f for f in (every_other, backwards, columns, shifted)}


@pytest.mark.parametrize("name", NAMES)
def test_layouts(name: str) -> None:
    e = ALL[name]
    for size in range(len(e.shapes)):
        xs = e.inputs("float32", size, seed=size)
        want = outcome(e.f, xs)
        for kind, view in STRIDES.items():
            views = [view(x) for x in xs]
            mx.eval(views)
            agrees(outcome(e.f, views), want, 1e-5, f"{name} {size} {kind}")
    # Rows that are the same memory.
    xs = [mx.broadcast_to(x[:1], x.shape) if x.ndim else x for x in e.inputs("float32", seed=3)]
    mx.eval(xs)
    plain = [mx.array(np.array(x)) for x in xs]
    agrees(outcome(e.f, xs), outcome(e.f, plain), 1e-5, f"{name} broadcast")


# --- dtype and special value ----------------------------------------------------------------------


def special(e: Example, dtype: str, seed: int) -> Arrays:
    """The example's inputs with special values in some places."""
    g = rng(seed)
    out = []
    for x in e.inputs("float32", 0, seed):
        a = np.array(x)
        places = g.random(a.shape) < 0.3
        a[places] = g.choice(SPECIAL, a.shape)[places]
        out.append(mx.array(a).astype(getattr(mx, dtype)))
    return out


def special_for(name: str, dtype: str, seed: int) -> Arrays:
    xs = special(ALL[name], dtype, seed)
    if name == "convolution":  # of weights see docs/differences.md
        xs[1] = ALL[name].inputs(dtype, 0, seed)[1]
    return xs


@pytest.mark.parametrize("name", NAMES)
def test_special_values(name: str) -> None:
    """Each dtype gives what the widest gives for the same numbers."""
    e = ALL[name]
    for dtype in e.dtypes:
        if dtype == e.base:
            continue
        for seed in range(8):
            xs = special_for(name, dtype, seed)
            wide = [x.astype(getattr(mx, e.base)) for x in xs]
            got, want = outcome(e.f, xs), outcome(e.f, wide)
            if isinstance(want, mx.LaminaError) or isinstance(got, mx.LaminaError):
                agrees(got, want, 0, f"{name} {dtype} {seed}")
                continue
            a, b = to_numpy(got), to_numpy(want.astype(got.dtype))
            tolerance = 40 * TOLERANCE[dtype]
            if a.dtype.kind == "f" and name != "view":
                for kind in (np.isnan, np.isposinf, np.isneginf):
                    np.testing.assert_array_equal(kind(a), kind(b), f"{name} {dtype} {seed}")
                check(got, b, tolerance, f"{name} {dtype} {seed}")


@contextlib.contextmanager
def examples_in_mlx() -> Iterator[None]:
    """The examples' functions call mlx.core."""
    before = {n: getattr(row_examples, n) for n in ("mx", "L", "F", "_core")}
    others = {"mx": omx, "L": omx.linalg, "F": omx.fft, "_core": None}
    try:
        vars(row_examples).update(others)
        yield
    finally:
        vars(row_examples).update(before)


def theirs(name: str, xs: Arrays) -> omx.array | None:
    """What MLX gives for the example, where it has all that it takes."""
    f: Any = ALL[name].f
    if ROWS[name]["kind"] == "elementwise" and name != "select":
        f = getattr(omx, name, None)
    values = [
        omx.array(np.array(x.astype(mx.float32) if x.dtype == mx.bfloat16 else x)).astype(
            getattr(omx, name_of(x))
        )
        for x in xs
    ]
    try:
        with examples_in_mlx(), omx.stream(omx.cpu):
            y = f(*values)
            omx.eval(y)
            return y
    except (ValueError, TypeError, RuntimeError, AttributeError):
        return None


# Where MLX is no measure: LAPACK, which ends the process there on NaN, and what is meant otherwise.
LAPACK = list(row_examples.EXAMPLES)[list(row_examples.EXAMPLES).index("qr") :]
OTHERWISE = {
    "sign": "of NaN is NaN (docs/differences.md)",
    "convolution": "weights that are not finite at padding (docs/differences.md)",
    "rfft": "infinities meet other factors on another path",
    "irfft": "infinities meet other factors on another path",
    "fft": "infinities meet other factors on another path",
}
BY_DTYPE = {
    "bitwise_and": "the example makes its inputs int32",
    "bitwise_or": "the example makes its inputs int32",
    "bitwise_xor": "the example makes its inputs int32",
    "bitwise_invert": "the example makes its inputs int32",
    "left_shift": "the example makes its inputs int32",
    "right_shift": "the example makes its inputs int32",
    "remainder": "by zero is zero (docs/differences.md)",
    "logsumexp": "of integers MLX's wraps in their dtype",
    "segmented_mm": "MLX's is wrong in float16 and bfloat16",
}


@pytest.mark.parametrize("name", [n for n in NAMES if n not in (*LAPACK, *OTHERWISE)])
def test_special_values_are_mlx(name: str) -> None:
    e = ALL[name]
    for seed in range(8):
        xs = special(e, "float32", seed)
        want = theirs(name, xs)
        if want is None:
            continue
        got = outcome(e.f, xs)
        assert name_of(got) == name_of(want)
        np.testing.assert_allclose(to_numpy(got), to_numpy(want), 1e-4, 1e-4, err_msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_every_dtype(name: str) -> None:
    """The values MLX gives, or an error that says which dtypes there are."""
    e, compared = ALL[name], 0
    for dtype in DTYPES:
        xs = [mx.abs(x).astype(getattr(mx, dtype)) for x in e.inputs("float32", 0, 3)]
        got = outcome(e.f, xs)
        if isinstance(got, mx.LaminaError):
            assert isinstance(got, (mx.DtypeError, mx.LinAlgError, mx.ArgumentError)), repr(got)
            assert "float" in str(got) or dtype.strip("_") in str(got), str(got)
            continue
        want = None if name in BY_DTYPE or dtype == "float64" else theirs(name, xs)
        if want is None:
            continue
        compared += 1
        assert name_of(got) == name_of(want), dtype
        t = 40 * TOLERANCE.get(dtype, 1e-5)
        np.testing.assert_allclose(to_numpy(got), to_numpy(want), t, t, err_msg=dtype)
    assert compared or name in BY_DTYPE or theirs(name, e.inputs("float32")) is None


# --- degenerate shape -----------------------------------------------------------------------------


def degenerate(e: Example) -> Iterator[list[tuple[int, ...]]]:
    """Shapes with each of the example's sizes put to 0 and to 1, everywhere and in one place."""
    shapes = e.shapes[0]
    for n in sorted({n for shape in shapes for n in shape}):
        for to in (0, 1):
            yield [tuple(to if m == n else m for m in shape) for shape in shapes]
    for i, shape in enumerate(shapes):
        for axis in range(len(shape)):
            for to in (0, 1):
                changed = (*shape[:axis], to, *shape[axis + 1 :])
                yield [changed if k == i else s for k, s in enumerate(shapes)]
    for to in (0, 1):
        yield [(to,) * len(shape) for shape in shapes]
    yield [() for _ in shapes]
    yield [(1, 1, *shape) for shape in shapes]
    yield [(0, *shape) for shape in shapes]


@pytest.mark.parametrize("name", NAMES)
def test_degenerate_shapes(name: str) -> None:
    """Each gives the shape said before it was evaluated, derivatives too, or is refused.

    MLX is no measure here: there some of these end the process.
    """
    e = ALL[name]
    worked = 0
    for shapes in degenerate(e):
        resized = Example(e.f, [shapes], e.domain, dtypes=e.dtypes, base=e.base)
        xs = resized.inputs("float32", 0, 3)
        try:
            lazy = e.f(*xs)
        except (ValueError, IndexError) as error:
            # "tuple index": of the example, which asks for an axis that is not there.
            assert ": " in str(error) or "tuple index" in str(error), shapes
            continue
        declared = lazy.shape
        got = outcome(lambda: lazy, ())
        if isinstance(got, mx.LaminaError):
            continue
        if name == "gather_mm" and not all(to_numpy(x).size for x in xs):
            continue  # the example's indices are of matrices that are not there
        worked += 1
        assert to_numpy(got).shape == declared, shapes
        if ROWS[name]["differentiable"] and mx.issubdtype(got.dtype, mx.inexact):
            for g, x in zip(mx.vjp(e.f, xs, [mx.ones_like(got)])[1], xs, strict=True):
                assert to_numpy(g).shape == x.shape, shapes
            _, (tangent,) = mx.jvp(e.f, xs, xs)
            assert to_numpy(tangent).shape == declared, shapes
    assert worked > 1


def test_products_over_nothing() -> None:
    """One matrix on the right of several, and its gradient, where the summed axis is empty."""
    a, b = mx.ones((2, 4, 0)), mx.ones((0, 3))
    assert (a @ b).tolist() == [[[0.0] * 3] * 4] * 2
    assert mx.grad(lambda x: mx.sum(x @ b))(a).shape == (2, 4, 0)
    assert mx.grad(lambda x: mx.sum(mx.prod(x, axis=1)))(mx.ones((0, 4))).shape == (0, 4)
    assert mx.grad(lambda x: mx.sum(mx.prod(x, axis=1)))(mx.ones((4, 0))).shape == (4, 0)


def test_attention_without_key_heads() -> None:
    q, k = mx.ones((1, 2, 3, 4)), mx.ones((1, 0, 5, 4))
    with pytest.raises(
        mx.ShapeError, match=r"attention: shapes do not fit: q \(1, 2, 3, 4\), k \(1, 0"
    ):
        _core._attention(q, k, k, 0.5, False, None, None)
    with pytest.raises(mx.ShapeError, match="attention: q, k and v need 4 axes"):
        _core._attention(q[0], k[0], k[0], 0.5, False, None, None)


# --- error path -----------------------------------------------------------------------------------

Call = Callable[[], Any]
F32 = mx.float32


def m(*shape: int) -> mx.array:
    return mx.ones(shape)


def i(*values: int) -> mx.array:
    return mx.array(list(values))


PACKED = mx.quantize(m(4, 32), 32, 4)
L, F = mx.linalg, mx.fft
# A wrong call for each row that is not elementwise, and words of its error.
WRONG: dict[str, tuple[Call, str]] = {
    "softmax": (lambda: mx.softmax(m(2, 3), axis=2), "softmax.*axis 2"),
    "logsumexp": (lambda: mx.logsumexp(m(2, 3), axis=-3), "logsumexp.*axis -3"),
    "rms_norm": (lambda: mx.fast.rms_norm(m(2, 3), m(4), 1e-3), r"rms_norm.*\(4,?\)"),
    "layer_norm": (lambda: mx.fast.layer_norm(m(2, 3), m(4), None, 1e-3), r"layer_norm.*4"),
    "attention": (
        lambda: mx.fast.scaled_dot_product_attention(
            m(1, 2, 3, 4), m(1, 2, 3, 5), m(1, 2, 3, 5), scale=1
        ),
        r"attention: shapes do not fit: q \(1, 2, 3, 4\)",
    ),
    "rope": (
        lambda: mx.fast.rope(m(1, 2, 3), 4, traditional=False, base=10.0, scale=1.0, offset=0),
        "rope: dims must be even and at most 3, got 4",
    ),
    "convolution": (lambda: mx.conv1d(m(1, 5, 2), m(3, 2, 4)), "conv.*4"),
    "convolution_input_gradient": (
        lambda: mx.vjp(lambda x: mx.conv1d(x, m(3, 2, 2)), [m(1, 5, 2)], [m(1, 5, 3)]),
        r"vjp.*\(1, 5, 3\)",
    ),
    "convolution_weight_gradient": (
        lambda: mx.vjp(lambda w: mx.conv1d(m(1, 5, 2), w), [m(3, 2, 2)], [m(1, 5, 3)]),
        r"vjp.*\(1, 5, 3\)",
    ),
    "matmul": (lambda: m(2, 3) @ m(4, 5), r"matmul: inner sizes differ: \(2, 3\) @ \(4, 5\)"),
    "gather_mm": (lambda: mx.gather_mm(m(2, 2, 3), m(2, 4, 5)), "gather_mm.*3"),
    "segmented_mm": (lambda: mx.segmented_mm(m(2, 3), m(4, 5), i(0, 2)), "segmented_mm.*3"),
    "dequantize": (lambda: mx.dequantize(m(4, 4), m(4, 1), m(4, 1), 32, 4), "dequantize.*float32"),
    "quantized_matmul": (
        lambda: mx.quantized_matmul(m(2, 31), *PACKED, group_size=32, bits=4),
        "quantized_matmul.*31",
    ),
    "gather_qmm": (
        lambda: mx.gather_qmm(m(2, 31), *PACKED, group_size=32, bits=4),
        "gather_qmm.*31",
    ),
    "round_to_format": (lambda: mx.qqmm(m(2, 32), m(4, 32), mode="mxfp9"), "mxfp9"),
    "fft": (lambda: F.fft(m(2, 3), axis=2), "fft.*2"),
    "rfft": (lambda: F.rfft(m(2, 3), axis=2), "rfft.*2"),
    "irfft": (lambda: F.irfft(m(2, 3), axis=2), "irfft.*2"),
    "gather": (lambda: mx.take(m(3), i(0, 7)), "take: index 7 is out of bounds for axis 0"),
    "scatter": (lambda: m(3).at[i(0, 7)].add(1), "index 7 is out of bounds for axis 0"),
    "take_along_axis": (
        lambda: mx.take_along_axis(m(2, 3), i(0), axis=1),
        r"take_along_axis.*\(2, 3\)",
    ),
    "put_along_axis": (
        lambda: mx.put_along_axis(m(2, 3), i(0), m(1), axis=1),
        r"put_along_axis.*\(2, 3\)",
    ),
    "searchsorted": (lambda: mx.searchsorted(m(2, 3), m(2)), r"searchsorted.*\(2, 3\)"),
    **{
        name: (lambda name=name: getattr(mx, name)(m(2, 3), axis=2), f"{name}.*axis 2")
        for name in (
            *("sort", "argsort", "sum", "prod", "min", "max", "all", "any", "argmin", "argmax"),
            *("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp"),
        )
    },
    "partition": (lambda: mx.partition(m(2, 3), 5, axis=1), "partition.*5"),
    "argpartition": (lambda: mx.argpartition(m(2, 3), 5, axis=1), "argpartition.*5"),
    "transpose": (lambda: mx.transpose(m(2, 3), (0, 0)), r"transpose.*0"),
    "reshape": (lambda: mx.reshape(m(2, 3), (4,)), r"reshape.*\(2, 3\)"),
    "broadcast_to": (lambda: mx.broadcast_to(m(2, 3), (3, 2)), r"broadcast_to.*\(2, 3\)"),
    "slice": (lambda: m(2, 3)[:, :, 0], r"index.*2"),
    "slice_update": (
        lambda: mx.slice_update(m(2, 3), m(4), i(0), (0,)),
        r"\(1, 4\) is larger than \(2, 3\)",
    ),
    "as_strided": (lambda: mx.as_strided(m(6), (4,), (3,), 0), "as_strided.*6"),
    "concatenate": (lambda: mx.concatenate([m(2, 3), m(2, 4)]), r"concatenate.*\(2, 4\)"),
    "copy": (lambda: mx.array(object()), "array.*object"),
    "contiguous": (lambda: mx.contiguous("x"), "contiguous"),
    "depends": (lambda: mx.depends(m(2), "x"), "depends.*str"),
    "stop_gradient": (lambda: mx.stop_gradient("x"), "stop_gradient"),
    "astype": (lambda: m(2).astype("float31"), "dtype: expected a Dtype"),
    "view": (lambda: mx.view(m(3).astype(mx.uint8), F32), "view.*3"),
    "iota": (lambda: mx.arange(0, 3, 0), "arange.*0"),
    "random_bits": (lambda: mx.random.uniform(key=m(3)), "key"),
    **{
        name: (lambda name=name: getattr(L, name)(m(2, 3)), rf"{name}.*\(2, 3\)")
        for name in ("inv", "det", "slogdet", "cholesky", "tri_inv", "eigh", "eigvalsh", "eig")
    },
    "adjugate": (lambda: mx.grad(L.det)(m(2, 3)), r"det.*\(2, 3\)"),
    "eigvals": (lambda: L.eigvals(m(2, 3)), r"eigvals.*\(2, 3\)"),
    **{
        name: (lambda name=name: getattr(L, name)(m(3)), rf"{name}.*\(3,\)")
        for name in ("qr", "pinv", "svd", "svdvals")
    },
    "lu_factor": (lambda: L.lu_factor(m(3)), r"lu.*\(3,\)"),
    "solve": (lambda: L.solve(m(3, 3), m(2, 2)), r"solve.*\(2, 2\)"),
    "solve_triangular": (lambda: L.solve_triangular(m(3, 3), m(2, 2)), r"solve.*\(2, 2\)"),
    "matrix_sqrt": (
        lambda: mx.random.multivariate_normal(m(3), m(2, 2)),
        r"multivariate_normal.*\(2, 2\)",
    ),
}


def test_every_row_has_a_wrong_call() -> None:
    assert set(WRONG) == {n for n in NAMES if ROWS[n]["kind"] != "elementwise"}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls_are_explained(name: str) -> None:
    call, words = WRONG[name]
    with pytest.raises((mx.LaminaError, ValueError, TypeError), match=words):
        mx.eval(call())


@pytest.mark.parametrize("name", [n for n in NAMES if n not in WRONG])
def test_wrong_operands_are_explained(name: str) -> None:
    """Of an elementwise row: what is no array, and shapes that do not fit."""
    public = "where" if name == "select" else name
    f, count = getattr(mx, public), ROWS[name]["arity"]
    # `round` is a function of the face, with decimals, that makes its array itself.
    named = "array.*object" if name == "round" else rf"^{public}: .*object"
    with pytest.raises((mx.DtypeError, TypeError), match=named):
        f(*(object() for _ in range(count)))
    if count > 1:
        whole = [mx.ones((2, 3), dtype=mx.int32), mx.ones((2, 4), dtype=mx.int32)]
        operands = whole if count == 2 else [mx.ones((2, 3)) > 0, *whole]
        with pytest.raises(mx.ShapeError, match=rf"{public}: .*\(2, 3\).*\(2, 4\)"):
            f(*operands)

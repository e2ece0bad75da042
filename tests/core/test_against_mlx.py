"""Every function of `mlx.core` beside lamina's: values, shapes, dtypes and kinds of error."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from arrays import DTYPES
from both import check_all, spread

UNARY = [
    "abs",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctanh",
    "ceil",
    "conjugate",
    "cos",
    "cosh",
    "degrees",
    "erf",
    "erfinv",
    "exp",
    "expm1",
    "floor",
    "imag",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "log",
    "log10",
    "log1p",
    "log2",
    "logical_not",
    "negative",
    "radians",
    "real",
    "reciprocal",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "stop_gradient",
    "tan",
    "tanh",
    "trunc",
    "bitwise_invert",
    "positive",
    "zeros_like",
    "ones_like",
    "nan_to_num",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "conj",
]
BINARY = [
    "add",
    "arctan2",
    "divide",
    "equal",
    "floor_divide",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "logaddexp",
    "logical_and",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "multiply",
    "not_equal",
    "power",
    "remainder",
    "subtract",
    "divmod",
    "atan2",
    "pow",
]
BITWISE = ["bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift"]
BITWISE += ["bitwise_left_shift", "bitwise_right_shift"]
REDUCTIONS = ["all", "any", "max", "mean", "min", "prod", "sum", "logsumexp", "var", "std"]
PICKED = ["argmax", "argmin"]
SCANS = ["cumsum", "cumprod", "cummax", "cummin", "logcumsumexp"]
SCANS += ["cumulative_sum", "cumulative_prod"]
SORTS = ["sort", "argsort"]
NUMBERS = [d for d in DTYPES if d != "bool_"]


@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str) -> None:
    def programs() -> Iterator[str]:
        yield from spread(f"mx.{name}(a('{{d}}', {{s}}))", d=DTYPES, s=["2, 3", "", "0", "2, 0"])
        yield from spread(f"mx.{name}(edge('{{d}}'))", d=[d for d in DTYPES if d != "complex64"])
        yield from spread(
            f"x = a('float32', 3, 4); mx.{name}({{v}})", v=["x.T", "x[::-1]", "x[:, ::2]"]
        )
        yield from spread(f"mx.{name}({{v}})", v=["2.0", "True", "[1.0, 2.0]", "None", "'a'", ""])
        yield f"mx.{name}(a('float32', 2), stream=mx.cpu)"
        yield f"mx.{name}(a('float32', 2), a('float32', 2), a('float32', 2))"

    check_all(programs(), 2e-5)


@pytest.mark.parametrize("name", BINARY + BITWISE)
def test_binary(name: str) -> None:
    kinds = ["bool_", "uint8", "int32", "float32"] if name in BITWISE else DTYPES
    scalars = ["2", "True", "-3", "2.5", "1j", "[1, 2, 3]", "np.float32(2)", "np.ones(3)", "None"]

    def programs() -> Iterator[str]:
        yield from spread(f"mx.{name}(a('{{d}}', 2, 3), a('{{e}}', 3, low=1))", d=DTYPES, e=DTYPES)
        yield from spread(f"mx.{name}(a('{{d}}', 3), {{v}})", d=kinds, v=scalars)
        yield from spread(f"mx.{name}({{v}}, a('{{d}}', 3, low=1))", d=kinds, v=scalars)
        yield from spread(
            f"mx.{name}(a('float32', {{s}}), a('float32', {{t}}))",
            s=["", "3", "1, 3", "2, 1", "0", "4"],
            t=["", "3", "2, 3", "0", "2, 0", "4, 3"],
        )
        yield from spread(f"mx.{name}({{v}}, {{w}})", v=["2", "3.5", "True"], w=["2", "0.5"])
        yield f"mx.{name}(a('int32', 3), a('int32', 3, low=1), stream=mx.cpu)"
        yield f"mx.{name}(a('int32', 3))"

    check_all(programs(), 2e-5)


@pytest.mark.parametrize("name", BINARY)
def test_binary_at_the_edges(name: str) -> None:
    kinds = [d for d in DTYPES if d != "complex64"]
    if name == "divmod":  # MLX crashes where integers are divided by zero
        kinds = [d for d in kinds if "float" in d]
    check_all(spread(f"mx.{name}(edge('{{d}}')[:, None], edge('{{d}}')[None])", d=kinds), 2e-5)


AXES = ["", "None", "0", "-1", "1", "(0, 1)", "[0, -1]", "()", "[]", "5", "-3", "(0, 0)", "1.5"]


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str) -> None:
    def programs() -> Iterator[str]:
        yield from spread(f"mx.{name}(a('{{d}}', 3, 4), {{axis}})", d=DTYPES, axis=["", "0", "-1"])
        yield from spread(f"mx.{name}(a('float32', 3, 4), {{axis}})", axis=AXES)
        yield from spread(
            f"mx.{name}(a('float32', 3, 4), axis={{axis}}, keepdims=True)", axis=AXES[1:]
        )
        yield from spread(f"a('float32', 3, 4).{name}({{axis}})", axis=AXES)
        yield from spread(f"a('int32', 3, 4).{name}(axis={{axis}}, keepdims=True)", axis=AXES[1:])
        yield from spread(f"mx.{name}(a('float32', {{s}}))", s=["", "1", "1, 1"])
        # Of arrays without elements MLX reads what is not there, and may never return.
        yield from spread(f"mx.{name}(edge('{{d}}'))", d=[d for d in DTYPES if d != "complex64"])
        yield f"mx.{name}(a('float32', 3, 4), 0, True, stream=mx.cpu)"
        yield from spread(f"mx.{name}({{v}})", v=["[1, 2]", "2.0", "None", ""])

    check_all(programs(), 2e-5)


@pytest.mark.parametrize("name", PICKED)
def test_positions_of_extremes(name: str) -> None:
    axes = ["", "None", "0", "-1", "2", "-3", "(0, 1)"]

    def programs() -> Iterator[str]:
        yield from spread(f"mx.{name}(a('{{d}}', 3, 4), {{axis}})", d=DTYPES, axis=["", "0", "-1"])
        yield from spread(
            f"mx.{name}(a('float32', 3, 4), axis={{axis}}, keepdims=True)", axis=axes[1:]
        )
        yield from spread(f"a('float32', 3, 4).{name}({{axis}})", axis=axes)
        yield from spread(f"mx.{name}(a('float32', {{s}}))", s=["", "0", "2, 0", "1"])
        yield f"mx.{name}(mx.array([1.0, float('nan'), 3.0]))"

    check_all(programs())


@pytest.mark.parametrize("name", SCANS)
def test_scans(name: str) -> None:
    axes = ["", "None", "0", "-1", "1", "2", "-3"]

    def programs() -> Iterator[str]:
        yield from spread(f"mx.{name}(a('{{d}}', 3, 4), {{axis}})", d=DTYPES, axis=axes)
        yield from spread(
            f"mx.{name}(a('{{d}}', 3, 4), axis={{axis}}, reverse={{r}}, inclusive={{i}})",
            d=["float32", "int32", "bool_"],
            axis=["None", "0", "1"],
            r=["True", "False"],
            i=["True", "False"],
        )
        yield from spread(f"a('float32', 3, 4).{name}({{axis}})", axis=axes)
        yield from spread(f"mx.{name}(a('float32', {{s}}))", s=["", "0", "2, 0"])
        yield f"mx.{name}(edge('float32'))"
        yield f"mx.{name}(a('float32', 3), 0, True)"
        if name in ("cumsum", "cumprod"):
            yield from spread(f"mx.{name}(a('{{d}}', 3), dtype=mx.float16)", d=NUMBERS)
            yield f"mx.{name}(a('bool_', 5), 0, dtype=mx.int64)"

    check_all(programs(), 2e-5)


@pytest.mark.parametrize("name", SORTS)
def test_sorts(name: str) -> None:
    kinds = [d for d in DTYPES if d != "complex64"]

    def programs() -> Iterator[str]:
        yield from spread(
            f"mx.{name}(a('{{d}}', 5, 4), {{axis}})", d=kinds, axis=["", "None", "0", "-1", "2"]
        )
        yield from spread(f"mx.{name}(a('float32', {{s}}))", s=["", "0", "2, 0", "1"])
        yield f"mx.{name}(edge('float32'))"
        yield f"mx.{name}(a('int32', 30), axis=0, stream=mx.cpu)"

    check_all(programs())


ORDER = [
    "mx.partition(a('float32', 6), 2)[2]",
    "mx.sort(mx.partition(a('float32', 6), {k})[:{k}])",
    "mx.partition(a('float32', 3, 6), {k}, axis={axis}).shape",
    "mx.argpartition(a('float32', 3, 6), {k}, axis={axis}).dtype",
    "mx.argpartition(a('float32', 3, 6), {k}, {axis}).shape",
    "mx.sort(mx.topk(a('float32', 6), {k}))",
    "mx.topk(a('float32', 3, 6), {k}, axis={axis}).shape",
    "mx.topk(a('int32', 4), 4, stream=mx.cpu).dtype",
    "mx.searchsorted(mx.sort(a('{d}', 6)), a('{d}', 4))",
    "mx.searchsorted(mx.sort(a('{d}', 6)), a('{d}', 2, 2), side='right')",
    "mx.searchsorted(mx.array([1, 2, 3]), 2)",
    "mx.searchsorted(mx.array([1, 2, 3]), mx.array(2), 'middle')",
    "mx.searchsorted(a('float32', 2, 2), a('float32', 2))",
    "mx.median(a('{d}', 3, 4), axis={axis})",
    "mx.median(a('float32', 3, 4), axis=(0, 1), keepdims=True)",
    "mx.median(mx.array(2.0))",
    "mx.minmax(a('{d}', 3, 4), axis={axis})",
    "mx.unique(mx.array([3, 1, 3, 2]), size=3)",
    "mx.unique(mx.array([3, 1, 3, 2]), 5, True, True, True)",
    "mx.unique(mx.array([[3.0, 1.0], [3.0, 2.0]]), size=4, return_inverse=True, fill_value=9)",
    "mx.unique(mx.array([3, 1]), size={k})",
    "mx.unique(mx.zeros((0,)), size=2)",
    "mx.count_nonzero(a('{d}', 3, 4), axis={axis})",
    "mx.count_nonzero(a('int32', 3, 4), axis=(0, 1), keepdims=True)",
    "mx.count_nonzero(a('int32', 3, 4), 0)",
    "mx.diff(a('{d}', 3, 4), n=1, axis={axis})",
    "mx.diff(a('float32', 5), {k})",
    "mx.diff(mx.array(1.0))",
]


@pytest.mark.parametrize("template", ORDER)
def test_order(template: str) -> None:
    kinds = [d for d in DTYPES if d != "complex64"]
    check_all(
        spread(template, d=kinds, k=["0", "1", "2", "-1", "9"], axis=["0", "-1", "None", "3"])
    )


SHAPING = [
    "mx.reshape(a('float32', {s}), {t})",
    "a('float32', {s}).reshape({t})",
    "a('float32', 2, 3).reshape(3, 2)",
    "a('float32', 2, 3).reshape(-1)",
    "a('float32', 2, 3).reshape([6])",
    "mx.flatten(a('float32', 2, 3, 4), {i}, {j})",
    "a('float32', 2, 3, 4).flatten({i}, {j})",
    "mx.flatten(mx.array(1.0))",
    "mx.unflatten(a('float32', 6, 4), {i}, {t})",
    "mx.transpose(a('float32', 2, 3, 4), {axes})",
    "mx.permute_dims(a('float32', 2, 3, 4), {axes})",
    "a('float32', 2, 3, 4).transpose({axes})",
    "a('float32', 2, 3, 4).transpose(2, 0, 1)",
    "a('float32', 2, 3, 4).transpose()",
    "mx.swapaxes(a('float32', 2, 3, 4), {i}, {j})",
    "mx.moveaxis(a('float32', 2, 3, 4), {i}, {j})",
    "mx.moveaxis(a('float32', 2, 3, 4), (0, 1), (1, 0))",
    "mx.expand_dims(a('float32', 2, 3), {x})",
    "mx.squeeze(a('float32', 1, 2, 1), {x})",
    "a('float32', 1, 2, 1).squeeze({x})",
    "mx.squeeze(a('float32', 1, 1))",
    "mx.broadcast_to(a('float32', {s}), {t})",
    "mx.broadcast_to(2.0, {t})",
    "mx.broadcast_arrays(a('float32', 3), a('int32', 2, 1))",
    "mx.broadcast_arrays()",
    "mx.broadcast_arrays(a('float32', 3), a('float32', 4))",
    "mx.broadcast_shapes((3,), (2, 1))",
    "mx.broadcast_shapes((3,), (4,))",
    "mx.broadcast_shapes()",
    "mx.atleast_1d({v})",
    "mx.atleast_2d({v})",
    "mx.atleast_3d({v})",
    "mx.atleast_2d(mx.array(1), mx.array([2]))",
    "mx.concatenate([a('float32', 2, 3), a('{d}', 1, 3)])",
    "mx.concatenate([a('float32', 2, 3), a('float32', 2, 3)], {i})",
    "mx.concatenate([a('float32', 2, 3), a('float32', 3, 2)], axis=None)",
    "mx.concat([a('float32', 2), a('float32', 2)], axis={i})",
    "mx.concatenate([])",
    "mx.concatenate([a('float32', 2), a('float32', 2, 2)])",
    "mx.concatenate((a('float32', 2), a('float32', 2)))",
    "mx.concatenate([mx.array(1), mx.array(2)])",
    "mx.concatenate(a('float32', 2, 2))",
    "mx.stack([a('float32', 2), a('{d}', 2)], {i})",
    "mx.stack([a('float32', 2), a('float32', 3)])",
    "mx.stack([])",
    "mx.stack([a('float32', 2), a('float32', 2)], axis=None)",
    "mx.split(a('float32', 6, 2), {n})",
    "mx.split(a('float32', 2, 6), [1, 3, 9], axis=1)",
    "mx.split(a('float32', 2, 6), (2, 1), -1)",
    "a('float32', 6).split({n})",
    "mx.unstack(a('float32', 2, 3), axis={i})",
    "mx.unstack(mx.array(1.0))",
    "mx.repeat(a('float32', 2, 3), {n}, {i})",
    "mx.repeat(a('float32', 2, 3), {n})",
    "mx.repeat(mx.array(3), 2)",
    "mx.repeat(3, 2)",
    "mx.tile(a('float32', 2, 3), {t})",
    "mx.tile(a('float32', 2, 3), {n})",
    "mx.tile(mx.array(2), (2, 2))",
    "mx.roll(a('float32', 2, 3), {n}, {i})",
    "mx.roll(a('float32', 2, 3), {n})",
    "mx.roll(a('float32', 2, 3), (1, 2), (0, 1))",
    "mx.roll(a('float32', 2, 3), (1, 2))",
    "mx.roll(a('float32', 2, 3), 1, (0, 1))",
    "mx.roll(a('float32', 0, 3), 1, 0)",
    "mx.flip(a('float32', 2, 3), {x})",
    "mx.flip(a('float32', 2, 3))",
    "mx.flip(mx.array(1))",
    "mx.pad(a('{d}', 2, 3), 1)",
    "mx.pad(a('float32', 2, 3), {w}, mode='{m}')",
    "mx.pad(a('float32', 2, 3), {w}, constant_values=7)",
    "mx.pad(a('float32', 2, 3), 1, 'edge', 3)",
    "mx.pad(a('int32', 2, 3), 1, constant_values=mx.array(4))",
    "mx.diag(a('{d}', 3), {n})",
    "mx.diag(a('float32', 3, 4), {n})",
    "a('float32', 3, 4).diag()",
    "mx.diag(a('float32', 2, 2, 2))",
    "mx.diagonal(a('float32', 3, 4, 2), {n})",
    "mx.diagonal(a('float32', 3, 4, 2), 0, {i}, {j})",
    "a('float32', 3, 4).diagonal(offset=1)",
    "mx.diagonal(a('float32', 3))",
    "mx.trace(a('{d}', 3, 4))",
    "mx.trace(a('float32', 3, 4, 2), 1, {i}, {j})",
    "mx.trace(a('int32', 3, 4), dtype=mx.float32)",
    "mx.tril(a('{d}', 3, 4), {n})",
    "mx.triu(a('float32', 2, 3, 4), k={n})",
    "mx.tril(a('float32', 3))",
    "mx.as_strided(a('float32', 12), (3, 4), (4, 1), 0)",
    "mx.as_strided(a('float32', 12), (3, 2), (1, 2), 3)",
    "mx.as_strided(a('float32', 2, 3), (6,))",
    "mx.as_strided(a('float32', 2, 3), strides=(1, 2))",
    "mx.as_strided(a('float32', 2, 3).T)",
    "mx.contiguous(a('float32', 2, 3).T)",
    "mx.contiguous(a('float32', 2, 3), allow_col_major=True)",
    "mx.view(a('{d}', 2, 4), mx.uint8)",
    "a('{d}', 2, 4).view(mx.int16)",
    "mx.view(a('uint8', 2, 8), mx.{d})",
    "mx.view(a('uint8', 3), mx.float32)",
    "mx.view(mx.array(1.0), mx.int32)",
    "mx.view(mx.array(1.0), mx.int8)",
    "mx.matrix_transpose(a('float32', 2, 3, 4))",
    "mx.matrix_transpose(a('float32', 3))",
    "a('float32', 2, 3, 4).mT",
    "a('float32', 2, 3, 4).T",
    "a('float32', 3).mT",
    "mx.astype(a('{d}', 3), mx.int8)",
    "mx.astype(a('float32', 3), mx.{d})",
    "mx.meshgrid(a('float32', 2), a('int32', 3))",
    "mx.meshgrid(a('float32', 2), a('float32', 3), sparse=True, indexing='ij')",
    "mx.meshgrid(a('float32', 2), a('float32', 3), indexing='xx')",
    "mx.meshgrid(a('float32', 2), mx.array(1.0))",
    "mx.meshgrid(a('float32', 2, 2))",
    "mx.meshgrid()",
]


@pytest.mark.parametrize("template", SHAPING)
def test_shaping(template: str) -> None:
    places = ["0", "1", "-1", "2", "-2", "3", "-4"]
    check_all(
        spread(
            template,
            d=DTYPES,
            s=["", "6", "2, 3", "0", "1, 6"],
            t=["(2, 3)", "(-1,)", "[3, -1]", "()", "(0,)", "6", "(-1, -1)", "(4, 2, 3)", "(-2,)"],
            i=places,
            j=places,
            n=["0", "1", "2", "3", "-1", "4"],
            x=["0", "-1", "1", "(0, 2)", "(0, -1)", "()", "5", "(0, 0)", "None"],
            v=["mx.array(1)", "mx.array([1, 2])", "mx.zeros((2, 2))", "3", "mx.zeros((0,))"],
            axes=[
                "(0, 2, 1)",
                "[2, 1, 0]",
                "(-1, 0, 1)",
                "(0, 1)",
                "(0, 0, 1)",
                "None",
                "(0, 1, 3)",
            ],
            w=[
                "1",
                "(1, 2)",
                "((1, 2), (0, 1))",
                "[(1, 2)]",
                "((1,), (2,))",
                "-1",
                "(1, 2, 3)",
                "0",
            ],
            m=["constant", "edge", "reflect", "symmetric", "wrap"],
        )
    )


CREATION = [
    "mx.zeros({s})",
    "mx.ones({s}, mx.{d})",
    "mx.full({s}, {v})",
    "mx.full({s}, {v}, mx.{d})",
    "mx.full((2, 3), a('float32', 3))",
    "mx.full((2, 3), a('float32', 2))",
    "mx.full((2,), [1, 2])",
    "mx.full_like(a('{d}', 2), {v})",
    "mx.full_like(a('int32', 2), {v}, dtype=mx.{d})",
    "mx.zeros_like(a('{d}', 2, 0))",
    "mx.zeros_like(a('int32', 2), mx.{d})",
    "mx.ones_like(a('{d}', 2), dtype=mx.float16)",
    "mx.zeros_like(a('float32', 2), dtype=None)",
    "mx.empty((2, 3)).shape",
    "mx.empty_like(a('{d}', 2)).dtype",
    "mx.zeros((2,), dtype=None)",
    "mx.eye({n})",
    "mx.eye(3, {n})",
    "mx.eye(3, 4, {n})",
    "mx.eye(3, k={n}, dtype=mx.{d})",
    "mx.identity({n}, mx.{d})",
    "mx.identity({n})",
    "mx.tri({n})",
    "mx.tri(3, 4, {n})",
    "mx.tri(3, k=1, dtype=mx.{d})",
    "mx.arange({x})",
    "mx.arange({x}, {y})",
    "mx.arange({x}, {y}, {z})",
    "mx.arange({x}, dtype=mx.{d})",
    "mx.arange(0, {y}, 1, mx.{d})",
    "mx.arange(start=1, stop={y})",
    "mx.arange(stop={y}, step={z})",
    "mx.arange(1, {y}, step={z})",
    "mx.arange(mx.array(3))",
    "mx.arange(np.int64(3))",
    "mx.arange(np.float32(3))",
    "mx.arange(None)",
    "mx.arange('a')",
    "mx.arange(1, None)",
    "mx.arange(float('nan'))",
    "mx.arange(0, float('inf'))",
    "mx.arange(5, stream=mx.cpu)",
    "mx.linspace({x}, {y})",
    "mx.linspace({x}, {y}, {n})",
    "mx.linspace(0, 1, 5, endpoint=False)",
    "mx.linspace(0, 10, 5, dtype=mx.{d})",
    "mx.linspace(0, 1, num=5, dtype=None)",
    "mx.bartlett({n})",
    "mx.blackman({n})",
    "mx.hamming({n})",
    "mx.hanning({n})",
    "mx.asarray({v})",
    "mx.asarray({v}, mx.{d})",
    "mx.asarray([1, 2.5])",
    "mx.asarray(np.arange(3))",
    "mx.asarray(a('int32', 2), copy=True)",
    "mx.from_dlpack(np.arange(3, dtype=np.float32))",
    "mx.from_dlpack(np.arange(3, dtype=np.float64)).dtype",
    "mx.from_dlpack([1])",
]


@pytest.mark.parametrize("template", CREATION)
def test_creation(template: str) -> None:
    check_all(
        spread(
            template,
            d=DTYPES,
            s=["()", "3", "(2, 3)", "[2, 0]", "(-1,)", "2.5", "None", "(2.5,)", "np.int64(2)"],
            v=["3", "2.5", "True", "1j", "mx.array(2)", "mx.array(2.5)", "np.float32(1)", "-1"],
            n=["0", "1", "3", "-1", "2.5", "None"],
            x=["0", "5", "-2", "2.5", "True"],
            y=["4", "0", "5.5", "-3"],
            z=["1", "2", "-1", "0.5", "0"],
        ),
        2e-6,
    )

"""`mlx.core.array` beside lamina's: making, protocols, operators, indexing, assignment, dtypes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from arrays import DTYPES
from both import check_all, spread

VALUES = [
    "3",
    "2.5",
    "True",
    "1j",
    "2**40",
    "[]",
    "[[]]",
    "()",
    "[1, 2]",
    "[1, 2.5]",
    "[True, 2]",
    "[True, 1.5]",
    "[1, 2j]",
    "((1, 2), (3, 4))",
    "[[1, 2], [3]]",
    "[1, [2]]",
    "[[1], 2]",
    "mx.array([1, 2])",
    "[mx.array(1), 2]",
    "[mx.array([1, 2]), mx.array([3.0, 4.0])]",
    "[mx.array([1, 2]), [3, 4]]",
    "[mx.array([1]), mx.array([1, 2])]",
    "np.arange(3)",
    "np.arange(3.0)",
    "np.ones((2, 3), np.float16)[:, ::2]",
    "np.float64(1.5)",
    "np.int8(3)",
    "np.array(True)",
    "np.zeros((0, 2))",
    "np.arange(6)[::-1]",
    "np.array([1, 2], '>i4')",
    "np.array([1 + 2j])",
    "b'ab'",
    "bytearray(b'ab')",
    "memoryview(b'abcd')",
    "memoryview(np.arange(4.0))",
    "None",
    "'a'",
    "['a']",
    "dict()",
    "range(3)",
    "object()",
]


@pytest.mark.parametrize("value", VALUES)
def test_making(value: str) -> None:
    def programs() -> Iterator[str]:
        yield f"mx.array({value})"
        yield f"repr(mx.array({value}))"
        yield from spread(f"mx.array({value}, mx.{{d}})", d=DTYPES)
        yield f"mx.array(val={value}, dtype=mx.float32)"
        yield f"mx.asarray({value})"

    check_all(programs())


X = "x = a('float32', 3, 4); i = mx.array([2, 0]); b = mx.array([True, False, True]); "
INDEX = [
    "0",
    "-1",
    "3",
    "True",
    "None",
    "...",
    "()",
    ":",
    "1:",
    "::-1",
    "::2",
    "2:0:-1",
    "5:9",
    "-2:",
    ":, 1",
    "1, 2",
    "1, ...",
    "..., 1",
    "..., None",
    "None, 1",
    ":, None",
    "1, None, 2",
    "..., ...",
    "0, 0, 0",
    "i",
    "i, i",
    "i, 1",
    "1, i",
    ":, i",
    "i[:, None], i",
    "i, None",
    "None, i",
    "i, :, None",
    "i, 1:3",
    "1:, i",
    "..., i",
    "i, ...",
    "i.astype(mx.uint8)",
    "i.astype(mx.int64)",
    "mx.array(1)",
    "mx.array(1), mx.array(2)",
    "mx.array([], mx.int32)",
    "[0, 2]",
    "[[0, 2], [1, 1]]",
    "[0, 2], [1, 3]",
    "np.array([0, 2])",
    "np.int64(1)",
    "slice(mx.array(1), None)",
    "slice(np.int64(1), np.int64(3))",
    "mx.array([0.0, 1.0])",
    "1.5",
    "'a'",
    "0:2, 1:3",
    "::2, ::-2",
    "-1:-3:-1, 0",
]


@pytest.mark.parametrize("index", INDEX)
def test_reading(index: str) -> None:
    check_all([f"{X}x[{index}]", f"x = mx.arange(5); i = mx.array([1, 0]); x[{index}]"])


@pytest.mark.parametrize("index", INDEX)
def test_assigning(index: str) -> None:
    values = [
        "7",
        "2.5",
        "True",
        "mx.array(3.0)",
        "mx.array([1, 2])",
        "a('float32', 4)",
        "np.ones(4)",
    ]
    kinds = ["add", "subtract", "multiply", "divide", "maximum", "minimum"]

    def programs() -> Iterator[str]:
        yield from spread(f"{X}x[{index}] = {{v}}; x", v=values)
        yield f"{X}x = x.astype(mx.int32); x[{index}] = 2.7; x"
        yield f"{X}x[{index}] += 1; x"
        yield f"{X}x[{index}] *= mx.array(2.0); x"
        yield from spread(f"{X}x.at[{index}].{{k}}(2.0)", k=kinds)
        yield f"{X}x.at[{index}].add(a('float32', 4))"

    check_all(programs())


OPERATORS = [
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "&",
    "|",
    "^",
    "<<",
    ">>",
    "@",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
]


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators(operator: str) -> None:
    others = ["2", "2.5", "True", "1j", "-1", "np.float32(2)", "np.ones(3)", "np.int64(2)", "'a'"]

    def programs() -> Iterator[str]:
        yield from spread(
            f"a('{{d}}', 3) {operator} a('{{e}}', 3, low=1)",
            d=["bool_", "uint8", "int32", "float16", "float32"],
            e=["bool_", "uint8", "int64", "bfloat16", "float32"],
        )
        yield from spread(
            f"a('{{d}}', 3, low=1) {operator} {{v}}",
            d=["bool_", "uint8", "int32", "float16"],
            v=others,
        )
        yield from spread(
            f"{{v}} {operator} a('{{d}}', 3, low=1)",
            d=["bool_", "uint8", "int32", "float16"],
            v=others,
        )
        if "=" not in operator and operator not in "<>":
            yield from spread(
                f"x = a('{{d}}', 3, low=1); y = x; x {operator}= {{v}}; [x, y]",
                d=["int32", "float16"],
                v=["2", "2.5", "mx.array(3)", "mx.array(1.5)", "a('float32', 3, low=1)"],
            )

    check_all(programs(), 2e-3)


PROTOCOLS = [
    "{x}.shape",
    "{x}.ndim",
    "{x}.size",
    "{x}.itemsize",
    "{x}.nbytes",
    "{x}.dtype",
    "{x}.dtype.size",
    "repr({x})",
    "str({x})",
    "format({x})",
    "(lambda x: f'{{x}}')({x})",
    "'{{:.2f}}'.format({x})",
    "len({x})",
    "bool({x})",
    "int({x})",
    "float({x})",
    "complex({x})",
    "bytes({x})",
    "bytes(a('uint8', 3))",
    "{x}.item()",
    "{x}.tolist()",
    "list({x})",
    "[r for r in {x}]",
    "next(iter({x}))",
    "range(10)[{x}]",
    "[1, 2, 3][{x}]",
    "x = {x}; hash(x) == hash(x)",
    "1 in {x}",
    "-{x}",
    "+{x}",
    "abs({x})",
    "~{x}",
    "round({x})",
    "{x}.T",
    "{x}.real",
    "{x}.imag",
    "{x}.at[0].add(1)",
    "{x}.astype(mx.float16)",
    "{x}.astype(float)",
    "{x}.astype(mx.float32, stream=mx.cpu)",
    "np.array({x})",
    "np.array({x}, dtype=np.float64)",
    "np.array({x}, copy=True)",
    "np.asarray({x})",
    "memoryview({x}).shape",
    "memoryview({x}).format",
    "np.from_dlpack({x})",
    "{x}.__dlpack_device__()",
    "import copy; copy.copy({x})",
    "import copy; copy.deepcopy({x})",
    "import copy; x = {x}; y = copy.copy(x); y += 1; x",
    "import pickle; pickle.loads(pickle.dumps({x}))",
    "{x}.__array_namespace__().__name__",
    "{x} is None",
    "{x} == {x}",
    "mx.array_equal({x}, {x})",
    "mx.array_equal({x}, mx.array([1, 2]))",
    "mx.array_equal({x}, {x}, equal_nan=True)",
    "mx.array_equal({x}, 3)",
    "mx.allclose({x}, {x})",
    "mx.isclose({x}, {x} + 1e-9)",
    "mx.isclose({x}, 2.5, rtol=0.5, atol=1)",
    "isinstance({x}, mx.array)",
    "type({x}).__name__",
    "x = {x}; x.foo",
    "x = {x}; x.foo = 1; x",
    "mx.eval({x})",
    "mx.eval([{x}], {{'a': ({x},)}}, 3, None)",
    "mx.async_eval({x})",
    "{x}.squeeze()",
    "{x}.reshape(-1)",
    "{x}.flatten()",
    "{x}.item",
    "mx.get_array_buffer_size({x}) >= 0",
]
SAMPLES = [
    "mx.array(3)",
    "mx.array(-2.5)",
    "mx.array(True)",
    "mx.array(1 + 2j)",
    "mx.array([1, 2, 3])",
    "mx.array([2])",
    "mx.array([[1.5, float('nan')], [float('inf'), -0.0]])",
    "mx.array([True, False])",
    "mx.array([[1 + 2j, -1j]])",
    "mx.zeros((0,))",
    "mx.zeros((2, 0))",
    "mx.zeros((0, 3), mx.int32)",
    "mx.arange(20.0)",
    "mx.arange(200).reshape(10, 20)",
    "mx.arange(1000).reshape(10, 10, 10)",
    "mx.ones((2, 2), mx.bfloat16)",
    "mx.array([1e10, 1e-10, 123456789.0])",
    "mx.array([0.1, 100000.0, 1e6, 12345.678])",
    "mx.array([1e-5, 1e20], mx.float16)",
    "mx.array(7, mx.uint8)",
    "mx.array([2**40])",
    "mx.array([1.0, 2.0], mx.float64)",
    "mx.ones((1, 1, 1))",
]


@pytest.mark.parametrize("template", PROTOCOLS)
def test_protocols(template: str) -> None:
    check_all(spread(template, x=SAMPLES))


TYPES = [
    "mx.{d}",
    "repr(mx.{d})",
    "str(mx.{d})",
    "mx.{d}.size",
    "hash(mx.{d}) == hash(mx.{d})",
    "mx.{d} == mx.{e}",
    "mx.{d} != mx.{e}",
    "mx.{d} == 'float32'",
    "mx.{d} in [mx.int8, mx.{e}]",
    "{{mx.{d}: 1}}[mx.{e}]",
    "mx.issubdtype(mx.{d}, mx.{e})",
    "mx.issubdtype(mx.{d}, mx.{c})",
    "mx.issubdtype(mx.{c}, mx.{c2})",
    "mx.issubdtype(mx.{c}, mx.{d})",
    "mx.isdtype(mx.{d}, '{k}')",
    "mx.isdtype(mx.{d}, mx.{e})",
    "mx.isdtype(mx.{d}, ('bool', mx.{e}))",
    "mx.can_cast(mx.{d}, mx.{e})",
    "mx.can_cast(a('{d}', 2), mx.{e})",
    "mx.result_type(mx.{d}, mx.{e})",
    "mx.result_type(a('{d}', 2), mx.{e})",
    "mx.result_type(a('{d}', 2), 2.5)",
    "mx.result_type()",
    "mx.finfo(mx.{d})",
    "mx.finfo(mx.{d}).min",
    "mx.finfo(mx.{d}).max",
    "mx.finfo(mx.{d}).eps",
    "mx.finfo(mx.{d}).bits",
    "mx.finfo(mx.{d}).smallest_normal",
    "mx.finfo(mx.{d}).dtype",
    "repr(mx.finfo(mx.{d}))",
    "mx.iinfo(mx.{d})",
    "mx.iinfo(mx.{d}).min",
    "mx.iinfo(mx.{d}).max",
    "mx.iinfo(mx.{d}).dtype",
    "repr(mx.iinfo(mx.{d}))",
    "repr(mx.{c})",
    "str(mx.{c})",
    "mx.{c}.name",
    "mx.{c} == mx.{c2}",
    "mx.{c} is mx.DtypeCategory.{c}",
    "import pickle; pickle.loads(pickle.dumps(mx.{d}))",
    "import copy; copy.deepcopy(mx.{d})",
    "isinstance(mx.{d}, mx.Dtype)",
    "[n for n in dir(mx.{d}) if n[0] != '_']",
    "repr(mx.cpu)",
    "repr(mx.Device(mx.cpu))",
    "repr(mx.Device(mx.cpu, 0))",
    "mx.Device(mx.cpu) == mx.cpu",
    "mx.cpu == mx.Device(mx.cpu)",
    "mx.Device(mx.cpu).type",
    "mx.default_device()",
    "repr(mx.default_device())",
    "repr(mx.default_stream(mx.cpu)).startswith('Stream(Device(cpu, 0), ')",
    "mx.default_stream(mx.cpu) == mx.default_stream(mx.Device(mx.cpu))",
    "mx.new_stream(mx.cpu) == mx.default_stream(mx.cpu)",
    "mx.new_stream(mx.cpu).device",
    "mx.is_available(mx.cpu)",
    "mx.device_count(mx.cpu)",
    "mx.DeviceType.cpu.name",
    "mx.synchronize()",
    "mx.synchronize(mx.new_stream(mx.cpu))",
    "with mx.stream(mx.cpu):\n    y = mx.ones(2) + 1\ny",
    "s = mx.new_stream(mx.cpu)\nwith mx.stream(s):\n    y = mx.ones(2) + 1\ny",
    "mx.add(mx.ones(2), 1, stream=mx.new_stream(mx.cpu))",
    "mx.add(mx.ones(2), 1, stream=3)",
    "mx.set_default_device(mx.cpu)",
    "mx.set_default_stream(mx.default_stream(mx.cpu))",
    "mx.pi, mx.e, mx.inf, mx.euler_gamma, mx.newaxis",
]


@pytest.mark.parametrize("template", TYPES)
def test_types(template: str) -> None:
    categories = [
        "complexfloating",
        "floating",
        "inexact",
        "signedinteger",
        "unsignedinteger",
        "integer",
        "number",
        "generic",
    ]
    kinds = [
        "bool",
        "integral",
        "real floating",
        "complex floating",
        "numeric",
        "signed integer",
        "x",
    ]
    check_all(spread(template, d=DTYPES, e=DTYPES, c=categories, c2=categories, k=kinds))

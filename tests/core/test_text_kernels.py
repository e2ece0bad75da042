"""Kernels that a program writes as text: what is compiled, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lamina
import lamina.core as mx
import numpy as np
import pytest
from arrays import last_plan
from lamina import _core


@pytest.fixture(autouse=True)
def on_the_cpu() -> Iterator[None]:
    """Where texts are planned for any dialect and none is compiled."""
    with mx.stream(mx.cpu):
        yield


EXP = "uint i = thread_position_in_grid.x;\nout[i] = metal::exp(T(x[i]));"


def kernel(source: str = EXP, **options: Any) -> Any:
    given = {"name": "myexp", "input_names": ["x"], "output_names": ["out"], "source": source}
    return mx.fast.metal_kernel(**(given | options))


def call(k: Any, x: mx.array, **options: Any) -> mx.array:
    given = {
        "inputs": [x],
        "template": [("T", mx.float32)],
        "grid": (x.size, 1, 1),
        "threadgroup": (256, 1, 1),
        "output_shapes": [x.shape],
        "output_dtypes": [x.dtype],
    }
    return k(**(given | options))[0]


X = mx.array([0.0, 1.0, 2.0])


def array(*shape: int) -> mx.array:
    return mx.array(np.ones(shape, "f"))


def launches(y: mx.array, dialect: str = "msl") -> list[dict[str, Any]]:
    """The launches of the evaluation that computes y; on the CPU it fails, and is planned first."""
    with pytest.raises(mx.DeviceError):
        mx.eval(y)
    texts = _core._kernel_texts(dialect)
    return [k for step in texts for k in step["launches"]]


def test_the_body_stands_in_a_function() -> None:
    (k,) = launches(call(kernel(), X))
    assert k["name"] == "custom_kernel_myexp"
    text = k["source"]
    assert "device const float* x [[buffer(0)]]" in text
    assert "device float* out [[buffer(1)]]" in text
    assert "uint3 thread_position_in_grid [[thread_position_in_grid]]" in text
    assert "using T = float;" in text
    assert '#line 1 "myexp"\n' + EXP in text
    assert (k["groups"], k["threads"]) == ([1, 1, 1], [3, 1, 1])
    assert [b[:2] for b in k["buffers"]] == [(0, False), (1, True)]


def test_sizes_are_not_text() -> None:
    k = kernel("out[thread_position_in_grid.x] = x_shape[0] + x_strides[0] + x_ndim;")
    texts = {launches(call(k, array(n)))[0]["source"] for n in (3, 7, 512)}
    assert len(texts) == 1
    (text,) = texts
    assert "constant const int* x_shape = " in text and "constant const long* x_strides" in text


def test_a_scalar_is_a_reference() -> None:
    k = mx.fast.metal_kernel("scale", ["x", "by"], ["out"], "out[0] = x[0] * by;")
    options = {"output_shapes": [(1,)], "output_dtypes": [mx.float32]}
    y = k(inputs=[X, 2.5], grid=(1, 1, 1), threadgroup=(1, 1, 1), **options)[0]
    assert "device const float& by = *lamina_by;" in launches(y)[0]["source"]


def test_outputs_may_be_initialised_and_atomic() -> None:
    k = kernel(
        "atomic_fetch_add_explicit(&out[0], x[0], memory_order_relaxed);", atomic_outputs=True
    )
    fill, body = launches(call(k, X, init_value=2.5))
    assert fill["name"] == "lamina_fill" and fill["buffers"][0][:2] == (1, True)
    assert "device atomic<float>* out" in body["source"]


def test_strided_inputs() -> None:
    x = mx.transpose(array(3, 4), (1, 0))
    body = "out[0] = x[x_strides[0]];"
    for contiguous, stride in ((True, 3), (False, 1)):
        y = call(kernel(body, ensure_row_contiguous=contiguous), x)
        k = launches(y)[-1]
        assert int.from_bytes(k["block"][:8], "little") == stride


def test_a_kernel_is_a_node_like_any_other() -> None:
    with pytest.raises(mx.DeviceError), lamina.profile(ceilings=False):
        mx.eval(call(kernel(), X) + 1)
    plan = last_plan()
    (node,) = [n for n in plan["nodes"] if n["op"] == "myexp"]
    assert node["kind"] == "structured" and node["params"]["grid"] == [3, 1, 1]
    (launch,) = [s for s in plan["launches"] if s["name"] == "call myexp"]
    assert (launch["reads"], launch["writes"]) == (12, 12)


def test_verbose_prints_the_text(capsys: Any) -> None:
    call(kernel(), X, verbose=True)
    assert "custom_kernel_myexp" in capsys.readouterr().out


def test_the_cpu_says_what_runs_it() -> None:
    with pytest.raises(mx.DeviceError) as error:
        mx.eval(call(kernel(), X))
    assert str(error.value).startswith(
        "myexp: a kernel of Metal text does not run on the CPU\nRun it on Metal, or on the software"
    )
    assert (X + 1).tolist() == [1, 2, 3]
    cuda = mx.fast.cuda_kernel("mine", ["x"], ["out"], "out[0] = x[0];")
    with pytest.raises(mx.DeviceError, match="a kernel of CUDA text does not run on the CPU"):
        mx.eval(call(cuda, X))


def test_cuda_text_is_refused_where_metal_is_compiled() -> None:
    y = call(mx.fast.cuda_kernel("mine", ["x"], ["out"], "out[0] = x[0];"), X)
    with pytest.raises(mx.DeviceError, match="cuda_kernel mine: this device compiles Metal text"):
        launches(y)
    assert "__global__ void custom_kernel_mine" in launches(y, "cuda")[0]["source"]


def test_without_rules_there_is_no_derivative() -> None:
    with pytest.raises(mx.TraceError, match=r"myexp has no derivative\nGive it one: mx.custom_fun"):
        mx.grad(lambda x: mx.sum(call(kernel(), x)))(X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "my exp"}, "metal_kernel: the name must be an identifier, got 'my exp'"),
        ({"input_names": ["2x"]}, "metal_kernel myexp: '2x' cannot be an argument's name"),
        ({"input_names": ["x", "x"]}, "metal_kernel myexp: two arguments are named x"),
        ({"output_names": []}, "metal_kernel myexp: needs one output name or more"),
        (
            {"output_names": ["out", "rest"]},
            "metal_kernel myexp: the output rest is never written: the source does not mention it",
        ),
        (
            {"input_names": [f"x{i}" for i in range(30)]},
            "metal_kernel myexp: 31 arguments, 30 are possible",
        ),
        *(
            (
                {"input_names": [name], "source": f"out[0] = {name};"},
                f"metal_kernel myexp: '{name}' cannot be an argument's name: it is {why}",
            )
            for name, why in {
                "float": "a keyword of the kernel's language",
                "device": "a keyword of the kernel's language",
                "while": "a keyword of the kernel's language",
                "half": "a type of the kernel's language",
                "float4": "a type of the kernel's language",
                "thread_position_in_grid": "an attribute of a thread",
                "blockIdx": "an attribute of a thread",
                "lamina_block": "lamina's own",
                "__x": "the compiler's own",
            }.items()
        ),
        (
            {"output_names": ["kernel"], "source": "kernel[0] = x[0];"},
            "metal_kernel myexp: 'kernel' cannot be an argument's name: it is a keyword of the "
            "kernel's language",
        ),
        (
            {"input_names": ["x", "x_shape"]},
            "metal_kernel myexp: 'x_shape' cannot be an argument's name: it belongs to the input x",
        ),
        (
            {"source": "// out[0] = x[0];\n/* out[1] =\n out[2] */ float y = x[0];"},
            "metal_kernel myexp: the output out is never written: the source does not mention it",
        ),
        (
            {"source": "atomic_fetch_add_explicit(&out[0], x[0], memory_order_relaxed);"},
            "metal_kernel myexp: atomic_fetch_add_explicit on the output out, which is not atomic\n"
            "Pass atomic_outputs=True",
        ),
        (
            {"compile_options": object()},
            "metal_kernel myexp: compile_options are not supported, pass None",
        ),
    ],
)
def test_wrong_definitions(options: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        kernel(**options)
    assert str(error.value) == message


def test_names_that_only_one_language_has_taken() -> None:
    for name in ("kernel", "device", "thread", "grid_size", "vec", "fast"):
        mx.fast.cuda_kernel("mine", [name], ["out"], "out[0] = 1;")
    for name in ("vec", "fast", "metal", "exp", "grid", "Kernel", "x_2", "half_way"):
        kernel(input_names=[name])
    with pytest.raises(mx.ArgumentError, match="cuda_kernel mine: 'blockIdx' cannot be an argu"):
        mx.fast.cuda_kernel("mine", ["blockIdx"], ["out"], "out[0] = 1;")


@pytest.mark.parametrize("given", ["x", "xy", ["x", 3]])
@pytest.mark.parametrize("what", ["input_names", "output_names"])
def test_names_are_a_list(what: str, given: Any) -> None:
    with pytest.raises(
        TypeError, match=f"^metal_kernel: myexp: {what} must be a list of names, got"
    ):
        kernel(**{what: given})
    options = {"input_names": ["x"], "output_names": ["out"], what: given}
    with pytest.raises(TypeError, match=f"^cuda_kernel: mine: {what} must be a list of names, got"):
        mx.fast.cuda_kernel(name="mine", source="out[0] = x[0];", **options)


@pytest.mark.parametrize(
    ("shared", "message"),
    [
        (-5, "shared_memory must be 0 or more bytes, got -5"),
        (1 << 20, "shared_memory of 1048576 bytes, a threadgroup has 232448 at most"),
    ],
)
def test_shared_memory_that_cannot_be(shared: int, message: str) -> None:
    with pytest.raises(mx.ArgumentError) as error:
        mx.fast.cuda_kernel("mine", ["x"], ["out"], "out[0] = x[0];", shared_memory=shared)
    assert str(error.value) == f"cuda_kernel mine: {message}"


def test_words_in_comments_and_strings() -> None:
    """What looks like a comment within a string is none, and a digit's mark opens no character."""
    source = 'const constant char* s = "// /*"; out[0] = 1\'000; // quadgroups_per_threadgroup'
    (k,) = launches(call(kernel(source), X), "cuda")
    assert "quadgroups" in k["source"]


def test_template_integers_of_32_bits() -> None:
    source = "out[0] = N; // T"
    for n in (2**31 - 1, -(2**31)):
        (k,) = launches(call(kernel(source), X, template=[("N", n)]))
        assert f"constexpr int N = {n};" in k["source"]
    for flag, word in ((True, "true"), (False, "false")):
        (k,) = launches(call(kernel(source), X, template=[("N", flag)]))
        assert f"constexpr bool N = {word};" in k["source"]


AXES = {"x": 0, "y": 1, "z": 2}


@pytest.mark.parametrize("axis", ["y", "z"])
def test_cuda_has_few_groups_along_the_later_axes(axis: str) -> None:
    grid: Any = [1, 1, 1]
    grid[AXES[axis]] = 65536
    y = call(kernel(), X, grid=tuple(grid), threadgroup=(1, 1, 1))
    with pytest.raises(mx.DeviceError):
        mx.eval(y)
    with pytest.raises(mx.ArgumentError) as error:
        _core._kernel_texts("cuda")
    assert str(error.value) == (
        f"metal_kernel myexp: the grid has 65536 threadgroups along axis {axis}, CUDA runs 65535\n"
        "Make the threadgroup larger along it, or put the long axis first"
    )
    threadgroup = [1, 1, 1]
    threadgroup[AXES[axis]] = 2
    (k,) = launches(call(kernel(), X, grid=tuple(grid), threadgroup=tuple(threadgroup)), "cuda")
    assert k["groups"][AXES[axis]] == 32768
    with pytest.raises(mx.ArgumentError, match="precompiled_cuda_kernel f: the grid has 65536 thr"):
        mx.fast.precompiled_cuda_kernel(
            name="f",
            compiled_source=b"x",
            inputs=[X],
            output_shapes=[(3,)],
            output_dtypes=[mx.float32],
            scalars=[],
            grid=(*grid,),
            threadgroup=(1, 1, 1),
        )


@pytest.mark.parametrize(
    ("dtype", "value", "said"),
    [
        (mx.int32, 1.5, "1.5"),
        (mx.int32, float("nan"), "nan"),
        (mx.int32, float("inf"), "inf"),
        (mx.int32, 2.0**31, "2147483648"),
        (mx.uint8, -1, "-1"),
        (mx.uint8, 256, "256"),
        (mx.int64, 2.0**63, "9.2233720368547758e+18"),
        (mx.bool_, 2, "2"),
    ],
)
def test_initial_values_that_the_output_does_not_have(dtype: Any, value: float, said: str) -> None:
    with pytest.raises(mx.ArgumentError) as error:
        call(kernel(), X, output_dtypes=[dtype], init_value=value)
    assert str(error.value) == (
        f"metal_kernel myexp: init_value={said} does not fit the output out "
        f"({str(dtype).removeprefix('lamina.core.')})"
    )


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (mx.uint8, 255),
        (mx.int8, -128),
        (mx.uint64, 2.0**63),
        (mx.bool_, True),
        (mx.float16, float("nan")),
        (mx.float32, 0.1),
    ],
)
def test_initial_values_that_it_has(dtype: Any, value: float) -> None:
    assert len(launches(call(kernel(), X, output_dtypes=[dtype], init_value=value))) == 2


def test_arguments_by_position_missing_and_unknown() -> None:
    takes = (
        "inputs, output_shapes, output_dtypes, grid, threadgroup, and optionally template, "
        "init_value, verbose, stream"
    )
    for wrong, message in (
        (lambda: kernel()([X]), "takes keyword arguments only, got [array([0, 1, 2]"),
        (lambda: kernel()(inputs=[X]), f"the argument output_shapes is missing\nIt takes {takes}"),
        (lambda: call(kernel(), X, gird=3), f"there is no argument gird\nIt takes {takes}"),
    ):
        with pytest.raises(TypeError) as error:
            wrong()
        assert str(error.value).startswith(f"metal_kernel myexp: {message}")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"inputs": [X, X]}, ValueError, "1 inputs are named, got 2"),
        ({"inputs": 3}, TypeError, "inputs must be a sequence, got 3"),
        ({"output_shapes": [(3,), (3,)]}, ValueError, "2 output_shapes and 1 output_dtypes"),
        (
            {"output_shapes": [], "output_dtypes": []},
            ValueError,
            "1 outputs are named, got 0",
        ),
        (
            {"grid": (3, 1)},
            ValueError,
            "grid must be three positive numbers of threads, got (3, 1)",
        ),
        (
            {"threadgroup": (0, 1, 1)},
            ValueError,
            "threadgroup must be three positive numbers of threads, got (0, 1, 1)",
        ),
        ({"grid": 3}, TypeError, "grid must be a sequence, got 3"),
        (
            {"threadgroup": (64, 32, 1)},
            ValueError,
            "a threadgroup of (64, 32, 1) has 2048 threads, 1024 are possible",
        ),
        (
            {"template": [("T", 1.5)]},
            TypeError,
            "the template argument T must be a Dtype, an int or a bool, got 1.5",
        ),
        (
            {"template": [("T", 1 << 40)]},
            ValueError,
            "the template argument T=1099511627776 does not fit an int (32 bits)\n"
            "Pass an array of int64 among the inputs",
        ),
        (
            {"template": [("T", -(1 << 80))]},
            ValueError,
            "the template argument T=-1208925819614629174706176 does not fit an int (32 bits)\n"
            "Pass an array of int64 among the inputs",
        ),
        (
            {"template": [("while", 1)]},
            ValueError,
            "'while' cannot be a template argument's name: "
            "it is a keyword of the kernel's language",
        ),
        (
            {"output_dtypes": ["float32"]},
            TypeError,
            "output_dtypes[0] must be a Dtype such as mx.float32, got 'float32'",
        ),
        ({"grid": (8.0, 1, 1)}, TypeError, "grid must be ints, got (8.0, 1, 1)"),
        ({"threadgroup": (1, "2", 1)}, TypeError, "threadgroup must be ints, got (1, '2', 1)"),
        ({"output_shapes": [(2.5,)]}, TypeError, "output_shapes[0] must be ints, got (2.5,)"),
        ({"output_shapes": [(-8,)]}, mx.ShapeError, "the output out has a negative size: (-8,)"),
        ({"inputs": ["x"]}, TypeError, "inputs[0]: array: cannot make an array from str"),
        ({"init_value": "1"}, TypeError, "init_value must be a number, got '1'"),
        (
            {"init_value": 2**53 + 1},
            ValueError,
            "init_value=9007199254740993 is no float64 exactly\n"
            "Pass it as an input, and write it in the kernel",
        ),
        (
            {"template": ["T"]},
            TypeError,
            "template must be (name, value) pairs, got 'T'",
        ),
        (
            {"template": [("x", 1)]},
            ValueError,
            "the template argument x has the name of another argument",
        ),
        (
            {"template": [("2", 1)]},
            ValueError,
            "'2' cannot be a template argument's name",
        ),
    ],
)
def test_wrong_calls(options: Any, error: Any, message: str) -> None:
    with pytest.raises(error) as caught:
        call(kernel(), X, **options)
    assert str(caught.value) == f"metal_kernel myexp: {message}"


def test_dtypes_that_metal_lacks() -> None:
    y = call(kernel(), mx.array([1.0], dtype=mx.float64))
    with pytest.raises(
        mx.DtypeError, match="metal_kernel myexp: kernels on this device have no fl"
    ):
        launches(y)

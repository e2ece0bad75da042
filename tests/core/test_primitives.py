"""Primitives that a shared library registers: calls, rules, failures, and their place in a plan."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any

import lamina
import lamina.core as mx
import numpy as np
import pytest
from arrays import last_plan, to_numpy
from lamina import _core
from plugins import SOURCES, compiled, plugin

X = mx.array([1.0, -2.0, 5.0, 3.0])


@pytest.fixture(scope="module")
def trial() -> Any:
    return lamina.primitives.load(plugin(SOURCES / "plugin.c"))


# --- calls ----------------------------------------------------------------------------------------


def test_parameters_of_every_kind_arrive(trial: Any) -> None:
    assert to_numpy(trial.affine(X, factor=2.0)).tolist() == [2, -4, 10, 6]
    assert to_numpy(trial.affine(X, factor=2, shift=(3, 4))).tolist() == [9, 3, 17, 13]
    y = trial.affine(X, factor=2, shift=[3], negate=True, like=mx.float16)
    assert to_numpy(y).tolist() == [-1, -7, 7, 3]


def test_strided_inputs_are_read_as_they_lie(trial: Any) -> None:
    assert to_numpy(trial.affine(X[::-2], factor=1.0)).tolist() == [3, -2]
    assert to_numpy(trial.affine(X[1:] + 0, factor=1.0)).tolist() == [-2, 5, 3]
    assert to_numpy(trial.affine(mx.broadcast_to(mx.array(4.0), (2,)), factor=1.0)).tolist() == [
        4,
        4,
    ]


def test_results_differ_in_shape_and_dtype(trial: Any) -> None:
    top, index, count = trial.peak(X)
    assert (top.dtype, index.dtype, count.dtype) == (mx.float32, mx.int64, mx.uint8)
    assert (top.shape, index.shape, count.shape) == ((), (1,), (2, 3))
    mx.eval(top, index, count)
    assert (top.item(), index.item(), count.tolist()) == (5, 2, [[4] * 3] * 2)


def test_one_result_may_be_asked_for_after_the_other(trial: Any) -> None:
    top, index, count = trial.peak(X * 1)
    assert index.item() == 2
    assert top.item() == 5
    del top, index
    assert (count + 1).tolist() == [[5] * 3] * 2


def test_results_are_read_by_fused_kernels(trial: Any) -> None:
    top, index, count = trial.peak(mx.exp(X))
    y = mx.sum(count.astype(mx.float32) * top) + index
    np.testing.assert_allclose(to_numpy(y), [24 * np.exp(5) + 2], rtol=1e-6)


def test_equal_calls_are_made_once(trial: Any) -> None:
    with mx.stream(mx.cpu):  # so that one plan holds all of it
        a, b = trial.peak(X), trial.peak(X)
        mx.eval(a[0] + b[1] + a[1])
    assert [s["name"] for s in last_plan()["launches"]].count("call trial.peak") == 1


def test_help_names_parameters(trial: Any) -> None:
    assert trial.affine.signature.startswith("trial.affine(x0, factor: float, shift: seq")
    assert trial.affine.doc == "factor * x + sum(shift)."
    assert repr(trial.peak) == "<primitive trial.peak(x0)>"
    assert "affine" in dir(trial) and len(trial) == 6
    assert trial["trial.affine"].name == "trial.affine"
    assert "trial.peak" in lamina.primitives.names()
    assert lamina.primitives.get("trial.peak").name == "trial.peak"


def test_loading_twice_gives_the_same(trial: Any) -> None:
    again = lamina.primitives.load(plugin(SOURCES / "plugin.c"))
    assert list(again) == list(trial)


# --- rules ----------------------------------------------------------------------------------------


def test_derivatives_follow_the_rules(trial: Any) -> None:
    f = lambda x: mx.sum(trial.affine(x, factor=3.0, shift=(1,)) ** 2)
    np.testing.assert_allclose(to_numpy(mx.grad(f)(X)), 6 * (3 * to_numpy(X) + 1))
    _, (t,) = mx.jvp(lambda x: trial.affine(x, factor=3.0), [X], [mx.ones(4)])
    assert t.tolist() == [3] * 4
    second = mx.grad(lambda x: mx.sum(mx.grad(f)(x)))(X)
    assert second.tolist() == [18] * 4


def test_without_a_vmap_rule_the_batch_is_run_one_by_one(trial: Any) -> None:
    batch = mx.stack([X, 2 * X, -X])
    out = mx.vmap(lambda x: trial.affine(x, factor=2.0))(batch)
    assert out.tolist() == (2 * batch).tolist()
    top, index, _ = mx.vmap(trial.peak)(batch)
    assert top.tolist() == [5, 10, 2] and index.tolist() == [[2], [2], [1]]


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (
            lambda t: mx.grad(lambda x: mx.sum(t.bare(x, factor=1.0)))(X),
            "vjp: trial.bare has no derivative\nRegister it with a vjp rule, or stop the gradient",
        ),
        (
            lambda t: mx.jvp(lambda x: t.bare(x, factor=1.0), [X], [X]),
            "jvp: trial.bare has no forward derivative\nRegister it with a jvp rule",
        ),
    ],
)
def test_missing_rules_are_named(trial: Any, transform: Any, message: str) -> None:
    with pytest.raises(mx.TraceError) as error:
        transform(trial)
    assert str(error.value) == message


def test_rules_that_fail_are_errors(trial: Any) -> None:
    with pytest.raises(
        mx.ArgumentError, match=r"trial\.failing \(vjp\): op: there is no operation"
    ):
        mx.grad(lambda x: mx.sum(trial.failing(x)))(X)
    with pytest.raises(mx.PrimitiveError, match=r"failing \(jvp\): its rule left result 0 empty"):
        mx.jvp(trial.failing, [X], [X])


# --- failures -------------------------------------------------------------------------------------

STATUS = {
    1: mx.ArgumentError,
    2: mx.ShapeError,
    3: mx.DtypeError,
    4: mx.BoundsError,
    5: mx.OutOfMemoryError,
    6: mx.DeviceError,
    7: mx.TraceError,
    9: mx.PrimitiveError,
    10: mx.PrimitiveError,
}


@pytest.mark.parametrize("code", STATUS)
def test_a_status_becomes_a_typed_exception(trial: Any, code: int) -> None:
    y = trial.failing(X, code=code)
    z = y + 1
    with pytest.raises(STATUS[code], match=r"^trial\.failing: the sensor is cold$"):
        mx.eval(z)
    with pytest.raises(STATUS[code]):  # it stays failed
        mx.eval(z)
    assert trial.failing(X).tolist() == X.tolist()  # and the process works on


def test_a_status_without_words(trial: Any) -> None:
    with pytest.raises(mx.PrimitiveError, match=r"trial\.failing: failed with status 100"):
        mx.eval(trial.failing(X, code=100))


def test_a_cpu_function_makes_no_arrays(trial: Any) -> None:
    with pytest.raises(mx.TraceError, match="must not make or evaluate arrays"):
        mx.eval(trial.impure(X))


def test_types_must_be_given(trial: Any) -> None:
    with pytest.raises(mx.PrimitiveError, match="left output 0 without shape or dtype"):
        trial.typeless(X)


@pytest.mark.parametrize(
    ("arguments", "parameters", "error", "message"),
    [
        ((X, X), {"factor": 1.0}, mx.ArgumentError, "trial.affine: takes 1 arrays, got 2"),
        ((X,), {}, TypeError, "trial.affine: factor is missing"),
        ((X,), {"factor": "x"}, TypeError, "trial.affine: factor must be a float, got 'x'"),
        (
            (X,),
            {"factor": 1.0, "negate": 3},
            TypeError,
            "trial.affine: negate must be a bool, got 3",
        ),
        (
            (X,),
            {"factor": 1.0, "fctor": 3},
            TypeError,
            "trial.affine: no parameter is named fctor; there are: factor, shift, negate, like",
        ),
    ],
)
def test_misuse(trial: Any, arguments: Any, parameters: Any, error: Any, message: str) -> None:
    with pytest.raises(error) as caught:
        trial.affine(*arguments, **parameters)
    assert str(caught.value) == message


def test_unknown_names(trial: Any) -> None:
    with pytest.raises(AttributeError, match=r"has no primitive affin; it has: trial\.affine"):
        trial.affin  # noqa: B018
    with pytest.raises(KeyError, match="has no primitive affine"):
        trial["affine"]
    with pytest.raises(mx.ArgumentError, match=r"no primitive is named trial\.affin"):
        lamina.primitives.get("trial.affin")


REFUSED = {
    1: (mx.ArgumentError, r"lamina_primitive.size is 8.*\nSet it to sizeof"),
    2: (mx.ArgumentError, "'matmul' has no namespace\nName it as in vendor.operation"),
    3: (mx.ArgumentError, "refused.p has no types function"),
    4: (mx.ArgumentError, "refused.p has neither a cpu nor a text function"),
    5: (mx.ArgumentError, "refused.p is registered already"),
    6: (mx.DeviceError, "this plugin needs a newer processor"),
    7: (mx.ArgumentError, "refused.none must have one output or more, got 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_definitions_are_refused(case: int) -> None:
    error, message = REFUSED[case]
    path = plugin(SOURCES / "refused.c", defines=(f"CASE={case}",))
    with pytest.raises(error, match=message):
        lamina.primitives.load(path)


def test_files_that_are_no_plugins(tmp_path: Any) -> None:
    text = tmp_path / "notes.so"
    text.write_text("not a library")
    with pytest.raises(mx.ArgumentError, match=r"load: .*notes\.so cannot be opened"):
        lamina.primitives.load(text)
    (tmp_path / "empty.c").write_text("int nothing;\n")
    with pytest.raises(mx.ArgumentError, match="does not export lamina_register"):
        lamina.primitives.load(plugin(tmp_path / "empty.c"))


# --- in the plan ----------------------------------------------------------------------------------


def test_a_primitive_is_a_node_like_any_other(trial: Any) -> None:
    with lamina.profile(ceilings=False) as p:
        top, index, count = trial.peak(trial.affine(X, factor=4.0, shift=(1, 2)))
        mx.eval(top, index)
    del count
    plan = last_plan()
    nodes = {n["op"]: n for n in plan["nodes"] if "result" not in n["params"]}
    affine = nodes["trial.affine"]
    assert affine["kind"] == "structured" and affine["flops"] == 8
    assert affine["params"]["factor"] == 4 and affine["params"]["shift"] == [1, 2]
    results = [n["params"]["result"] for n in plan["nodes"] if "result" in n["params"]]
    assert results == [1, 2]
    launch = {s["name"]: s for s in plan["launches"]}["call trial.peak"]
    assert (launch["reads"], launch["writes"]) == (16, 4 + 8 + 6)
    assert plan["traffic"]["fused"] == 32 + 16 + 4 + 8 + 6
    assert "trial.affine" in str(p.recording.plans)


def test_the_plan_cache_tells_parameters_apart(trial: Any) -> None:
    def run(factor: float) -> tuple[list[float], int]:
        hits = _core._plan_cache()["hits"]
        with mx.stream(mx.cpu):  # so that it is one plan
            values = trial.affine(X + 1, factor=factor).tolist()
        return values, _core._plan_cache()["hits"] - hits

    _core._clear_plan_cache()
    assert run(2.0) == ([4, -2, 12, 8], 0)
    assert run(2.0) == ([4, -2, 12, 8], 1)
    assert run(3.0) == ([6, -3, 18, 12], 0)


def test_several_sizes_share_one_structure(trial: Any) -> None:
    def outcome(n: int) -> str:
        x = mx.arange(n).astype(mx.float32)
        mx.eval(x)
        assert trial.peak(x * 2)[1].item() == n - 1
        return last_plan()["outcome"]

    outcome(7)
    assert outcome(9) == "polymorphic"


# --- without Python -------------------------------------------------------------------------------


def run_program(device: str, **environment: str) -> str:
    """What the program prints; `device` is what LAMINA_DEVICE says, if not empty."""
    library = lamina.library()
    folder = library.rpartition("/")[0]
    program = compiled(
        "program",
        SOURCES / "program.c",
        library,
        f"-Wl,-rpath,{folder}",
        "-lm",
        language="c",
    )
    others = {k: v for k, v in os.environ.items() if not k.startswith("LAMINA_")}
    environment = {**others, **environment, **({"LAMINA_DEVICE": device} if device else {})}
    command = [str(program), device or "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_c_program_runs_without_python() -> None:
    assert re.fullmatch(r"lamina \S+ on cpu: ok\n", run_program(""))


def test_a_c_program_chooses_the_device_that_the_environment_names() -> None:
    assert run_program("apart").endswith(" on apart: ok\n")


@pytest.mark.skipif(
    "soft_metal" not in _core._device_names() or not _core._metal_compiler(),
    reason="not applicable: no compiler for Metal's text",
)
def test_a_c_program_runs_metal_text(tmp_path: Any) -> None:
    """The compiler is what LAMINA_ZIG names, since no Python tells where it is."""
    compiler = {"LAMINA_ZIG": _core._metal_compiler(), "LAMINA_CACHE_DIR": str(tmp_path)}
    assert run_program("soft_metal", **compiler).endswith(" on soft_metal: ok\n")


def test_a_c_program_finds_the_libraries_of_cuda(tmp_path: Any) -> None:
    """LAMINA_CUDA_PATH names their folder; here with the double of the driver, or with nothing."""
    try:
        import nvidia_double
    except ImportError:
        pytest.skip("not applicable: the driver's double is beside other tests")
    if not shutil.which(os.environ.get("CXX", "c++")):
        pytest.skip("not applicable: no compiler for the driver's double")
    found = {
        "LAMINA_CUDA_PATH": f"/nowhere:{nvidia_double.folder()}",
        "LAMINA_CUDA_DOUBLE": str(nvidia_double.HERE),
        "LAMINA_CACHE_DIR": str(tmp_path),
    }
    assert run_program("cuda", **found).endswith(" on cuda: ok\n")

"""Errors of a program's own kernels speak of its names and lines, not of the text around them."""

from __future__ import annotations

from collections.abc import Iterator

import lamina.core as mx
import numpy as np
import pytest
from msl import broken
from present import PRESENT

pytestmark = pytest.mark.skipif("soft_metal" not in PRESENT, reason="software Metal is not here")

AT = "uint i = thread_position_in_grid.x;\n"
GOOD = AT + "out[i] = x[i];"
HEADER = "inline float twice(float v) {\n  return v + v;\n}"


@pytest.fixture(autouse=True)
def on_soft_metal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LAMINA_GPU", "soft_metal")
    before = mx.default_device()
    mx.set_default_device(mx.gpu)
    yield
    mx.set_default_device(before)


def run(source: str, header: str = "") -> np.ndarray:
    kernel = mx.fast.metal_kernel("mine", ["x"], ["out"], source, header=header)
    y = kernel(
        inputs=[mx.arange(8, dtype=mx.float32)],
        grid=(8, 1, 1),
        threadgroup=(8, 1, 1),
        output_shapes=[(8,)],
        output_dtypes=[mx.float32],
    )
    return np.array(y[0])


@pytest.mark.parametrize(
    ("source", "header", "said"),
    [
        (AT + "if (i > 2) {\n  out[i] = x[i];", HEADER, "mine:2: error: `{` is never closed\n  if"),
        (GOOD + "\n}", HEADER, "mine:3: error: `}` closes nothing\n  }\n"),
        (AT + "out[i] = (x[i];", HEADER, "mine:2: error: `(` is never closed\n  out[i] = (x[i];"),
        (GOOD, HEADER[:-1], "mine header:1: error: `{` is never closed\n  inline float twice"),
        (GOOD, HEADER + "\n}", "mine header:4: error: `}` closes nothing\n  }\n"),
        (AT + "double y = 1;\n" + GOOD, "", "mine:2: error: `double` is not in the Metal language"),
        (
            AT + "double y = 1;\n" + GOOD,
            "",
            "language\n  double y = 1;\n  Metal has no double: use",
        ),
        (GOOD, "\ninline void f() {\n  new int;\n}", "mine header:3: error: `new` is not in the"),
        (
            GOOD,
            "inline int f(int n) {\n  return n ? f(n - 1) : 0;\n}",
            "mine header:2: error: `f` calls itself\n    return n ? f(n - 1) : 0;\n  recursion",
        ),
        (GOOD, "\n#include <vector>\n", "mine header:2: error: 'vector' file not found\n  #incl"),
        ("#include <map>\n" + GOOD, HEADER, "mine:1: error: 'map' file not found\n  #include <map"),
        (
            AT + "out[i] = tvice(x[i]);",
            HEADER,
            "mine:2: error: use of undeclared identifier 'tvice",
        ),
        (GOOD, "inline float f() {\n  return y;\n}", "mine header:2: error: use of undeclared id"),
    ],
)
def test_errors_of_the_text_are_at_the_programs_lines(source: str, header: str, said: str) -> None:
    with broken("compile", said) as info:
        run(source, header)
    assert "metal_stdlib" not in str(info.value)
    assert "program_source" not in str(info.value)


def test_lines_behind_a_header_are_not_the_headers() -> None:
    """Here it breaks what stands between it and the body."""
    with broken("compile", "program_source:", "cannot be of type half") as info:
        run(GOOD, HEADER + "\n#define uint3 half\n")
    assert "header" not in str(info.value)


def test_errors_of_a_run_name_the_kernel_as_the_program_does() -> None:
    with broken("out_of_bounds", "kernel `mine`: thread (0, 0, 0): buffer 0 `x`: reads") as info:
        run(AT + "out[i] = x[i + 1000];")
    assert info.value.kernel == "mine"
    assert "custom_kernel" not in str(info.value)


def test_errors_name_the_threadgroup_variable() -> None:
    source = AT + "threadgroup float tile[8], sums[2][4];\n tile[i] = x[i];\n"
    with broken("uninitialised", "kernel `mine`", "threadgroup memory `sums` at byte 0"):
        run(source + "out[i] = sums[0][0];")
    with broken("out_of_bounds", "32 of threadgroup memory `tile` with 32"):
        run(source + "out[i] = tile[8];")


def test_private_memory_over_the_limit() -> None:
    source = "float a[1000000];\nfor (int i = 0; i < 1000000; ++i) a[i] = x[i % 4];\n"
    with broken("private_memory", "`mine` asks for 40000", "over 196608", "smaller") as info:
        run(source + "out[0] = a[int(x[1])];")
    assert info.value.kernel == "mine"

"""The text of kernels in recordings: taken apart, each once, with what compiling took."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from builder import plan_json, recording
from lamina import soft_metal
from lamina.workbench import Recording, analysis, profile
from lamina.workbench.analysis.kernel_text import Source, shown_plan, sources
from lamina.workbench.plan import Plan
from lamina.workbench.report import MAX_TEXT, html, page, text

METAL = "#include <metal_stdlib>\nusing namespace metal;\n"
MAP = METAL + "\nkernel void map(device float* a [[buffer(0)]]) {\n  a[0] = 1 < 2;\n}\n"
SUMS = METAL + "\n[[kernel]] void sums(device float* a) {\n}\n"
CUDA = (
    "typedef signed char schar;\n"
    'extern "C" __global__ void __launch_bounds__(256) join(float* a) {\n}\n'
)
PTX = ".version 8.0\n.visible .entry saxpy(\n)\n{\n}\n"
LIBRARY = "cuBLASLt 12.1, cublasLtMatmul\na      32 x 36\n"


def with_texts(*texts: tuple[str, float], **more: Any) -> Recording:
    """The small recording, whose plan has these texts and compile times."""
    data = plan_json() | {"device": "soft_metal"}
    for group, (source, us) in zip(data["groups"], texts, strict=False):
        group |= {"text": source, "compile_us": us}
    return recording(plans={7: Plan.from_json(data)}, **more)


def test_texts_are_taken_apart() -> None:
    assert sources(MAP) == (Source(("map",), MAP),)
    # Equal texts once, in the order of the first launches.
    parts = sources("\n".join([MAP, SUMS, SUMS, MAP, SUMS]))
    assert parts == (Source(("map",), MAP, 2), Source(("sums",), SUMS, 3))
    assert [part.title for part in parts] == ["map x 2", "sums x 3"]
    assert [part.kernels for part in sources(CUDA + "\n" + CUDA.replace("join", "split"))] == [
        ("join",), ("split",)
    ]  # fmt: skip
    # What stands before a kernel in its own source may open like a source of its own.
    header = METAL + "\ninline float f(float x) {\n  return x;\n}\n"
    assert sources(header + "\n" + MAP) == (Source(("map",), header + "\n" + MAP),)
    # What a library was asked for stands behind the kernels that prepare it.
    assert sources(MAP + "\n" + LIBRARY) == (Source(("map",), MAP + "\n" + LIBRARY),)
    assert sources(LIBRARY) == (Source((), LIBRARY),) and sources(LIBRARY)[0].title == ""
    assert sources("") == ()


@pytest.mark.parametrize(
    ("source", "us", "dialect", "words"),
    [
        (MAP, 12_300.0, "Metal", "compiled in 12.3 ms"),
        (MAP, 0.0, "Metal", "from the cache"),
        (CUDA, 0.4, "CUDA C++", "compiled in 400 ns"),
        (PTX, 0.0, "PTX", "from the cache"),
        (LIBRARY, 0.0, "", "nothing to compile"),
        (LIBRARY, 5.0, "", "prepared in 5 us"),
    ],
)
def test_what_became_of_a_text(source: str, us: float, dialect: str, words: str) -> None:
    (row,) = analysis.kernel_text(with_texts((source, us))).rows
    assert (row.dialect, row.compiled) == (dialect, words)
    (group, _) = shown_plan({"groups": [{"text": source, "compile_us": us}, {"id": 1}]})["groups"]
    assert (group["kernel_text"]["dialect"], group["kernel_text"]["compiled"]) == (dialect, words)


def test_the_table() -> None:
    table = analysis.kernel_text(with_texts((MAP + "\n" + SUMS, 2500.0), (SUMS, 0.0)))
    lines = [line.split("  ") for line in str(table).splitlines()]
    assert [[cell.strip() for cell in line if cell.strip()] for line in lines] == [
        ["kernel", "device", "entry points", "text", "compiled"],
        [
            "multiply+exp",
            "soft_metal, Metal",
            "map, sums",
            f"{len(MAP) + len(SUMS)} B",
            "compiled in 2.5 ms",
        ],
        ["sum", "soft_metal, Metal", "sums", f"{len(SUMS)} B", "from the cache"],
        ["kernel text: 1 compiled in 2.5 ms, 1 from the cache"],
    ]
    assert table.to_text(1).splitlines()[2] == "and 1 more"
    assert table.texts == (MAP, SUMS)
    assert [row.sources for row in table.rows] == [(("map", 0), ("sums", 1)), (("sums", 1),)]
    assert table.compile_ns == 2.5e6
    data = json.loads(json.dumps(table.to_dict()))
    assert data["texts"] == [MAP, SUMS] and data["rows"][0]["compiled"] == "compiled in 2.5 ms"
    summary = text(with_texts((MAP, 0.0), (LIBRARY, 0.0)))
    assert "kernel text: 1 from the cache, 1 of a library" in summary.splitlines()


def test_time_spent_before_the_recording_is_not_counted() -> None:
    whole = with_texts((MAP, 2500.0))
    later = whole.between(2400, 4000)
    table = analysis.kernel_text(later)
    assert table.compile_ns == 0 and [row.made for row in table.rows] == [False]
    assert table.line == "kernel text: 1 prepared before the recording"
    assert table.rows[0].compiled == "compiled in 2.5 ms"


def test_nothing_is_shown_where_no_device_compiles() -> None:
    r = recording()
    assert str(analysis.kernel_text(r)).startswith("no kernel has a text: the CPU runs loops")
    assert "ernel text" not in html(r) + text(r)
    assert [(g.text, g.compile_us) for g in r.plans[7].groups] == [("", None)] * 2


def test_a_page_has_each_text_once_and_says_what_it_leaves_out() -> None:
    r = with_texts((MAP, 2500.0), (MAP + "\n" + SUMS, 0.0))
    shown = html(r)
    assert shown.count("<pre") == 2 and shown.count("kernel void map(") == 1
    assert "a[0] = 1 &lt; 2;" in shown and "map (its text is above)" in shown
    assert f"soft_metal, Metal, compiled in 2.5 ms, {len(MAP)} B" in shown

    long = MAP + "// " + "x" * MAX_TEXT + "\n"
    cut = html(with_texts((long, 2500.0), (SUMS, 0.0)))
    assert len(cut) < 20_000 and "void sums(" in cut and "void map(" not in cut
    assert "1 of 2 texts (100 kB) are left out here" in cut
    assert "void map(" in page(with_texts((long, 2500.0)))


def test_files_keep_texts(tmp_path: Path) -> None:
    path = tmp_path / "r.lamina"
    with_texts((MAP, 2500.0)).save(path)
    group = Recording.load(path).plans[7].groups[0]
    assert (group.text, group.compile_us) == (MAP, 2500.0)


def test_views_get_each_text_once() -> None:
    raw = with_texts((MAP + "\n" + SUMS, 2500.0), (SUMS, 0.0)).plans[7].raw
    plan = shown_plan(raw)
    assert plan["texts"] == [MAP, SUMS]
    assert [[s["text"] for s in g["kernel_text"]["sources"]] for g in plan["groups"]] == [
        [0, 1], [1]
    ]  # fmt: skip
    assert not any("text" in group for group in plan["groups"])
    assert raw["groups"][0]["text"] == MAP + "\n" + SUMS  # the recording's own stays as it is
    assert {k: v for k, v in plan.items() if k != "groups"} == {
        **{k: v for k, v in raw.items() if k != "groups"}, "texts": [MAP, SUMS],
    }  # fmt: skip
    plain = plan_json()
    assert shown_plan(plain) == plain


# --- recordings of a device that compiles ---------------------------------------------------------


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Names of this test's own, so that nothing of it is in any cache."""
    if not soft_metal.available():
        pytest.skip("not applicable: no compiler for kernels (lamina[softmetal])")
    monkeypatch.setenv("LAMINA_GPU", "soft_metal")
    return f"fresh_{time.time_ns()}"


def custom(name: str, x: Any) -> Any:
    """A kernel whose text no cache has: its name is in it."""
    kernel = mx.fast.metal_kernel(
        name=name,
        input_names=["x"],
        output_names=["out"],
        source=f"// {name}\nuint i = thread_position_in_grid.x; out[i] = x[i] + 1;",
    )
    (out,) = kernel(
        inputs=[x],
        grid=(x.size, 1, 1),
        threadgroup=(32, 1, 1),
        output_shapes=[x.shape],
        output_dtypes=[x.dtype],
        init_value=0,
    )
    return out


def test_compile_time_is_what_a_clock_around_the_evaluation_says(fresh: str) -> None:
    with mx.stream(mx.gpu):
        x = mx.array(np.ones(64, np.float32))
        mx.eval(x)
        with profile(ceilings=False) as first:
            y = custom(fresh, x)
            t0 = time.perf_counter_ns()
            mx.eval(y)
            took = time.perf_counter_ns() - t0
        with profile(ceilings=False) as again:
            mx.eval(custom(fresh, x))
    table = analysis.kernel_text(first.recording)
    (row,) = table.rows
    # A compiler runs for most of such an evaluation, and no longer than it.
    assert 0.3 * took < table.compile_ns < took
    assert row.device == "soft_metal" and row.dialect == "Metal"
    assert [title for title, _ in row.sources] == ["lamina_fill", f"custom_kernel_{fresh}"]
    assert f"// {fresh}" in table.texts[1] and "// fresh" not in table.texts[0]
    assert table.line in text(first.recording).splitlines()
    second = analysis.kernel_text(again.recording)
    assert second.compile_ns == 0 and second.texts == table.texts


def test_every_launch_of_software_metal_is_of_a_shown_text(fresh: str) -> None:
    """The device's own list of what it launched, against the entry points of the texts."""
    with mx.stream(mx.gpu):
        x = mx.array(np.linspace(0, 1, 40_000, dtype=np.float32))
        mx.eval(x)
        soft_metal.take_counts()
        with profile(ceilings=False) as p:
            mx.eval(mx.cumsum(x), mx.sort(x), mx.softmax(x.reshape(200, 200), axis=-1))
    r = p.recording
    shown = {
        name
        for row in analysis.kernel_text(r).rows
        for source in sources(r.plans[row.plan].group_by_id[row.group].text)
        for name in source.kernels
    }
    launched = {launch.kernel for launch in r.kernel_launches}
    assert launched == shown and "sort_merge" in shown
    for plan in r.plans.values():
        for group in plan.groups:
            assert group.compile_us is not None and dataclasses.is_dataclass(group)

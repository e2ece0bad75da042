"""Compiled functions in recordings: what is shown, and that it is what was run."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from builder import recording
from lamina import soft_metal
from lamina.workbench import Recording, analysis, profile
from lamina.workbench.recording import CompiledFunction, SourceCell
from lamina.workbench.report import html, text

ROWS = (
    CompiledFunction("step", "/tmp/train.py", 12, True, 9, 1, 3),
    CompiledFunction("Net.loss", "<cell 3>", 2, False, 4, 2, 2),
    CompiledFunction("partial"),
)


def with_rows(*rows: CompiledFunction) -> Recording:
    cells = (SourceCell("<cell 3>", "In[3]", ""),)
    return dataclasses.replace(recording(), compiled=rows, cells=cells)


def test_the_table() -> None:
    table = analysis.compiled(with_rows(*ROWS))
    lines = [line.split("  ") for line in table.to_text(2).splitlines()]
    assert [[cell.strip() for cell in line if cell.strip()] for line in lines] == [
        ["compiled function", "calls", "traced", "forms", "sizes of a trace", "line"],
        ["step", "9", "1", "3", "all", "train.py:12"],
        ["Net.loss", "4", "2", "2", "each its own", "In[3]:2"],
        ["and 1 more"],
    ]
    assert [row["where"] for row in table.to_dict()["rows"]] == ["train.py:12", "In[3]:2", ""]
    assert "Compiled functions" in html(with_rows(*ROWS))
    assert "compiled function" in text(with_rows(*ROWS))


def test_nothing_is_shown_of_none() -> None:
    assert str(analysis.compiled(recording())) == "no compiled function was called"
    assert "ompiled function" not in html(recording()) + text(recording())


def test_files_keep_them(tmp_path: Path) -> None:
    path, old = tmp_path / "r.lamina", tmp_path / "old.lamina"
    with_rows(*ROWS).save(path)
    assert Recording.load(path).compiled == ROWS
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(old, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "manifest.json":
                data = json.loads(content)
                del data["compiled"]  # as earlier writers
                content = json.dumps(data).encode()
            target.writestr(name, content)
    assert Recording.load(old).compiled == ()


# --- recordings of real calls ---------------------------------------------------------------------

SIZES = (4, 8, 12, 8)


def model(x: Any, w: Any) -> Any:
    h = mx.maximum(x @ w, 0)
    s = mx.sum(h, axis=-1, keepdims=True)
    return mx.softmax(h / (s + 1) * x.shape[0], axis=-1)


def slopes(x: Any, w: Any) -> Any:
    return mx.grad(lambda v: mx.sum(mx.square(model(x, v))))(w)


def recorded(f: Callable[..., Any], *, stream: Any = None) -> Recording:
    """One evaluation of each of the sizes."""
    rng = np.random.default_rng(2)
    with mx.stream(stream or mx.default_device()):
        w = mx.array(rng.normal(size=(16, 32)).astype(np.float32))
        xs = [mx.array(rng.normal(size=(n, 16)).astype(np.float32)) for n in SIZES]
        mx.eval(w, xs)
        with profile(ceilings=False) as p:
            for x in xs:
                mx.eval(f(x, w))
    return p.recording


def graph(r: Recording, plan: int) -> list[Any]:
    """Every node with what it computes, from what, and the line that built it."""
    origins = {n.id: r.origin(plan, n.id) for n in r.plans[plan].nodes}
    return [
        (n.op, n.kind, n.shape, n.dtype, n.inputs, n.params, n.value, n.flops,
         (o := origins[n.id]) and (o.where, o.phase))
        for n in r.plans[plan].nodes
    ]  # fmt: skip


def fusion_of(r: Recording, plan: int) -> list[Any]:
    return [(e.src, e.dst, e.fused, e.reason, e.bytes) for e in r.plans[plan].edges]


def programs(r: Recording, plan: int) -> list[Any]:
    return [(g.label, g.reads, g.writes, g.program) for g in r.plans[plan].groups]


@pytest.mark.parametrize("f", [model, slopes])
@pytest.mark.parametrize("before", [False, True], ids=["fresh", "traced before"])
def test_one_trace_is_shown_as_what_it_ran(f: Callable[..., Any], before: bool) -> None:
    """Graph, fusion, traffic and kernels are those of the function itself, at every size."""
    step = mx.compile(f, shapeless=True)
    if before:
        mx.eval(step(mx.ones((5, 16)), mx.ones((16, 32))))
    plain, open_ = recorded(f), recorded(step)
    assert [len(r.plans) for r in (plain, open_)] == [3, 3]
    for a, b, rows in zip(plain.runs, open_.runs, SIZES, strict=True):
        assert (rows, 32) in [n.shape for n in open_.plans[b.plan].nodes]
        for part in (graph, fusion_of, programs):
            assert part(open_, b.plan) == part(plain, a.plan), part.__name__
        assert [(x.reads, x.writes) for x in a.launches] == [
            (x.reads, x.writes) for x in b.launches
        ]
    ledgers = [analysis.traffic(r) for r in (plain, open_)]
    for name in ("unfused", "planned", "as_run", "ideal"):
        assert getattr(ledgers[0], name) == getattr(ledgers[1], name), name
    assert ledgers[1].as_run == ledgers[1].planned
    assert analysis.fusion(open_).unexplained == ()
    (row,) = open_.compiled
    assert row == CompiledFunction(
        f.__name__, __file__, f.__code__.co_firstlineno, True, calls=4, traced=1, forms=3
    )
    here = f"test_analysis_compiled.py:{row.line}"
    shown = next(line for line in open_.summary().splitlines() if line.startswith(f.__name__))
    assert shown.split() == [f.__name__, "4", "1", "3", "all", here]
    assert plain.compiled == ()


def test_traffic_is_what_the_sizes_say() -> None:
    """Figures by hand: x and w are read, h is written and read, y is written."""
    r = recorded(mx.compile(model, shapeless=True))
    for run, n in zip(r.runs, SIZES, strict=True):
        product, rest = run.launches
        assert (product.reads, product.writes) == (4 * (16 * n + 16 * 32), 4 * 32 * n)
        assert (rest.reads, rest.writes) == (4 * 32 * n, 4 * 32 * n)
    assert {run.plan for run in r.runs} == set(r.plans)
    assert r.runs[1].plan == r.runs[3].plan and r.runs[3].outcome == "hit"


def test_other_ways_to_compile() -> None:
    r = recorded(mx.compile(model))
    (row,) = r.compiled
    assert (row.shapeless, row.calls, row.traced, row.forms) == (False, 4, 3, 3)

    f = mx.compile(lambda x: x[::2] if x.shape[0] > 2 else x, shapeless=True)
    with profile(ceilings=False) as p:
        mx.eval(f(mx.ones(8)), f(mx.ones(6)))
        with pytest.raises(mx.TraceError, match="decided by"):
            f(mx.ones(2))
        mx.eval(mx.compile(mx.grad(lambda x: mx.sum(mx.sin(x))))(mx.ones(3)))
    known, gradient = p.recording.compiled
    assert known.function.endswith("<lambda>")
    assert (known.calls, known.traced, known.forms) == (3, 1, 3)
    assert (gradient.calls, gradient.traced, gradient.forms) == (1, 1, 1)
    with profile(ceilings=False) as p:
        mx.eval(f(mx.ones(8)))
    assert [row.calls for row in p.recording.compiled] == [1]  # of this recording
    f(mx.ones(8))
    with profile(ceilings=False) as p:
        mx.eval(mx.ones(3) + 1)
    assert p.recording.compiled == ()


@pytest.mark.skipif(
    not soft_metal.available(), reason="not applicable: no compiler for kernels (lamina[softmetal])"
)
def test_text_of_kernels_is_the_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_GPU", "soft_metal")
    plain = recorded(model, stream=mx.gpu)
    open_ = recorded(mx.compile(model, shapeless=True), stream=mx.gpu)
    for a, b in zip(plain.runs, open_.runs, strict=True):
        texts = [
            [g.get("text") for g in r.plans[run.plan].raw["groups"]]
            for r, run in ((plain, a), (open_, b))
        ]
        assert texts[0] == texts[1]
        assert any("kernel void" in t for t in texts[0] if t)

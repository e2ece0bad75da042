"""The notebooks run from scratch, reach what they promise, and are stored as they are written."""

from __future__ import annotations

import re

import pytest

import notebooks

SOURCES = sorted(notebooks.FOLDER.glob("*.py"))
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module", params=SOURCES, ids=lambda path: path.stem)
def executed(request, tmp_path_factory):
    """Source path and the notebook as it comes out of a new kernel."""
    folder = tmp_path_factory.mktemp(request.param.stem)
    return request.param, notebooks.execute(notebooks.build(request.param), folder)


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def printed(notebook):
    return "".join(output.get("text", "") for output in outputs(notebook))


def stored(source):
    return notebooks.nbformat.read(source.with_suffix(".ipynb"), as_version=4)


@pytest.mark.slow
def test_every_cell_runs(executed):
    _, notebook = executed
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [
        o for o in outputs(notebook) if {"error", "stderr"} & {o.output_type, o.get("name")}
    ]


@pytest.mark.slow
def test_the_network_reads_97_percent(executed):
    source, notebook = executed
    if source.stem != "00_first_look":
        pytest.skip("not applicable: trains nothing")
    (found,) = re.findall(r"([\d.]+)% of (\d+) held-out digits", printed(notebook))
    assert float(found[0]) >= 97 and int(found[1]) == 450


@pytest.mark.slow
def test_views_carry_what_reads_without_a_kernel(executed):
    check_fallbacks(executed[1])


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_stored_notebook_is_fresh_and_complete(source):
    assert notebooks.stale(source) == ""
    notebook = stored(source)
    assert notebook.metadata.kernelspec.name == "python3"
    assert source.with_suffix(".ipynb").stat().st_size < 2_000_000
    assert all(cell.outputs for cell in notebook.cells if shows(cell))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    check_fallbacks(notebook)


def shows(cell):
    """Whether a cell certainly has an output."""
    return cell.cell_type == "code" and ("print(" in cell.source or cell.source.startswith("%%"))


def check_fallbacks(notebook):
    views = [output for output in outputs(notebook) if WIDGET in output.get("data", {})]
    assert views
    for cell in notebook.cells:
        shown = [output.get("data", {}) for output in cell.get("outputs", ())]
        if not any(WIDGET in data for data in shown):
            continue
        kinds = set().union(*shown)
        assert {"text/plain", "text/html", "image/png"} <= kinds
        html = "".join(data.get("text/html", "") for data in shown)
        assert "<script" not in html and "peak" in html

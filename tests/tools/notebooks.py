"""Builds notebooks/*.ipynb from the .py of the same name and executes them.

The .py is plain text in percent format: `# %%` opens a code cell, `# %% [markdown]` a text cell
whose lines are comments, and a line magic or cell magic stands behind `# `. Without arguments
every notebook is built and executed; `--check` executes nothing and lists what is stale.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
MARKER = re.compile(r"# %%(?: \[(markdown)\])?$")
MAGIC = re.compile(r"# (%%?[a-z])")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def cells_of(text: str) -> list[tuple[str, str]]:
    """(kind, source) of each cell; what stands before the first marker is for the author."""
    cells: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        marker = MARKER.match(line)
        if marker:
            cells.append((marker.group(1) or "code", []))
        elif cells:
            kind, lines = cells[-1]
            if kind == "markdown":
                line = line.removeprefix("#").removeprefix(" ")
            elif MAGIC.match(line):
                line = line.removeprefix("# ")
            lines.append(line)
    return [(kind, "\n".join(lines).strip("\n")) for kind, lines in cells]


def build(source: Path) -> Any:
    """The notebook without outputs."""
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL})
    for number, (kind, text) in enumerate(cells_of(source.read_text(encoding="utf-8"))):
        notebook.cells.append(make[kind](text, id=f"{kind}-{number}"))
    return notebook


def execute(notebook: Any, folder: Path, timeout: int = 300) -> Any:
    """Runs all cells in a new kernel that imports what this process imports."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name=KERNEL["name"],
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
        record_timing=False,
    )
    client.execute(env=environment)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            # Numbers of a widget's model mean nothing outside this run.
            output.get("metadata", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return notebook


def stale(source: Path) -> str:
    """What differs between a source and its stored notebook, '' where nothing does."""
    target = source.with_suffix(".ipynb")
    if not target.exists():
        return f"{target.name} is missing"
    stored = nbformat.read(target, as_version=4)
    kept = [(cell.cell_type, cell.source) for cell in stored.cells]
    wanted = [(cell.cell_type, cell.source) for cell in build(source).cells]
    if kept == wanted:
        return ""
    pairs = enumerate(zip(kept, wanted, strict=False))
    first = next((i for i, (a, b) in pairs if a != b), min(len(kept), len(wanted)))
    return f"{target.name} differs from {source.name} at cell {first}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="notebooks by stem, all by default")
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    options = parser.parse_args()
    names = options.names or sorted(path.stem for path in FOLDER.glob("*.py"))
    failed = False
    for name in names:
        source = FOLDER / f"{name}.py"
        if options.check:
            problem = stale(source)
            failed |= bool(problem)
            print(problem or f"{name}.ipynb is fresh")
            continue
        notebook = execute(build(source), FOLDER)
        nbformat.write(notebook, source.with_suffix(".ipynb"))
        print(f"{name}.ipynb: {source.with_suffix('.ipynb').stat().st_size / 1e6:.2f} MB")
    return failed


if __name__ == "__main__":
    raise SystemExit(main())

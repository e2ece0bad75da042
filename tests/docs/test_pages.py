"""Pages say what is true: snippets run, generated pages are fresh, links lead on."""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import sys
import zipfile

import pytest
import tables

ROOT = tables.PAGE.parents[1]
BLOCK = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)|src(?:set)?=\"(?!https?:)([^\"]+)\"")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
SNIPPETS = [page for page in PAGES if BLOCK.search(page.read_text())]
FLAGS = doctest.NORMALIZE_WHITESPACE


def named(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", SNIPPETS, ids=named)
def test_snippets_give_what_they_show(page):
    namespace: dict[str, object] = {}
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report: list[str] = []
    for number, block in enumerate(BLOCK.findall(page.read_text())):
        test = doctest.DocTestParser().get_doctest(block, namespace, f"block {number}", None, 0)
        assert test.examples
        test.globs = namespace
        runner.run(test, out=report.append, clear_globs=False)
    assert not runner.failures, "".join(report)


@pytest.mark.parametrize("page", tables.GENERATED, ids=lambda page: page.name)
def test_generated_pages_are_fresh(page):
    text = tables.GENERATED[page]()
    assert page.read_text() == text, f"run: python tests/tools/tables.py --write ({page.name})"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files(page):
    links = [a or b for a, b in LINK.findall(page.read_text())]
    assert not [link for link in links if not (page.parent / link).exists()]


def test_readme_shows_real_output(tmp_path):
    """The example runs as a file of its own, since lines of the output name it."""
    page = (ROOT / "README.md").read_text()
    blocks = r"^```python\n(.*?)^```$.*?^```text\n(.*?)^```$"
    code, shown = re.search(blocks, page, re.MULTILINE | re.DOTALL).groups()
    example = tmp_path / "example.py"
    example.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(example)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert strip(done.stdout) == strip(shown)


def keys(value, path=""):
    """Paths of all fields of nested JSON, lists seen through."""
    if isinstance(value, list):
        return {key for item in value for key in keys(item, path)}
    if not isinstance(value, dict):
        return set()
    inner = {key for name, item in value.items() for key in keys(item, f"{path}{name}.")}
    return inner | {f"{path}{name}" for name in value}


def test_recording_format_names_every_field(tmp_path):
    import lamina
    import lamina.core as mx

    x = mx.random.normal((64, 64))
    with lamina.profile(ceilings=False) as p:
        mx.eval(mx.softmax(mx.tanh(x) @ x, axis=-1))
    p.recording.save(tmp_path / "r.lamina")
    page = (ROOT / "docs" / "recording-format.md").read_text()
    with zipfile.ZipFile(tmp_path / "r.lamina") as archive:
        fields = keys(json.loads(archive.read("manifest.json")))
        for name in archive.namelist():
            if name.startswith("plans/"):
                fields |= keys(json.loads(archive.read(name)))
    open_ended = ("reasons.", "schema.fields.", "nodes.params.", "kernel_launches.counts.")
    named = [field for field in fields if not field.startswith(open_ended)]
    assert not sorted(field for field in named if f"`{field.split('.')[-1]}`" not in page)


def strip(text):
    return [line.rstrip() for line in text.strip().splitlines()]

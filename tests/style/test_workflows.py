"""What the workflows run is there: make's targets and variables, scripts, tests, Pythons."""

from __future__ import annotations

import re

import pytest
from sources import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"^([A-Z_]+) *[?:]?=", MAKEFILE, re.MULTILINE))
ARGUMENT = re.compile(r"^[A-Za-z_-]+(=\S*)?$")
# .venv and artifacts are made by what is run before.
FILE = re.compile(r"(?<![\w/.$-])((?:\.ci|tests|docs|benchmarks|notebooks|examples)/[\w./-]+)")
# A runner's image that hosted runners no longer have, or whose system lamina does not need.
GONE = {"macos-11", "macos-12", "macos-13", "macos-14", "ubuntu-20.04"}


def faults(text: str) -> list[str]:
    """What a workflow or a script names that is not there."""
    found = []
    for line in text.splitlines():
        for call in re.findall(r"\bmake ([^#;&|\"]*)", line.split(" # ")[0]):
            if line.lstrip().startswith("#"):
                continue
            for word in call.split():
                name, _, _ = word.partition("=")
                known = VARIABLES if "=" in word else TARGETS
                if not ARGUMENT.match(word) or name not in known:
                    found.append(f"make {word}")
        found += [name for name in FILE.findall(line) if not (ROOT / name).exists()]
    return found + [image for image in sorted(GONE) if re.search(rf"\b{image}\b", text)]


@pytest.mark.parametrize("file", [*WORKFLOWS, ROOT / ".ci" / "run"], ids=lambda file: file.name)
def test_what_it_names_is_there(file):
    assert faults(file.read_text()) == []


def test_what_is_not_there_is_found():
    text = """
      - run: make sanitise
      - run: make sanitize SANITIZER=thread TESTS=tests/core/test_none.py
      - run: bash .ci/ran
        os: [ubuntu-latest, macos-14]
    """
    missing = ["make sanitise", "make SANITIZER=thread", "tests/core/test_none.py", ".ci/ran"]
    assert faults(text) == [*missing, "macos-14"]


def test_nothing_runs_twice():
    """What .ci/run does, the job around it need not do again."""
    steps = re.findall(r"^make ([a-z-]+)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    for file in WORKFLOWS:
        for job in re.split(r"^  (?=[a-z-]+:$)", file.read_text(), flags=re.MULTILINE):
            if ".ci/run" in job:
                assert [step for step in steps if re.search(rf"make {step}\b", job)] == []


def test_the_oldest_and_the_newest_python_are_tried():
    oldest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    newest = re.search(r"for p in python3 python([\d.]+)", MAKEFILE)
    tried = re.search(
        r"^ +python: \[(.*)\]$", (ROOT / ".github/workflows/ci.yml").read_text(), re.M
    )
    assert oldest and newest and tried
    assert {oldest[1], newest[1]} <= set(tried[1].replace('"', "").split(", "))

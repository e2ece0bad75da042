"""The table of Metal's rules in docs/soft-metal.md against the rules that exist and the tests that
break each of them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "devices"


def table() -> tuple[set[str], set[str]]:
    """The names in the second and in the third column."""
    text = (ROOT / "docs" / "soft-metal.md").read_text(encoding="utf-8")
    section = text.split("## Metal's rules, and where each is shown", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    here, double = (
        {name for row in rows for name in re.findall(r"`(\w+)`", row[column])} for column in (2, 3)
    )
    return here, double


def rules() -> set[str]:
    """The names in Rule's order, from name_of()."""
    source = (ROOT / "backend/core/devices/soft_metal/runtime.cpp").read_text(encoding="utf-8")
    names = source.split("const char* name_of(Rule rule) {", 1)[1].split("};", 1)[0]
    return set(re.findall(r'"(\w+)"', names))


def test_every_rule_of_software_metal_is_in_the_table_and_broken_by_a_test() -> None:
    broken = set()
    for name in ("rules", "refusals"):
        text = (HERE / f"test_soft_metal_{name}.py").read_text(encoding="utf-8")
        broken |= set(re.findall(r'broken\(\s*"(\w+)"', text))
    # `injected` is a test's own failure; a dispatch without a pipeline cannot be said in Python.
    assert rules() - {"injected", "no_pipeline"} == table()[0]
    assert table()[0] <= broken


def test_every_case_of_the_double_exists() -> None:
    cases = set()
    for path in (HERE / "metal").glob("*.cpp"):
        cases |= set(re.findall(r"TEST\((\w+)\)", path.read_text(encoding="utf-8")))
    assert table()[1] <= cases
    assert {c for c in cases if c.startswith("rule_")} <= table()[1]

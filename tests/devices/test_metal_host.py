"""The Metal host and its policies, run on Linux against the double of Metal's protocols.

The cases are C++ (tests/devices/metal), one process each: they check barriers, fences, budgets,
failures, lifetimes, times and capture, and that the double sees each rule of Metal's broken. What
the double has seen violated, and what was leaked, fails a case too.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build" / f"core-{sys.implementation.cache_tag}" / "metal_cases"


def cases() -> list[object]:
    if sys.platform == "darwin":
        reason = "not applicable: Metal itself is here"
    elif not PROGRAM.exists():
        reason = "the double of Metal is not built: make metal-double"
    else:
        listed = subprocess.run([PROGRAM, "--list"], capture_output=True, text=True, check=True)
        return list(listed.stdout.split())
    return [pytest.param("none", marks=pytest.mark.skip(reason=reason))]


@pytest.mark.parametrize("case", cases())
def test_metal_host(case):
    said = subprocess.run([PROGRAM, case], capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stdout + said.stderr

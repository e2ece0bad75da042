"""A sample of the tests that the registry's rows drive, on software Metal; `make device-test
DEVICE=soft_metal` runs all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lamina import soft_metal

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "tests" / "core"
EVERY = 41  # a prime: the sample walks through names, dtypes and kinds of test alike

PLUGIN = f"""
def pytest_collection_modifyitems(items):
    items[:] = items[::{EVERY}]
"""


@pytest.mark.skipif(
    not soft_metal.available(), reason="not applicable: no compiler for kernels (lamina[softmetal])"
)
def test_a_sample_of_rows(tmp_path: Path) -> None:
    (tmp_path / "every_so_many.py").write_text(PLUGIN)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, "LAMINA_DEVICE": "soft_metal"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "every_so_many",
        "-p",
        "no:cacheprovider",
    ]
    files = [str(CORE / f"test_{name}.py") for name in ("rows", "reductions", "gather", "indexing")]
    said = subprocess.run(
        [*command, *files], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert said.returncode == 0, said.stdout[-4000:] + said.stderr[-2000:]
    passed = int(said.stdout.rsplit(" passed", 1)[0].split()[-1])
    assert passed > 70

"""A build for macOS has no software Metal: lamina says so, and all tests are collected."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import present
import pytest

ROOT = Path(__file__).resolve().parents[2]
BOUND = re.compile(r'"(_metal_\w+|Metal\w+)"')
PLUGIN = """
import sys
from lamina import _core
for name in {names}:
    delattr(_core, name)
sys.modules.pop("lamina.soft_metal", None)
"""
PROGRAM = """
import without
import lamina.core
from lamina import soft_metal
assert not soft_metal.available() and soft_metal.take_counts() == {}
for make in (soft_metal.Library, soft_metal.Pipeline, soft_metal.Encoder):
    try:
        make("kernel void f() {}")
    except soft_metal._core.DeviceError as error:
        assert str(error).startswith("soft_metal: this build has none, it runs on Linux"), error
    else:
        raise AssertionError(make)
"""


@pytest.fixture
def without(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that takes what software Metal binds out of the module."""
    bindings = (ROOT / "backend" / "bindings").glob("soft_metal*.cpp")
    names = sorted({name for file in bindings for name in BOUND.findall(file.read_text())})
    assert "MetalLibrary" in names
    (tmp_path / "without.py").write_text(PLUGIN.format(names=names))
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


needs_it = pytest.mark.skipif(
    not hasattr(present._core, "MetalLibrary"), reason="not applicable: this build has none"
)


@needs_it
def test_its_absence_is_told(without: dict[str, str]) -> None:
    told = subprocess.run([sys.executable, "-c", PROGRAM], env=without, capture_output=True)
    assert told.returncode == 0, told.stderr.decode()


@needs_it
def test_every_test_is_collected(without: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "without", "-p", "no:cacheprovider", "-q"]
    files = ["tests/devices", "tests/workbench", "tests/widgets", "tests/style"]
    told = subprocess.run([*command, "--collect-only", *files], env=without, cwd=ROOT,
                          capture_output=True, text=True, timeout=600)  # fmt: skip
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-1000:]


@needs_it
def test_what_needs_it_is_not_applicable(without: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "without", "-p", "no:cacheprovider", "-q"]
    files = ["tests/devices/test_soft_metal_rules.py", "tests/devices/test_kernel_text_runs.py"]
    told = subprocess.run([*command, "-rs", *files], env=without | {"CI": "true"}, cwd=ROOT,
                          capture_output=True, text=True, timeout=600)  # fmt: skip
    assert told.returncode == 0, told.stdout[-3000:]
    assert "not applicable: no software Metal" in told.stdout
    assert " passed" not in told.stdout


def test_the_driver_has_a_double_on_linux_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(present, "has_driver", lambda: False)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(present.nvidia_double, "folder", lambda: pytest.fail("it was compiled"))
    assert present.put_double() is None

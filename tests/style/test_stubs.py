"""Generated files are those that their generators write today."""

from __future__ import annotations

import sys

import pytest
import stubs
from sources import ROOT


# The stub has what only builds for Linux have.
@pytest.mark.skipif(sys.platform != "linux", reason="not applicable: the stub is of Linux' module")
def test_the_stub_is_fresh():
    stub = ROOT / "backend" / "python" / "_core.pyi"
    assert stub.exists(), "run `make stubs`"
    assert stub.read_text() == stubs.text(), "_core.pyi is stale: run `make stubs`"


def test_build_requirements_agree():
    """The `build` group rebuilds in place with what an isolated build uses."""
    text = (ROOT / "pyproject.toml").read_text()
    isolated = text.split("requires = [", 1)[1].split("]\n", 1)[0]
    extra = text.split("build = [", 1)[1].split("]\n", 1)[0]
    assert isolated == extra

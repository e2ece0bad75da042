"""install_as_mlx and `python -m lamina`."""

from __future__ import annotations

import importlib
import subprocess
from pathlib import Path
from typing import Any

from processes import environment, python


def run(*arguments: Any, code: int = 0, folder: Path | None = None) -> str:
    process = subprocess.run(
        python(*arguments), env=environment(), cwd=folder, capture_output=True, text=True
    )
    assert process.returncode == code, process.stderr
    return process.stdout if code == 0 else process.stderr


def test_names_are_laminas() -> None:
    program = """
import lamina
lamina.install_as_mlx()
lamina.install_as_mlx()
import mlx.core as mx, mlx.nn as nn, mlx.optimizers, mlx.utils, mlx
import mlx.core.random, mlx.core.fast, mlx.core.distributed, mlx.nn.losses
from mlx import core
from mlx.core import fast, array
from mlx.nn.layers.distributed import shard_linear
from mlx.nn.layers.base import Module
from mlx.nn.utils import average_gradients
from mlx.utils import tree_map
import importlib.util, lamina.core, lamina.nn, lamina.utils, lamina.nn.layers.distributed as there
assert core is mx is lamina.core and nn is lamina.nn and mlx.utils is lamina.utils
assert mlx.core.random is mx.random and Module is nn.Module and array is mx.array
assert shard_linear is there.shard_linear and tree_map is lamina.utils.tree_map
assert mx.__spec__.name == "lamina.core" and nn.__spec__.name == "lamina.nn"
assert importlib.util.find_spec("mlx") is not None
assert importlib.util.find_spec("mlx.nothing") is None
try:
    import mlx.nn.nothing
except ModuleNotFoundError as error:
    print(error)
"""
    assert run("-c", program) == "No module named 'mlx.nn.nothing'\n"


def modules_of_mlx() -> list[str]:
    """Its public Python modules, by their files; `extension` builds C++ against MLX's headers."""
    (root,) = {Path(folder) for folder in importlib.import_module("mlx").__path__}
    files = [f.relative_to(root).with_suffix("") for f in root.rglob("*.py")]
    parts = [("mlx", *f.parts) for f in files if not any(p[0] == "_" for p in f.parts[:-1])]
    names = {".".join(p[:-1] if p[-1] == "__init__" else p) for p in parts if p[-1] != "extension"}
    return sorted(name for name in names if "._" not in name)


def test_every_module_is_there() -> None:
    names = modules_of_mlx()
    assert {"mlx.nn.layers.normalization", "mlx.optimizers.schedulers", "mlx.utils"} <= set(names)
    program = "import lamina, importlib\nlamina.install_as_mlx()\n"
    program += f"for name in {names!r}:\n"
    program += "    print(importlib.import_module(name).__name__)\n"
    assert all(
        line.startswith("lamina") for line in run("-c", program).splitlines() if line != "mlx"
    )


def test_comes_before_mlx() -> None:
    program = """
import mlx.core, lamina
try:
    lamina.install_as_mlx()
except ImportError as error:
    print(error)
"""
    said = run("-c", program).splitlines()
    assert said[0].startswith("install_as_mlx: mlx") and "has been imported already" in said[0]
    assert said[1].endswith("start the program with: python -m lamina MODULE ARGS")


def test_runs_modules_and_files(tmp_path: Path) -> None:
    package = tmp_path / "work"
    package.mkdir()
    (package / "beside.py").write_text("VALUE = 3\n")
    (package / "program.py").write_text(
        "import sys, beside, mlx.core as mx\n"
        "print(__name__, sys.argv[1:], mx.__name__, mx.array(beside.VALUE).item())\n"
    )
    expected = "__main__ ['--flag', 'x'] lamina.core 3\n"
    assert run("-m", "lamina", package / "program.py", "--flag", "x") == expected
    assert run("-m", "lamina", "program", "--flag", "x", folder=package) == expected


def test_usage() -> None:
    assert run("-m", "lamina", code=2).startswith("usage: python -m lamina MODULE")
    assert run("-m", "lamina", "--help").startswith("usage: python -m lamina MODULE")
    assert "No module named nothing_there" in run("-m", "lamina", "nothing_there", code=1)

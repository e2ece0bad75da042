"""mlx-lm over small models, once with MLX and once with lamina."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from processes import environment, python

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("mlx_lm") is None:
        pytest.skip("no mlx-lm: pip install mlx-lm, which the test extra names")
    folder = tmp_path_factory.mktemp("models")
    for architecture in tiny_models.ARCHITECTURES:
        tiny_models.write_model(folder / architecture, architecture)
    tiny_models.write_texts(folder / "texts")
    return folder


@pytest.fixture(scope="session")
def outcomes(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every scenario gave: {"mlx": {...}, "lamina": {...}}."""
    out = tmp_path_factory.mktemp("outcomes")
    runs = {}
    for name, before in (("mlx", []), ("lamina", ["-m", "lamina"])):
        command = python(*before, HERE / "drive.py", models, out / f"{name}.json")
        log = (out / f"{name}.log").open("w")
        runs[name] = subprocess.Popen(command, env=environment(), stdout=log, stderr=log)
    for name, run in runs.items():
        text = out / f"{name}.log"
        assert run.wait(timeout=800) == 0, f"{name}: {text.read_text()[-3000:]}"
    return {name: json.loads((out / f"{name}.json").read_text()) for name in runs}

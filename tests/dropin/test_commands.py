"""mlx-lm's commands, once with MLX and once with lamina: they print and write the same."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import commands
import lamina.core as mx
import numpy as np
import pytest
from processes import environment, python

HERE = Path(__file__).resolve().parent
NAMES = list(commands.steps("", "", Path()))
WHO = {"mlx": [], "lamina": ["-m", "lamina"]}


@pytest.fixture(scope="session")
def runs(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders that the commands wrote into."""
    folders = {who: tmp_path_factory.mktemp(who) for who in WHO}
    started = {}
    for who, before in WHO.items():
        places = [models / "llama", models / "texts", folders[who]]
        command = python(*before, HERE / "commands.py", *places)
        log = (folders[who] / "log").open("w")
        started[who] = subprocess.Popen(command, env=environment(), stdout=log, stderr=log)
    for who, run in started.items():
        assert run.wait(timeout=800) == 0, (folders[who] / "log").read_text()[-3000:]
    return folders


def told(folder: Path, name: str) -> str:
    """What a command printed, without colours, places, times, speeds and memory."""
    text = json.loads((folder / "said.json").read_text())[name]
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace(str(folder), "HERE")
    # With the blanks before a number, and behind it at the end: some are padded to a width.
    text = re.sub(r" *[\d.,]+ *(tok/s|tokens per second|GB|s\b)", "", text)
    text = re.sub(r" +(?=[\r\n]|$)", "", text)
    # Of a table of training steps: step, loss, tokens a second, tokens so far.
    return re.sub(r"(▲|▼)\s+[\d,]+", r"\1", text).strip()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_same_is_printed(name: str, runs: dict[str, Path]) -> None:
    want, got = (told(runs[who], name) for who in WHO)
    assert want
    if not name.startswith("train"):
        assert got == want
        return
    numbers = re.compile(r"\d+\.\d+")
    assert numbers.sub("", got) == numbers.sub("", want)
    losses = [[float(x) for x in numbers.findall(text)] for text in (want, got)]
    assert len(losses[0]) >= 4
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-4, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [
        "prompt.safetensors",
        "lora/adapters.safetensors",
        "dora/adapters.safetensors",
        "full/adapters.safetensors",
        "fused/model.safetensors",
        "gguf/ggml-model-f16.gguf",
    ],
)
def test_the_same_is_written(file: str, runs: dict[str, Path]) -> None:
    want, got = (mx.load(str(runs[who] / file), return_metadata=True) for who in WHO)
    assert got[0].keys() == want[0].keys()
    for name, x in want[0].items():
        y = got[0][name]
        assert (y.shape, y.dtype) == (x.shape, x.dtype), name
        tolerance = 2e-2 if x.dtype == mx.float16 else 2e-4
        np.testing.assert_allclose(
            np.array(y.astype(mx.float32)),
            np.array(x.astype(mx.float32)),
            rtol=tolerance,
            atol=tolerance / 10,
            err_msg=name,
        )
    assert got[1].keys() == want[1].keys()
    for key, value in want[1].items():
        other = got[1][key]
        assert (
            np.array_equal(np.array(other), np.array(value))
            if isinstance(value, mx.array)
            else (other == value)
        ), key

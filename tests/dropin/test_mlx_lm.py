"""mlx-lm runs unmodified on lamina, token for token as on MLX under greedy decoding in float32."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from processes import environment, python

SCENARIOS = ["plain", "text", "rotating", "prefilled_in_parts", "prompt_cache", "batched"]
SCENARIOS += ["converted"]
# Where mlx-lm itself fails on MLX: its mask does not fit gemma2's groups of heads.
BROKEN = {"gemma2/batched"}
NAMES = [f"{a}/{s}" for a in tiny_models.ARCHITECTURES for s in SCENARIOS]
NAMES += [f"llama/{s}" for s in ("sampled", "lora", "dora", "quantized_cache", "quantized")]


def compare(got: Any, expected: Any, where: str) -> None:
    """Equal, but for what is summed in another order: floating numbers."""
    assert type(got) is type(expected), where
    if isinstance(expected, dict):
        assert got.keys() == expected.keys(), where
        for key in expected:
            compare(got[key], expected[key], f"{where}[{key}]")
    elif isinstance(expected, list):
        assert len(got) == len(expected), where
        for i, (g, e) in enumerate(zip(got, expected, strict=True)):
            compare(g, e, f"{where}[{i}]")
    elif isinstance(expected, float):
        assert np.isclose(got, expected, rtol=2e-4, atol=2e-4), f"{where}: {got} != {expected}"
    else:
        assert got == expected, f"{where}: {got!r} != {expected!r}"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_as_on_mlx(name: str, outcomes: dict[str, Any]) -> None:
    got, expected = outcomes["lamina"][name], outcomes["mlx"][name]
    if name in BROKEN:
        assert "cannot be broadcast" in expected["error"]
        assert "where: shapes do not broadcast" in got["error"]
        return
    assert "error" not in expected, expected["error"]
    assert "error" not in got, got["error"]
    compare(got, expected, name)


@pytest.mark.slow
def test_models_say_different_things(outcomes: dict[str, Any]) -> None:
    """The comparison would mean little if every model repeated one token."""
    for architecture in tiny_models.ARCHITECTURES:
        said = outcomes["mlx"].get(f"{architecture}/plain", {}).get("tokens", [])
        assert len(set(said)) > 5, architecture


@pytest.mark.slow
def test_from_a_shell(models: Path) -> None:
    """`python -m lamina mlx_lm generate` says what `python -m mlx_lm generate` says."""
    arguments = ["generate", "--model", models / "llama", "--prompt", "the plan", "--temp", "0"]
    arguments += ["--max-tokens", "12", "--verbose", "False"]
    said = []
    for before in (["-m"], ["-m", "lamina"]):
        command = python(*before, "mlx_lm", *arguments)
        run = subprocess.run(command, env=environment(), capture_output=True, timeout=300)
        assert run.returncode == 0, run.stderr.decode()[-2000:]
        said.append(run.stdout)
    assert said[0] == said[1] and said[0].strip()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def ask(port: int, path: str, question: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        json.dumps({**question, "max_tokens": 8, "temperature": 0}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())["choices"][0]


def answers(before: list[str], model: Path, log: Path) -> list[Any]:
    """What a server says: a completion, a chat, and the chat once more, from its prompt cache."""
    port = free_port()
    command = python(*before, "mlx_lm", "server", "--model", model, "--port", port)
    with log.open("w") as out:
        server = subprocess.Popen(command, env=environment(), stdout=out, stderr=out)
    try:
        until = time.monotonic() + 120
        while True:
            assert server.poll() is None and time.monotonic() < until, log.read_text()[-2000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        chat = {"messages": [{"role": "user", "content": "what is the plan"}]}
        out = [ask(port, "/v1/completions", {"prompt": "the plan is"})["text"]]
        return out + [ask(port, "/v1/chat/completions", chat)["message"] for _ in range(2)]
    finally:
        server.terminate()
        server.wait(timeout=60)


@pytest.mark.slow
def test_server(models: Path, tmp_path: Path) -> None:
    said = [
        answers(before, models / "llama", tmp_path / f"{len(before)}.log")
        for before in (["-m"], ["-m", "lamina"])
    ]
    assert said[0] == said[1]
    assert said[1][0] and said[1][1] == said[1][2]

"""What mlx-lm's commands print, as JSON: python commands.py MODEL TEXTS FOLDER."""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path

SHORT = ["--temp", "0", "--max-tokens", "8"]
QUIET = [*SHORT, "--verbose", "False"]
ASK = ["--prompt", "the plan"]


def steps(model: str, texts: str, out: Path) -> dict[str, tuple[list[str], str]]:
    """The commands and what is typed into them, by name; later ones use files of earlier ones."""
    data = ["--data", texts, "--batch-size", "2", "--max-seq-length", "64"]
    train = ["lora", "--model", model, *data, "--train", "--iters", "2", "--num-layers", "1"]
    train += ["--steps-per-report", "1", "--val-batches", "1", "--seed", "1", "--adapter-path"]
    cache = str(out / "prompt.safetensors")
    fuse = ["fuse", "--model", model, "--adapter-path", str(out / "lora"), "--save-path"]
    generate = ["generate", "--model"]
    kept = ["--prompt-cache-file", cache]
    sampled = ["--temp", "0.8", "--top-p", "0.9", "--min-p", "0.05", "--top-k", "20", "--seed", "3"]
    return {
        "chat": (["chat", "--model", model, *SHORT], "the plan\nr\nwhat is\nq\n"),
        "keep a prompt": (["cache_prompt", "--model", model, "--prompt", "the plan is", *kept], ""),
        "go on from it": ([*generate, model, *kept, "--prompt", " to do", *QUIET], ""),
        "speculate": ([*generate, model, "--draft-model", model, *ASK, *QUIET], ""),
        "sample": ([*generate, model, *ASK, *QUIET, *sampled], ""),
        "train lora": ([*train, str(out / "lora")], ""),
        "train dora": ([*train, str(out / "dora"), "--fine-tune-type", "dora"], ""),
        "train all": ([*train, str(out / "full"), "--fine-tune-type", "full"], ""),
        "fuse": ([*fuse, str(out / "fused")], ""),
        "export gguf": ([*fuse, str(out / "gguf"), "--export-gguf"], ""),
        "ask the fused": ([*generate, str(out / "fused"), *ASK, *QUIET], ""),
    }


def said(arguments: list[str], typed: str) -> str:
    """What `python -m mlx_lm` prints."""
    text, sys.argv, sys.stdin = io.StringIO(), ["mlx_lm", *arguments], io.StringIO(typed)
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        runpy.run_module("mlx_lm", run_name="__main__")
    return text.getvalue()


def main() -> None:
    model, texts, folder = sys.argv[1:]
    out = Path(folder)
    all_said = {name: said(*step) for name, step in steps(model, texts, out).items()}
    (out / "said.json").write_text(json.dumps(all_said))


if __name__ == "__main__":
    main()

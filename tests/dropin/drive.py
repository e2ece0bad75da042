"""Runs mlx-lm over the small models and writes down what came out.

    python drive.py FOLDER OUT.json                 with MLX
    python -m lamina drive.py FOLDER OUT.json       with lamina

The program is the same, and so must be what it writes.
"""

from __future__ import annotations

import json
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optimizers
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm import batch_generate, generate, load, stream_generate
from mlx_lm.convert import convert
from mlx_lm.fuse import main as fuse
from mlx_lm.generate import generate_step
from mlx_lm.models.cache import (
    can_trim_prompt_cache,
    load_prompt_cache,
    make_prompt_cache,
    save_prompt_cache,
    trim_prompt_cache,
)
from mlx_lm.sample_utils import make_logits_processors, make_sampler
from mlx_lm.tuner.datasets import CacheDataset, load_dataset
from mlx_lm.tuner.trainer import TrainingArgs, evaluate, train
from mlx_lm.tuner.utils import linear_to_lora_layers

PROMPT = "the quick plan is kept in the graph of rows"
PROMPTS = ["the sun", "numbers such as 1 2 3 are written", "a dog runs over the plain and away"]


class Case:
    """One model, where scenarios may write."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.path = folder
        self.scratch = scratch
        self.model, self.tokenizer = load(str(folder))
        self.tokens = self.tokenizer.encode(PROMPT)

    def steps(self, prompt: Any = None, count: int = 24, **options: Any) -> list[int]:
        prompt = mx.array(self.tokens if prompt is None else prompt)
        return [int(t) for t, _ in generate_step(prompt, self.model, max_tokens=count, **options)]


def plain(case: Case) -> Any:
    logits = case.model(mx.array(case.tokens)[None])
    return {"tokens": case.steps(), "logits": logits[0, -1, :8].tolist()}


def text(case: Case) -> Any:
    pieces = list(stream_generate(case.model, case.tokenizer, PROMPT, max_tokens=16))
    messages = [{"role": "user", "content": "what is the plan"}]
    prompt = case.tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    return {
        "streamed": "".join(p.text for p in pieces),
        "tokens": [int(p.token) for p in pieces],
        "generated": generate(case.model, case.tokenizer, PROMPT, max_tokens=16),
        "chat": generate(case.model, case.tokenizer, prompt, max_tokens=12),
    }


def rotating(case: Case) -> Any:
    return case.steps(count=48, max_kv_size=16)


def prefilled_in_parts(case: Case) -> Any:
    return case.steps(case.tokens * 3, count=12, prefill_step_size=7)


def prompt_cache(case: Case) -> Any:
    cache = make_prompt_cache(case.model)
    first = case.steps(count=6, prompt_cache=cache)
    file = str(case.scratch / "cache.safetensors")
    save_prompt_cache(file, cache, {"note": "kept"})
    again, metadata = load_prompt_cache(file, return_metadata=True)
    trimmed = trim_prompt_cache(cache, 2) if can_trim_prompt_cache(cache) else 0
    return {
        "first": first,
        "continued": case.steps(first[-1:], count=8, prompt_cache=again),
        "trimmed": [trimmed, case.steps(first[-1:], count=8, prompt_cache=cache)],
        "metadata": metadata,
    }


def batched(case: Case) -> Any:
    prompts = [case.tokenizer.encode(p) for p in PROMPTS]
    out = batch_generate(
        case.model, case.tokenizer, prompts, max_tokens=[12, 6, 9], return_token_ids=True
    )
    return {"texts": out.texts, "tokens": [[int(t) for t in row] for row in out.token_ids]}


def sampled(case: Case) -> Any:
    mx.random.seed(11)
    sampler = make_sampler(temp=0.7, top_p=0.9, min_p=0.01, top_k=40)
    processors = make_logits_processors(repetition_penalty=1.2, repetition_context_size=8)
    return case.steps(sampler=sampler, logits_processors=processors)


def quantized_cache(case: Case) -> Any:
    return case.steps(count=16, kv_bits=8, kv_group_size=32, quantized_kv_start=4)


# Adam divides by the gradients' own size: its eps keeps rounding of tiny ones from being magnified.
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "lora": lambda: optimizers.AdamW(learning_rate=2e-3, eps=1e-3),
    "dora": lambda: optimizers.SGD(learning_rate=0.02, momentum=0.9),
}


def train_settings(case: Case, name: str) -> Any:
    return types.SimpleNamespace(
        data=str(case.path.parent / "texts"),
        train=True,
        test=True,
        hf_dataset=False,
        mask_prompt=False,
        adapter_path=str(case.scratch / name),
    )


def fine_tuned(case: Case, kind: str) -> Any:
    settings = train_settings(case, kind)
    adapter = Path(settings.adapter_path)
    adapter.mkdir(parents=True)
    model, tokenizer = load(str(case.path))
    mx.random.seed(5)
    np.random.seed(5)
    model.freeze()
    parameters = {"rank": 4, "dropout": 0.0, "scale": 4.0}
    linear_to_lora_layers(model, 2, parameters, use_dora=kind == "dora")
    saved = {"fine_tune_type": kind, "num_layers": 2, "lora_parameters": parameters}
    (adapter / "adapter_config.json").write_text(json.dumps(saved))
    training, validation, test = load_dataset(settings, tokenizer)
    losses: list[float] = []

    class Keep:
        def on_train_loss_report(self, info: dict[str, Any]) -> None:
            losses.append(info["train_loss"])

        def on_val_loss_report(self, info: dict[str, Any]) -> None:
            losses.append(info["val_loss"])

    arguments = TrainingArgs(
        batch_size=2,
        iters=6,
        val_batches=1,
        steps_per_report=2,
        steps_per_eval=3,
        steps_per_save=100,
        adapter_file=str(adapter / "adapters.safetensors"),
        max_seq_length=64,
        grad_checkpoint=kind == "lora",
    )
    train(
        model=model,
        optimizer=OPTIMIZERS[kind](),
        train_dataset=CacheDataset(training),
        val_dataset=CacheDataset(validation),
        args=arguments,
        training_callback=Keep(),
    )
    model.eval()
    scored = evaluate(model, CacheDataset(test), batch_size=2, num_batches=1, max_seq_length=64)
    merged = case.scratch / f"{kind}-fused"
    sys.argv = ["fuse", "--model", str(case.path), "--adapter-path", str(adapter)]
    sys.argv += ["--save-path", str(merged)]
    fuse()
    again, _ = load(str(case.path), adapter_path=str(adapter))
    fused, _ = load(str(merged))
    tokens = mx.array(case.tokens)
    return {
        "losses": [*losses, float(scored)],
        "adapted": [int(t) for t, _ in generate_step(tokens, again, max_tokens=12)],
        "fused": [int(t) for t, _ in generate_step(tokens, fused, max_tokens=12)],
    }


def lora(case: Case) -> Any:
    return fine_tuned(case, "lora")


def dora(case: Case) -> Any:
    return fine_tuned(case, "dora")


def converted(case: Case) -> Any:
    target = case.scratch / "converted"
    convert(str(case.path), str(target), dtype="float16")
    half, _ = load(str(target))
    weights = tree_flatten(half.parameters())
    # Every bit of the weights; half-precision products round differently.
    return {
        "dtypes": sorted({str(v.dtype).rpartition(".")[2] for _, v in weights}),
        "bits": {name: mx.sum(v.view(mx.uint16).astype(mx.uint32)).item() for name, v in weights},
        "config": json.loads((target / "config.json").read_text()),
    }


def quantized(case: Case) -> Any:
    target = case.scratch / "quantized"
    convert(str(case.path), str(target), quantize=True, q_group_size=32, q_bits=4)
    model, _ = load(str(target))
    shapes = {name: list(v.shape) for name, v in tree_flatten(model.parameters())}
    return {"shapes": shapes, "tokens": generated(model, case)}


def generated(model: Any, case: Case) -> list[int]:
    tokens = mx.array(case.tokens)
    return [int(t) for t, _ in generate_step(tokens, model, max_tokens=12)]


EVERY: list[Callable[[Case], Any]] = [plain, text, rotating, prefilled_in_parts, prompt_cache]
EVERY += [batched, converted]
ONCE: list[Callable[[Case], Any]] = [sampled, lora, dora, quantized_cache, quantized]


def attempt(scenario: Callable[[Case], Any], case: Case) -> Any:
    try:
        return scenario(case)
    except Exception:
        return {"error": traceback.format_exc()}


def main(folder: Path, out: Path, only: list[str]) -> None:
    results: dict[str, Any] = {"device": str(mx.default_device())}
    for path in sorted(p for p in folder.iterdir() if (p / "config.json").exists()):
        scratch = out.parent / f"{out.stem}-{path.name}"
        scratch.mkdir()
        case = Case(path, scratch)
        for scenario in EVERY + (ONCE if path.name == "llama" else []):
            if not only or scenario.__name__ in only:
                results[f"{path.name}/{scenario.__name__}"] = attempt(scenario, case)
    out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])

"""Tokens a second of mlx-lm over a Llama with random weights, beside PyTorch.

`python -m benchmarks.generation --device cuda --size 1b --bits 16 4`. mlx-lm runs unmodified;
PyTorch runs the same architecture from `transformers`, eager, and compiled with a static cache.
Weights are random, so nothing is said of the text; every figure is of one sequence, greedy.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import lamina
import lamina.core as mx
from lamina import _core

SIZES = {
    "tiny": {"hidden_size": 256, "num_hidden_layers": 4, "intermediate_size": 1024,
             "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 4096},
    "1b": {"hidden_size": 2048, "num_hidden_layers": 16, "intermediate_size": 8192,
           "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256},
    "8b": {"hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14336,
           "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256},
}  # fmt: skip
COMMON = {"rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": True}


def rates(step: Callable[[], Any], prompt: int, tokens: int) -> tuple[float, float]:
    """Tokens a second of the prompt and of what follows. `step` gives an iterator over tokens."""
    start = time.perf_counter()
    made = iter(step())
    next(made)
    first = time.perf_counter()
    for _ in range(tokens - 1):
        next(made)
    end = time.perf_counter()
    return prompt / (first - start), (tokens - 1) / (end - first)


def in_lamina(size: dict[str, int], bits: int, prompt: int, tokens: int) -> tuple[float, float]:
    lamina.install_as_mlx()
    import lamina.nn as nn
    from lamina.utils import tree_map
    from mlx_lm.generate import generate_step
    from mlx_lm.models import llama

    model = llama.Model(llama.ModelArgs(model_type="llama", **size, **COMMON))
    model.update(tree_map(lambda p: p.astype(mx.bfloat16), model.parameters()))
    if bits < 16:
        nn.quantize(model, group_size=64, bits=bits)
    mx.eval(model.parameters())
    ids = mx.random.randint(0, size["vocab_size"], (prompt,))

    def step() -> Any:
        return (int(token) for token, _ in generate_step(ids, model, max_tokens=tokens + 1))

    rates(step, prompt, 16)
    return rates(step, prompt, tokens)


def in_torch(size: dict[str, int], compiled: bool, prompt: int, tokens: int) -> tuple[float, float]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, StaticCache

    torch.manual_seed(0)
    config = LlamaConfig(**size, **COMMON, max_position_embeddings=prompt + tokens + 32)
    with torch.device("cuda"):
        model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    forward: Any = model.forward
    if compiled:
        forward = torch.compile(model.forward, mode="reduce-overhead")
    ids = torch.randint(0, size["vocab_size"], (1, prompt), device="cuda")

    @torch.no_grad()
    def step() -> Any:
        cache: Any = None
        if compiled:
            cache = StaticCache(config=config, max_cache_len=prompt + tokens + 32)
        at = torch.arange(prompt, device="cuda")
        out = model(ids, past_key_values=cache, cache_position=at, use_cache=True)
        while True:
            token = out.logits[:, -1:].argmax(-1)
            yield int(token)
            at = at[-1:] + 1
            out = forward(
                token.clone(),
                past_key_values=out.past_key_values,
                cache_position=at,
                use_cache=True,
            )

    rates(step, prompt, 16)
    return rates(step, prompt, tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--bits", type=int, nargs="+", default=[16, 4])
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--torch", action="store_true", help="PyTorch beside it")
    options = parser.parse_args()
    _core._set_default_device(_core._device_named(options.device))
    size = SIZES[options.size]
    print(f"`{' '.join(['python', '-m', 'benchmarks.generation', *sys.argv[1:]])}`\n")
    print("| | prompt tokens/s | tokens/s |\n|---|---|---|", flush=True)
    for bits in options.bits:
        first, then = in_lamina(size, bits, options.prompt, options.tokens)
        print(f"| lamina, mlx-lm, {bits} bits | {first:.0f} | {then:.1f} |", flush=True)
    for compiled in (False, True) if options.torch else ():
        name = "compiled, static cache" if compiled else "eager"
        try:
            first, then = in_torch(size, compiled, options.prompt, options.tokens)
            print(
                f"| PyTorch, transformers, {name}, 16 bits | {first:.0f} | {then:.1f} |", flush=True
            )
        except Exception as error:
            print(f"| PyTorch, transformers, {name} | {type(error).__name__}: {error} | |"[:300])


if __name__ == "__main__":
    main()

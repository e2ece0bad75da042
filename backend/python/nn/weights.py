"""Reading, writing and checking the weights of a module."""

from __future__ import annotations

import os
from typing import Any

import lamina.core as mx
from lamina._io import save_archive

Weights = dict[str, mx.array]


def save(file: str | os.PathLike[str], weights: Weights) -> None:
    """Write `weights` to a ``.npz`` or ``.safetensors`` file, chosen by the name's ending.

    Raises:
        ValueError: another ending.

    """
    name = os.fspath(file)
    if name.endswith(".safetensors"):
        mx.save_safetensors(name, weights)
        return
    if not name.endswith(".npz"):
        raise ValueError(f"save_weights: expected a .npz or .safetensors file, got {name!r}")
    save_archive(name, weights)


def load(
    source: str | os.PathLike[str] | Weights | list[tuple[str, mx.array]],
) -> list[tuple[str, mx.array]]:
    """The (path, array) pairs of a file, or of a list or dict of weights."""
    if isinstance(source, (str, os.PathLike)):
        return list(mx.load(os.fspath(source)).items())
    return list(source.items()) if isinstance(source, dict) else list(source)


def check(where: str, current: Weights, weights: list[tuple[str, Any]]) -> None:
    """Raise ValueError unless `weights` has exactly the names and shapes of `current`."""
    new = dict(weights)
    problems = []
    missing = sorted(current.keys() - new.keys())
    if missing:
        problems.append(f"missing {len(missing)} parameters: {', '.join(missing)}")
    unexpected = sorted(new.keys() - current.keys())
    if unexpected:
        problems.append(f"unexpected {len(unexpected)} parameters: {', '.join(unexpected)}")
    wrong = []
    for name, value in new.items():
        if name not in current:
            continue
        if not isinstance(value, mx.array):
            wrong.append(f"{name} expected an array, got {type(value).__name__}")
        elif tuple(value.shape) != tuple(current[name].shape):
            wrong.append(f"{name} expected {tuple(current[name].shape)}, got {tuple(value.shape)}")
    if wrong:
        problems.append(f"wrong shape or type: {'; '.join(wrong)}")
    if problems:
        raise ValueError(f"{where}: load_weights: " + "\n".join(problems))

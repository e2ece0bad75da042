"""The layers of `lamina.nn` under `mlx.nn`'s longer path."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    import lamina.nn

    try:
        return getattr(lamina.nn, name)
    except AttributeError:
        raise AttributeError(f"module 'lamina.nn.layers' has no attribute {name!r}") from None

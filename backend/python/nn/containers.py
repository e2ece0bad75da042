"""Sequential: modules called one after the other."""

from __future__ import annotations

from typing import Any

from lamina.nn.module import Module


class Sequential(Module):
    """Calls `modules` in order, each on the result of the one before. Functions are welcome too."""

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        self.layers = list(modules)

    def __call__(self, x: Any) -> Any:
        for layer in self["layers"]:
            x = layer(x)
        return x

"""Lazy, differentiable arrays after `mlx.core`, whose every evaluation can be looked into."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

__all__ = [
    "core",
    "debug",
    "include_dir",
    "install_as_mlx",
    "library",
    "load_ipython_extension",
    "nn",
    "optimizers",
    "primitives",
    "profile",
    "utils",
]

_LAZY = {
    "core": "lamina.core",
    "nn": "lamina.nn",
    "optimizers": "lamina.optimizers",
    "primitives": "lamina.primitives",
    "utils": "lamina.utils",
    "workbench": "lamina.workbench",
    "widgets": "lamina.widgets",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _LAZY:
        return importlib.import_module(_LAZY[name])
    if name in ("include_dir", "library"):
        return getattr(importlib.import_module("lamina.primitives"), name)
    if name == "debug":
        return importlib.import_module("lamina._debug").debug
    if name == "install_as_mlx":
        return importlib.import_module("lamina._mlx").install_as_mlx
    if name == "profile":
        return importlib.import_module("lamina.workbench").profile
    if name == "Recording":
        return importlib.import_module("lamina.workbench").Recording
    raise AttributeError(f"module 'lamina' has no attribute {name!r}")


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext lamina` registers the magics."""
    from lamina.workbench import load_ipython_extension as load

    load(shell)

"""lamina under MLX's names, so that programs written for MLX run unmodified."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence

# Modules of MLX that lie elsewhere here.
_MOVED = {
    "core.random": "_random",
    "core.fast": "fast",
    "core.linalg": "linalg",
    "core.fft": "fft",
    "core.distributed": "distributed",
    "core.metal": "metal",
    "core.cuda": "cuda",
    "nn.layers.activations": "nn.activations",
    "nn.layers.base": "nn.module",
    "nn.layers.containers": "nn.containers",
    "nn.layers.convolution": "nn.convolution",
    "nn.layers.convolution_transpose": "nn.convolution",
    "nn.layers.dropout": "nn.dropout",
    "nn.layers.embedding": "nn.embedding",
    "nn.layers.linear": "nn.linear",
    "nn.layers.normalization": "nn.norm",
    "nn.layers.pooling": "nn.pooling",
    "nn.layers.positional_encoding": "nn.positional",
    "nn.layers.quantized": "nn.quantized",
    "nn.layers.recurrent": "nn.recurrent",
    "nn.layers.transformer": "nn.transformer",
    "nn.layers.upsample": "nn.upsample",
    "optimizers.optimizers": "optimizers",
    "optimizers.schedulers": "optimizers.schedulers",
}
# Those that a compiled extension registers as it is imported.
_INSIDE_CORE = [name for name in _MOVED if name.startswith("core.")]


class _Loader(importlib.abc.Loader):
    """Gives a module that is loaded already, under another name."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return self._module

    def exec_module(self, module: types.ModuleType) -> None:
        # The import system has put the new name's spec there.
        module.__spec__ = self._spec


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `mlx.x` where `lamina.x`, or what stands for it, is."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith("mlx."):
            return None
        module = _counterpart(fullname.removeprefix("mlx."))
        if module is None:
            return None
        return importlib.machinery.ModuleSpec(
            fullname, _Loader(module), is_package=hasattr(module, "__path__")
        )


def _counterpart(name: str) -> types.ModuleType | None:
    """The module of lamina for `mlx.<name>`, if there is one."""
    known = f"lamina.{_MOVED.get(name, name)}"
    try:
        return importlib.import_module(known)
    except ModuleNotFoundError as error:
        if error.name is not None and known.startswith(error.name):
            return None
        raise


def install_as_mlx() -> None:
    """From now on `mlx.core`, `mlx.nn`, `mlx.optimizers` and `mlx.utils` are lamina's.

    Call it before anything imports MLX; again, it does nothing.

    Raises:
        ImportError: MLX itself has been imported already.

    """
    present = sys.modules.get("mlx")
    if present is not None and getattr(present, "_lamina", False):
        return
    imported = sorted(name for name in sys.modules if name.split(".")[0] == "mlx")
    if imported:
        raise ImportError(
            f"install_as_mlx: {imported[-1]} has been imported already\n"
            "Call it first, or start the program with: python -m lamina MODULE ARGS"
        )
    top = types.ModuleType("mlx", "lamina under MLX's names.")
    top.__path__ = []
    top.__spec__ = importlib.machinery.ModuleSpec("mlx", None, is_package=True)
    top._lamina = True  # type: ignore[attr-defined]
    sys.modules["mlx"] = top
    sys.meta_path.insert(0, _Finder())
    for name in ("core", "nn", "optimizers", "utils"):
        importlib.import_module(f"mlx.{name}")
    for name in _INSIDE_CORE:
        module = _counterpart(name)
        if module is not None:
            sys.modules[f"mlx.{name}"] = module

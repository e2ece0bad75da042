"""Peers, imported where they are installed. What is missing is said, not passed over."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any

# Before any of them is imported: all use the same number of threads.
THREADS = int(os.environ.get("LAMINA_NUM_THREADS", 0)) or len(os.sched_getaffinity(0))
for variable in ("LAMINA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(THREADS)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if THREADS == 1:
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

missing: dict[str, str] = {}


def _import(name: str, label: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken installation is missing too
        missing[label] = f"{type(error).__name__}: {error}".splitlines()[0]
        return None


torch: Any = _import("torch", "PyTorch")
jax: Any = _import("jax", "JAX")
mlx: Any = _import("mlx.core", "MLX")
if torch is not None:
    torch.set_num_threads(THREADS)


def version(module: ModuleType | None) -> str:
    return getattr(module, "__version__", "?") if module is not None else "missing"


def versions() -> dict[str, str]:
    import lamina
    import numpy

    out = {"lamina": lamina.__version__, "numpy": numpy.__version__}
    for label, module in (("torch", torch), ("jax", jax)):
        out[label] = version(module)
    try:
        from importlib.metadata import version as installed

        out["mlx"] = installed("mlx") if mlx is not None else "missing"
    except Exception:
        out["mlx"] = "?"
    return out


def compiled(function: Any) -> Any:
    """torch.compile of the function, tried once on nothing; None where it cannot work."""
    if torch is None:
        return None
    try:
        return torch.compile(function, fullgraph=True)
    except Exception as error:
        missing["torch.compile"] = str(error).splitlines()[0]
        return None

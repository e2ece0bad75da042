"""Metal kernels without a Mac: compiled from their source, run on threads, checked and counted.

    >>> library = soft_metal.Library(source)
    >>> counts = library.pipeline("saxpy").run({0: x, 1: y}, grid=x.size, group=256)

Buffers are NumPy arrays, by argument index; `bytes` are passed as `setBytes` would. A broken rule
of Metal raises `DeviceError`, whose `rule`, `kernel`, `buffer` and `thread` say which and where.
It is part of builds for Linux; elsewhere `available()` is False.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from lamina import _core

_HERE = hasattr(_core, "MetalLibrary")


def _absent(*_args: Any, **_options: Any) -> Any:
    raise _core.DeviceError(
        "soft_metal: this build has none, it runs on Linux only; on a Mac use the device: mx.gpu"
    )


Library: Any = _core.MetalLibrary if _HERE else _absent
Pipeline: Any = _core.MetalPipeline if _HERE else _absent
Encoder: Any = _core.MetalEncoder if _HERE else _absent

__all__ = ["Encoder", "Library", "Pipeline", "available", "take_counts"]


def _find_compiler() -> str:
    spec = importlib.util.find_spec("ziglang")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for name in ("zig", "zig.exe"):
            if (Path(folder) / name).exists():
                return str(Path(folder) / name)
    return ""


if _HERE:
    _core._metal_compiler_finder(_find_compiler)


def available() -> bool:
    """Whether a compiler for kernels is there (`pip install "lamina[softmetal]"`)."""
    return _HERE and bool(_core._metal_compiler())


def take_counts() -> dict[str, dict[str, Any]]:
    """What kernels of the device `soft_metal` cost since the last call: counts by kernel's name.

    `launches` says how often a kernel ran; the others are those of `Pipeline.run`, summed.
    """
    return _core._metal_take_counts() if _HERE else {}

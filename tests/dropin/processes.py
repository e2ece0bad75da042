"""Programs in processes of their own, with the packages of this one."""

from __future__ import annotations

import os
import sys
from typing import Any


def environment() -> dict[str, str]:
    """Nothing is fetched; the packages are those of this process."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONIOENCODING": "utf-8",
    }


def python(*arguments: Any) -> list[str]:
    return [sys.executable, *map(str, arguments)]

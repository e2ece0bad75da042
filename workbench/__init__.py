"""The workbench: record what evaluations do, keep it, explain it.

``Recording`` and everything in ``lamina.workbench.analysis`` need numpy alone; only ``profile``
and the magics talk to the engine, and only once they run.
"""

from __future__ import annotations

from typing import Any

from .export import to_dot
from .plan import Plan
from .profile import profile
from .recording import Recording

__all__ = ["Plan", "Recording", "load_ipython_extension", "profile", "to_dot"]


def load_ipython_extension(shell: Any) -> None:
    """Register the magics with an IPython shell; IPython is needed for nothing else."""
    from .magics import load_ipython_extension as load

    load(shell)

"""The workbench: record what evaluations do, keep it, explain it.

``Recording`` and everything in ``lamina.workbench.analysis`` need numpy alone; only ``profile``
and the magics talk to the engine, and only once they run.
"""

from .export import to_dot
from .plan import Plan
from .profile import profile
from .recording import Recording

__all__ = ["Plan", "Recording", "profile", "to_dot"]

"""Pure functions from a Recording to plain data; each result has ``to_dict()`` and ``str()``."""

from .fusion import EdgeCost, Fusion, explain, fusion
from .kernels import Kernel, Kernels, kernels
from .memory import Buffer, Memory, Peak, PeakPart, memory
from .roofline import Roofline, RooflinePoint, roofline
from .timeline import Span, Timeline, Totals, timeline
from .traffic import Ledger, PlanTraffic, traffic

__all__ = [
    "Buffer",
    "EdgeCost",
    "Fusion",
    "Kernel",
    "Kernels",
    "Ledger",
    "Memory",
    "Peak",
    "PeakPart",
    "PlanTraffic",
    "Roofline",
    "RooflinePoint",
    "Span",
    "Timeline",
    "Totals",
    "explain",
    "fusion",
    "kernels",
    "memory",
    "roofline",
    "timeline",
    "traffic",
]

"""Pure functions from a Recording to plain data; each result has ``to_dict()`` and ``str()``."""

from .compiled import Compiled, compiled
from .counters import Counted, Counters, counters
from .fusion import EdgeCost, Fusion, explain, fusion
from .kernel_text import KernelText, KernelTexts, kernel_text
from .kernels import Kernel, Kernels, kernels
from .memory import Buffer, Memory, Peak, PeakPart, memory
from .roofline import Roofline, RooflinePoint, roofline
from .timeline import Span, Timeline, Totals, timeline
from .traffic import Ledger, PlanTraffic, traffic
from .transfers import TransferCost, Transfers, transfers

__all__ = [
    "Buffer",
    "Compiled",
    "Counted",
    "Counters",
    "EdgeCost",
    "Fusion",
    "Kernel",
    "KernelText",
    "KernelTexts",
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
    "TransferCost",
    "Transfers",
    "compiled",
    "counters",
    "explain",
    "fusion",
    "kernel_text",
    "kernels",
    "memory",
    "roofline",
    "timeline",
    "traffic",
    "transfers",
]

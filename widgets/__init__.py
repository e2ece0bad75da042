"""Views of recordings in the notebook; they draw what ``lamina.workbench`` found out."""

from .graph import GraphView
from .latency import LatencyView
from .memory import MemoryView
from .profile import ProfileView
from .static import twin as static_twin

__all__ = ["GraphView", "LatencyView", "MemoryView", "ProfileView", "static_twin"]

"""The memory view alone."""

from __future__ import annotations

import traitlets

from .base import View


class MemoryView(View):
    """Live bytes over time by category, and the peak explained."""

    view = traitlets.Unicode("memory").tag(sync=True)

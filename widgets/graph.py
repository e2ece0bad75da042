"""The graph view alone."""

from __future__ import annotations

import traitlets

from .base import View


class GraphView(View):
    """Graph and fusion: what became one kernel, what did not, and why."""

    view = traitlets.Unicode("graph").tag(sync=True)

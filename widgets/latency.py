"""The latency view alone."""

from __future__ import annotations

import traitlets

from .base import View


class LatencyView(View):
    """Timeline of evaluations and launches, and a table of kernels."""

    view = traitlets.Unicode("latency").tag(sync=True)

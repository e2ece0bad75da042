"""The composed view that the magics show: headline figures, and the three views as tabs."""

from __future__ import annotations

from .base import View


class ProfileView(View):
    """Graph and fusion, memory, latency of one recording, linked by selection."""

"""How a recording shows itself: the interactive view where widgets work, the report everywhere."""

from __future__ import annotations

import sys
from typing import Any

from .recorder import Sink
from .recording import Recording
from .report import html, text

NO_WIDGET = "interactive views need anywidget: pip install 'lamina[lab]'"


def in_notebook() -> bool:
    """Whether output goes to a Jupyter front end, which alone can draw a widget."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


def mimebundle(recording: Recording) -> dict[str, Any]:
    """Plain text and script-free HTML always; in a notebook the view with its own static twin."""
    bundle: dict[str, Any] = {"text/plain": text(recording)}
    note = ""
    if in_notebook():
        view, note = _view(recording)
        if view is not None:
            shown = view._repr_mimebundle_()
            data = shown[0] if isinstance(shown, tuple) else shown
            return {**bundle, "text/html": html(recording), **(data or {})}
    if note:
        bundle["text/plain"] += "\n" + note
    return {**bundle, "text/html": html(recording, note)}


def live_view(say_why_not: bool = True) -> Sink | None:
    """A view on screen that a recorder can feed; None without a notebook or anywidget."""
    if not in_notebook():
        return None
    view, note = _view(None)
    if view is None:
        if say_why_not:
            print(note, file=sys.stderr)
        return None
    view.show()
    sink: Sink = view
    return sink


def _view(recording: Recording | None) -> tuple[Any, str]:
    """A ProfileView, or None and one line that says why not."""
    try:
        from lamina.widgets import ProfileView
    except ImportError as error:
        if error.name in ("anywidget", "ipywidgets", "traitlets"):
            return None, NO_WIDGET
        return None, f"interactive views could not be loaded: {error}"
    return ProfileView(recording), ""

"""How a recording shows itself: the interactive view where widgets work, the report everywhere."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from .ceilings import ceilings
from .recorder import Recorder, Sink
from .recording import Events, Recording
from .report import html, text

NO_WIDGET = "interactive views need anywidget: pip install 'lamina[lab]'"


def in_notebook() -> bool:
    """Whether output goes to a Jupyter front end, which alone can draw a widget."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


def mimebundle(recording: Recording) -> dict[str, Any]:
    """Plain text and script-free HTML; in a notebook the picture with them.

    Never the view: a host that finds a dead view in an output shows an error in place of what else
    that output holds.  ``show`` gives it an output of its own.
    """
    bundle: dict[str, Any] = {"text/plain": text(recording)}
    note = ""
    if in_notebook():
        widgets, note = _widgets()
        if widgets is not None:
            return {**bundle, **widgets.static_twin(recording).bundle()}
    if note:
        bundle["text/plain"] += "\n" + note
    return {**bundle, "text/html": html(recording, note)}


def show(recording: Recording) -> None:
    """Put a recording on screen, from inside a running cell: the view, then its static twin."""
    from IPython.display import display, publish_display_data

    view = _view(recording)[0] if in_notebook() else None
    if view is not None:
        display(view)
    else:
        publish_display_data(mimebundle(recording))


class LiveView:
    """A view on screen and the stream that feeds it; see widgets/PROTOCOL.md for what travels."""

    def __init__(self, view: Any) -> None:
        from IPython.display import display
        from lamina.widgets.wire import Stream

        # Prepared here, before the clock runs.
        self._make_stream = Stream
        self._rates = ceilings(measure_if_missing=False)
        self._view = view
        self._stream: Any = None
        self._display = display
        display(view)

    def begin(self, recorder: Recorder) -> None:
        rates = self._rates
        self._stream = self._make_stream(self._view.send_frames, t_origin=recorder.t0)
        self._stream.meta(
            title=recorder.title,
            device="",
            machine={**recorder.core._machine(), "devices": recorder.core._device_names()},
            bandwidth=rates.bandwidth_gbs * 1e9 if rates else None,
            flops=rates.peak_gflops * 1e9 if rates else None,
            reasons=dict(recorder.core._fusion_reasons()),
            active_bytes=recorder.memory_start.active,
            live=True,
        )

    def plan(self, description: Mapping[str, Any]) -> None:
        self._stream.plan(description)

    def origins(self, list_id: int, ids: Sequence[int], table: Mapping[int, Any]) -> None:
        self._stream.origins(list_id, ids, table)

    def events(self, events: Events, dropped: int) -> None:
        self._stream.events(events, dropped)

    def tick(self) -> None:
        self._stream.flush()

    def finish(self, recording: Recording) -> None:
        """Complete the view; shown a second time, it adds its static twin to the cell's output."""
        self._view.finish(recording)
        self._display(self._view)


def live_view(say_why_not: bool = True) -> Sink | None:
    """A view on screen that a recorder can feed; None without a notebook or anywidget."""
    if not in_notebook():
        return None
    view, note = _view(None)
    if view is None:
        if say_why_not:
            print(note, file=sys.stderr)
        return None
    return LiveView(view)


def _view(recording: Recording | None) -> tuple[Any, str]:
    """A ProfileView, or None and one line that says why not."""
    widgets, note = _widgets()
    return (widgets.ProfileView(recording) if widgets is not None else None), note


def _widgets() -> tuple[Any, str]:
    """``lamina.widgets``, or None and one line that says why not."""
    try:
        import lamina.widgets as widgets
    except ImportError as error:
        if error.name in ("anywidget", "ipywidgets", "traitlets"):
            return None, NO_WIDGET
        return None, f"interactive views could not be loaded: {error}"
    return widgets, ""

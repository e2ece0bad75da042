"""How a recording shows itself: the live view where widgets work, the static report everywhere."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from .recorder import Recorder
from .recording import Events, Recording
from .report import html, text

NO_WIDGET = "interactive views need anywidget: pip install 'lamina[lab]'"
FLUSH_EVERY_NS = 100_000_000


def in_notebook() -> bool:
    """Whether output goes to a Jupyter front end, which alone can draw a widget."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


def mimebundle(recording: Recording, view: Any = None) -> dict[str, Any]:
    """Plain text and script-free HTML always; the view of ``lamina.widgets`` in a notebook.

    ``view`` is a view already on screen, shown again rather than made anew.
    """
    bundle: dict[str, Any] = {"text/plain": text(recording)}
    note = ""
    if in_notebook():
        view, note = (view, "") if view is not None else _view(recording)
        if view is not None:
            shown = view._repr_mimebundle_()
            data = shown[0] if isinstance(shown, tuple) else shown
            bundle = {**(data or {}), "text/plain": bundle["text/plain"]}
    if note:
        bundle["text/plain"] += "\n" + note
    bundle.setdefault("text/html", html(recording, note))
    return bundle


def _view(recording: Recording | None) -> tuple[Any, str]:
    """A ProfileView, or None and one line that says why not."""
    try:
        from lamina.widgets import ProfileView
    except ImportError as error:
        if error.name in ("anywidget", "ipywidgets", "traitlets"):
            return None, NO_WIDGET
        return None, f"interactive views could not be loaded: {error}"
    return ProfileView(recording) if recording is not None else ProfileView(), ""


class LiveView:
    """A view on screen and the stream that feeds it, at most ten times a second.

    ``note`` says in one line why there is no view; feeding then does nothing.
    """

    def __init__(self, title: str = "") -> None:
        self.view, self.note = _view(None)
        self.title = title
        self._stream: Any = None
        self._flushed = 0
        self._handle: Any = None

    @property
    def shown(self) -> bool:
        return self._handle is not None

    def show(self) -> None:
        """Put the view into the current cell's output, before the code runs."""
        from IPython.display import DisplayHandle

        if self.view is not None:
            self._handle = DisplayHandle()
            self._handle.display(self.view)

    def begin(self, recorder: Recorder) -> None:
        if self.view is None:
            return
        from lamina.widgets.wire import Stream

        from .ceilings import ceilings

        rates = ceilings(measure_if_missing=False)
        self._stream = Stream(self.view.send_frames, t_origin=recorder.now())
        self._stream.meta(
            title=self.title,
            device="",
            machine=recorder.core._machine(),
            bandwidth=rates.bandwidth_gbs * 1e9 if rates else None,
            flops=rates.peak_gflops * 1e9 if rates else None,
            reasons=dict(recorder.core._fusion_reasons()),
        )
        self._stream.flush()

    def plan(self, description: Mapping[str, Any]) -> None:
        if self._stream is not None:
            self._stream.plan(description)

    def origins(self, list_id: int, ids: Sequence[int], table: Mapping[int, Any]) -> None:
        if self._stream is not None:
            self._stream.origins(list_id, ids, table)

    def events(self, events: Events, dropped: int) -> None:
        if self._stream is not None:
            self._stream.events(events, dropped=dropped)

    def tick(self, now: int) -> None:
        if self._stream is not None and now - self._flushed >= FLUSH_EVERY_NS:
            self._flushed = now
            self._stream.flush()

    def finish(self, recording: Recording) -> None:
        """Send what is left and the analysis; the saved notebook then gets the static twin."""
        if self.view is None:
            return
        if self._stream is not None:
            self._stream.flush()
        self.view.finish(recording)
        if self._handle is not None:
            self._handle.update(mimebundle(recording, self.view), raw=True)


def live_view(title: str = "") -> LiveView:
    """A live view, on screen where there is a notebook and anywidget; else it says so in a line."""
    live = LiveView(title)
    if not in_notebook():
        live.view = None
    elif live.note:
        print(live.note, file=sys.stderr)
    else:
        live.show()
    return live

"""What all views share: the bundle, the frames sent so far, the answer to a view that came late."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from . import static, wire

if TYPE_CHECKING:
    from lamina.workbench.recording import Recording

STATIC = Path(__file__).parent / "static"
# Most bytes of frames kept for late views; beyond it the oldest timeline rows are let go.
MAX_KEPT_BYTES = 64 << 20
SHOWN_BELOW = "The interactive view needs a running kernel: run the cell again. As it was recorded:"

NO_BUNDLE = """
export default { render({ el }) {
  el.textContent = "lamina: the bundle of the views is missing. " +
    "Build it: cd widgets && npm ci && npm run build";
} };
"""


def _read(name: str, otherwise: str) -> str:
    path = STATIC / name
    return path.read_text(encoding="utf-8") if path.is_file() else otherwise


class View(anywidget.AnyWidget):
    """A view of one recording, finished or running.

    recording: a finished recording, shown whole.  Without one the view is live: it is fed by a
    ``wire.Stream`` that sends through ``send_frames``, and closed by ``finish``.  Both may be
    called from any thread, one at a time.
    """

    _esm = _read("lamina.js", NO_BUNDLE)
    _css = _read("lamina.css", "")

    view = traitlets.Unicode("profile").tag(sync=True)
    uid = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int(520).tag(sync=True)
    snapshot = traitlets.Bytes().tag(sync=True)

    def __init__(self, recording: Recording | None = None, **kwargs: Any) -> None:
        self._lock = threading.Lock()
        self._frames: list[wire.Frame] = []
        self._kept_bytes = 0
        self._recording = recording
        self._twin: static.Twin | None = None
        self._shown_live = False
        self._next = 0
        if recording is not None:
            self._keep(self._numbered(wire.encode_recording(recording)))
            kwargs["snapshot"] = wire.pack_snapshot(self._frames)
        super().__init__(uid=uuid.uuid4().hex, **kwargs)
        self.on_msg(self._answer)

    @property
    def recording(self) -> Recording | None:
        """The finished recording; None while it runs."""
        return self._recording

    def finish(self, recording: Recording) -> None:
        """Send the analysis and close the stream; from now on there is a static twin."""
        self._recording = recording
        stream = wire.Stream(self.send_frames, recording.window[0])
        wire.finish(stream, recording)
        stream.flush()

    def send_frames(self, frames: list[wire.Frame]) -> None:
        """Number frames, send them to the views that exist, keep them for those to come."""
        with self._lock:
            frames = self._numbered(frames)
            self._keep(frames)
        self.send({"lamina": 1}, buffers=frames)

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """State for a view; a view that asks for all of it gets the frames sent until now."""
        state: dict[str, Any] = super().get_state(key=key, drop_defaults=drop_defaults)
        if "snapshot" in state:
            with self._lock:
                state["snapshot"] = wire.pack_snapshot(self._frames)
        return state

    def _numbered(self, frames: Sequence[wire.Frame]) -> list[wire.Frame]:
        first = self._next
        self._next += len(frames)
        return [wire.numbered(one, first + i) for i, one in enumerate(frames)]

    def _keep(self, frames: list[wire.Frame]) -> None:
        self._frames += frames
        self._kept_bytes += sum(map(len, frames))
        if self._kept_bytes <= MAX_KEPT_BYTES:
            return
        for i, old in enumerate(self._frames):
            if wire.kind_of(old) in wire.DISPENSABLE and len(old) > wire.HEADER.size:
                # Its number stays, or a late view would wait for it.
                self._frames[i] = wire.numbered(wire.frame(wire.kind_of(old), 0), wire.seq_of(old))
                self._kept_bytes -= len(old) - wire.HEADER.size
                if self._kept_bytes <= MAX_KEPT_BYTES * 3 // 4:
                    return

    def _answer(self, _: Any, content: Any, __: Any) -> None:
        """A view lost frames: send again what it lacks."""
        if not isinstance(content, dict) or content.get("lamina") != 1:
            return
        first = int(content.get("resend_from", 0))
        with self._lock:
            frames = [one for one in self._frames if wire.seq_of(one) >= first]
        if frames:
            self.send({"lamina": 1}, buffers=frames)

    def twin(self) -> static.Twin | None:
        """Text, HTML and PNG of the recording; None while it runs."""
        if self._twin is None and self._recording is not None:
            self._twin = static.twin(self._recording, self.view, self.uid)
        return self._twin

    def _ipython_display_(self) -> None:
        """Show the view, and its static twin as an output of its own, which a live view hides.

        Were both in one output, a host that knows widgets would show an error in place of the twin
        when the notebook is opened again; so it shows the twin, which takes that error line away.
        A view shown while it ran gets its twin when it is shown again after ``finish``.
        """
        import IPython.display

        display: Callable[..., None] = IPython.display.display
        twin = self.twin()
        if twin is None or not self._shown_live:
            data, metadata = super()._repr_mimebundle_() or ({}, {})
            display({**data, "text/plain": SHOWN_BELOW}, metadata=metadata, raw=True)
        if twin is not None:
            display(twin.bundle(), raw=True)
        self._shown_live = twin is None

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """View and twin in one bundle, for hosts that take no more than one."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        twin = self.twin()
        if twin is None:
            return {**data, "text/plain": SHOWN_BELOW}, metadata
        return {**data, **twin.bundle()}, metadata

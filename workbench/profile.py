"""``with lamina.profile() as p:`` records what the body evaluates into ``p.recording``."""

from __future__ import annotations

import contextlib
import inspect
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any

from .display import live_view
from .recorder import Recorder, Sink
from .recording import Failure, Lap, Recording, SourceCell

_running: profile | None = None
_lock = threading.Lock()


class profile:  # noqa: N801 (reads as the statement it is used in)
    """Record every evaluation of the body, on all threads of this process.

    The engine has one trace, so profiles do not nest: entering a second one is a RuntimeError and
    leaves the first undisturbed.  A body that raises still leaves its recording up to there;
    the exception goes on unchanged.

    view: a live view that is on screen already.
    title: shown in reports and views.
    live: show a view in the notebook that follows the run (needs anywidget).
    ceilings: measure the machine's bandwidth and peak when they are not known yet (a second,
        once per machine, after the body).
    """

    def __init__(
        self,
        title: str = "",
        *,
        live: bool = False,
        ceilings: bool = True,
        view: Sink | None = None,
    ) -> None:
        self._title = title
        self._live = live
        self._view = view
        self._ceilings = ceilings
        self._recorder: Recorder | None = None
        self._recording: Recording | None = None
        self.cells: Sequence[SourceCell] = ()
        self.laps: list[Lap] = []
        self._frame: FrameType | None = None
        self.variables: Mapping[str, Any] | None = None

    @property
    def recording(self) -> Recording:
        """What was recorded.  RuntimeError before the body has ended."""
        if self._recording is None:
            raise RuntimeError("profile: the recording is there once the 'with' body has ended")
        return self._recording

    def __enter__(self) -> profile:
        global _running
        self._frame = _callers_frame()
        with _lock:
            check_free()
            _running = self
        try:
            self._recording = None
            if self._live and self._view is None:
                self._view = live_view()
            self._recorder = Recorder(self._title, self._view)
            self._recorder.start(self._spaces)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._recorder is not None
        try:
            self._recording = self._recorder.stop(
                self.cells, describe_failure(error), self.laps, self._ceilings
            )
        finally:
            self._recorder = None
            self._frame = None
            self._release()
        if self._view is not None:
            try:
                self._view.finish(self._recording)
            except Exception as fault:  # a view's fault must not hide the user's exception
                warnings.warn(f"profile: the live view stopped: {fault!r}", stacklevel=2)

    @contextlib.contextmanager
    def _spaces(self) -> Iterator[list[Mapping[str, Any]]]:
        """Where the profiled program keeps its variables."""
        if self.variables is not None or self._frame is None:
            yield [self.variables or {}]
            return
        frame = self._frame
        names = frame.f_locals
        yield [names, frame.f_globals]
        if sys.version_info < (3, 13) and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            # A copy that the frame keeps: it would hold on to arrays that the program lets go.
            names.clear()

    def _release(self) -> None:
        global _running
        with _lock:
            _running = None


def _callers_frame() -> FrameType | None:
    """The frame with the ``with`` statement, also behind an ExitStack."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") == contextlib.__name__:
        frame = frame.f_back
    return frame


def check_free() -> None:
    """RuntimeError while a profile is running."""
    if _running is not None:
        name = f" ({_running._title})" if _running._title else ""
        raise RuntimeError(
            f"profile: another profile is running{name}\n"
            "profiles do not nest: end the outer one first"
        )


def describe_failure(error: BaseException | None) -> Failure | None:
    """The exception as text; None for None."""
    if error is None:
        return None
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    return Failure(type(error).__name__, str(error), "".join(lines))

"""Switches that make mistakes seen at some cost (`lamina.debug`)."""

from __future__ import annotations

from types import TracebackType

from lamina import _core

__all__ = ["debug"]


class _Restored:
    """What `debug` answers: as a context manager it puts the switches back."""

    def __init__(self, before: dict[str, bool]) -> None:
        self._before = before

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _core._check_bounds(self._before["bounds"])

    def __repr__(self) -> str:
        state = ", ".join(f"{name}={_core._check_bounds()}" for name in self._before)
        return f"lamina.debug({state})"


def debug(*, bounds: bool | None = None) -> _Restored:
    """Turn checks on or off for the whole process; what is None stays as it is.

    `bounds`: an index in an array that lies outside of its axis raises BoundsError on every device.
    The CPU always looks; the kernels of a GPU read zero and write nothing instead, unless this is
    on. Each gather and scatter then waits for the device, and plans are made anew when it changes.

    In a ``with`` statement the switches go back to what they were at its end.
    """
    if bounds is not None and not isinstance(bounds, bool):
        raise TypeError(f"debug: bounds must be True, False or None, got {bounds!r}")
    return _Restored({"bounds": _core._check_bounds(bounds)})

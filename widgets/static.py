"""Static twin of the views for readers without a kernel: a PNG, and HTML without scripts.

The PNG sits on a neutral ground so that it reads on light and dark pages.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lamina.workbench.recording import Recording

# Text, HTML (with the picture inside) and the picture again must fit a saved notebook.
MAX_BYTES = 220_000
# JupyterLab puts an error line where a view was whose model is gone: it tells a reader nothing, and
# the twin stands below it.  The view comes right before its twin, or first where it ran live.
DEAD_VIEW = (
    ".jp-OutputArea-child{place}:has(>.lm-Panel.jp-OutputArea-output)"
    ":not(:has(>.jp-OutputArea-output *)):has({next} * .{twin})"
)


@dataclass(frozen=True, eq=False)
class Twin:
    """What a saved notebook keeps of a recording; drawn on first use."""

    recording: Recording
    view: str
    uid: str = ""

    @cached_property
    def text(self) -> str:
        """Plain text summary."""
        from lamina.workbench.report import text

        return str(text(self.recording))

    @cached_property
    def png(self) -> bytes | None:
        """Graph, memory and latency in one picture; None where matplotlib is missing."""
        try:
            from .picture import draw
        except ImportError:
            return None
        # HTML carries it in base64, the bundle once more: 8/3 of its size in all.
        room = (MAX_BYTES - len(self._tables) - len(self.text)) * 3 // 8 - 512
        return draw(self.recording, self.view, room)

    @cached_property
    def _tables(self) -> str:
        from lamina.workbench.report import html

        return str(html(self.recording))

    @cached_property
    def html(self) -> str:
        """Script-free HTML: the picture above the tables; the class lets a live view hide it."""
        name = f"lamina-twin-{self.uid}"
        places = (("", "+"), (":first-child", "~"))
        dead = ",".join(
            DEAD_VIEW.format(place=place, next=next_, twin=name) for place, next_ in places
        )
        picture = ""
        if self.png is not None:
            source = base64.b64encode(self.png).decode()
            picture = (
                "<img alt='Fusion graph, memory and timeline of the recording' "
                f"style='max-width:100%' src='data:image/png;base64,{source}'/>"
            )
        style = f"<style>{dead}{{display:none}}</style>" if self.uid else ""
        return f"<div class='{name}'>{style}{picture}{self._tables}</div>"

    def bundle(self) -> dict[str, str]:
        """Mime type to data, as ``_repr_mimebundle_`` gives it."""
        data = {"text/plain": self.text, "text/html": self.html}
        if self.png is not None:
            data["image/png"] = base64.b64encode(self.png).decode()
        return data


def twin(recording: Recording, view: str = "profile", uid: str = "") -> Twin:
    """The static twin of one view (``profile`` is all three); ``uid`` is that of the view."""
    return Twin(recording, view, uid)

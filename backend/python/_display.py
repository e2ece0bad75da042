"""How an array shows itself in IPython: values once it is evaluated, what it will be before."""

from __future__ import annotations

import sys
from html import escape
from typing import Any

from lamina._core import _is_evaluated


def in_notebook() -> bool:
    """Whether a Jupyter front end shows the output, not a terminal."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def mimebundle(self: Any, include: Any = None, exclude: Any = None) -> dict[str, str]:
    """Text and HTML of an array. In a notebook a lazy one is described and stays lazy.

    A terminal has no second way to show an array, so there it is evaluated, as by `print`.
    """
    if not in_notebook():
        return {"text/plain": repr(self)}
    html = self._repr_html_()
    if not _is_evaluated(self):
        kind = str(self.dtype).rpartition(".")[2]
        return {"text/plain": f"array(shape={self.shape}, dtype={kind}, lazy)", "text/html": html}
    text = repr(self)
    return {"text/plain": text, "text/html": f"{html}<pre>{escape(text)}</pre>"}

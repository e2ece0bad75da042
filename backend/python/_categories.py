"""Tags arrays with the category that memory views group them by."""

from __future__ import annotations

from typing import Any

from lamina.core import _set_category, array

PARAMETER = 1
GRADIENT = 2
OPTIMIZER_STATE = 3


def tag(tree: Any, category: int) -> None:
    """Tag every array of `tree` (nested dicts, lists, tuples) with `category`.

    Other leaves are skipped. Tagging changes no value and forces no evaluation.
    """
    if isinstance(tree, array):
        _set_category(tree, category)
    elif isinstance(tree, dict):
        for value in tree.values():
            tag(value, category)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            tag(value, category)

"""Analyses are pure functions of immutable recordings, so each is computed once a recording."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..recording import Recording

F = TypeVar("F", bound=Callable[..., Any])


def once(analysis: F) -> F:
    """Keep what ``analysis(recording)`` returned with the recording and return it again."""
    key = f"{analysis.__module__}.{analysis.__qualname__}"

    @functools.wraps(analysis)
    def kept(recording: Recording) -> Any:
        results = recording.__dict__.setdefault("_analyses", {})
        if key not in results:
            results[key] = analysis(recording)
        return results[key]

    return cast("F", kept)

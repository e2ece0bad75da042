"""Dropout of elements and of whole channels. Active in training mode only."""

from __future__ import annotations

import lamina.core as mx
from lamina.nn.module import Module


class Dropout(Module):
    """Zeroes each element with probability `p` and scales the others by 1/(1 - p)."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if p < 0 or p >= 1:
            raise ValueError(f"{type(self).__name__}: expected p in [0, 1), got {p}")
        self._p_1 = 1 - p

    def _extra_repr(self) -> str:
        return f"p={round(1 - self._p_1, 12)}"

    def _mask_shape(self, x: mx.array) -> tuple[int, ...]:
        return tuple(x.shape)

    def __call__(self, x: mx.array) -> mx.array:
        if self._p_1 == 1 or not self._training:
            return x
        keep = mx.random.bernoulli(self._p_1, self._mask_shape(x))
        return (1 / self._p_1) * keep * x


class Dropout2d(Dropout):
    """Zeroes whole channels of (N, H, W, C) or (H, W, C) with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def _mask_shape(self, x: mx.array) -> tuple[int, ...]:
        return _channel_mask("Dropout2d", x, 2)


class Dropout3d(Dropout):
    """Zeroes whole channels of (N, D, H, W, C) or (D, H, W, C) with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def _mask_shape(self, x: mx.array) -> tuple[int, ...]:
        return _channel_mask("Dropout3d", x, 3)


def _channel_mask(name: str, x: mx.array, spatial: int) -> tuple[int, ...]:
    if x.ndim not in (spatial + 1, spatial + 2):
        raise ValueError(
            f"{name}: expected {spatial + 1} or {spatial + 2} dimensions, got {tuple(x.shape)}"
        )
    batch = tuple(x.shape[:1]) if x.ndim == spatial + 2 else ()
    return (*batch, *(1,) * spatial, x.shape[-1])

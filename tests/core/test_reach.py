"""Arrays whose largest reachable index is past 2^31."""

from __future__ import annotations

import lamina.core as mx
import numpy as np
import pytest
from arrays import (
    check,
)

# --- past 2^31 ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> tuple[mx.array, np.ndarray]:
    """2^32 + 4096 bytes adopted from a sparse file; a few places are not zero."""
    size = (1 << 32) + 4096
    path = tmp_path_factory.mktemp("huge") / "bytes"
    path.touch()
    with path.open("r+b") as f:
        f.truncate(size)
    a = np.memmap(path, np.int8, "r+", shape=(size,))
    for i in range(0, size, 1 << 28):
        a[i : i + 4] = (1, 2, 3, i >> 28)
    a[-8:] = np.arange(8) + 20
    return mx.asarray(a), a


def test_reach_slices(huge: tuple[mx.array, np.ndarray]) -> None:
    x, a = huge
    for cut in (
        np.s_[:: 1 << 28],
        np.s_[3 :: 1 << 28],
        np.s_[:: -(1 << 28)],
        np.s_[-8:],
        np.s_[-1:-9:-1],
        np.s_[(1 << 32) - 4 : (1 << 32) + 4],
        np.s_[1 << 31 : (1 << 31) + 8],
        np.s_[-8 :: -(1 << 30)],
    ):
        check(x[cut] + 1, a[cut] + 1, context=cut)
        check(mx.sum(x[cut].astype(mx.int32)), a[cut].astype(np.int32).sum())
        check(x[cut], a[cut])


def test_reach_rows(huge: tuple[mx.array, np.ndarray]) -> None:
    """A (16, 2^28) view: rows 2^28 apart, columns cut."""
    x, a = huge
    m, b = mx.reshape(x[: 1 << 32], (16, 1 << 28)), a[: 1 << 32].reshape(16, 1 << 28)
    check(m[:, :4] * 2, b[:, :4] * 2)
    check(mx.sum(m[:, :4].astype(mx.int32), axis=0), b[:, :4].astype(np.int32).sum(0))
    check(mx.max(m[::-3, :4], axis=1), b[::-3, :4].max(1))
    check(mx.argmax(m[:, 3], axis=0), b[:, 3].argmax())
    check(mx.cumsum(m[:, 3].astype(mx.int32)), b[:, 3].astype(np.int32).cumsum())
    check(mx.sort(m[::-1, 3]), np.sort(b[:, 3]))
    f = m[:, :4].astype(mx.float32)
    check(
        mx.matmul(mx.transpose(f), f), b[:, :4].astype(np.float32).T @ b[:, :4].astype(np.float32)
    )
    check(
        mx.concatenate([m[14:, :2], m[:2, 2:4]], axis=1),
        np.concatenate([b[14:, :2], b[:2, 2:4]], 1),
    )


def test_reach_indices(huge: tuple[mx.array, np.ndarray]) -> None:
    x, a = huge
    at = np.array([0, 1 << 28, (1 << 31) + (1 << 28), 1 << 32, -1, -8])
    check(x[mx.array(at)], a[at])
    check(mx.take(x, mx.array(at % a.size)), a[at])
    w = mx.as_strided(x, (5, 4), (1 << 30, 1), 0)
    check(w + 0, np.stack([a[i << 30 : (i << 30) + 4] for i in range(5)]))


def test_reach_broadcast() -> None:
    """Shapes past 2^31 elements over a few bytes of memory."""
    x = mx.arange(4)
    n = (1 << 33) + 4
    rows = mx.broadcast_to(x, (n, 4))
    assert rows.shape == (n, 4)
    check(rows[1 << 32 : (1 << 32) + 3] + 1, np.tile(np.arange(4) + 1, (3, 1)))
    check(rows[-1, ::-1], np.arange(4)[::-1])
    columns = mx.broadcast_to(x[:, None], (4, n))
    check(columns[:, n - 2 :] * 2, np.repeat(np.arange(4)[:, None] * 2, 2, 1))
    check(columns[:, mx.array([n - 1, 0])], np.repeat(np.arange(4)[:, None], 2, 1))
    assert mx.arange(n)[-2:].tolist() == [n - 2, n - 1]

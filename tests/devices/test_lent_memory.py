"""Views of arrays whose memory is a device's, or is read by one."""

from __future__ import annotations

import lamina.core as mx
import numpy as np
import pytest
from present import UNIFIED, recorded

SIZE = 1 << 16


def test_views_of_results(chosen: str) -> None:
    """Of memory that the CPU shares they are the array; of other memory they are copies."""
    x = mx.arange(SIZE).astype(mx.float32) * 2
    v = np.asarray(x)
    assert v[:3].tolist() == [0, 2, 4]
    if chosen not in UNIFIED:
        assert not v.flags.writeable
        with pytest.raises(BufferError, match="it is a copy of the memory of another device"):
            x.__dlpack__(copy=False)
        assert np.from_dlpack(x, copy=True).flags.writeable
        return
    v[1] = -5
    assert (x[:3] + 1).tolist() == [1, -4, 5]


def test_written_memory_is_copied_again(gpu: str) -> None:
    with mx.stream(mx.cpu):
        x = mx.arange(SIZE).astype(mx.float32) * 2
        mx.eval(x)

    def there() -> list[float]:
        return mx.add(x, 1, stream=mx.gpu)[:3].tolist()

    assert there() == [1, 3, 5]
    v = np.asarray(x)
    v[1] = 10
    assert there() == [1, 11, 5]
    v[2] = 20
    assert there() == [1, 11, 21]
    v[0] = 30
    del v
    assert there() == [31, 11, 21]
    if gpu not in UNIFIED:
        with recorded() as record:
            assert there() == there() == [31, 11, 21]
        assert [c for c in record.copies() if c[1] == 0] == []  # what nobody writes is kept

"""The gated delta rule against mlx.core, in every form of its arguments."""

from __future__ import annotations

from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest
from arrays import check, check_derivatives, check_vmap, name_of, rng, to_numpy

SIZES = [(2, 5, 2, 4, 8, 6), (1, 1, 1, 1, 4, 4), (1, 9, 3, 3, 5, 2), (2, 3, 2, 6, 4, 7)]


def given(sizes: tuple[int, ...], wide_gamma: bool = False) -> list[np.ndarray]:
    """q, k, v, gamma, beta, a state and a mask."""
    b, t, hk, hv, dk, dv = sizes
    g = rng(sum(sizes))
    q, k = (g.standard_normal((b, t, hk, dk)) * 0.5 for _ in range(2))
    gamma = g.random((b, t, hv, dk) if wide_gamma else (b, t, hv))
    arrays = [q, k, g.standard_normal((b, t, hv, dv)), gamma, g.random((b, t, hv))]
    state = g.standard_normal((b, hv, dv, dk))
    return [*(a.astype(np.float32) for a in [*arrays, state]), g.random((b, t)) > 0.4]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("extra", ["", "state", "mask", "both", "wide"])
def test_is_mlx(sizes: Any, dtype: str, extra: str) -> None:
    *arrays, state, mask = given(sizes, extra == "wide")
    results = []
    for core in (mx, omx):
        xs = [core.array(a).astype(getattr(core, dtype)) for a in arrays]
        kw: dict[str, Any] = {}
        if extra in ("state", "both"):
            kw["initial_state"] = core.array(state)
        if extra in ("mask", "both"):
            kw["mask"] = core.array(mask)
        results.append(core.fast.gated_delta_update(*xs, **kw))
    loose = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}[dtype]
    for mine, other in zip(*results, strict=True):
        assert name_of(mine) == name_of(other)
        check(mine, to_numpy(other), loose)


def test_transforms() -> None:
    arrays = [mx.array(a, dtype=mx.float64) for a in given((1, 3, 1, 2, 3, 2))[:6]]

    def total(*xs: mx.array) -> mx.array:
        y, s = mx.fast.gated_delta_update(*xs)
        return mx.sum(y * y) + mx.sum(s)

    check_derivatives(total, *arrays, tolerance=1e-5)
    many = [mx.array(np.stack([a, a[::-1]])) for a in given((2, 3, 1, 2, 3, 2))[:5]]
    for part in range(2):
        check_vmap(
            lambda *xs, part=part: mx.fast.gated_delta_update(*xs)[part],
            *many,
            axes=(0,) * 5,
            tolerance=1e-5,
        )


def test_no_steps_and_errors() -> None:
    *arrays, state, mask = (mx.array(a) for a in given((2, 5, 2, 4, 8, 6)))
    y, last = mx.fast.gated_delta_update(*(a[:, :0] for a in arrays), initial_state=state)
    assert y.shape == (2, 0, 4, 6)
    check(last, to_numpy(state), 0)
    wrong: dict[str, tuple[int, mx.array]] = {
        r"k must have shape \(2, 5, 2, 8\), got \(2, 4, 2, 8\)": (1, arrays[1][:, :4]),
        r"gamma must have shape \(2, 5, 4\) or \(2, 5, 4, 8\), got \(2, 5, 1\)": (
            3,
            arrays[3][..., :1],
        ),
        r"the 3 heads of v are no multiple of the 2 of q": (2, arrays[2][:, :, :3]),
        r"q and v need 4 axes, got \(5, 2, 8\)": (0, arrays[0][0]),
    }
    for message, (at, value) in wrong.items():
        bad = [*arrays]
        bad[at] = value
        with pytest.raises(ValueError, match=f"gated_delta_update: {message}"):
            mx.fast.gated_delta_update(*bad)
    with pytest.raises(ValueError, match=r"mask must have shape \(2, 5\), got \(2, 4\)"):
        mx.fast.gated_delta_update(*arrays, mask=mask[:, :4])
    with pytest.raises(ValueError, match=r"initial_state must have shape \(2, 4, 6, 8\)"):
        mx.fast.gated_delta_update(*arrays, initial_state=mx.swapaxes(state, -1, -2))

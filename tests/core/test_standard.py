"""Names of the array API standard that MLX lacks, against NumPy."""

from __future__ import annotations

from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from arrays import check, to_numpy

NUMBERS = [0.0, -0.0, 1.0, -1.5, 1e-40, -3e38, np.inf, -np.inf, np.nan, 5.5]
DTYPES = ["float16", "float32", "float64"]


def pairs(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(over="ignore"):
        values = np.array(NUMBERS, dtype)
    a, b = np.meshgrid(values, values)
    return a.ravel(), b.ravel()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["copysign", "nextafter", "hypot"])
def test_pairs(name: str, dtype: str) -> None:
    a, b = pairs(dtype)
    with np.errstate(all="ignore"):
        want = getattr(np, name)(a, b)
    x, y = mx.array(a, getattr(mx, dtype)), mx.array(b, getattr(mx, dtype))
    got = to_numpy(getattr(mx, name)(x, y))
    if name == "hypot":
        # In 16 bits it is computed in 32; subnormal sizes lose their last bits.
        tolerance = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-14}[dtype]
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=1e-38)
        return
    np.testing.assert_array_equal(got, want)
    # Of equal zeros NumPy gives the first one in 16 bits and the second in others.
    numbers = ~np.isnan(want) & (a != b)
    np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(want[numbers]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_signbit(dtype: str) -> None:
    a, _ = pairs(dtype)
    got = mx.signbit(mx.array(a, getattr(mx, dtype)))
    np.testing.assert_array_equal(to_numpy(got), np.signbit(a))
    assert mx.signbit(mx.array([-0.0, 1.0], mx.bfloat16)).tolist() == [True, False]


def test_nonzero() -> None:
    x = np.array([[0, 2, 0], [1, 0, -1]])
    for got, want in zip(mx.nonzero(mx.array(x)), np.nonzero(x), strict=True):
        assert got.dtype == mx.int64
        check(got, want)
    assert mx.nonzero(mx.array([True, False]))[0].tolist() == [0]
    with pytest.raises(ValueError, match="nonzero: the array has no axes"):
        mx.nonzero(mx.array(1))


@pytest.mark.parametrize("dtype", ["int32", "float32", "bfloat16", "bool_", "complex64"])
def test_unique(dtype: str) -> None:
    x = mx.array([[3, 1, 3], [0, 1, 2]]).astype(getattr(mx, dtype))
    values, indices, inverse, counts = mx.unique_all(x)
    flat = x.flatten()
    assert values.dtype == x.dtype and inverse.shape == x.shape
    assert mx.array_equal(values[inverse], x).item()
    assert mx.array_equal(flat[indices], values).item()
    assert counts.sum().item() == x.size
    assert mx.array_equal(mx.unique_values(x), values).item()
    assert mx.array_equal(mx.unique_counts(x).counts, counts).item()
    assert mx.array_equal(mx.unique_inverse(x).inverse_indices, inverse).item()


def test_every_nan_is_distinct() -> None:
    assert mx.unique_counts(mx.array([mx.nan, 1.0, mx.nan])).counts.tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["copysign", "hypot", "nextafter"])
def test_needs_floating(name: str) -> None:
    x = mx.array([1])
    with pytest.raises(TypeError, match=f"{name}: needs real floating arrays, got int32"):
        getattr(mx, name)(x, x)
    with pytest.raises(TypeError, match=f"{name}: x1 must be an array, got 3"):
        getattr(mx, name)(3, x)


def test_the_library_about_itself() -> None:
    info: Any = mx.__array_namespace_info__()
    assert mx.__array_api_version__ == "2024.12"
    assert info.capabilities()["boolean indexing"] is True
    assert info.default_device() in info.devices()
    assert info.default_dtypes()["real floating"] == mx.float32
    assert info.dtypes(kind="bool") == {"bool": mx.bool_}
    assert set(info.dtypes(kind="unsigned integer")) == {"uint8", "uint16", "uint32", "uint64"}


def test_devices_of_arrays() -> None:
    x = mx.array([1.0])
    assert x.device == mx.default_device() and x.to_device(mx.cpu) is x
    with pytest.raises(TypeError, match=r"to_device: expected a Device, got 'cpu' \(str\)"):
        x.to_device("cpu")

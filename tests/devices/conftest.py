"""Every test here that asks for `gpu` runs once on each device that this machine has."""

from __future__ import annotations

import lamina.core as mx
import pytest
from lamina import _core
from present import PRESENT


@pytest.fixture(params=PRESENT)
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a device, which mx.gpu means during the test."""
    monkeypatch.setenv("LAMINA_GPU", request.param)
    name: str = request.param
    return name


@pytest.fixture
def number(gpu: str) -> int:
    """The device's number in the core."""
    return int(_core._device_named(gpu))


@pytest.fixture
def chosen(gpu: str) -> str:
    """The device as the default of the test."""
    before = mx.default_device()
    mx.set_default_device(mx.gpu)
    yield gpu
    mx.set_default_device(before)

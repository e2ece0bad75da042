"""Every test here that asks for `gpu` runs once on each device that this machine has."""

from __future__ import annotations

from collections.abc import Iterator

import lamina.core as mx
import pytest
from lamina import _core, soft_metal
from present import PRESENT

# Their kernels run on software Metal alone.
ON_SOFT_METAL = (
    "test_soft_metal",
    "test_kernel_text_runs",
    "test_rows_on_soft_metal",
    "test_picked_traffic",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if soft_metal.available():
        return
    reason = "not applicable: no software Metal (on Linux, with lamina[softmetal])"
    for item in items:
        if item.path.name.startswith(ON_SOFT_METAL):
            item.add_marker(pytest.mark.skipif(True, reason=reason), append=False)


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


@pytest.fixture(params=[name for name in ("soft_metal", "cuda") if name in PRESENT])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A device that runs kernels which a program writes, as the default of the test."""
    monkeypatch.setenv("LAMINA_GPU", request.param)
    before = mx.default_device()
    mx.set_default_device(mx.gpu)
    yield request.param
    mx.set_default_device(before)

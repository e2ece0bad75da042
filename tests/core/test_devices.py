"""The choice of a device and of a stream, limits of memory, and what is said of a wrong one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import lamina.core as mx
import numpy as np
import nvidia_double
import pytest
from lamina import _core

WRONG: list[tuple[Any, str, Callable[[], object]]] = [
    (
        TypeError,
        r"set_default_stream: expected a Stream, got DeviceType\.cpu\nmx\.new_stream\(device\)",
        lambda: mx.set_default_stream(mx.cpu),
    ),
    (
        TypeError,
        "set_default_stream: expected a Stream, got Device",
        lambda: mx.set_default_stream(mx.Device(mx.cpu)),
    ),
    (
        TypeError,
        "set_default_stream: expected a Stream, got ThreadLocalStream",
        lambda: mx.set_default_stream(mx.new_thread_local_stream(mx.cpu)),
    ),
    (TypeError, "Device: type must be mx.cpu or mx.gpu, got 'cpu'", lambda: mx.Device("cpu")),
    (TypeError, "Device: index must be an int, got 1.5", lambda: mx.Device(mx.cpu, 1.5)),
    (TypeError, "device_count: expected a Device, .* got str", lambda: mx.device_count("x")),
    (TypeError, "is_available: expected a Device, .* got str", lambda: mx.is_available("x")),
    (
        TypeError,
        "get_active_memory: device must be a Device, DeviceType or Stream, got 'gpu'",
        lambda: mx.get_active_memory(device="gpu"),
    ),
    (
        TypeError,
        "set_cache_limit: device must be a Device, DeviceType or Stream, got 3",
        lambda: mx.set_cache_limit(5, device=3),
    ),
]
# No numbers of bytes, for each function that takes one.
NO_BYTES: list[tuple[Any, str, Any]] = [
    (ValueError, "the limit must fit 64 bits (below 2^63), got 1180591620717411303424", 1 << 70),
    (ValueError, "the limit must fit 64 bits (below 2^63), got 9223372036854775808", 1 << 63),
    (ValueError, "the limit must not be negative, got -5", -5),
    (ValueError, "the limit must not be negative, got -1180591620717411303424", -(1 << 70)),
    (TypeError, "the limit must be a whole number of bytes, got True", True),
    (TypeError, "the limit must be a whole number of bytes, got 1.5", 1.5),
    (TypeError, "the limit must be a whole number of bytes, got inf", float("inf")),
    (TypeError, "the limit must be a whole number of bytes, got '1GB'", "1GB"),
    (TypeError, "the limit must be a whole number of bytes, got None", None),
]


@pytest.mark.parametrize(("error", "message", "call"), WRONG)
def test_what_is_wrong_is_named(error: Any, message: str, call: Callable[[], object]) -> None:
    with pytest.raises(error, match=message):
        call()
    assert isinstance(mx.default_stream(mx.cpu), mx.Stream)


@pytest.mark.parametrize("name", ["set_memory_limit", "set_cache_limit", "set_wired_limit"])
@pytest.mark.parametrize(("error", "message", "limit"), NO_BYTES)
def test_what_is_no_number_of_bytes(name: str, error: Any, message: str, limit: Any) -> None:
    before = mx.get_memory_limit()
    with pytest.raises(error) as caught:
        getattr(mx, name)(limit)
    assert str(caught.value) == f"{name}: {message}"
    assert mx.get_memory_limit() == before


def test_numbers_of_bytes_of_other_kinds() -> None:
    before = mx.get_memory_limit()
    try:
        for limit in (np.int64(1 << 40), mx.array(1 << 30)):
            mx.set_memory_limit(limit)
            assert mx.get_memory_limit() == int(limit)
        assert mx.set_memory_limit(limit=(1 << 63) - 1, device=mx.cpu) == 1 << 30
    finally:
        mx.set_memory_limit(before)


def test_a_stream_becomes_the_default_of_its_device() -> None:
    before, mine = mx.default_stream(mx.cpu), mx.new_stream(mx.cpu)
    mx.set_default_stream(mine)
    assert mx.default_stream(mx.cpu) == mine
    mx.set_default_stream(before)


def apart(program: str, **environment: str) -> str:
    """What a program prints that starts without lamina's variables."""
    others = {k: v for k, v in os.environ.items() if not k.startswith("LAMINA_")}
    command = [sys.executable, "-c", f"import lamina.core as mx\n{program}"]
    done = subprocess.run(command, capture_output=True, text=True, env={**others, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout


NO_GPU = """
import sys
try:
    mx.device_info(mx.gpu)
    sys.exit()
except mx.DeviceError:
    pass
for use in (mx.set_default_device, mx.stream):
    try:
        use(mx.gpu)
    except mx.DeviceError as error:
        print(error)
"""


@pytest.mark.skipif(
    "soft_metal" not in _core._device_names(), reason="not applicable: Metal itself is here"
)
def test_without_a_gpu_the_way_to_run_metal_kernels_is_said() -> None:
    said = apart(NO_GPU)
    if not said:
        pytest.skip("not applicable: this machine has a GPU")
    first, fix, *again = said.splitlines()
    assert first.startswith("gpu: there is none: cuda: ")
    assert fix == (
        'Metal kernels also run on the CPU: pip install "lamina[softmetal]" and set '
        "LAMINA_GPU=soft_metal"
    )
    assert again == [first, fix]


# --- the cache's limit ----------------------------------------------------------------------------

LIMITS = """
before = mx.set_cache_limit(0)
print(before, mx.get_memory_limit())
"""


def test_the_cache_keeps_four_gigabytes_or_a_quarter_of_the_memory() -> None:
    cache, memory = map(int, apart(LIMITS).split())
    assert cache == min(memory // 4, 4 << 30)


def test_on_cuda_the_cache_keeps_a_quarter_of_the_memory(tmp_path: Any) -> None:
    """Of the driver's double: its memory is what it is told."""
    if "cuda" not in _core._device_names() or not shutil.which(os.environ.get("CXX", "c++")):
        pytest.skip("not applicable: no CUDA device, or no compiler for the driver's double")
    said = apart(
        "print(mx.set_cache_limit(0, device=mx.gpu), mx.device_info(mx.gpu)['memory_size'])",
        LAMINA_GPU="cuda",
        LAMINA_CUDA_PATH=str(nvidia_double.folder()),
        LAMINA_CUDA_DOUBLE=str(nvidia_double.HERE),
        LAMINA_CUDA_DOUBLE_BYTES=str(40 << 30),
        LAMINA_CACHE_DIR=str(tmp_path),
    )
    cache, memory = map(int, said.split())
    assert (cache, memory) == (10 << 30, 40 << 30)

"""The machine's ceilings, measured: memory and cache bandwidth, float32 peak of matrix products.

Measured in well under 3 s and kept in the user's cache folder under a key of the machine, so that
later processes only read a small JSON file.  A busy machine measures too low, so a figure older
than a day is measured again and the higher one kept.  LAMINA_CACHE_DIR names another folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from .recording import Ceilings

BUDGET_S = 0.2
MAX_AGE_S = 24 * 3600
STREAM_BYTES = 64 << 20
CACHE_BYTES = 512 << 10
MATRIX = 1024

_lock = threading.Lock()
_known: Ceilings | None = None


def cache_file() -> Path:
    """Where the ceilings of this machine are kept; the file need not exist."""
    root = os.environ.get("LAMINA_CACHE_DIR")
    if root is None:
        default = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
        root = os.path.join(os.environ.get("XDG_CACHE_HOME") or default, "lamina")
    facts = (platform.node(), platform.machine(), _cpu_name(), str(_threads()), _engine_name())
    key = hashlib.sha256("|".join(facts).encode()).hexdigest()[:16]
    return Path(root).expanduser() / f"ceilings-{key}.json"


def ceilings(measure_if_missing: bool = True) -> Ceilings | None:
    """The ceilings of this machine: from this process, from the cache file, else measured now."""
    global _known
    with _lock:
        if _known is not None:
            return _known
        path = cache_file()
        stored = _read(path)
        if measure_if_missing and (stored is None or _age_s(path) > MAX_AGE_S):
            stored = _higher(measure(), stored)
            _write(path, stored)
        if measure_if_missing:
            _known = stored
        return stored


def measure() -> Ceilings:
    """Measure now, without looking at or touching the cache file.  Takes about a second."""
    core = _engine()
    bandwidth = _stream_numpy()
    cache = _cache_numpy()
    peak, method = _matmul_numpy(), "numpy"
    if core is not None:
        bandwidth = max(bandwidth, _stream_engine(core))
        engine_peak = _matmul_engine(core)
        if engine_peak >= peak:
            peak, method = engine_peak, "lamina matmul"
    return Ceilings(
        bandwidth_gbs=bandwidth,
        cache_gbs=max(cache, bandwidth),
        peak_gflops=peak,
        method=f"{method} {MATRIX}x{MATRIX} float32; best of copies and sums of 64 MiB",
        measured=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def _read(path: Path) -> Ceilings | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        found = Ceilings(**data)
        rates = (found.bandwidth_gbs, found.cache_gbs, found.peak_gflops)
        return found if all(rate > 0 for rate in rates) else None
    except (OSError, ValueError, TypeError):
        return None


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


def _higher(new: Ceilings, old: Ceilings | None) -> Ceilings:
    if old is None:
        return new
    return replace(
        new,
        bandwidth_gbs=max(new.bandwidth_gbs, old.bandwidth_gbs),
        cache_gbs=max(new.cache_gbs, old.cache_gbs),
        peak_gflops=max(new.peak_gflops, old.peak_gflops),
    )


def _write(path: Path, value: Ceilings) -> None:
    """A cache that cannot be written costs the next process a second, nothing else."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(asdict(value)), encoding="utf-8")
        os.replace(part, path)


def _threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _engine() -> Any:
    try:
        return importlib.import_module("lamina.core")
    except ImportError:
        return None


def _engine_name() -> str:
    core = _engine()
    return f"lamina {getattr(core, '__version__', '')}" if core is not None else "numpy"


def _best_seconds(work: Callable[[], object]) -> float:
    """The fastest of as many repetitions as the budget allows, after one unmeasured."""
    work()
    best, end = float("inf"), time.perf_counter() + BUDGET_S
    while True:
        start = time.perf_counter()
        work()
        now = time.perf_counter()
        best = min(best, now - start)
        if now > end:
            return max(best, 1e-9)


def _stream_numpy() -> float:
    """GB/s of copying in all threads at once: a byte read and a byte written per byte copied."""
    threads = _threads()
    source = np.ones(STREAM_BYTES // 8)
    target = np.empty_like(source)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        seconds = _best_seconds(
            lambda: list(pool.map(lambda part: np.copyto(part[1], part[0]), parts))
        )
    return 2 * source.nbytes / seconds / 1e9


def _cache_numpy() -> float:
    """GB/s of one thread's copy inside the cache, times the threads."""
    source = np.ones(CACHE_BYTES // 16)
    target = np.empty_like(source)

    def work() -> None:
        for _ in range(50):
            np.copyto(target, source)

    return 50 * 2 * source.nbytes * _threads() / _best_seconds(work) / 1e9


def _matmul_numpy() -> float:
    a = np.ones((MATRIX, MATRIX), np.float32)
    out = np.empty_like(a)
    return 2 * MATRIX**3 / _best_seconds(lambda: np.matmul(a, a, out=out)) / 1e9


def _stream_engine(core: Any) -> float:
    values = core.array(np.ones(STREAM_BYTES // 4, np.float32))  # core.ones would be one element
    core.eval(values)
    seconds = _best_seconds(lambda: core.eval(core.sum(values)))
    return STREAM_BYTES / seconds / 1e9


def _matmul_engine(core: Any) -> float:
    a = core.array(np.ones((MATRIX, MATRIX), np.float32))
    core.eval(a)
    return 2 * MATRIX**3 / _best_seconds(lambda: core.eval(core.matmul(a, a))) / 1e9

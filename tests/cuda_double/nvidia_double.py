"""Compiles the doubles of NVIDIA's driver, run-time compiler and libraries, once per change of
their sources.

One shared library is all of them: `folder()` holds it under the names that lamina opens.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORE = HERE.parents[1] / "backend" / "core"
NAMES = ("libcuda.so.1", "libnvrtc.so.13", "libcublasLt.so.13", "libcudnn.so.9")
SOURCES = (
    "driver_double.cpp",
    "nvrtc_double.cpp",
    "cublaslt_double.cpp",
    "cudnn_double.cpp",
    "simt.cpp",
)


def folder() -> Path:
    """The folder with the libraries, made if its sources have changed."""
    inputs = [*sorted(HERE.glob("*.cpp")), *sorted(HERE.glob("*.h"))]
    inputs.append(CORE / "devices" / "cuda" / "driver.h")
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in inputs)).hexdigest()[:16]
    out = HERE.parents[1] / "build" / "cuda_double" / digest
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(out.parent / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.exists():
            part = out.with_suffix(".part")
            part.mkdir(exist_ok=True)
            command = [os.environ.get("CXX", "c++"), "-std=c++20", "-O2", "-fPIC", "-shared"]
            command += ["-Wall", "-Wextra", "-fvisibility=hidden", f"-I{CORE}"]
            command += [str(HERE / s) for s in SOURCES] + ["-o", str(part / NAMES[0]), "-ldl"]
            subprocess.run(command, check=True)
            for name in NAMES[1:]:
                (part / name).symlink_to(NAMES[0])
            part.rename(out)
    return out

"""The Metal device compiles for Apple silicon, as far as that can be told without a Mac: clang for
arm64 macOS (the one of the `ziglang` package, with Darwin's C library and libc++) takes its plain
C++. The Objective-C++ host is compiled against the double's declarations (`make metal-double`)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

METAL = Path(__file__).resolve().parents[2] / "backend" / "core" / "devices" / "metal"
ARM64_MACH_O = bytes.fromhex("cffaedfe0c000001")


def test_it_compiles_for_apple_silicon(tmp_path: Path) -> None:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip('not applicable: no clang for macOS: pip install "lamina[softmetal]"')
    whole = tmp_path / "metal.cpp"
    whole.write_text("".join(f'#include "{name}"\n' for name in sorted(METAL.glob("*.cpp"))))
    command = [sys.executable, "-m", "ziglang", "c++", "-target", "aarch64-macos.13.5"]
    # zig adds an option of its own that a compilation without linking does not use.
    flags = ["-std=c++20", "-O0", "-Wall", "-Wextra", "-Werror"]
    flags += ["-Wno-unused-command-line-argument", "-I", str(METAL.parents[1])]
    files = ["-c", str(whole), "-o", str(tmp_path / "metal.o")]
    said = subprocess.run([*command, *flags, *files], capture_output=True, text=True, timeout=600)
    assert said.returncode == 0, said.stderr
    assert (tmp_path / "metal.o").read_bytes()[:8] == ARM64_MACH_O

"""The core and its bindings compile for Apple silicon, as far as that can be told without a Mac:
clang for arm64 macOS (the one of the `ziglang` package, with Darwin's C library and libc++) takes
every C++ file that a Mac compiles. The Objective-C++ host is compiled against the double's
declarations (`make metal-double`), and nothing is linked.

A file is read on top of a precompiled header that it includes itself, so that what it forgets to
include is missed as it would be on a Mac, and all of it takes two minutes instead of ten.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybind11
import pytest

BACKEND = Path(__file__).resolve().parents[2] / "backend"
FOLDERS = [BACKEND / "core", BACKEND / "bindings"]
INCLUDE = re.compile(r'^ *# *include +([<"])([^>"]+)[>"]', re.MULTILINE)
SHARED = 16  # files that include a header, from which on it is precompiled
FLAGS = ["-std=c++20", "-O0", "-Wall", "-Wextra", "-fno-math-errno", "-fno-trapping-math"]
FLAGS += ["-fvisibility=hidden", '-DLAMINA_VERSION="0"']
SHUFFLE = """typedef int V __attribute__((vector_size(16)));
V turned(V x, V order) { return __builtin_shuffle(x, order); }
"""
needs_clang = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None,
    reason='not applicable: no clang for macOS: pip install "lamina[softmetal]"',
)


def sources() -> list[Path]:
    """What CMakeLists.txt compiles on a Mac."""
    found = [file for folder in FOLDERS for file in sorted(folder.rglob("*.cpp"))]
    return [file for file in found if "soft_metal" not in str(file)]


@functools.cache
def included(file: Path) -> frozenset[Path | str]:
    """Every header that the file includes, also through others: ours as paths."""
    found: set[Path | str] = set()
    for kind, name in INCLUDE.findall(file.read_text()):
        ours = [folder / name for folder in (*FOLDERS, file.parent) if (folder / name).exists()]
        header = ours[0] if kind == '"' and ours else name
        found |= {header, *(included(header) if isinstance(header, Path) else ())}
    return frozenset(found)


def bases() -> dict[Path, Path | None]:
    """For each source the shared header of its own that includes the most, if there is one."""
    files = sources()
    count = Counter(
        h for f in files for h in included(f) if isinstance(h, Path) and h.suffix == ".h"
    )
    shared = {h for h, n in count.items() if n >= SHARED and "#pragma once" in h.read_text()}

    def base(file: Path) -> Path | None:
        own = [h for h in included(file) if h in shared and isinstance(h, Path)]
        return max(own, key=lambda h: (len(included(h)), str(h)), default=None)

    return {file: base(file) for file in files}


def python_headers(folder: Path) -> Path:
    """Python's, with the configuration of this machine: a distribution may choose it by platform,
    of which macOS is none."""
    given, made = Path(sysconfig.get_paths()["include"]), folder / "python"
    made.mkdir()
    for entry in given.iterdir():
        if entry.name != "pyconfig.h":
            (made / entry.name).symlink_to(entry)
    chosen = given.parent / str(sysconfig.get_config_var("MULTIARCH")) / given.name / "pyconfig.h"
    config = chosen if chosen.exists() else given / "pyconfig.h"
    (made / "pyconfig.h").write_text(config.read_text())
    return made


class Clang:
    """The compiler proper, without the driver, whose cache asks for an object file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._headers: dict[Path, list[str | Path]] = {}
        self._lock = threading.Lock()
        empty, unused = folder / "empty.cpp", str(folder / "unused.o")
        empty.write_text("")
        command = [sys.executable, "-m", "ziglang", "c++", "-target", "aarch64-macos.13.5", *FLAGS]
        command += [arg for path in FOLDERS for arg in ("-I", str(path))]
        for path in (pybind11.get_include(), python_headers(folder)):
            command += ["-isystem", str(path)]
        command += ["-###", "-c", str(empty), "-o", unused]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        line = next(line for line in said.splitlines() if '"-cc1"' in line)
        words = [w for w in shlex.split(line) if not w.startswith(("-debug", "-dwarf", "-gdwarf"))]
        for word in ("-emit-obj", "-o", unused, "-x", "c++", str(empty)):
            words.remove(word)
        self._command = words

    def _run(self, *arguments: str | Path) -> str:
        command = [*self._command, *map(str, arguments)]
        said = subprocess.run(command, capture_output=True, text=True, timeout=600)
        return "" if said.returncode == 0 else said.stderr or f"exit status {said.returncode}"

    def _precompiled(self, header: Path) -> list[str | Path]:
        """Options to start with it; none for a header that is not to be read alone."""
        with self._lock:
            if header not in self._headers:
                stem = self._folder / str(len(self._headers))
                source, made = stem.with_suffix(".h"), stem.with_suffix(".pch")
                source.write_text(f'#include "{header}"\n')
                said = self._run("-x", "c++-header", "-emit-pch", "-o", made, source)
                self._headers[header] = [] if said else ["-include-pch", made]
            return self._headers[header]

    def refuses(self, file: Path, base: Path | None) -> str:
        """What the compiler says of a file that it does not take, or nothing."""
        on = self._precompiled(base) if base else []
        return self._run("-fsyntax-only", *on, "-x", "c++", file)


@needs_clang
def test_it_compiles_for_apple_silicon(tmp_path: Path) -> None:
    clang = Clang(tmp_path)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pairs = bases().items()
        said = list(pool.map(lambda pair: clang.refuses(*pair), pairs))
    assert len(said) > 200
    assert "\n".join(filter(None, said)) == ""


@needs_clang
def test_what_only_gcc_takes_is_refused(tmp_path: Path) -> None:
    """And so is what a file uses of the library without including it."""
    clang, base = Clang(tmp_path), FOLDERS[0] / "base" / "error.h"
    builtin, forgotten = tmp_path / "builtin.cpp", tmp_path / "forgotten.cpp"
    builtin.write_text(SHUFFLE)
    forgotten.write_text('#include "base/error.h"\nstd::regex none;\n')
    assert "use of undeclared identifier '__builtin_shuffle'" in clang.refuses(builtin, None)
    assert "no type named 'regex' in namespace 'std'" in clang.refuses(forgotten, base)

"""Builds what the tests load: shared libraries and programs against the installed header alone."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import lamina

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Path(__file__).resolve().parent / "capi"
SUFFIX = ".dylib" if sys.platform == "darwin" else ".so"


def compiler(language: str) -> list[str]:
    chosen = os.environ.get("CC" if language == "c" else "CXX", "").split()
    if chosen:
        return chosen
    names = ["cc", "gcc", "clang"] if language == "c" else ["c++", "g++", "clang++"]
    found = next(filter(None, map(shutil.which, names)), None)
    assert found, f"no compiler for {language}"
    return [found]


@functools.cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="lamina-plugins-"))


def compiled(name: str, *arguments: str | Path, language: str) -> Path:
    standard = "c99" if language == "c" else "c++17"
    include = ["-I", lamina.include_dir(), "-O3", f"-std={standard}", "-Wall", "-Wextra", "-Werror"]
    target = folder() / name
    command = [*compiler(language), *include, *map(str, arguments), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


@functools.cache
def plugin(*sources: Path, defines: Sequence[str] = ()) -> Path:
    language = "c" if sources[0].suffix == ".c" else "c++"
    name = "".join(["lib", sources[0].stem, *(d.replace("=", "") for d in defines), SUFFIX])
    flags = [f"-D{d}" for d in defines]
    return compiled(name, "-shared", "-fPIC", *flags, *sources, language=language)


EXAMPLES = {
    "flash_attention": ("", "_jvp", "_text", "_backward_text"),
    "block_sparse": ("", "_text"),
}


def example(name: str) -> Path:
    parts = (ROOT / "examples" / f"{name}{part}.cpp" for part in EXAMPLES[name])
    return plugin(*parts)

"""Compilers that read the texts of kernels without a GPU: NVRTC for CUDA, clang for MSL."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def _nvrtc() -> ctypes.CDLL | None:
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or [] if spec else []:
        # Its other half first: under a sanitizer's dlopen it does not look beside itself.
        for half in Path(folder).rglob("libnvrtc-builtins.so.*"):
            if ".alt." not in half.name:
                ctypes.CDLL(str(half))
        for library in sorted(Path(folder).rglob("libnvrtc.so.*")):
            if ".alt." not in library.name:
                return ctypes.CDLL(str(library))
    return None


NVRTC = _nvrtc()


def _one_unit(sources: list[str]) -> str:
    """Whole units side by side: each in a namespace, its macros ending with it."""
    parts = []
    for i, source in enumerate(sources):
        macros = re.findall(r"^#define (\w+)", source, re.MULTILINE)
        source = source.replace('extern "C" ', "").replace("using namespace metal;", "")
        source = re.sub(r"#include <metal_\w+>", "", source)
        opening = "using namespace metal;\n" if "metal" in sources[0] else ""
        undone = "".join(f"#undef {m}\n" for m in dict.fromkeys(macros))
        parts.append(f"namespace unit{i} {{\n{opening}{source}}}\n{undone}")
    return "".join(parts)


def _nvrtc_log(sources: list[str]) -> str:
    if NVRTC is None:
        pytest.skip("NVRTC is not installed (nvidia-cuda-nvrtc)")
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    text = _one_unit(sources).encode()
    NVRTC.nvrtcCreateProgram(ctypes.byref(program), text, b"kernels.cu", 0, None, None)
    options = (ctypes.c_char_p * 2)(b"--gpu-architecture=compute_90", b"--std=c++17")
    failed = NVRTC.nvrtcCompileProgram(program, 2, options)
    NVRTC.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    NVRTC.nvrtcGetProgramLog(program, log)
    NVRTC.nvrtcDestroyProgram(ctypes.byref(program))
    return log.value.decode() if failed else ""


def _clang_log(sources: list[str]) -> str:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("ziglang, which brings clang, is not installed")
    command = [sys.executable, "-m", "ziglang", "clang", "-x", "c++", "-std=c++17", "-fsyntax-only"]
    command += ["-include", str(HERE / "msl_syntax.h"), "-Wno-unknown-attributes"]
    command += ["-Wno-ignored-attributes", "-Wno-undefined-internal", "-Wno-undefined-inline", "-"]
    done = subprocess.run(command, input=_one_unit(sources), capture_output=True, text=True)
    return done.stderr if done.returncode else ""


def complaints(sources: list[str], dialect: str) -> str:
    """What the compiler says against the sources; empty where it takes them."""
    unique = list(dict.fromkeys(sources))
    return (_nvrtc_log if dialect == "cuda" else _clang_log)(unique)

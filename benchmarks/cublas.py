"""cuBLASLt called directly, through its C interface: the peer of lamina's products on NVIDIA.

The algorithm is the first that the library's heuristics give with as much workspace as lamina lets
it have. Sums are in float32 throughout: no TF32, and no parts of a sum in a narrower dtype.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from ctypes import byref, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

NAMES = ("libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so")
WORKSPACE = 32 << 20  # as backend/core/devices/cuda/products.cpp
ALIGNMENT = 16  # of operands, in bytes

# Constants of the library's documentation.
SUMS_IN_FLOAT32, FLOAT32 = 68, 0  # cublasComputeType_t, cudaDataType
DATA_TYPES = {"float32": FLOAT32, "float16": 2, "bfloat16": 14}
BATCH_COUNT, BATCH_STRIDE = 5, 6  # of a layout
MAX_WORKSPACE, REDUCTIONS, FIRST_ALIGNMENT = 1, 3, 5  # of a preference
REDUCTIONS_IN_FLOAT32 = 1 | 2


class Algorithm(ctypes.Structure):
    _fields_ = (("data", c_uint64 * 8),)


class Heuristic(ctypes.Structure):
    _fields_ = (
        ("algorithm", Algorithm),
        ("workspace", c_size_t),
        ("status", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    )


P, N = c_void_p, c_size_t
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "Create": (P,),
    "MatmulDescCreate": (P, c_int, c_int),
    "MatrixLayoutCreate": (P, c_int, c_uint64, c_uint64, c_int64),
    "MatrixLayoutSetAttribute": (P, c_int, P, N),
    "MatmulPreferenceCreate": (P,),
    "MatmulPreferenceSetAttribute": (P, c_int, P, N),
    "MatmulAlgoGetHeuristic": (P, P, P, P, P, P, P, c_int, P, P),
    "Matmul": (P, P, P, P, P, P, P, P, P, P, P, P, P, P, N, P),
}


class Library:
    """The first cuBLASLt that opens, of the folders and then of the system's."""

    def __init__(self, folders: Iterable[str]) -> None:
        paths = [str(Path(f) / name) for f in folders for name in NAMES]
        why = ""
        for path in [*paths, *NAMES]:
            try:
                self.library = ctypes.CDLL(path)
                break
            except OSError as error:
                why = str(error)
        else:
            raise RuntimeError(f"no cuBLASLt: {why}")
        for name, arguments in FUNCTIONS.items():
            getattr(self.library, f"cublasLt{name}").argtypes = arguments
        self.library.cublasLtGetStatusString.restype = ctypes.c_char_p
        self.library.cublasLtGetVersion.restype = c_size_t
        self.version = int(self.library.cublasLtGetVersion())
        self.handle = self.made("Create")

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self.library, f"cublasLt{name}")(*arguments)
        if status:
            text = self.library.cublasLtGetStatusString(status) or b""
            raise RuntimeError(f"cublasLt{name}: {text.decode()}")

    def made(self, name: str, *arguments: Any) -> c_void_p:
        """What a function makes, which nobody destroys: a few objects a case."""
        out = c_void_p()
        self.call(name, byref(out), *arguments)
        return out


class Product:
    """out = a @ b of row-major matrices, or of `batch` of them one after the other."""

    def __init__(
        self, library: Library, batch: int, rows: int, depth: int, cols: int, dtype: str
    ) -> None:
        self.lib = library
        kind = DATA_TYPES[dtype]
        self.description = library.made("MatmulDescCreate", SUMS_IN_FLOAT32, FLOAT32)
        # The library counts columns first: out^T = b^T a^T, and its first factor is our second.
        self.b = self.layout(kind, cols, depth, batch)
        self.a = self.layout(kind, depth, rows, batch)
        self.out = self.layout(kind, cols, rows, batch)
        self.best = self.heuristic()

    def layout(self, kind: int, beside: int, lines: int, batch: int) -> c_void_p:
        out = self.lib.made("MatrixLayoutCreate", kind, beside, lines, beside)
        if batch > 1:
            count, stride = c_int32(batch), c_int64(beside * lines)
            self.lib.call("MatrixLayoutSetAttribute", out, BATCH_COUNT, byref(count), 4)
            self.lib.call("MatrixLayoutSetAttribute", out, BATCH_STRIDE, byref(stride), 8)
        return out

    def heuristic(self) -> Heuristic:
        preference = self.lib.made("MatmulPreferenceCreate")
        wanted: list[tuple[int, Any]] = [
            (MAX_WORKSPACE, c_size_t(WORKSPACE)),
            (REDUCTIONS, c_uint32(REDUCTIONS_IN_FLOAT32)),
            *((FIRST_ALIGNMENT + i, c_uint32(ALIGNMENT)) for i in range(4)),
        ]
        for which, value in wanted:
            size = ctypes.sizeof(value)
            self.lib.call("MatmulPreferenceSetAttribute", preference, which, byref(value), size)
        best, count = Heuristic(), c_int(0)
        layouts = (self.b, self.a, self.out, self.out)
        self.lib.call(
            "MatmulAlgoGetHeuristic", self.lib.handle, self.description, *layouts,
            preference, 1, byref(best), byref(count),
        )  # fmt: skip
        if count.value < 1 or best.status:
            raise RuntimeError("cuBLASLt has no algorithm for this product")
        return best

    def send(self, a: int, b: int, out: int, workspace: int, stream: int) -> None:
        """Sends one product to a stream; operands are addresses of device memory."""
        for address in (a, b, out):
            if address % ALIGNMENT:
                raise RuntimeError(f"operand at {address:#x} is not aligned to {ALIGNMENT} bytes")
        one, zero = c_float(1), c_float(0)
        self.lib.call(
            "Matmul", self.lib.handle, self.description, byref(one), b, self.b, a, self.a,
            byref(zero), out, self.out, out, self.out, byref(self.best.algorithm),
            workspace, WORKSPACE, stream,
        )  # fmt: skip

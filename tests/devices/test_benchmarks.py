"""Benchmarks on a GPU, as far as they go without one: the peer's calls, plans, tables."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lamina.core as mx
import numpy as np
import nvidia_double
import pytest
from lamina import _core
from present import DOUBLE, recorded

ON_DOUBLE = ["double"] if DOUBLE is not None else []


@pytest.fixture(scope="module")
def benchmarks() -> Iterator[SimpleNamespace]:
    """The modules. Importing the peers sets how many threads they use, which is put back."""
    environment, path = dict(os.environ), list(sys.path)
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    try:
        from benchmarks import counters, cublas, device, gpu, matrices
    finally:
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(environment)
    yield SimpleNamespace(
        counters=counters, cublas=cublas, device=device, gpu=gpu, matrices=matrices
    )


@pytest.fixture(params=ON_DOUBLE)
def on_double(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("LAMINA_GPU", "cuda")
    with mx.stream(mx.gpu):
        yield request.param


class Memory:
    """Device memory through the driver's interface, and a stream."""

    def __init__(self, driver: ctypes.CDLL) -> None:
        self.driver, self.stream = driver, ctypes.c_void_p()
        context = ctypes.c_void_p()
        assert driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
        assert driver.cuCtxSetCurrent(context) == 0
        assert driver.cuStreamCreate(ctypes.byref(self.stream), 1) == 0

    def of(self, array: np.ndarray[Any, Any]) -> int:
        out = ctypes.c_uint64()
        assert self.driver.cuMemAlloc_v2(ctypes.byref(out), ctypes.c_size_t(array.nbytes)) == 0
        place = ctypes.c_void_p(array.ctypes.data)
        self.driver.cuMemcpyHtoDAsync_v2(out, place, ctypes.c_size_t(array.nbytes), self.stream)
        return out.value

    def read(self, address: int, like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        out = np.empty_like(like)
        place, size = ctypes.c_void_p(out.ctypes.data), ctypes.c_size_t(out.nbytes)
        self.driver.cuMemcpyDtoHAsync_v2(place, ctypes.c_uint64(address), size, self.stream)
        assert self.driver.cuStreamSynchronize(self.stream) == 0
        return out


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("batch", [1, 3])
def test_cublas_is_called_as_its_interface_asks(
    benchmarks: SimpleNamespace, on_double: str, batch: int, dtype: str
) -> None:
    assert DOUBLE is not None
    memory, rng = Memory(DOUBLE), np.random.default_rng(0)
    a = rng.standard_normal((batch, 16, 24)).astype(dtype)
    b = rng.standard_normal((batch, 24, 8)).astype(dtype)
    out = np.zeros((batch, 16, 8), dtype)
    library = benchmarks.cublas.Library([str(nvidia_double.folder())])
    product = benchmarks.cublas.Product(library, batch, 16, 24, 8, dtype)
    workspace = memory.of(np.zeros(benchmarks.cublas.WORKSPACE, np.uint8))
    at = memory.of(out)
    product.send(memory.of(a), memory.of(b), at, workspace, memory.stream.value)
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    np.testing.assert_allclose(memory.read(at, out), a @ b, rtol=tolerance, atol=tolerance)
    with pytest.raises(RuntimeError, match="is not aligned to 16 bytes"):
        product.send(at + 4, at, at, workspace, memory.stream.value)


def test_a_status_of_cublas_is_named(benchmarks: SimpleNamespace, on_double: str) -> None:
    library = benchmarks.cublas.Library([str(nvidia_double.folder())])
    layout = library.made("MatrixLayoutCreate", 0, 4, 4, 4)
    value = ctypes.c_int32(1)
    with pytest.raises(RuntimeError, match="SetAttribute: CUBLAS_STATUS_INVALID_VALUE"):
        library.call("MatrixLayoutSetAttribute", layout, 99, ctypes.byref(value), 4)


@pytest.mark.parametrize(
    "shapes", [((32, 32), (32, 32)), ((4, 16, 8), (4, 8, 16)), ((16, 24), (24, 40))]
)
def test_products_of_a_run_are_one_graph_that_stays(
    benchmarks: SimpleNamespace, on_double: str, shapes: Any
) -> None:
    run = benchmarks.gpu.our_products(shapes, "float32", 5)
    for _ in range(6):
        run()
    before = dict(_core._cuda_figures())
    for _ in range(4):
        run()
    mx.synchronize()
    gained = {k: v - before[k] for k, v in _core._cuda_figures().items()}
    assert (gained["launches"], gained["graph_launches"]) == (20, 4)
    assert (gained["graphs"], gained["updates"]) == (0, 0)
    launches = benchmarks.device.last_plan()["launches"]
    assert [s["name"] for s in launches] == ["call matmul"] * 5


@pytest.mark.parametrize("name", ["cholesky", "inv", "qr", "svd", "eigh", "eig"])
def test_the_smallest_batch_of_factorisations_is_the_smallest_on_the_gpu(
    benchmarks: SimpleNamespace, on_double: str, name: str
) -> None:
    per_side, _ = benchmarks.matrices.LIMITS[name]
    side = 64
    for batch, on_gpu in ((side // per_side, True), (side // per_side - 1, False)):
        x = mx.broadcast_to(mx.eye(side) * 2, (batch, side, side)) + mx.zeros(1)
        mx.eval(x)
        with recorded() as log:
            mx.eval(getattr(mx.linalg, name)(x, stream=mx.gpu))
        taken_over = {(to, n) for n, _, to in log.copies() if n == x.nbytes}
        assert taken_over == (set() if on_gpu else {(0, x.nbytes)}), batch


def test_what_is_said_of_launches_is_so(benchmarks: SimpleNamespace, on_double: str) -> None:
    device = benchmarks.device
    name = "sums of 20,000 and what follows"
    assert device.launch_cost(name, 10, 1) > 0
    plan = device.last_plan()
    kinds = [s["name"].split()[0] for s in plan["launches"]]
    assert kinds == ["reduce"] * 10 + ["map"]
    assert all(s["reads"] >= 80_000 for s in plan["launches"])
    texts = [g["text"] for g in plan["groups"] if g["kind"] == "reduce"]
    assert all("takes_last_turn" in text for text in texts)  # several blocks, in two phases
    device.launch_cost("kernels of one block", 10, 1)
    assert {s["reads"] for s in device.last_plan()["launches"]} == {256}


def test_a_peer_that_fails_leaves_its_cells_empty(
    benchmarks: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = benchmarks.gpu
    monkeypatch.setattr(gpu, "SIZES", (8,))
    monkeypatch.setattr(gpu, "OTHERS", {"2 x 8 x 4": ((2, 8), (8, 4))})
    monkeypatch.setattr(gpu, "DTYPES", ("float32",))
    monkeypatch.setattr(gpu, "torch", SimpleNamespace(cuda=SimpleNamespace(synchronize=int)))

    def closed(folders: list[str]) -> None:
        raise RuntimeError("no cuBLASLt: not found\nanywhere")

    monkeypatch.setattr(gpu.cublas, "Library", closed)
    lines = gpu.products(1)
    rows = [line for line in lines if line.startswith(("| 8 x", "| 2 x"))]
    assert len(rows) == 2 and all(row.endswith("| - | - |") for row in rows)
    assert lines[-1] == "- no time of cuBLAS: no cuBLASLt: not found"

    monkeypatch.setattr(gpu.cublas, "Library", lambda folders: SimpleNamespace(version=130000))
    lines = gpu.products(1)  # this torch makes no arrays
    assert lines[-3].startswith("cuBLASLt 130000 called directly, as a CUDA graph")
    assert lines[-2].startswith("- no time of cuBLAS: 8 x 8 x 8 in float32: ")


def test_no_library_is_said(benchmarks: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks.cublas, "NAMES", ("libnone.so.1",))
    with pytest.raises(RuntimeError, match=r"no cuBLASLt: libnone\.so\.1: cannot open"):
        benchmarks.cublas.Library(["/nowhere"])


def test_rows_of_products(benchmarks: SimpleNamespace) -> None:
    gpu = benchmarks.gpu
    assert gpu.product_line("a", "float16", 2e9, 1e-5, 9e-6) == (
        "| a | float16 | 10.0 | 200 | 9.0 | 0.90 |"
    )
    assert gpu.flops_of((64, 512, 64), (64, 64, 512)) == 2 * 64 * 512 * 64 * 512
    assert [gpu.together(2.0 * n**3) for n in gpu.SIZES] == [20, 20, 20, 11, 1, 1]


def test_arguments(benchmarks: SimpleNamespace, monkeypatch: Any, capsys: Any) -> None:
    parsed = benchmarks.gpu.parser_of().parse_args(["products", "--rounds", "3"])
    assert (parsed.cases, parsed.rounds, parsed.out) == (["products"], 3, None)
    monkeypatch.setattr(sys, "argv", ["gpu", "prodcts"])
    with pytest.raises(SystemExit):
        benchmarks.gpu.main()
    assert "no case is named prodcts; there are launch, step" in capsys.readouterr().err


# --- counters -------------------------------------------------------------------------------------

MIB = 1 << 20


def counted(*rows: tuple[str, int, int, int, int]) -> str:
    """What `ncu` prints: a case's name, its reads and writes, the memory's reads and writes."""
    names = ("ID", "dram__bytes_read.sum", "dram__bytes_write.sum")
    head = [*names, "lts__t_sectors_srcunit_tex_op_write.sum"]
    lines = ["==PROF== Connected", json.dumps({"device": "A GPU", "l2": 50 * MIB})]
    for name, reads, writes, *_ in rows:
        about = {"case": name, "bytes": reads + writes, "writes": writes, "launches": 1}
        lines.append(json.dumps(about))
    table = [head, ["", "byte", "byte", "sector"], ["0", "1", "1", "1"]]
    for i, (_, reads, writes, read, written) in enumerate(rows, 1):
        assert reads
        table.append([str(i), f"{read:,}", str(written), str(writes // 32)])
    return "\n".join([*lines, *(",".join(f'"{cell}"' for cell in row) for row in table)])


def test_a_deviation_of_the_counters_has_its_reason(benchmarks: SimpleNamespace) -> None:
    text = counted(
        ("whole", 64 * MIB, 64 * MIB, 64 * MIB, 63 * MIB),
        ("held", 64 * MIB, 64 * MIB, 64 * MIB, 39 * MIB),
        ("lost", 64 * MIB, 16 * MIB, 40 * MIB, 16 * MIB),
        ("twice", 64 * MIB, 4, 128 * MIB, 4),
    )
    page = benchmarks.counters.page("A GPU", [64], [text], "python -m x")
    assert page.startswith("# A GPU: predicted bytes and the GPU's counters, ")
    rows = {line.split(" | ")[0][2:]: line for line in page.splitlines() if line[:2] == "| "}
    assert "| 0.992 |  | 134217728 | 1.000 |" in rows["whole"]
    assert (
        "0.805 (!) | of 64.0 MiB written, 25.0 are still in the L2 cache of 50 MiB | "
        in (rows["held"])
    )
    assert "can hold 16.0 of what is written: not explained" in rows["lost"]
    assert "64.0 MiB more than predicted: not explained" in rows["twice"]
    assert page.rstrip().endswith(benchmarks.counters.BELOW)

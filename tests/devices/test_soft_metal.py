"""Kernels as a user of Metal writes them, on software Metal: their results against NumPy and their
counts against what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from msl import pipeline, run

rng = np.random.default_rng(3)
CHECKED = pytest.mark.parametrize("check", [True, False], ids=["checked", "fast"])


def f32(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype("f4")


SAXPY = """
struct P { float a; uint n; };
kernel void saxpy(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
                  constant P& p [[buffer(2)]], uint i [[thread_position_in_grid]]) {
  if (i < p.n) y[i] = p.a * x[i] + y[i];
}
"""


@CHECKED
@pytest.mark.parametrize("n", [1, 31, 32, 1000, 4096])
def test_saxpy(n: int, check: bool) -> None:
    x, y = f32(n), f32(n)
    want = np.float32(2.5) * x + y
    block = np.float32(2.5).tobytes() + np.uint32(n).tobytes()
    counts = run(SAXPY, {0: x, 1: y, 2: block}, n, 256, check=check)
    np.testing.assert_allclose(y, want, rtol=1e-6, atol=1e-6)
    assert counts["threads"] == n
    assert counts["threadgroups"] == -(-n // 256)
    if check:
        assert counts["device_loads"] == 2 * n
        assert counts["device_store_bytes"] == 4 * n
        assert counts["constant_loads"] == 2 * n
        assert counts["load_transactions"] == counts["load_transactions_ideal"] == 2 * -(-n // 32)
        assert counts["blocks_divergent"] == 0


REDUCE = """
kernel void total(device const float* x, device float* out, constant uint& n,
                  uint i [[thread_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
                  uint simd [[simdgroup_index_in_threadgroup]],
                  uint simds [[simdgroups_per_threadgroup]],
                  uint group [[threadgroup_position_in_grid]]) {
  threadgroup float part[32];
  float v = simd_sum(i < n ? x[i] : 0.0f);
  if (lane == 0) part[simd] = v;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (simd == 0) {
    v = simd_sum(lane < simds ? part[lane] : 0.0f);
    if (lane == 0) out[group] = v;
  }
}
"""


@CHECKED
@pytest.mark.parametrize("threads", [32, 256, 1024])
def test_reduction(threads: int, check: bool) -> None:
    n = 3000
    x = f32(n)
    groups = -(-n // threads)
    out = np.zeros(groups, "f4")
    buffers = {0: x, 1: out, 2: np.uint32(n).tobytes()}
    counts = run(REDUCE, buffers, groups, threads, in_threads=False, check=check)
    padded = np.pad(x, (0, groups * threads - n)).reshape(groups, threads)
    np.testing.assert_allclose(out, padded.sum(1), rtol=1e-5, atol=1e-4)
    simds = groups * threads // 32
    assert counts["barriers"] == groups
    assert counts["simd_operations"] == simds + groups
    if check:
        assert counts["threadgroup_stores"] == simds
        assert counts["threadgroup_loads"] == simds


TRANSPOSE = """
kernel void transpose(device const float* a, device float* b, constant uint& n,
                      uint2 group [[threadgroup_position_in_grid]],
                      uint2 t [[thread_position_in_threadgroup]]) {
  threadgroup float tile[32][WIDTH];
  tile[t.y][t.x] = a[(group.y * 32 + t.y) * n + group.x * 32 + t.x];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  b[(group.x * 32 + t.y) * n + group.y * 32 + t.x] = tile[t.x][t.y];
}
"""


@pytest.mark.parametrize(("width", "conflicts"), [(32, 31), (33, 0), (34, 1), (36, 3)])
def test_transpose_through_threadgroup_memory(width: int, conflicts: int) -> None:
    """A column of a tile 32 wide lies in one bank: 32 cycles for what 33 wide takes one for."""
    n = 64
    a, b = f32(n, n), np.zeros((n, n), "f4")
    buffers = {0: a, 1: b, 2: np.uint32(n).tobytes()}
    source = TRANSPOSE.replace("WIDTH", str(width))
    counts = run(source, buffers, (n, n), (32, 32))
    np.testing.assert_array_equal(b, a.T)
    simds = n * n // 32
    assert counts["bank_accesses"] == 2 * simds
    assert counts["bank_conflicts"] == conflicts * simds
    # Both sides of device memory are whole lines.
    assert counts["load_transactions"] == counts["load_transactions_ideal"] == simds
    assert counts["store_transactions"] == counts["store_transactions_ideal"] == simds


def test_transpose_without_it() -> None:
    """Written straight, each of a SIMD-group's 32 stores touches a line of its own."""
    source = """
    kernel void transpose(device const float* a, device float* b, constant uint& n,
                          uint2 i [[thread_position_in_grid]]) {
      b[i.x * n + i.y] = a[i.y * n + i.x];
    }
    """
    n = 64
    a, b = f32(n, n), np.zeros((n, n), "f4")
    counts = run(source, {0: a, 1: b, 2: np.uint32(n).tobytes()}, (n, n), (32, 8))
    np.testing.assert_array_equal(b, a.T)
    assert counts["load_transactions"] == n * n // 32
    assert counts["store_transactions"] == 32 * n * n // 32
    assert counts["store_transactions_ideal"] == n * n // 32


MATMUL = """
#include <metal_simdgroup_matrix>
kernel void matmul(device const T* a, device const T* b, device float* c, constant uint3& size,
                   uint2 group [[threadgroup_position_in_grid]]) {
  const uint n = size.y, k = size.z;
  simdgroup_matrix<T, 8, 8> left, right;
  simdgroup_float8x8 sum = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  for (uint i = 0; i < k; i += 8) {
    simdgroup_load(left, a + group.y * 8 * k + i, k);
    simdgroup_load(right, b, n, ulong2(group.x * 8, i));
    simdgroup_multiply_accumulate(sum, left, right, sum);
  }
  simdgroup_store(sum, c, n, ulong2(group.x * 8, group.y * 8));
}
"""


@CHECKED
@pytest.mark.parametrize("kind", ["float", "half"])
def test_matmul_with_simdgroup_matrix(kind: str, check: bool) -> None:
    m, n, k = 24, 40, 32
    dtype = {"float": "f4", "half": "f2"}[kind]
    a, b, c = f32(m, k).astype(dtype), f32(k, n).astype(dtype), np.zeros((m, n), "f4")
    buffers = {0: a, 1: b, 2: c, 3: np.array([m, n, k, 0], "u4").tobytes()}
    grid = (n // 8, m // 8)
    source = f"typedef {kind} T;" + MATMUL
    counts = run(source, buffers, grid, 32, in_threads=False, check=check)
    np.testing.assert_allclose(c, a.astype("f8") @ b.astype("f8"), rtol=1e-4, atol=1e-4)
    assert counts["matrix_operations"] == m * n * k // 512


def test_simdgroup_matrix_lanes() -> None:
    """Lane bits b4..b0: row 4*b4 + 2*b2 + b1, columns c and c + 1 with c = 4*b3 + 2*b0."""
    source = """
    kernel void lanes(device const float* a, device float2* out,
                      uint lane [[thread_index_in_simdgroup]]) {
      simdgroup_float8x8 m;
      simdgroup_load(m, a, 8);
      out[lane] = m.thread_elements();
    }
    """
    a, out = np.arange(64, dtype="f4"), np.zeros((32, 2), "f4")
    run(source, {0: a, 1: out}, 32, 32)
    for lane in range(32):
        b = [lane >> i & 1 for i in range(5)]
        at = (4 * b[4] + 2 * b[2] + b[1]) * 8 + 4 * b[3] + 2 * b[0]
        assert list(out[lane]) == [at, at + 1]


@CHECKED
@pytest.mark.parametrize("local", [False, True], ids=["device", "threadgroup"])
def test_histogram_with_atomics(local: bool, check: bool) -> None:
    plain = """
    kernel void histogram(device const uint* x, device atomic_uint* bins,
                          uint i [[thread_position_in_grid]]) {
      atomic_fetch_add_explicit(&bins[x[i]], 1u, memory_order_relaxed);
    }
    """
    shared = """
    kernel void histogram(device const uint* x, device atomic_uint* bins,
                          threadgroup atomic_uint* mine [[threadgroup(0)]],
                          uint i [[thread_position_in_grid]],
                          uint t [[thread_index_in_threadgroup]]) {
      if (t < 16) atomic_store_explicit(&mine[t], 0u, memory_order_relaxed);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      atomic_fetch_add_explicit(&mine[x[i]], 1u, memory_order_relaxed);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (t < 16)
        atomic_fetch_add_explicit(&bins[t], atomic_load_explicit(&mine[t], memory_order_relaxed),
                                  memory_order_relaxed);
    }
    """
    x, bins = rng.integers(0, 16, 4096).astype("u4"), np.zeros(16, "u4")
    lengths = {0: 64} if local else {}
    source = shared if local else plain
    counts = run(source, {0: x, 1: bins}, x.size, 128, threadgroup=lengths, check=check)
    np.testing.assert_array_equal(bins, np.bincount(x, minlength=16))
    if check:
        groups = x.size // 128
        assert counts["atomics"] == x.size + (groups * 16 * 3 if local else 0)


@pytest.mark.parametrize(
    ("condition", "divergent"),
    [("i % 2 == 0", True), ("(i / 32) % 2 == 0", False), ("i < 16", True), ("n > 5", False)],
)
def test_divergence(condition: str, divergent: bool) -> None:
    source = """
    kernel void branch(device float* x, constant uint& n, uint i [[thread_position_in_grid]]) {
      if (CONDITION) {
        for (uint k = 0; k < n; ++k) x[i] = exp(x[i]) * 0.25f;
      }
    }
    """.replace("CONDITION", condition)
    x = np.ones(64, "f4")
    counts = run(source, {0: x, 1: np.uint32(7).tobytes()}, 64, 64)
    assert (counts["blocks_divergent"] > 0) == divergent
    if not divergent:
        assert counts["lane_slots"] == counts["lane_slots_used"]


def test_divergence_is_what_idle_lanes_cost() -> None:
    """Lane l goes round l times: a SIMD-group issues 31 rounds of which half the lanes are idle."""
    source = """
    kernel void uneven(device float* x, uint i [[thread_position_in_grid]]) {
      float v = 0;
      for (uint k = 0; k < i; ++k) v = fma(v, x[i], sin(v));
      x[i] = v;
    }
    """
    counts = run(source, {0: np.ones(32, "f4")}, 32, 32)
    rounds = sum(range(32))
    idle = counts["lane_slots"] - counts["lane_slots_used"]
    assert idle >= 31 * 32 - rounds
    assert counts["blocks_divergent"] >= 31


@pytest.mark.parametrize(("stride", "lines"), [(1, 1), (2, 2), (4, 4), (32, 32), (0, 1)])
def test_coalescing_by_stride(stride: int, lines: int) -> None:
    source = """
    kernel void strided(device const float* x, device float* y, constant uint& stride,
                        uint i [[thread_position_in_grid]]) {
      y[i] = x[i * stride];
    }
    """
    x, y = f32(max(1, 32 * stride)), np.zeros(32, "f4")
    counts = run(source, {0: x, 1: y, 2: np.uint32(stride).tobytes()}, 32, 32)
    np.testing.assert_array_equal(y, x[np.arange(32) * stride])
    assert counts["load_transactions"] == lines
    assert counts["load_transactions_ideal"] == 1


def test_parts_of_a_struct_are_one_access() -> None:
    source = """
    struct alignas(16) Pack { float v[4]; };
    kernel void copy(device const Pack* x, device Pack* y, uint i [[thread_position_in_grid]]) {
      const Pack p = x[i];
      Pack q;
      for (int k = 0; k < 4; ++k) q.v[k] = p.v[k] * 2;
      y[i] = q;
    }
    kernel void apart(device const float* x, device float* y, uint i [[thread_position_in_grid]]) {
      y[4 * i] = x[4 * i + 1] + x[4 * i + 3];
    }
    """
    x, y = f32(32, 4), np.zeros((32, 4), "f4")
    counts = run(source, {0: x, 1: y}, 32, 32, name="copy")
    np.testing.assert_array_equal(y, x * 2)
    assert counts["load_transactions"] == counts["load_transactions_ideal"] == 4
    assert counts["store_transactions"] == counts["store_transactions_ideal"] == 4
    counts = run(source, {0: x, 1: y}, 32, 32, name="apart")
    assert counts["load_transactions"] == 8 and counts["load_transactions_ideal"] == 2


def test_parts_loaded_last_first_are_one_access() -> None:
    """A compiler that takes a struct apart loads its parts from the last one down."""
    source = """
    struct alignas(16) Pack { float v[4]; };
    kernel void total(device const float* x, device float* y, uint i [[thread_position_in_grid]]) {
      const Pack p = *(device const Pack*)(x + i * 4);
      float sum = 0;
      _Pragma("unroll")
      for (int k = 0; k < 4; ++k) sum += p.v[k];
      y[i] = sum;
    }
    kernel void down(device const float* x, device float* y, uint i [[thread_position_in_grid]]) {
      y[i] = x[4 * i + 3];
      y[i] += x[4 * i + 2];
    }
    """
    x, y = f32(32, 4), np.zeros(32, "f4")
    counts = run(source, {0: x, 1: y}, 32, 32, name="total")
    np.testing.assert_allclose(y, x.sum(axis=1), rtol=1e-5)
    assert counts["device_loads"] == 128
    assert counts["load_transactions"] == counts["load_transactions_ideal"] == 4
    # With a store between them they are two.
    counts = run(source, {0: x, 1: y}, 32, 32, name="down")
    assert counts["load_transactions"] > counts["load_transactions_ideal"]


def test_vector_loads_are_one_access() -> None:
    source = """
    kernel void copy(device const float4* x, device float4* y, uint i [[thread_position_in_grid]]) {
      y[i] = x[i];
    }
    """
    x, y = f32(32, 4), np.zeros((32, 4), "f4")
    counts = run(source, {0: x, 1: y}, 32, 32)
    np.testing.assert_array_equal(x, y)
    assert (counts["device_loads"], counts["device_load_bytes"]) == (32, 512)
    assert counts["load_transactions"] == counts["load_transactions_ideal"] == 4


def test_structures_are_copied_and_counted() -> None:
    source = """
    struct Big { float v[12]; };
    kernel void copy(device const Big* x, device Big* y, uint i [[thread_position_in_grid]]) {
      y[i] = x[i];
    }
    """
    x, y = f32(8, 12), np.zeros((8, 12), "f4")
    counts = run(source, {0: x, 1: y}, 8, 8)
    np.testing.assert_array_equal(x, y)
    assert counts["device_load_bytes"] == counts["device_store_bytes"] == x.nbytes


@CHECKED
def test_grids_of_odd_sizes(check: bool) -> None:
    """dispatchThreads: groups at the edges are smaller, and say so."""
    source = """
    kernel void sizes(device uint* out, uint3 i [[thread_position_in_grid]],
                      uint3 n [[threads_per_grid]], uint3 size [[threads_per_threadgroup]],
                      uint3 asked [[dispatch_threads_per_threadgroup]],
                      uint index [[thread_index_in_threadgroup]],
                      uint3 t [[thread_position_in_threadgroup]]) {
      uint at = (i.z * n.y + i.y) * n.x + i.x;
      bool right = index == (t.z * size.y + t.y) * size.x + t.x && asked.x == 4;
      out[at] = right ? size.x * 100 + size.y * 10 + size.z : 0;
    }
    """
    out = np.zeros((3, 5, 7), "u4")
    run(source, {0: out}, (7, 5, 3), (4, 3, 2), check=check)
    width = np.where(np.arange(7) < 4, 4, 3)
    height, depth = np.where(np.arange(5) < 3, 3, 2), np.where(np.arange(3) < 2, 2, 1)
    want = width * 100 + height[:, None] * 10 + depth[:, None, None]
    np.testing.assert_array_equal(out, want)


def test_orders_are_shuffled_and_repeatable() -> None:
    """Which threadgroup comes first depends on the seed and on nothing else."""
    source = """
    kernel void order(device atomic_uint* next, device uint* out,
                      uint i [[thread_position_in_grid]]) {
      out[i] = atomic_fetch_add_explicit(next, 1u, memory_order_relaxed);
    }
    """

    def order(seed: int) -> list[int]:
        out = np.zeros(64, "u4")
        run(source, {0: np.zeros(1, "u4"), 1: out}, 64, 1, seed=seed)
        return out.tolist()

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(4)}) > 1


def test_compiled_kernels_are_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LAMINA_CACHE_DIR", str(tmp_path))
    first = pipeline(SAXPY, "saxpy")
    again = pipeline(SAXPY, "saxpy")
    assert first.compile_ms > 0
    assert again.compile_ms == 0
    assert pipeline(SAXPY.replace("2.5", "3"), "saxpy", check=False).compile_ms > 0

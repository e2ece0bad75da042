"""A kernel broken on purpose for each of Metal's rules: the rule is enforced, and the error says
which kernel, argument and thread, and what to do."""

from __future__ import annotations

import numpy as np
import pytest
from lamina import _core, soft_metal
from msl import HEAD, broken, pipeline, run

COPY = """
kernel void copy(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
                 uint i [[thread_position_in_grid]]) { y[i] = x[i]; }
"""


def zeros(n: int = 64) -> np.ndarray:
    return np.zeros(n, "f4")


# --- what the encoder and the debug layer refuse ---


def test_unbound_buffer() -> None:
    with broken("buffer_unbound", "kernel `copy`", "buffer 1 `y`", "setBuffer") as info:
        run(COPY, {0: zeros()}, 64)
    assert (info.value.kernel, info.value.buffer) == ("copy", 1)


def test_offset_outside_of_the_buffer() -> None:
    with broken("buffer_offset", "offset 256", "256 bytes"):
        run(COPY, {0: zeros(), 1: zeros()}, 1, offsets={1: 256})


@pytest.mark.parametrize(
    ("kind", "unit"), [("float", 4), ("half", 2), ("float4", 16), ("long4", 16)]
)
def test_offsets_are_aligned(kind: str, unit: int) -> None:
    source = f"kernel void one(device {kind}* x) {{ x[0] = x[0]; }}"
    run(source, {0: zeros()}, 1, 1, offsets={0: unit if unit < 16 else 32})
    with broken("buffer_alignment", f"not a multiple of {unit}", "buffer 0 `x`"):
        run(source, {0: zeros()}, 1, 1, offsets={0: unit // 2})


def test_constant_offsets_are_multiples_of_four() -> None:
    source = "kernel void one(constant half* c, device half* x) { x[0] = c[0]; }"
    with broken("buffer_alignment", "multiple of 4"):
        run(source, {0: zeros(), 1: zeros()}, 1, 1, offsets={0: 2})


def test_short_structure() -> None:
    source = (
        "struct P { float4 a, b; }; kernel void one(constant P& p, device float* x) { *x = p.a.x; }"
    )
    with broken("buffer_short", "16 bytes are bound", "32"):
        run(source, {0: bytes(16), 1: zeros()}, 1, 1)


@pytest.mark.parametrize("index", [-1, 31, 40])
def test_buffer_index(index: int) -> None:
    with broken("buffer_index", str(index), "0 to 30"):
        run(COPY, {0: zeros(), 1: zeros(), index: zeros()}, 1)


@pytest.mark.parametrize(("size", "fine"), [(0, False), (1, True), (4095, True), (4096, False)])
def test_bytes_in_line(size: int, fine: bool) -> None:
    source = "kernel void one(constant uchar* c, device uchar* x) { *x = *c; }"
    if fine:
        run(source, {0: bytes(size), 1: zeros()}, 1, 1)
    else:
        with broken("inline_bytes", f"{size} bytes", "use a buffer"):
            run(source, {0: bytes(size), 1: zeros()}, 1, 1)


LOCAL = """
kernel void local(device float* x, threadgroup float* t [[threadgroup(0)]],
                  uint i [[thread_index_in_threadgroup]]) { t[i] = x[i]; x[i] = t[i]; }
"""


@pytest.mark.parametrize("length", [8, 100, 129])
def test_threadgroup_lengths_are_multiples_of_16(length: int) -> None:
    with broken("threadgroup_length", f"{length} bytes", "multiple of 16"):
        run(LOCAL, {0: zeros()}, 1, 1, threadgroup={0: length})


def test_threadgroup_argument_without_length() -> None:
    with broken("threadgroup_length", "threadgroup memory 0 `t`", "setThreadgroupMemoryLength"):
        run(LOCAL, {0: zeros()}, 1, 1)


def test_threadgroup_memory_is_limited() -> None:
    run(LOCAL, {0: zeros()}, 32, 32, threadgroup={0: 32768})
    with broken("threadgroup_total", "32784", "32768"):
        run(LOCAL, {0: zeros()}, 32, 32, threadgroup={0: 32784})


def test_static_threadgroup_memory_is_limited() -> None:
    source = """
    kernel void big(device float* x) {
      constexpr int N = 8193;
      threadgroup float t[N];
      t[0] = 1; x[0] = t[0];
    }
    """
    with broken("static_threadgroup", "32772 bytes", "32768"):
        pipeline(source)
    assert pipeline(source.replace("8193", "8192")).static_threadgroup_bytes == 32768


@pytest.mark.parametrize("group", [1025, (32, 33), (0, 1), (1024, 1, 2)])
def test_group_size(group: object) -> None:
    with broken("group_size", "threadgroup of"):
        run(COPY, {0: zeros(), 1: zeros()}, 64, group)


def test_group_size_of_the_pipeline() -> None:
    with broken("group_size", "over the pipeline's 64"):
        run(COPY, {0: zeros(), 1: zeros()}, 64, 128, max_threads=64)
    source = COPY.replace("kernel", "[[max_total_threads_per_threadgroup(32)]] kernel")
    assert pipeline(source).max_threads == 32


@pytest.mark.parametrize("grid", [0, (4, 0), (1, 1, 0)])
def test_empty_grid(grid: object) -> None:
    with broken("empty_grid", "no threads"):
        run(COPY, {0: zeros(), 1: zeros()}, grid)


def test_grid_positions_have_32_bits() -> None:
    with broken("grid_size", str(2**32)):
        run(COPY, {0: zeros(), 1: zeros()}, 2**32)


def test_missing_function() -> None:
    with broken("function_not_found", "`nothing`", "copy"):
        pipeline(COPY, "nothing")


CONSTANTS = """
constant bool flag [[function_constant(0)]];
constant float scale [[function_constant(3)]];
kernel void scaled(device float* x, device float* y [[buffer(1), function_constant(flag)]],
                   uint i [[thread_position_in_grid]]) {
  float s = is_function_constant_defined(scale) ? scale : 1.0f;
  if (flag) y[i] = x[i] * s; else x[i] *= s;
}
"""


def test_missing_function_constant() -> None:
    with broken("constant_missing", "function constant 0 `flag`", "`scaled`"):
        pipeline(CONSTANTS, constants={3: ("float", np.float32(2).tobytes())})


def test_wrong_type_of_function_constant() -> None:
    with broken("constant_type", "`flag`", "given as int, declared as bool"):
        pipeline(CONSTANTS, constants={0: ("int", bytes(4)), 3: ("float", bytes(4))})


# --- what happens in the kernel ---


@pytest.mark.parametrize(
    ("index", "word"),
    [("i + 1", "reads 4 bytes at byte 256 of 256"), ("i - 1", "at byte "), ("i * 1000", "of 256")],
)
def test_out_of_bounds(index: str, word: str) -> None:
    source = COPY.replace("x[i]", f"x[(int)({index})]")
    with broken(
        "out_of_bounds", "kernel `copy`: thread (", "buffer 0 `x`", word, "check the index"
    ):
        run(source, {0: zeros(), 1: zeros(2000)}, 64)


@pytest.mark.parametrize("bound", [zeros(), zeros().tobytes()], ids=["a buffer", "in line"])
@pytest.mark.parametrize("index", [64, 1000])
def test_out_of_bounds_in_the_constant_space(bound: object, index: int) -> None:
    source = "kernel void one(constant float* c, device float* x) { x[0] = c[int(x[1])]; }"
    x = zeros()
    x[1] = 63
    run(source, {0: bound, 1: x}, 1, 1)
    x[1] = index
    with broken("out_of_bounds", "buffer 0 `c`", f"reads 4 bytes at byte {index * 4} of 256"):
        run(source, {0: bound, 1: x}, 1, 1)


def test_out_of_bounds_stays_with_its_buffer() -> None:
    """Two neighbours in memory: past the end of one is not the beginning of the other."""
    both = zeros(128)
    with broken("out_of_bounds", "buffer 0 `x`", "reads 4 bytes at byte 256 of 256"):
        run(COPY.replace("x[i]", "x[i + 64]"), {0: both[:64], 1: both[64:]}, 1, 1)


def test_the_thread_is_named() -> None:
    source = """
    kernel void one(device float* x, uint3 i [[thread_position_in_grid]]) {
      if (i.x == 5 && i.y == 3 && i.z == 1) x[1000] = 1;
    }
    """
    with broken("out_of_bounds", "thread (5, 3, 1)", "writes 4 bytes at byte 4000") as info:
        run(source, {0: zeros()}, (7, 5, 2), (4, 2, 1))
    assert info.value.thread == (5, 3, 1)


def test_wild_pointer() -> None:
    source = "kernel void one(device float* x) { device float* p = x + (1L << 44); *p = 1; }"
    with broken("out_of_bounds", "belongs to no argument"):
        run(source, {0: zeros()}, 1, 1)


def test_out_of_bounds_in_threadgroup_memory() -> None:
    source = """
    kernel void one(device float* x, uint i [[thread_index_in_threadgroup]]) {
      threadgroup float t[32], u[32];
      t[i] = x[i]; u[i + 1] = x[i];
      threadgroup_barrier(mem_flags::mem_threadgroup);
      x[i] = t[i] + u[i];
    }
    """
    with broken("out_of_bounds", "threadgroup memory", "byte 128", "with 128"):
        run(source, {0: zeros()}, 32)


def test_write_through_a_cast() -> None:
    source = """
    kernel void one(device const float* x, uint i [[thread_position_in_grid]]) {
      ((device float*)x)[i] = 1;
    }
    """
    with broken("write_to_constant", "buffer 0 `x`", "const"):
        run(source, {0: zeros()}, 4)


@pytest.mark.parametrize(
    "body",
    [
        "y[0] = x[i];",
        "y[i] = x[i]; y[(i + 1) % 64] = 0;",
        "y[i] = y[(i + 1) % 64];",
        "if (i == 0) y[7] = 1; else x[i + 1] = y[7];",
    ],
    ids=["one cell", "neighbour written", "neighbour read", "one writes, all read"],
)
def test_data_race(body: str) -> None:
    source = f"""
    kernel void race(device float* x, device float* y, uint i [[thread_position_in_grid]]) {{
      {body}
    }}
    """
    with broken("data_race", "kernel `race`: thread (", "`y`", "thread (", "atomic"):
        run(source, {0: zeros(65), 1: zeros()}, 64, 16)


def test_atomic_and_plain_race() -> None:
    source = """
    kernel void mixed(device atomic_uint* x, uint i [[thread_position_in_grid]]) {
      if (i == 3) ((device uint*)x)[0] = 1;
      else atomic_fetch_add_explicit(x, 1u, memory_order_relaxed);
    }
    """
    with broken("data_race", "buffer 0 `x`"):
        run(source, {0: np.zeros(1, "u4")}, 8, 8)


EXCHANGE = """
kernel void exchange(device float* x, uint i [[thread_index_in_threadgroup]]) {
  threadgroup float t[64];
  t[i] = x[i];
  BARRIER
  x[i] = t[63 - i];
}
"""


@pytest.mark.parametrize(
    "barrier",
    [
        "",
        "simdgroup_barrier(mem_flags::mem_threadgroup);",
        "threadgroup_barrier(mem_flags::mem_none);",
    ],
    ids=["none", "of a SIMD-group", "of no memory"],
)
def test_threadgroup_memory_needs_its_barrier(barrier: str) -> None:
    with pytest.raises(Exception, match="threadgroup memory") as info:
        run(EXCHANGE.replace("BARRIER", barrier), {0: zeros()}, 64, 64)
    assert info.value.rule in ("data_race", "uninitialised")


def test_the_right_barrier_is_enough() -> None:
    x = np.arange(64, dtype="f4")
    source = EXCHANGE.replace("BARRIER", "threadgroup_barrier(mem_flags::mem_threadgroup);")
    run(source, {0: x}, 64, 64)
    np.testing.assert_array_equal(x, np.arange(64)[::-1])


def test_barrier_of_a_threadgroup_does_not_order_the_grid() -> None:
    source = """
    kernel void next(device float* x, device float* y, uint i [[thread_position_in_grid]]) {
      x[i] = i;
      threadgroup_barrier(mem_flags::mem_device);
      y[i] = x[(i + 32) % 64];
    }
    """
    with broken("data_race", "`x`"):
        run(source, {0: zeros(), 1: zeros()}, 64, 32)


@pytest.mark.parametrize("check", [True, False])
def test_divergent_barrier(check: bool) -> None:
    source = """
    kernel void part(device float* x, uint i [[thread_index_in_threadgroup]]) {
      if (i < 40) threadgroup_barrier(mem_flags::mem_threadgroup);
      x[i] = i;
    }
    """
    with broken("divergent_barrier", "line 5", "40 of 64 threads", "has returned"):
        run(source, {0: zeros()}, 64, 64, check=check)


def test_two_barriers_are_not_one() -> None:
    source = """
    kernel void part(device float* x, uint i [[thread_index_in_threadgroup]]) {
      if (i < 40)
        threadgroup_barrier(mem_flags::mem_threadgroup);
      else
        threadgroup_barrier(mem_flags::mem_threadgroup);
      x[i] = i;
    }
    """
    with broken("divergent_barrier", "waits in line"):
        run(source, {0: zeros()}, 64, 64)


@pytest.mark.parametrize(("group", "condition"), [(16, "true"), (32, "i < 20")])
def test_matrices_need_a_whole_simd_group(group: int, condition: str) -> None:
    source = f"""
    kernel void part(device float* x, uint i [[thread_index_in_threadgroup]]) {{
      simdgroup_float8x8 m(1.0f);
      if ({condition}) simdgroup_multiply(m, m, m);
      x[i] = m.thread_elements()[0];
    }}
    """
    with broken("divergent_matrix", "of 32 lanes", "line 6"):
        run(source, {0: zeros()}, group, group)


@pytest.mark.parametrize("check", [True, False])
def test_simd_groups_come_in_the_order_of_the_seed(check: bool) -> None:
    source = """
    kernel void order(device atomic_uint* next, device uint* out,
                      uint lane [[thread_index_in_simdgroup]],
                      uint group [[simdgroup_index_in_threadgroup]]) {
      const uint lanes = simd_sum(1u);
      if (lane == 0) out[group] = atomic_fetch_add_explicit(next, 1u, memory_order_relaxed);
      if (lane == 1) out[group + 16] = lanes;
    }
    """

    def order(seed: int) -> tuple[int, ...]:
        out = np.zeros(32, "u4")
        run(source, {0: np.zeros(1, "u4"), 1: out}, 512, 512, seed=seed, check=check)
        assert (out[16:] == 32).all()
        return tuple(out[:16].tolist())

    assert order(1) == order(1)
    orders = {order(seed) for seed in range(4)}
    assert (len(orders) > 1) == check
    assert all(sorted(o) == list(range(16)) for o in orders)


def test_uninitialised_threadgroup_memory() -> None:
    source = """
    kernel void stale(device float* x, uint i [[thread_index_in_threadgroup]]) {
      threadgroup float t[64];
      if (i < 63) t[i] = x[i];
      threadgroup_barrier(mem_flags::mem_threadgroup);
      x[i] = t[i];
    }
    """
    with broken("uninitialised", "thread (63, 0, 0)", "byte 252", "write it first"):
        run(source, {0: zeros()}, 64, 64)
    # Unchecked, it holds nothing that could pass for a value.
    x = zeros()
    run(source, {0: x}, 64, 64, check=False)
    assert np.isnan(x[63]) and not x[:63].any()


@pytest.mark.parametrize(
    "call",
    ["simd_broadcast(x[i], i)", "simd_shuffle_xor(x[i], i)", "simd_shuffle_down(x[i], i & 1)"],
)
def test_uniform_arguments(call: str) -> None:
    source = f"""
    kernel void shuffled(device float* x, uint i [[thread_index_in_threadgroup]]) {{
      float v = {call};
      x[i] = v;
    }}
    """
    with broken("nonuniform_argument", "line 5", "one value for all lanes"):
        run(source, {0: zeros()}, 32)


def test_dependent_dispatches_of_a_concurrent_encoder() -> None:
    copy = pipeline(COPY)
    a, b, c = np.arange(64, dtype="f4"), zeros(), zeros()
    encoder = soft_metal.Encoder(concurrent=True)
    encoder.dispatch(copy, {0: a, 1: b}, 64, 32)
    with broken(
        "missing_barrier", "reads what kernel `copy` wrote as `y`", "memoryBarrierWithScope"
    ):
        encoder.dispatch(copy, {0: b, 1: c}, 64, 32)

    encoder = soft_metal.Encoder(concurrent=True)
    encoder.dispatch(copy, {0: a, 1: b}, 64, 32)
    encoder.barrier()
    encoder.dispatch(copy, {0: b, 1: c}, 64, 32)
    np.testing.assert_array_equal(a, c)

    serial = soft_metal.Encoder(concurrent=False)
    serial.dispatch(copy, {0: a, 1: b}, 64, 32)
    serial.dispatch(copy, {0: b, 1: c}, 64, 32)


def test_disjoint_parts_need_no_barrier() -> None:
    """Two dispatches that write the even and the odd elements of one buffer."""
    source = """
    kernel void every_second(device float* y, constant uint& first,
                             uint i [[thread_position_in_grid]]) { y[2 * i + first] = i; }
    """
    p, y = pipeline(source), zeros()
    encoder = soft_metal.Encoder(concurrent=True)
    encoder.dispatch(p, {0: y, 1: np.uint32(0).tobytes()}, 32, 32)
    encoder.dispatch(p, {0: y, 1: np.uint32(1).tobytes()}, 32, 32)
    np.testing.assert_array_equal(y, np.arange(64) // 2)
    with broken("missing_barrier", "writes what kernel `every_second` wrote"):
        encoder.dispatch(p, {0: y, 1: np.uint32(1).tobytes()}, 32, 32)


def test_nothing_is_left_behind() -> None:
    """After an error the device works on."""
    for _ in range(3):
        with broken("out_of_bounds"):
            run(COPY.replace("x[i]", "x[i + 64]"), {0: zeros(), 1: zeros()}, 64)
        y = zeros()
        run(COPY, {0: zeros() + 3, 1: y}, 64)
        assert (y == 3).all()


@pytest.mark.parametrize("stage", ["library", "pipeline", "dispatch"])
def test_failures_on_request(stage: str) -> None:
    run(COPY, {0: zeros(), 1: zeros()}, 64)
    _core._metal_fail_at(stage, 1)
    run(COPY, {0: zeros(), 1: zeros()}, 64)
    with broken("injected", stage):
        run(COPY, {0: zeros(), 1: zeros()}, 64)
    run(COPY, {0: zeros(), 1: zeros()}, 64)


def test_no_compiler(monkeypatch) -> None:
    monkeypatch.setenv("LAMINA_ZIG", "/nowhere/zig")
    with pytest.raises(Exception, match="cannot start the compiler /nowhere/zig"):
        soft_metal.Library(HEAD + "kernel void never_compiled_before(device int* x) { *x = 77; }")


# --- a thread's own memory ---

ARRAY = """
kernel void keeps(device float* x) {
  float a[COUNT];
  for (int i = 0; i < COUNT; ++i) a[i] = x[i % 4] + i;
  x[0] = a[int(x[1])];
}
"""


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("count", [50_000, 65_536, 300_000, 1_000_000])
def test_arrays_of_a_thread_are_limited(count: int, check: bool) -> None:
    with broken("private_memory", "program_source:4: error: `keeps` asks for", "over 196608") as e:
        pipeline(ARRAY.replace("COUNT", str(count)), check=check)
    asked = int(str(e.value).split("asks for ")[1].split()[0])
    assert count * 4 - 512 <= asked <= count * 4 + 4096
    assert "threadgroup or device memory" in str(e.value)
    assert e.value.kernel == "keeps"


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("meet", ["", "simd_sum(1.0f) * 0 + "])
def test_arrays_of_a_thread_under_the_limit(meet: str, check: bool) -> None:
    x = np.array([1, 7, 3, 4], "f4")
    source = ARRAY.replace("COUNT", "48000").replace("= a[", f"= {meet}a[")
    run(source, {0: x}, 1, 1, check=check)
    assert x[0] == 4 + 7


def test_calls_that_nest_too_deeply() -> None:
    # By a method, which nobody looks for in the text.
    source = """
    struct Deep { int sum(int n) { return n > 0 ? n + sum(n - 1) * 3 : 0; } };
    kernel void deep(device int* x, uint i [[thread_position_in_grid]]) {
      Deep d;
      x[i] = d.sum(x[i]);
    }
    """
    run(source, {0: np.full(4, 100, "i4")}, 4, 4)
    with broken("private_memory", "kernel `deep`: thread (", "its calls and arrays need") as info:
        run(source, {0: np.full(4, 1_000_000, "i4")}, 4, 4)
    assert "over 196608\n  use loops" in str(info.value)
    run(source, {0: np.full(4, 100, "i4")}, 4, 4)


def test_an_index_far_outside_of_a_threads_own_array() -> None:
    source = """
    kernel void far(device float* x, uint i [[thread_position_in_grid]]) {
      float a[64];
      for (int k = 0; k < 64; ++k) a[k] = simd_sum(x[k]);
      x[i] = a[int(x[64])];
    }
    """
    x = np.zeros(65, "f4")
    x[64] = 200_000
    with broken("out_of_bounds", "reads 4 bytes outside of the thread's own arrays"):
        run(source, {0: x}, 64, 64)


def test_null_pointers() -> None:
    source = """
    kernel void null(device float* x) {
      device float* p = nullptr;
      if (x[0] == 1) p = x;
      x[1] = p[2];
    }
    """
    with broken("out_of_bounds", "kernel `null`", "reads 4 bytes through a null pointer"):
        run(source, {0: zeros()}, 1, 1)
    run(source, {0: np.ones(64, "f4")}, 1, 1)


def test_a_dispatch_after_one_that_was_broken_off() -> None:
    """Its accesses continue none of the other's."""
    x = zeros()
    with broken("out_of_bounds"):
        run("kernel void one(device float* x) { x[8] = x[0]; x[99] = 1; }", {0: x}, 1, 1)
    run("kernel void two(device float* x) { x[9] = x[1]; }", {0: x}, 1, 1)

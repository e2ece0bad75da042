# The source of 40_inside_a_kernel.ipynb: `python tests/tools/notebooks.py 40_inside_a_kernel`
# builds and executes it.

# %% [markdown]
# # Inside a kernel
#
# A GPU runs threads in SIMD-groups of 32 lanes, and SIMD-groups in threadgroups that share a
# little fast memory. Whether a kernel is fast is decided by a few things that its text does not
# show: which addresses 32 neighbours touch together, which banks they meet in, how often they wait
# for each other, and how many of them have nothing to do.
#
# Software Metal makes them visible. It runs Metal's text on the CPU, under Metal's rules, and
# counts. So we take small kernels, change one thing, and watch the counts. No GPU is needed, and
# the counts are the same on every machine: they say what a kernel asks for, not how long a certain
# chip takes for it.

# %%
import lamina.core as mx
import matplotlib.pyplot as plt
import numpy as np
from lamina import soft_metal
from lamina.workbench import analysis

# %load_ext lamina

# %% [markdown]
# A kernel is the body of a Metal function. `run` launches one over a matrix on software Metal,
# checks the result, and returns what was counted.

# %%
# %env LAMINA_GPU=soft_metal
N = 256
matrix = np.arange(N * N, dtype=np.float32).reshape(N, N)


def run(name, body, want, grid=(N, N, 1), threadgroup=(32, 8, 1)):
    kernel = mx.fast.metal_kernel(name=name, input_names=["x"], output_names=["out"], source=body)
    with mx.stream(mx.gpu):
        (out,) = kernel(
            inputs=[mx.array(matrix)],
            grid=grid,
            threadgroup=threadgroup,
            output_shapes=[want.shape],
            output_dtypes=[mx.float32],
        )
        soft_metal.take_counts()
        mx.eval(out)
    np.testing.assert_allclose(np.array(out), want, rtol=1e-5)
    (counts,) = soft_metal.take_counts().values()
    return counts


# %% [markdown]
# ## Coalescing: which addresses do 32 neighbours touch?
#
# Memory comes in lines of 128 bytes. If the 32 lanes of a SIMD-group load 32 neighbouring floats,
# that is one line; if they load floats that lie a row apart, it is 32 lines, of which 4 bytes each
# are used. Here is the same copy twice. The only difference is which index runs with the lanes.

# %%
along = """
    uint2 at = thread_position_in_grid.xy;
    out[at.y * 256 + at.x] = x[at.y * 256 + at.x];
"""
across = """
    uint2 at = thread_position_in_grid.xy;
    out[at.x * 256 + at.y] = x[at.x * 256 + at.y];
"""
for name, body in (("along", along), ("across", across)):
    c = run(name, body, matrix)
    asked = c["load_transactions"] + c["store_transactions"]
    best = c["load_transactions_ideal"] + c["store_transactions_ideal"]
    print(f"{name:6}  {c['device_load_bytes']} bytes read, {asked:6} lines, at best {best}")

# %% [markdown]
# Both read the same bytes. One asks for 32 times as many lines. A stride does not have to be that
# large to hurt: how many lines does a SIMD-group need if its lanes read every second, every fourth
# element?

# %%
steps, lines = [1, 2, 4, 8, 16, 32, 64], []
for step in steps:
    body = f"""
        uint i = thread_position_in_grid.x;
        out[i] = x[i * {step}];
    """
    c = run(f"stride_{step}", body, matrix.ravel()[: 1024 * step : step], (1024, 1, 1), (256, 1, 1))
    lines.append(c["load_transactions"] / (1024 // 32))
print(dict(zip(steps, lines, strict=True)))
plt.figure(figsize=(5, 2.6))
plt.plot(steps, lines, "o-")
plt.xscale("log", base=2)
plt.xlabel("stride in elements")
plt.ylabel("lines per load")
plt.tight_layout()
plt.show()

# %% [markdown]
# ## Threadgroup memory, and its banks
#
# A transpose has to read along and write across, or the other way round. The way out is to go
# through threadgroup memory: read a square of 32 by 32 along its rows, wait for each other, and
# write it along the rows of the result. Then both sides of device memory are coalesced.
#
# Threadgroup memory has 32 banks, each 4 bytes wide. If the lanes of a SIMD-group touch 32
# different banks, they are served at once. If they meet in one bank, they are served one after the
# other. A column of a 32 by 32 square lies in a single bank. One unused float at the end of each
# row shifts every row by one bank.

# %%
naive = """
    uint2 at = thread_position_in_grid.xy;
    out[at.x * 256 + at.y] = x[at.y * 256 + at.x];
"""


def through(width):
    return f"""
        threadgroup float square[32 * {width}];
        uint2 lane = thread_position_in_threadgroup.xy;
        uint2 corner = threadgroup_position_in_grid.xy * 32;
        for (uint row = lane.y; row < 32; row += 8)
            square[row * {width} + lane.x] = x[(corner.y + row) * 256 + corner.x + lane.x];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (uint row = lane.y; row < 32; row += 8)
            out[(corner.x + row) * 256 + corner.y + lane.x] = square[lane.x * {width} + row];
    """


versions = {
    "naive": (naive, (N, N, 1)),
    "square of 32": (through(32), (N, N // 4, 1)),
    "square of 33": (through(33), (N, N // 4, 1)),
}
for label, (body, grid) in versions.items():
    c = run(label.replace(" ", "_"), body, matrix.T, grid)
    asked = c["load_transactions"] + c["store_transactions"]
    print(f"{label:13}  {asked:6} lines  {c['bank_conflicts']:6} cycles lost in banks")

# %% [markdown]
# The first version pays in device memory, the second in banks, the third nowhere. It costs 128
# bytes of threadgroup memory.
#
# ## Barriers: who waits for whom?
#
# What happens if the barrier is left out? On a GPU perhaps nothing, today. The lanes that read may
# be late enough. Software Metal does not wait for luck: it runs the SIMD-groups of a threadgroup in
# an order of its own, and knows of each byte who has written it.

# %%
forgotten = through(33).replace("threadgroup_barrier(mem_flags::mem_threadgroup);", "")
try:
    run("forgotten", forgotten, matrix.T, (N, N // 4, 1))
except mx.DeviceError as error:
    print(error)

# %% [markdown]
# A barrier makes everyone wait for the slowest, so a kernel should have few. The sum of 256 numbers
# as a tree in threadgroup memory needs a barrier for each of its 8 levels. Within a SIMD-group
# nobody has to wait: `simd_sum` adds up the 32 lanes, and one barrier remains for the 8 partial
# sums.

# %%
tree = """
    threadgroup float part[256];
    uint i = thread_position_in_threadgroup.x;
    part[i] = x[thread_position_in_grid.x];
    for (uint n = 128; n > 0; n /= 2) {
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (i < n) part[i] += part[i + n];
    }
    if (i == 0) out[threadgroup_position_in_grid.x] = part[0];
"""
lanes = """
    threadgroup float part[8];
    float sum = simd_sum(x[thread_position_in_grid.x]);
    if (thread_index_in_simdgroup == 0) part[simdgroup_index_in_threadgroup] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (simdgroup_index_in_threadgroup == 0) {
        uint lane = thread_index_in_simdgroup;
        float all = simd_sum(lane < 8 ? part[lane] : 0.0f);
        if (lane == 0) out[threadgroup_position_in_grid.x] = all;
    }
"""
for name, body in (("tree", tree), ("lanes", lanes)):
    c = run(name, body, matrix.sum(axis=1), (N * N, 1, 1), (256, 1, 1))
    accesses = c["threadgroup_loads"] + c["threadgroup_stores"]
    print(
        f"{name:5} a threadgroup: {c['barriers'] // N} barriers, {accesses // N:4} accesses to its "
        f"memory, {c['simd_operations'] // N} operations of SIMD-groups"
    )

# %% [markdown]
# ## Occupancy: how many lanes have work?
#
# A SIMD-group has one program counter. Where its lanes take different ways, it goes both, and on
# each the others idle. Neighbours should therefore decide alike. Below, half of the threads take
# each way; once it is every other lane, once every other SIMD-group.

# %%
branch = """
    uint i = thread_position_in_grid.x;
    float v = x[i];
    if (%s)
        for (int k = 0; k < 16; ++k) v = v * 0.5f + 1.0f;
    else
        for (int k = 0; k < 16; ++k) v = v * 0.25f + 2.0f;
    out[i] = v;
"""


def expected(first):
    v = matrix.ravel()
    a, b = v.copy(), v.copy()
    for _ in range(16):
        a, b = a * np.float32(0.5) + 1, b * np.float32(0.25) + 2
    return np.where(first, a, b)


index = np.arange(N * N)
ways = {
    "lanes": ("i % 2 == 0", index % 2 == 0),
    "groups": ("i / 32 % 2 == 0", index // 32 % 2 == 0),
}
for label, (condition, first) in ways.items():
    c = run(f"by_{label}", branch % condition, expected(first), (N * N, 1, 1), (256, 1, 1))
    share = c["lane_slots_used"] / c["lane_slots"]
    print(
        f"every other of the {label:6} {share:5.0%} of the lanes at work, "
        f"{c['blocks_divergent'] / c['blocks_issued']:4.0%} of the blocks divergent"
    )

# %% [markdown]
# Lanes also idle if a threadgroup does not fill its SIMD-groups. A group of 8 threads still takes
# a whole one. And threads of a group beyond a multiple of 32 take another.

# %%
copy = """
    uint i = thread_position_in_grid.x;
    out[i] = x[i] + 1;
"""
for threads in (8, 24, 32, 40, 96, 256):
    c = run(f"group_{threads}", copy, matrix.ravel() + 1, (N * N, 1, 1), (threads, 1, 1))
    share = c["lane_slots_used"] / c["lane_slots"]
    print(
        f"groups of {threads:3}: {share:4.0%} of the lanes at work, "
        f"{c['load_transactions']:5} lines read"
    )

# %% [markdown]
# The last limit is room. While one SIMD-group waits for memory, others run, if there are others:
# but threadgroups that are on a core together share its threadgroup memory. Metal gives a group
# 32 KiB at most. A group that takes all of it may be alone; a square of 32 by 33 floats leaves room
# for seven. What a pipeline takes is known before it runs.

# %%
text = """
    #include <metal_stdlib>
    using namespace metal;
    constant int width [[function_constant(0)]];
    kernel void small(device float* out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
      threadgroup float square[32 * 33];
      square[i] = i;
      out[i] = square[i];
    }
    kernel void large(device float* out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
      threadgroup float square[64 * 65];
      square[i] = i;
      out[i] = square[i];
    }
"""
library = soft_metal.Library(text)
for name in ("small", "large"):
    taken = library.pipeline(name).static_threadgroup_bytes
    print(f"{name}: {taken:6} bytes a group, room for {32768 // taken} groups in 32 KiB")

# %% [markdown]
# ## lamina's own kernels
#
# The kernels that lamina writes are looked at in the same way. `--device soft_metal` runs a cell on
# software Metal, and the profile has the counts: in the table of kernels under *latency*, and
# with a kernel's text when it is selected in the *graph*. What follows without a running kernel has
# the texts too, under *Kernel text*.

# %%
# %%mlx_profile --device soft_metal -o together
x = mx.array(matrix)
y = mx.exp(x.T * 0.01) + x
mx.eval(y.sum(axis=0), y)

# %%
print(analysis.counters(together))

# %% [markdown]
# One kernel computes `y` and its sums, and saves reading `y` again. But it reads `x` a second time,
# transposed, and neighbouring lanes then read a row apart: few of its loads are coalesced. If `y`
# is evaluated first, a kernel makes it that turns squares in threadgroup memory, as ours did.

# %%
# %%mlx_profile --device soft_metal -o apart
x = mx.array(matrix)
y = mx.exp(x.T * 0.01) + x
mx.eval(y)
mx.eval(y.sum(axis=0))

# %%
print(analysis.counters(apart))

# %% [markdown]
# More bytes are moved, in fewer lines. If a kernel of yours is slow, here is a place to begin: run
# it on software Metal, and look at which of these figures is bad.

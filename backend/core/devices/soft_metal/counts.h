// What one dispatch cost, as a GPU with SIMD-groups of 32 lanes would pay it.
#pragma once

#include <cstdint>

namespace lamina::soft_metal {

// LAMINA_COUNT(name, meaning): every figure of Counts, declared once.
#define LAMINA_SOFT_METAL_COUNTS(LAMINA_COUNT)                                               \
  LAMINA_COUNT(threads, "threads run")                                                       \
  LAMINA_COUNT(threadgroups, "threadgroups run")                                             \
  LAMINA_COUNT(simdgroups, "SIMD-groups run")                                                \
  LAMINA_COUNT(device_loads, "loads from device memory")                                     \
  LAMINA_COUNT(device_stores, "stores to device memory")                                     \
  LAMINA_COUNT(device_load_bytes, "bytes loaded from device memory")                         \
  LAMINA_COUNT(device_store_bytes, "bytes stored to device memory")                          \
  LAMINA_COUNT(constant_loads, "loads from constant memory")                                 \
  LAMINA_COUNT(constant_load_bytes, "bytes loaded from constant memory")                     \
  LAMINA_COUNT(threadgroup_loads, "loads from threadgroup memory")                           \
  LAMINA_COUNT(threadgroup_stores, "stores to threadgroup memory")                           \
  LAMINA_COUNT(threadgroup_load_bytes, "bytes loaded from threadgroup memory")               \
  LAMINA_COUNT(threadgroup_store_bytes, "bytes stored to threadgroup memory")                \
  LAMINA_COUNT(thread_accesses, "loads and stores of thread memory not in registers")        \
  LAMINA_COUNT(atomics, "atomic operations")                                                 \
  LAMINA_COUNT(load_transactions, "128-byte lines that SIMD-groups' device loads touched")   \
  LAMINA_COUNT(load_transactions_ideal, "lines if the same bytes had lain together")         \
  LAMINA_COUNT(store_transactions, "128-byte lines that SIMD-groups' device stores touched") \
  LAMINA_COUNT(store_transactions_ideal, "lines if the same bytes had lain together")        \
  LAMINA_COUNT(bank_accesses, "threadgroup accesses issued by SIMD-groups")                  \
  LAMINA_COUNT(bank_conflicts, "further cycles because lanes met in one of 32 banks")        \
  LAMINA_COUNT(barriers, "threadgroup_barrier, once a threadgroup")                          \
  LAMINA_COUNT(simd_barriers, "simdgroup_barrier, once a SIMD-group")                        \
  LAMINA_COUNT(simd_operations, "SIMD-group functions, once a SIMD-group")                   \
  LAMINA_COUNT(matrix_operations, "8x8 multiply-accumulates, once a SIMD-group")             \
  LAMINA_COUNT(blocks_issued, "basic blocks a SIMD-group had to issue")                      \
  LAMINA_COUNT(blocks_divergent, "of these, issued with part of its lanes")                  \
  LAMINA_COUNT(lane_slots, "lanes of issued blocks, idle ones included")                     \
  LAMINA_COUNT(lane_slots_used, "lanes of issued blocks that did work")                      \
  LAMINA_COUNT(inactive_reads, "shuffles that read a lane which was not there")              \
  LAMINA_COUNT(sampled_out, "accesses beyond what coalescing and bank conflicts look at")    \
  LAMINA_COUNT(nanoseconds, "time on this machine")

struct Counts {
#define LAMINA_COUNT(name, meaning) int64_t name = 0;
  LAMINA_SOFT_METAL_COUNTS(LAMINA_COUNT)
#undef LAMINA_COUNT
  Counts& operator+=(const Counts& o) {
#define LAMINA_COUNT(name, meaning) name += o.name;
    LAMINA_SOFT_METAL_COUNTS(LAMINA_COUNT)
#undef LAMINA_COUNT
    return *this;
  }
};

}  // namespace lamina::soft_metal

// Helpers for memory that several threads update.
#include "kernels/dialect.h"

namespace lamina {

namespace {
const Helper kHelpers[] = {
    {"atomic_uint", "", "typedef uint atomic_uint;\n"},
    {"atomic_read", R"(
inline uint atomic_read(device atomic_uint* p) {
  return atomic_load_explicit(p, memory_order_relaxed);
}
)",
     R"(
template <typename T>
inline T atomic_read(T* p) {
  return *(volatile T*)p;
}
)"},
    // Puts `next` where `seen` still stands; else tells in `seen` what stands there.
    {"exchange_if", R"(
inline bool exchange_if(device atomic_uint* p, thread uint& seen, uint next) {
  return atomic_compare_exchange_weak_explicit(p, &seen, next, memory_order_relaxed,
                                               memory_order_relaxed);
}
)",
     R"(
inline bool exchange_if(uint* p, uint& seen, uint next) {
  const uint was = atomicCAS(p, seen, next);
  const bool done = was == seen;
  seen = was;
  return done;
}
inline bool exchange_if(ulong* p, ulong& seen, ulong next) {
  const ulong was = atomicCAS((unsigned long long*)p, (unsigned long long)seen,
                              (unsigned long long)next);
  const bool done = was == seen;
  seen = was;
  return done;
}
)"},
    {"atomic_raise", R"(
inline void atomic_raise(device atomic_uint* p, uint v) {
  atomic_fetch_max_explicit(p, v, memory_order_relaxed);
}
)",
     "inline void atomic_raise(uint* p, uint v) { atomicMax(p, v); }\n"},
    {"atomic_add_float", R"(
inline void atomic_add_float(device atomic_uint* p, float v) {
  atomic_fetch_add_explicit((device atomic_float*)p, v, memory_order_relaxed);
}
)",
     "inline void atomic_add_float(uint* p, float v) { atomicAdd((float*)p, v); }\n"},
    {"atomic_add_uint", R"(
inline void atomic_add_uint(device atomic_uint* p, uint v) {
  atomic_fetch_add_explicit(p, v, memory_order_relaxed);
}
)",
     "inline void atomic_add_uint(uint* p, uint v) { atomicAdd(p, v); }\n"},
    // For one thread of a threadgroup, behind a barrier: whether `count` threadgroups have come
    // here with the same k, all of whose writes the threads then see behind the next barrier.
    // Leaves zero.
    {"takes_last_turn", "", R"(
inline uint takes_last_turn(uint* turns, uint k, uint count) {
  uint before;
#if __CUDA_ARCH__ >= 700
  asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;" : "=r"(before) : "l"(turns + k), "r"(count - 1) : "memory");
#else
  __threadfence();
  before = atomicInc(turns + k, count - 1);
  __threadfence();
#endif
  return before == count - 1;
}
)"},
    {"bits_as_long", "", "inline long bits_as_long(ulong x) { return long(x); }\n"},
    {"bits_as_double", "",
     "inline double bits_as_double(ulong x) { return __longlong_as_double((long long)x); }\n"},
    {"bits_as_float2", "", R"(
inline float2 bits_as_float2(ulong x) {
  return make_float2(__uint_as_float(uint(x)), __uint_as_float(uint(x >> 32)));
}
)"},
    {"bits_as_ulong", "", R"(
inline ulong bits_as_ulong(ulong x) { return x; }
inline ulong bits_as_ulong(long x) { return ulong(x); }
inline ulong bits_as_ulong(double x) { return ulong(__double_as_longlong(x)); }
inline ulong bits_as_ulong(float2 x) {
  return ulong(__float_as_uint(x.x)) | ulong(__float_as_uint(x.y)) << 32;
}
)"},
};
}  // namespace

std::span<const Helper> atomic_helpers() { return kHelpers; }

}  // namespace lamina

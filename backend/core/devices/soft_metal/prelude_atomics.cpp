#include "devices/soft_metal/prelude.h"

// Barriers and atomics.
// clang-format off
namespace lamina::soft_metal {

const char* const kPreludeAtomics = R"cl(
namespace metal {
enum class mem_flags : uint { mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_texture = 4, mem_threadgroup_imageblock = 8 };
constexpr mem_flags operator|(mem_flags a, mem_flags b) { return (mem_flags)((uint)a | (uint)b); }
enum memory_order : int { memory_order_relaxed = 0, memory_order_seq_cst = 5 };
enum thread_scope : int { thread_scope_thread, thread_scope_simdgroup, thread_scope_threadgroup, thread_scope_device };
#if LM_CHECK
#pragma clang attribute push(__attribute__((no_sanitize("coverage", "kernel-address"))), apply_to = function)
#endif
inline void threadgroup_barrier(mem_flags f, thread_scope = thread_scope_threadgroup, int line = LM_HERE) { lm_barrier((uint)f, line); }
inline void simdgroup_barrier(mem_flags f, thread_scope = thread_scope_simdgroup, int line = LM_HERE) { lm_simd_barrier((uint)f, line); }
inline void atomic_thread_fence(mem_flags f, memory_order, thread_scope = thread_scope_device) { lm_fence((uint)f); __atomic_thread_fence(__ATOMIC_SEQ_CST); }

template <class T> struct lm_atomic { T value; };
typedef lm_atomic<int> atomic_int;
typedef lm_atomic<uint> atomic_uint;
typedef lm_atomic<bool> atomic_bool;
typedef lm_atomic<float> atomic_float;
typedef lm_atomic<ulong> atomic_ulong;
template <class T> using atomic = lm_atomic<T>;
template <class T> struct lm_word { typedef T type; };
template <> struct lm_word<float> { typedef uint type; };
template <> struct lm_word<bool> { typedef uchar type; };
template <class T> struct lm_plain { typedef T type; };
#if LM_CHECK
#define LM_NOTE(P, T, W) lm_note_atomic((const void*)(P), sizeof(T), W)
#else
#define LM_NOTE(P, T, W)
#endif
// Read-modify-write throughout: the checker looks at these through LM_NOTE, not as plain loads.
template <class T, class P> T lm_atomic_load(P p) {
  LM_NOTE(p, T, 0);
  typedef typename lm_word<T>::type W;
  W seen = 0;
  __atomic_compare_exchange_n((volatile W*)p, &seen, seen, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return __builtin_bit_cast(T, seen);
}
template <class T, class P> T lm_atomic_exchange(P p, T v) {
  LM_NOTE(p, T, 1);
  typedef typename lm_word<T>::type W;
  return __builtin_bit_cast(T, (W)__atomic_exchange_n((volatile W*)p, __builtin_bit_cast(W, v), __ATOMIC_RELAXED));
}
template <class T, class P, class F> T lm_atomic_update(P p, F f) {
  LM_NOTE(p, T, 1);
  typedef typename lm_word<T>::type W;
  W seen = 0;
  while (!__atomic_compare_exchange_n((volatile W*)p, &seen, __builtin_bit_cast(W, (T)f(__builtin_bit_cast(T, seen))), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
  return __builtin_bit_cast(T, seen);
}
#define LM_ATOMICS(SPACE) \
  template <class T> T atomic_load_explicit(const volatile SPACE lm_atomic<T>* p, memory_order) { return lm_atomic_load<T>(p); } \
  template <class T> void atomic_store_explicit(volatile SPACE lm_atomic<T>* p, typename lm_plain<T>::type v, memory_order) { lm_atomic_exchange<T>(p, v); } \
  template <class T> T atomic_exchange_explicit(volatile SPACE lm_atomic<T>* p, typename lm_plain<T>::type v, memory_order) { return lm_atomic_exchange<T>(p, v); } \
  template <class T> bool atomic_compare_exchange_weak_explicit(volatile SPACE lm_atomic<T>* p, __private T* expected, typename lm_plain<T>::type v, memory_order, memory_order) { \
    LM_NOTE(p, T, 1); \
    typedef typename lm_word<T>::type W; \
    W seen = __builtin_bit_cast(W, *expected); \
    bool done = __atomic_compare_exchange_n((volatile W*)p, &seen, __builtin_bit_cast(W, (T)v), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED); \
    *expected = __builtin_bit_cast(T, seen); \
    return done; \
  }
LM_ATOMICS(__global) LM_ATOMICS(__local)
#undef LM_ATOMICS
#define LM_ATOMIC_FETCH(SPACE, NAME, ALLOWED, EXPR) \
  template <class T> T atomic_fetch_##NAME##_explicit(volatile SPACE lm_atomic<T>* p, typename lm_plain<T>::type v, memory_order) { \
    static_assert(ALLOWED, "atomic_fetch_" #NAME "_explicit: Metal has it for atomic_int and atomic_uint" \
                  " (add and sub also for atomic_float in device memory)"); \
    return lm_atomic_update<T>(p, [v](T x) { return EXPR; }); \
  }
#define LM_ATOMIC_INTEGER (is_same_v<T, int> || is_same_v<T, uint>)
#define LM_ATOMIC_ALL(SPACE, FLOATS) \
  LM_ATOMIC_FETCH(SPACE, add, LM_ATOMIC_INTEGER || (FLOATS), (T)(x + v)) \
  LM_ATOMIC_FETCH(SPACE, sub, LM_ATOMIC_INTEGER || (FLOATS), (T)(x - v)) \
  LM_ATOMIC_FETCH(SPACE, min, LM_ATOMIC_INTEGER, (x < v ? x : v)) \
  LM_ATOMIC_FETCH(SPACE, max, LM_ATOMIC_INTEGER, (x > v ? x : v)) \
  LM_ATOMIC_FETCH(SPACE, and, LM_ATOMIC_INTEGER, (x & v)) \
  LM_ATOMIC_FETCH(SPACE, or, LM_ATOMIC_INTEGER, (x | v)) \
  LM_ATOMIC_FETCH(SPACE, xor, LM_ATOMIC_INTEGER, (x ^ v))
LM_ATOMIC_ALL(__global, (is_same_v<T, float>)) LM_ATOMIC_ALL(__local, false)
inline void atomic_min_explicit(volatile __global atomic_ulong* p, ulong v, memory_order) { lm_atomic_update<ulong>(p, [v](ulong x) { return x < v ? x : v; }); }
inline void atomic_max_explicit(volatile __global atomic_ulong* p, ulong v, memory_order) { lm_atomic_update<ulong>(p, [v](ulong x) { return x > v ? x : v; }); }
#undef LM_ATOMIC_ALL
#undef LM_ATOMIC_FETCH
#undef LM_ATOMIC_INTEGER

}  // namespace metal
#if LM_CHECK
#pragma clang attribute pop
#endif
)cl";

}  // namespace lamina::soft_metal

#include "devices/soft_metal/prelude.h"

// SIMD-groups, simdgroup_matrix, the arguments of entry functions.
// clang-format off
namespace lamina::soft_metal {

const char* const kPreludeLanes = R"cl(
namespace metal {
#if LM_CHECK
#pragma clang attribute push(__attribute__((no_sanitize("coverage", "kernel-address"))), apply_to = function)
#endif
// SIMD-group functions: every lane leaves its value, the first to go on computes for all.
enum lm_kind : int { lm_kind_reduce = 1, lm_kind_prefix, lm_kind_shuffle, lm_kind_vote, lm_kind_matrix };
template <class T> constexpr bool lm_simd_type() {
  typedef lm_element<T> E;
  return !is_same_v<E, bool> && !is_same_v<E, long> && !is_same_v<E, ulong> && is_arithmetic_v<E>;
}
#define LM_SIMD_TYPE(T) static_assert(lm_simd_type<T>(), "SIMD-group functions take integers of up to 32 bits and floating-point values: not bool, long, ulong or structures")
template <class T> T lm_lane_value(const lm_meeting* m, uint lane) { return *(const T*)m->value[lane & 31]; }
template <class T, class F> T lm_simd_reduce(T x, uint width, int line, F f) {
  LM_SIMD_TYPE(T);
  lm_meeting* m = lm_meet(lm_kind_reduce, &x, sizeof(T), width, line);
  T* out = (T*)m->result;
  if (!m->ready) {
    for (uint first = 0; first < 32; first += width) {
      uint lane = first;
      while (lane < first + width && !(m->active >> lane & 1)) ++lane;
      if (lane == first + width) continue;
      T r = lm_lane_value<T>(m, lane);
      for (++lane; lane < first + width; ++lane)
        if (m->active >> lane & 1) r = f(r, lm_lane_value<T>(m, lane));
      for (uint i = first; i < first + width; ++i) *(T*)m->value[i] = r;
    }
    m->ready = 1;
  }
  return lm_lane_value<T>(m, lm_lane());
}
#define LM_REDUCE(NAME, EXPR) \
  template <class T> T simd_##NAME(T v, int line = LM_HERE) { return lm_simd_reduce(v, 32, line, [](T a, T b) -> T { return EXPR; }); } \
  template <class T> T quad_##NAME(T v, int line = LM_HERE) { return lm_simd_reduce(v, 4, line, [](T a, T b) -> T { return EXPR; }); }
LM_REDUCE(sum, (T)(a + b)) LM_REDUCE(product, (T)(a * b)) LM_REDUCE(min, min(a, b)) LM_REDUCE(max, max(a, b))
LM_REDUCE(and, (T)(a & b)) LM_REDUCE(or, (T)(a | b)) LM_REDUCE(xor, (T)(a ^ b))
#undef LM_REDUCE
template <class T, class F> T lm_simd_prefix(T x, T zero, bool inclusive, uint width, int line, F f) {
  LM_SIMD_TYPE(T);
  lm_meeting* m = lm_meet(lm_kind_prefix, &x, sizeof(T), width, line);
  if (!m->ready) {
    T r = zero;
    for (uint lane = 0; lane < 32; ++lane) {
      if (lane % width == 0) r = zero;
      if (!(m->active >> lane & 1)) continue;
      T before = r;
      r = f(r, lm_lane_value<T>(m, lane));
      *(T*)m->value[lane] = inclusive ? r : before;
    }
    m->ready = 1;
  }
  return lm_lane_value<T>(m, lm_lane());
}
#define LM_PREFIX(WHERE, WIDTH, NAME, KIND, ZERO, OP) \
  template <class T> T WHERE##_prefix_##KIND##_##NAME(T v, int line = LM_HERE) { return lm_simd_prefix(v, (T)(ZERO), #KIND[0] == 'i', WIDTH, line, [](T a, T b) -> T { return (T)(a OP b); }); }
LM_PREFIX(simd, 32, sum, inclusive, 0, +) LM_PREFIX(simd, 32, sum, exclusive, 0, +)
LM_PREFIX(simd, 32, product, inclusive, 1, *) LM_PREFIX(simd, 32, product, exclusive, 1, *)
LM_PREFIX(quad, 4, sum, inclusive, 0, +) LM_PREFIX(quad, 4, sum, exclusive, 0, +)
LM_PREFIX(quad, 4, product, inclusive, 1, *) LM_PREFIX(quad, 4, product, exclusive, 1, *)
#undef LM_PREFIX
extern "C" void lm_inactive(void);
// The value of another lane of the group of `width`. A lane that is not there gives a value nobody
// should use.
template <class T> T lm_simd_take(T x, uint lane, unsigned long uniform, int line) {
  LM_SIMD_TYPE(T);
  lm_meeting* m = lm_meet(lm_kind_shuffle, &x, sizeof(T), uniform, line);
  if (lane > 31 || !(m->active >> lane & 1)) {
    lm_inactive();
    T poison;
    for (uint i = 0; i < sizeof(T); ++i) ((uchar*)&poison)[i] = 0xfb;
    return poison;
  }
  return lm_lane_value<T>(m, lane);
}
#define LM_SHUFFLE(WHERE, W) \
  template <class T> T WHERE##_shuffle(T v, ushort lane, int line = LM_HERE) { uint l = lm_lane(); return lm_simd_take(v, (l & ~(W - 1u)) + lane % W, 0, line); } \
  template <class T> T WHERE##_broadcast(T v, ushort lane, int line = LM_HERE) { uint l = lm_lane(); return lm_simd_take(v, (l & ~(W - 1u)) + lane % W, 1 + lane, line); } \
  template <class T> T WHERE##_shuffle_xor(T v, ushort mask, int line = LM_HERE) { uint l = lm_lane(); return lm_simd_take(v, (l & ~(W - 1u)) + ((l ^ mask) & (W - 1u)), 1 + mask, line); } \
  template <class T> T WHERE##_shuffle_up(T v, ushort delta, int line = LM_HERE) { uint l = lm_lane(); return lm_simd_take(v, (l & (W - 1u)) < delta ? l : l - delta, 1 + delta, line); } \
  template <class T> T WHERE##_shuffle_down(T v, ushort delta, int line = LM_HERE) { uint l = lm_lane(); return lm_simd_take(v, (l & (W - 1u)) + delta >= W ? l : l + delta, 1 + delta, line); } \
  template <class T> T WHERE##_shuffle_rotate_up(T v, ushort delta, int line = LM_HERE) { uint l = lm_lane(); return lm_simd_take(v, (l & ~(W - 1u)) + ((l - delta) & (W - 1u)), 1 + delta, line); } \
  template <class T> T WHERE##_shuffle_rotate_down(T v, ushort delta, int line = LM_HERE) { uint l = lm_lane(); return lm_simd_take(v, (l & ~(W - 1u)) + ((l + delta) & (W - 1u)), 1 + delta, line); } \
  template <class T> T WHERE##_shuffle_and_fill_up(T v, T fill, ushort delta, ushort modulo = W, int line = LM_HERE) { uint l = lm_lane(), at = l % modulo; T a = lm_simd_take(v, at < delta ? l : l - delta, 1 + delta, line), b = lm_simd_take(fill, at < delta ? l - at + (at + modulo - delta) % modulo : l, 1 + delta, line); return at < delta ? b : a; } \
  template <class T> T WHERE##_shuffle_and_fill_down(T v, T fill, ushort delta, ushort modulo = W, int line = LM_HERE) { uint l = lm_lane(), at = l % modulo; bool out = at + delta >= modulo; T a = lm_simd_take(v, out ? l : l + delta, 1 + delta, line), b = lm_simd_take(fill, out ? l - at + (at + delta) % modulo : l, 1 + delta, line); return out ? b : a; }
LM_SHUFFLE(simd, 32u) LM_SHUFFLE(quad, 4u)
#undef LM_SHUFFLE
struct simd_vote {
  typedef ulong vote_t;
  ulong bits;
  simd_vote() = default;
  explicit simd_vote(ulong v) : bits(v) {}
  explicit operator ulong() const { return bits; }
  bool all() const { return bits == 0xffffffff; }
  bool any() const { return bits != 0; }
};
inline ulong lm_simd_vote(bool x, int line) {
  lm_meeting* m = lm_meet(lm_kind_vote, &x, sizeof x, 0, line);
  ulong r = 0;
  for (uint i = 0; i < 32; ++i) r |= (ulong)((m->active >> i & 1) && m->value[i][0]) << i;
  return r;
}
inline simd_vote simd_ballot(bool x, int line = LM_HERE) { return simd_vote(lm_simd_vote(x, line)); }
inline simd_vote simd_active_threads_mask(int line = LM_HERE) { return simd_vote(lm_simd_vote(true, line)); }
inline bool simd_any(bool x, int line = LM_HERE) { return lm_simd_vote(x, line) != 0; }
inline bool simd_all(bool x, int line = LM_HERE) { return lm_simd_vote(!x, line) == 0; }
inline bool quad_any(bool x, int line = LM_HERE) { return (lm_simd_vote(x, line) >> (lm_lane() & ~3u) & 15) != 0; }
inline bool quad_all(bool x, int line = LM_HERE) { return (lm_simd_vote(!x, line) >> (lm_lane() & ~3u) & 15) == 0; }
inline bool simd_is_first(int line = LM_HERE) { return (uint)__builtin_ctzl(lm_simd_vote(true, line)) == lm_lane(); }
template <class T> T simd_broadcast_first(T v, int line = LM_HERE) {
  LM_SIMD_TYPE(T);
  lm_meeting* m = lm_meet(lm_kind_shuffle, &v, sizeof(T), 0, line);
  return lm_lane_value<T>(m, (uint)__builtin_ctz(m->active));
}
#undef LM_SIMD_TYPE

// 8x8 matrices spread over a SIMD-group. Lane bits b4..b0 hold row 4*b4 + 2*b2 + b1, columns c and
// c+1 with c = 4*b3 + 2*b0.
inline uint lm_matrix_row(uint lane) { return (lane >> 4 & 1) * 4 + (lane >> 2 & 1) * 2 + (lane >> 1 & 1); }
inline uint lm_matrix_column(uint lane) { return (lane >> 3 & 1) * 4 + (lane & 1) * 2; }
template <class T, int C, int R> struct simdgroup_matrix {
  static_assert(C == 8 && R == 8, "simdgroup_matrix is 8x8");
  static_assert(is_floating_point_v<T>, "simdgroup_matrix holds half, bfloat or float");
  typedef vec<T, 2> storage_type;
  storage_type lm_elements;
  simdgroup_matrix() = default;
  explicit simdgroup_matrix(T diagonal) {
    uint r = lm_matrix_row(lm_lane()), c = lm_matrix_column(lm_lane());
    lm_elements[0] = r == c ? diagonal : (T)0;
    lm_elements[1] = r == c + 1 ? diagonal : (T)0;
  }
  __private storage_type& thread_elements() __private { return lm_elements; }
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;
template <class T, int C, int R> simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T v) {
  simdgroup_matrix<T, C, R> m;
  m.lm_elements = (vec<T, 2>)(v, v);
  return m;
}
#if LM_CHECK
#pragma clang attribute pop
#endif
#define LM_MATRIX(SPACE) \
  template <class T> void simdgroup_load(__private simdgroup_matrix<T, 8, 8>& m, const SPACE T* p, ulong per_row = 8, vec<ulong, 2> origin = 0, bool transposed = false) { \
    uint r = lm_matrix_row(lm_lane()), c = lm_matrix_column(lm_lane()); \
    for (uint i = 0; i < 2; ++i) \
      m.lm_elements[i] = transposed ? p[(origin.x + c + i) * per_row + origin.y + r] : p[(origin.y + r) * per_row + origin.x + c + i]; \
  } \
  template <class T> void simdgroup_store(simdgroup_matrix<T, 8, 8> m, SPACE T* p, ulong per_row = 8, vec<ulong, 2> origin = 0, bool transposed = false) { \
    uint r = lm_matrix_row(lm_lane()), c = lm_matrix_column(lm_lane()); \
    for (uint i = 0; i < 2; ++i) \
      p[transposed ? (origin.x + c + i) * per_row + origin.y + r : (origin.y + r) * per_row + origin.x + c + i] = m.lm_elements[i]; \
  }
LM_MATRIX(__global) LM_MATRIX(__local)
#undef LM_MATRIX
#if LM_CHECK
#pragma clang attribute push(__attribute__((no_sanitize("coverage", "kernel-address"))), apply_to = function)
#endif
template <class D, class A, class B, class C>
void simdgroup_multiply_accumulate(__private simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8> a, simdgroup_matrix<B, 8, 8> b, simdgroup_matrix<C, 8, 8> c, int line = LM_HERE) {
  float4 mine = (float4)((float)a.lm_elements[0], (float)a.lm_elements[1], (float)b.lm_elements[0], (float)b.lm_elements[1]);
  lm_meeting* m = lm_meet(lm_kind_matrix, &mine, sizeof mine, 0, line);
  float* product = (float*)m->result;
  if (!m->ready) {
    float left[8][8], right[8][8];
    for (uint l = 0; l < 32; ++l) {
      const float* v = (const float*)m->value[l];
      uint r = lm_matrix_row(l), k = lm_matrix_column(l);
      left[r][k] = v[0]; left[r][k + 1] = v[1]; right[r][k] = v[2]; right[r][k + 1] = v[3];
    }
    for (uint r = 0; r < 8; ++r)
      for (uint k = 0; k < 8; ++k) {
        float sum = 0;
        for (uint i = 0; i < 8; ++i) sum = __builtin_fmaf(left[r][i], right[i][k], sum);
        product[r * 8 + k] = sum;
      }
    m->ready = 1;
  }
  uint at = lm_matrix_row(lm_lane()) * 8 + lm_matrix_column(lm_lane());
  for (uint i = 0; i < 2; ++i) d.lm_elements[i] = (D)(product[at + i] + (float)c.lm_elements[i]);
}
template <class D, class A, class B>
void simdgroup_multiply(__private simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8> a, simdgroup_matrix<B, 8, 8> b, int line = LM_HERE) {
  simdgroup_matrix<D, 8, 8> zero = make_filled_simdgroup_matrix<D, 8, 8>((D)0);
  simdgroup_multiply_accumulate(d, a, b, zero, line);
}
template <class T> simdgroup_matrix<T, 8, 8> operator*(simdgroup_matrix<T, 8, 8> a, simdgroup_matrix<T, 8, 8> b) {
  simdgroup_matrix<T, 8, 8> d;
  simdgroup_multiply(d, a, b, 0);
  return d;
}
}  // namespace metal

// The arguments of a launch as the machine lays them out; see struct Group in machine.h.
struct lm_group {
  void* const* buffers;
  const unsigned long* threadgroup;  // addresses of the dynamic threadgroup arguments
  uint grid_threads[3], grid_groups[3], group_threads[3], dispatch_threads[3], group_at[3];
  uint thread_at[3], index;
};
template <class T> T lm_index(const uint* v) {
  if constexpr (metal::lm_shape<T>::width == 1) return (T)v[0];
  else {
    T r;
    for (int i = 0; i < metal::lm_shape<T>::width; ++i) r[i] = (metal::lm_element<T>)v[i];
    return r;
  }
}
template <class T> T lm_position_in_grid(const lm_group* g) {
  uint v[3];
  for (int i = 0; i < 3; ++i) v[i] = g->group_at[i] * g->dispatch_threads[i] + g->thread_at[i];
  return lm_index<T>(v);
}
inline uint lm_total(const uint* v) { return v[0] * v[1] * v[2]; }
#if LM_CHECK
#pragma clang attribute pop
#endif
)cl";

}  // namespace lamina::soft_metal

#include "devices/soft_metal/prelude.h"

// Mathematics, matrices.
// clang-format off
namespace lamina::soft_metal {

const char* const kPreludeMath = R"cl(
#if LM_CHECK
#pragma clang attribute push(__attribute__((no_sanitize("coverage", "kernel-address"))), apply_to = function)
#endif
namespace metal {
// Component by component, through float: one rounding to the result's type.
// Values in, value out: what a kernel has loaded before a call need not be loaded again after it.
#define LM_PURE __attribute__((const))
#define LM_UNARY(NAME, EXPR) \
  template <class V> lm_floating<V> NAME(V v) { \
    lm_floating<V> r; \
    for (int i = 0; i < lm_shape<V>::width; ++i) { \
      float x = lm_float(lm_get(v, i)); \
      lm_set(r, i, EXPR); \
    } \
    return r; \
  }
#define LM_BINARY(NAME, EXPR) \
  template <class A, class B> \
  LM_PURE lm_floating<lm_common_t<A, B>> NAME(A a, B b) { \
    lm_floating<lm_common_t<A, B>> r; \
    for (int i = 0; i < lm_shape<lm_common_t<A, B>>::width; ++i) { \
      float x = lm_float(lm_get(a, i)), y = lm_float(lm_get(b, i)); \
      lm_set(r, i, EXPR); \
    } \
    return r; \
  }
#define LM_TERNARY(NAME, EXPR) \
  template <class A, class B, class C> \
  LM_PURE lm_floating<lm_common_t<lm_common_t<A, B>, C>> NAME(A a, B b, C c) { \
    typedef lm_floating<lm_common_t<lm_common_t<A, B>, C>> R; \
    R r; \
    for (int i = 0; i < lm_shape<R>::width; ++i) { \
      float x = lm_float(lm_get(a, i)), y = lm_float(lm_get(b, i)), z = lm_float(lm_get(c, i)); \
      lm_set(r, i, EXPR); \
    } \
    return r; \
  }
inline float lm_fract(float x) {
  float r = x - __builtin_floorf(x);
  return r >= 1.0f ? 0x1.fffffep-1f : r;
}
inline float lm_sign(float x) { return x > 0 ? 1.0f : x < 0 ? -1.0f : x == 0 ? x : 0.0f; }
inline float lm_smoothstep(float a, float b, float x) {
  float t = (x - a) / (b - a);
  t = t > 0 ? (t < 1 ? t : 1) : 0;
  return t * t * (3 - 2 * t);
}
inline float lm_powr(float x, float y) { return x < 0 ? __builtin_nanf("") : ::powf(x, y); }
inline float lm_fmedian(float x, float y, float z) {
  return __builtin_fmaxf(__builtin_fminf(x, y), __builtin_fminf(__builtin_fmaxf(x, y), z));
}
// Values past a multiple of one half lose nothing: the argument is reduced first.
inline float lm_sinpi(float x) {
  float r = x - 2 * __builtin_rintf(x * 0.5f);
  if (r > 0.5f) r = 1 - r;
  if (r < -0.5f) r = -1 - r;
  return ::sinf(3.14159265f * r);
}
inline float lm_cospi(float x) {
  float r = __builtin_fabsf(x - 2 * __builtin_rintf(x * 0.5f));
  return r == 0.5f ? 0.0f : ::cosf(3.14159265f * r);
}
LM_UNARY(acos, ::acosf(x)) LM_UNARY(acosh, ::acoshf(x)) LM_UNARY(asin, ::asinf(x))
LM_UNARY(asinh, ::asinhf(x)) LM_UNARY(atan, ::atanf(x)) LM_UNARY(atanh, ::atanhf(x))
LM_UNARY(ceil, __builtin_ceilf(x)) LM_UNARY(cos, ::cosf(x)) LM_UNARY(cosh, ::coshf(x))
LM_UNARY(cospi, lm_cospi(x)) LM_UNARY(exp, ::expf(x)) LM_UNARY(exp2, ::exp2f(x))
LM_UNARY(exp10, ::exp10f(x)) LM_UNARY(fabs, __builtin_fabsf(x)) LM_UNARY(floor, __builtin_floorf(x))
LM_UNARY(fract, lm_fract(x)) LM_UNARY(log, ::logf(x)) LM_UNARY(log2, ::log2f(x))
LM_UNARY(log10, ::log10f(x)) LM_UNARY(rint, __builtin_rintf(x)) LM_UNARY(round, __builtin_roundf(x))
LM_UNARY(rsqrt, 1.0f / __builtin_sqrtf(x)) LM_UNARY(sin, ::sinf(x)) LM_UNARY(sinh, ::sinhf(x))
LM_UNARY(sinpi, lm_sinpi(x)) LM_UNARY(sqrt, __builtin_sqrtf(x)) LM_UNARY(tan, ::tanf(x))
LM_UNARY(tanh, ::tanhf(x)) LM_UNARY(tanpi, lm_sinpi(x) / lm_cospi(x))
LM_UNARY(trunc, __builtin_truncf(x)) LM_UNARY(sign, lm_sign(x))
LM_UNARY(saturate, __builtin_fminf(__builtin_fmaxf(x, 0.0f), 1.0f))
LM_BINARY(atan2, ::atan2f(x, y)) LM_BINARY(copysign, __builtin_copysignf(x, y))
LM_BINARY(divide, x / y) LM_BINARY(fdim, (x > y ? x - y : x <= y ? 0.0f : x + y))
LM_BINARY(fmax, __builtin_fmaxf(x, y)) LM_BINARY(fmin, __builtin_fminf(x, y))
LM_BINARY(fmod, ::fmodf(x, y)) LM_BINARY(pow, ::powf(x, y)) LM_BINARY(powr, lm_powr(x, y))
LM_BINARY(step, (y < x ? 0.0f : 1.0f)) LM_BINARY(nextafter, ::nextafterf(x, y))
LM_TERNARY(fma, __builtin_fmaf(x, y, z)) LM_TERNARY(mix, x + (y - x) * z)
LM_TERNARY(smoothstep, lm_smoothstep(x, y, z)) LM_TERNARY(fmedian3, lm_fmedian(x, y, z))
LM_TERNARY(fmax3, __builtin_fmaxf(__builtin_fmaxf(x, y), z))
LM_TERNARY(fmin3, __builtin_fminf(__builtin_fminf(x, y), z))
#undef LM_UNARY
#undef LM_BINARY
#undef LM_TERNARY

#define LM_TEST(NAME, EXPR) \
  template <class V> LM_PURE lm_like<bool, V> NAME(V v) { \
    lm_like<bool, V> r; \
    for (int i = 0; i < lm_shape<V>::width; ++i) { \
      float x = lm_float(lm_get(v, i)); \
      lm_set(r, i, EXPR); \
    } \
    return r; \
  }
LM_TEST(isnan, __builtin_isnan(x)) LM_TEST(isinf, __builtin_isinf(x))
LM_TEST(isfinite, !__builtin_isnan(x) && !__builtin_isinf(x)) LM_TEST(signbit, __builtin_signbit(x) != 0)
#undef LM_TEST
// Of the type's own range: a small half is no normal number though it is one as a float.
template <class V> LM_PURE lm_like<bool, V> isnormal(V v) {
  lm_like<bool, V> r;
  for (int i = 0; i < lm_shape<V>::width; ++i) {
    float x = __builtin_fabsf(lm_float(lm_get(v, i)));
    lm_set(r, i, x >= (float)numeric_limits<lm_element<V>>::min() && x <= (float)numeric_limits<lm_element<V>>::max());
  }
  return r;
}

template <class T> T lm_less(T a, T b) {
  if constexpr (is_floating_point<T>::value) return (T)__builtin_fminf((float)a, (float)b);
  else return b < a ? b : a;
}
template <class T> T lm_more(T a, T b) {
  if constexpr (is_floating_point<T>::value) return (T)__builtin_fmaxf((float)a, (float)b);
  else return a < b ? b : a;
}
#define LM_PAIR(NAME, EXPR) \
  template <class A, class B> LM_PURE lm_common_t<A, B> NAME(A a, B b) { \
    typedef lm_element<lm_common_t<A, B>> T; \
    lm_common_t<A, B> r; \
    for (int i = 0; i < lm_shape<lm_common_t<A, B>>::width; ++i) { \
      T x = (T)lm_get(a, i), y = (T)lm_get(b, i); \
      lm_set(r, i, EXPR); \
    } \
    return r; \
  }
LM_PAIR(min, lm_less(x, y)) LM_PAIR(max, lm_more(x, y))
template <class T> T lm_addsat(T x, T y) { T r; return __builtin_add_overflow(x, y, &r) ? (x < 0 ? numeric_limits<T>::min() : numeric_limits<T>::max()) : r; }
template <class T> T lm_subsat(T x, T y) {
  T r;
  if (!__builtin_sub_overflow(x, y, &r)) return r;
  return is_signed<T>::value && x >= 0 ? numeric_limits<T>::max() : numeric_limits<T>::min();
}
template <class T> T lm_mulhi(T x, T y) {
  if constexpr (sizeof(T) < 8) {
    return (T)(((long)x * (long)y) >> (8 * sizeof(T)));
  } else if constexpr (is_signed<T>::value) {
    ulong high = lm_mulhi<ulong>((ulong)x, (ulong)y);
    return (T)(high - (x < 0 ? (ulong)y : 0) - (y < 0 ? (ulong)x : 0));
  } else {
    ulong a = x >> 32, b = x & 0xffffffff, c = y >> 32, d = y & 0xffffffff;
    ulong mid = a * d + ((b * d) >> 32), low = b * c + (mid & 0xffffffff);
    return a * c + (mid >> 32) + (low >> 32);
  }
}
template <> inline uint lm_mulhi<uint>(uint x, uint y) { return (uint)(((ulong)x * y) >> 32); }
template <class T> T lm_rotate(T x, T y) {
  constexpr uint bits = 8 * sizeof(T);
  ulong v = (ulong)x & (~0ul >> (64 - bits));
  uint n = (uint)y & (bits - 1);
  return (T)(n == 0 ? v : (v << n) | (v >> (bits - n)));
}
LM_PAIR(addsat, lm_addsat(x, y)) LM_PAIR(subsat, lm_subsat(x, y)) LM_PAIR(mulhi, lm_mulhi(x, y))
LM_PAIR(rotate, lm_rotate(x, y)) LM_PAIR(hadd, (T)((x & y) + ((x ^ y) >> 1)))
LM_PAIR(rhadd, (T)((x | y) - ((x ^ y) >> 1))) LM_PAIR(absdiff, (T)(x > y ? x - y : y - x))
LM_PAIR(mul24, (T)(x * y))
#undef LM_PAIR
template <class A, class B, class C> LM_PURE auto clamp(A v, B low, C high) { return min(max(v, low), high); }
template <class A, class B, class C> LM_PURE auto min3(A a, B b, C c) { return min(min(a, b), c); }
template <class A, class B, class C> LM_PURE auto max3(A a, B b, C c) { return max(max(a, b), c); }
template <class A> A median3(A a, A b, A c) { return max(min(a, b), min(max(a, b), c)); }
template <class A> A madhi(A a, A b, A c) { return mulhi(a, b) + c; }
template <class A> A mad24(A a, A b, A c) { return a * b + c; }
template <class A> A madsat(A a, A b, A c) {
  typedef lm_element<A> T;
  A r;
  for (int i = 0; i < lm_shape<A>::width; ++i) {
    T x = lm_get(a, i), y = lm_get(b, i), p;
    if (__builtin_mul_overflow(x, y, &p)) p = (x < 0) != (y < 0) ? numeric_limits<T>::min() : numeric_limits<T>::max();
    lm_set(r, i, lm_addsat(p, (T)lm_get(c, i)));
  }
  return r;
}

#define LM_BITS(NAME, EXPR) \
  template <class V> LM_PURE V NAME(V v) { \
    typedef lm_element<V> T; \
    constexpr int bits = 8 * sizeof(T); \
    V r; \
    for (int i = 0; i < lm_shape<V>::width; ++i) { \
      ulong x = (ulong)lm_get(v, i) & (~0ul >> (64 - bits)); \
      lm_set(r, i, (T)(EXPR)); \
    } \
    return r; \
  }
LM_BITS(popcount, __builtin_popcountl(x))
LM_BITS(clz, x == 0 ? bits : __builtin_clzl(x) - (64 - bits))
LM_BITS(ctz, x == 0 ? bits : __builtin_ctzl(x))
LM_BITS(reverse_bits, __builtin_bitreverse64(x) >> (64 - bits))
#undef LM_BITS
template <class V> LM_PURE V abs(V v) {
  if constexpr (is_floating_point<lm_element<V>>::value) return fabs(v);
  V r;
  for (int i = 0; i < lm_shape<V>::width; ++i) lm_set(r, i, lm_get(v, i) < 0 ? -lm_get(v, i) : lm_get(v, i));
  return r;
}
template <class V> V extract_bits(V v, uint offset, uint count) {
  typedef lm_element<V> T;
  constexpr uint bits = 8 * sizeof(T);
  V r;
  for (int i = 0; i < lm_shape<V>::width; ++i)
    lm_set(r, i, count == 0 ? (T)0 : (T)((T)(lm_get(v, i) << (bits - offset - count)) >> (bits - count)));
  return r;
}
template <class V> V insert_bits(V base, V insert, uint offset, uint count) {
  typedef lm_element<V> T;
  ulong mask = (count >= 64 ? ~0ul : (1ul << count) - 1) << offset;
  V r;
  for (int i = 0; i < lm_shape<V>::width; ++i)
    lm_set(r, i, (T)(((ulong)lm_get(base, i) & ~mask) | (((ulong)lm_get(insert, i) << offset) & mask)));
  return r;
}

template <class A, class B, class C> LM_PURE lm_common_t<A, B> select(A a, B b, C c) {
  lm_common_t<A, B> r;
  for (int i = 0; i < lm_shape<lm_common_t<A, B>>::width; ++i)
    lm_set(r, i, lm_get(c, i) ? lm_get(b, i) : lm_get(a, i));
  return r;
}
template <class V> LM_PURE bool any(V v) { bool r = false; for (int i = 0; i < lm_shape<V>::width; ++i) r = r || lm_get(v, i); return r; }
template <class V> LM_PURE bool all(V v) { bool r = true; for (int i = 0; i < lm_shape<V>::width; ++i) r = r && lm_get(v, i); return r; }

// The exponent of a finite float, as in x = f * 2^e with f in [1/2, 1).
inline int lm_exponent(float x) {
  if (x == 0 || __builtin_isnan(x) || __builtin_isinf(x)) return 0;
  int shift = 0;
  if (__builtin_fabsf(x) < 0x1p-126f) { x *= 0x1p32f; shift = 32; }
  return (int)((as_type<uint>(x) >> 23) & 255) - 126 - shift;
}
template <class V, class E> V frexp(V v, E& e) {
  V r;
  for (int i = 0; i < lm_shape<V>::width; ++i) {
    float x = lm_float(lm_get(v, i));
    lm_set(e, i, lm_exponent(x));
    lm_set(r, i, ::ldexpf(x, -lm_exponent(x)));
  }
  return r;
}
template <class V, class E> V ldexp(V v, E e) {
  V r;
  for (int i = 0; i < lm_shape<V>::width; ++i) lm_set(r, i, ::ldexpf(lm_float(lm_get(v, i)), lm_get(e, i)));
  return r;
}
template <class V> lm_like<int, V> ilogb(V v) {
  lm_like<int, V> r;
  for (int i = 0; i < lm_shape<V>::width; ++i) lm_set(r, i, lm_exponent(lm_float(lm_get(v, i))) - 1);
  return r;
}
template <class V, class W> V modf(V v, W& whole) { whole = trunc(v); return copysign(select(v - whole, (V)0, isinf(v)), v); }
template <class V, class W> V sincos(V v, W& c) { c = cos(v); return sin(v); }

template <class V> LM_PURE lm_element<V> dot(V a, V b) {
  float r = 0;
  for (int i = 0; i < lm_shape<V>::width; ++i) r += lm_float(lm_get(a, i)) * lm_float(lm_get(b, i));
  return (lm_element<V>)r;
}
template <class V> lm_element<V> length_squared(V v) { return dot(v, v); }
template <class V> lm_element<V> length(V v) { return sqrt(dot(v, v)); }
template <class V> lm_element<V> distance(V a, V b) { return length(a - b); }
template <class V> V normalize(V v) { return v * rsqrt(dot(v, v)); }
template <class T> vec<T, 3> cross(vec<T, 3> a, vec<T, 3> b) { return a.yzx * b.zxy - a.zxy * b.yzx; }

#define LM_NAMES(LM) \
  LM(acos) LM(acosh) LM(asin) LM(asinh) LM(atan) LM(atan2) LM(atanh) LM(ceil) LM(copysign) \
  LM(cos) LM(cosh) LM(cospi) LM(divide) LM(exp) LM(exp2) LM(exp10) LM(fabs) LM(abs) LM(fdim) \
  LM(floor) LM(fma) LM(fmax) LM(max) LM(fmax3) LM(fmedian3) LM(fmin) LM(min) LM(fmin3) LM(fmod) \
  LM(fract) LM(frexp) LM(ilogb) LM(ldexp) LM(log) LM(log2) LM(log10) LM(modf) LM(nextafter) \
  LM(pow) LM(powr) LM(rint) LM(round) LM(rsqrt) LM(sin) LM(sincos) LM(sinh) LM(sinpi) LM(sqrt) \
  LM(tan) LM(tanh) LM(tanpi) LM(trunc) LM(clamp) LM(mix) LM(saturate) LM(sign) LM(smoothstep) \
  LM(step) LM(normalize) LM(length) LM(distance)
#define LM(NAME) using metal::NAME;
namespace precise { LM_NAMES(LM) }
namespace fast { LM_NAMES(LM) }
#undef LM
#undef LM_NAMES

template <class T, int C, int R> struct matrix {
  vec<T, R> columns[C];
  matrix() = default;
  matrix(T diagonal) { for (int c = 0; c < C; ++c) for (int r = 0; r < R; ++r) columns[c][r] = c == r ? diagonal : (T)0; }
  matrix(vec<T, R> a, vec<T, R> b) { columns[0] = a; columns[1] = b; }
  matrix(vec<T, R> a, vec<T, R> b, vec<T, R> c) { columns[0] = a; columns[1] = b; columns[2] = c; }
  matrix(vec<T, R> a, vec<T, R> b, vec<T, R> c, vec<T, R> d) { columns[0] = a; columns[1] = b; columns[2] = c; columns[3] = d; }
  vec<T, R> operator[](int c) const&& { return columns[c]; }
  __private vec<T, R>& operator[](int c) __private& { return columns[c]; }
  vec<T, R> operator[](int c) const __private& { return columns[c]; }
  __global vec<T, R>& operator[](int c) __global& { return columns[c]; }
  vec<T, R> operator[](int c) const __global& { return columns[c]; }
  __local vec<T, R>& operator[](int c) __local& { return columns[c]; }
  vec<T, R> operator[](int c) const __local& { return columns[c]; }
  vec<T, R> operator[](int c) const __constant& { return columns[c]; }
  friend vec<T, R> operator*(matrix m, vec<T, C> v) { vec<T, R> r = 0; for (int c = 0; c < C; ++c) r += m.columns[c] * v[c]; return r; }
  friend vec<T, C> operator*(vec<T, R> v, matrix m) { vec<T, C> r; for (int c = 0; c < C; ++c) r[c] = dot(v, m.columns[c]); return r; }
  friend matrix operator*(matrix m, T s) { for (int c = 0; c < C; ++c) m.columns[c] *= s; return m; }
  friend matrix operator*(T s, matrix m) { return m * s; }
  friend matrix operator+(matrix a, matrix b) { for (int c = 0; c < C; ++c) a.columns[c] += b.columns[c]; return a; }
  friend matrix operator-(matrix a, matrix b) { for (int c = 0; c < C; ++c) a.columns[c] -= b.columns[c]; return a; }
};
template <class T, int K, int R, int C> matrix<T, C, R> operator*(matrix<T, K, R> a, matrix<T, C, K> b) {
  matrix<T, C, R> m;
  for (int c = 0; c < C; ++c) m.columns[c] = a * b.columns[c];
  return m;
}
template <class T, int C, int R> matrix<T, R, C> transpose(matrix<T, C, R> a) {
  matrix<T, R, C> m;
  for (int c = 0; c < C; ++c) for (int r = 0; r < R; ++r) m.columns[r][c] = a.columns[c][r];
  return m;
}
}  // namespace metal
#define LM_MATRIX(T, C, R) typedef metal::matrix<T, C, R> T##C##x##R;
#define LM_MATRICES(T) \
  LM_MATRIX(T, 2, 2) LM_MATRIX(T, 2, 3) LM_MATRIX(T, 2, 4) LM_MATRIX(T, 3, 2) LM_MATRIX(T, 3, 3) \
  LM_MATRIX(T, 3, 4) LM_MATRIX(T, 4, 2) LM_MATRIX(T, 4, 3) LM_MATRIX(T, 4, 4)
LM_MATRICES(float) LM_MATRICES(half)
#undef LM_MATRICES
#undef LM_MATRIX
#if LM_CHECK
#pragma clang attribute pop
#endif
)cl";

}  // namespace lamina::soft_metal

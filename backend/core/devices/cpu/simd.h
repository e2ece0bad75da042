// Lane types: what an elementwise formula is called with on the CPU. A lane is one element; the
// loops of blocks_impl.h are branch-free over lanes, so the compiler turns them into the vectors of
// the instruction set the unit is compiled for (SSE2, AVX2, AVX-512, NEON).
//
// Everything here is compiled once per instruction set. It therefore lives in the namespace
// LAMINA_ISA_NS and is forced inline: a function the linker may merge must never carry instructions
// that another machine lacks. For the same reason no std:: template is used.
#pragma once

#include <cstdint>

#include "devices/cpu/complex_math.h"

#ifndef LAMINA_ISA_NS
#error "define LAMINA_ISA_NS before including simd.h"
#endif

#define LAMINA_INLINE __attribute__((always_inline)) inline

#if defined(__clang__)
// Bools are joined by & and | on purpose (no branch), and not every lane has a vector form.
#pragma clang diagnostic ignored "-Wbitwise-instead-of-logical"
#pragma clang diagnostic ignored "-Wbitwise-conditional-parentheses"
#pragma clang diagnostic ignored "-Wpass-failed"
#define LAMINA_LANES _Pragma("clang loop vectorize(assume_safety)")
#define LAMINA_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LAMINA_LANES _Pragma("GCC ivdep")
#define LAMINA_UNROLL _Pragma("GCC unroll 16")
#endif

namespace lamina::cpu::LAMINA_ISA_NS {

// What a function gives for lanes it has no meaning for; the block loop is then left out.
struct Unsupported {};

template <class T>
struct Traits;
#define LAMINA_TRAITS(T, U, W, FLOATING, SIGNED) \
  template <>                                    \
  struct Traits<T> {                             \
    using Unsigned = U;                          \
    using Wide = W;                              \
    static constexpr bool floating = FLOATING;   \
    static constexpr bool is_signed = SIGNED;    \
    static constexpr int bits = sizeof(T) * 8;   \
  }
// Wide: unsigned type arithmetic is done in, so that overflow wraps and never is undefined.
LAMINA_TRAITS(uint8_t, uint8_t, uint8_t, false, false);
LAMINA_TRAITS(uint16_t, uint16_t, uint32_t, false, false);
LAMINA_TRAITS(uint32_t, uint32_t, uint32_t, false, false);
LAMINA_TRAITS(uint64_t, uint64_t, uint64_t, false, false);
LAMINA_TRAITS(int8_t, uint8_t, uint8_t, false, true);
LAMINA_TRAITS(int16_t, uint16_t, uint32_t, false, true);
LAMINA_TRAITS(int32_t, uint32_t, uint32_t, false, true);
LAMINA_TRAITS(int64_t, uint64_t, uint64_t, false, true);
LAMINA_TRAITS(float, float, float, true, true);
LAMINA_TRAITS(double, double, double, true, true);
#undef LAMINA_TRAITS

template <class T>
struct Lane {
  T v;
};
// A bool is a byte that is 0 or 1.
template <>
struct Lane<bool> {
  uint8_t v;
};
using Bool = Lane<bool>;
using F32 = Lane<float>;
using F64 = Lane<double>;
using C64 = Lane<Complex>;

// A fast result that holds only where `ok`; elsewhere the block loop calls the formula again with
// Careful lanes.
template <class T>
struct Guarded {
  T v;
  bool ok;
};
template <class T>
struct Careful {
  T v;
};

template <class L>
struct Memory;  // how a lane lies in a block
template <class T>
struct Memory<Lane<T>> {
  using type = T;
};
template <>
struct Memory<Bool> {
  using type = uint8_t;
};

template <class T>
concept Integer = !Traits<T>::floating;
template <class T>
concept Floating = Traits<T>::floating;
template <class T>
concept Number = Integer<T> || Floating<T>;

template <class To, class From>
LAMINA_INLINE To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, from);
}

LAMINA_INLINE Bool truth(bool b) { return {static_cast<uint8_t>(b)}; }

// Fused where the machine fuses; elsewhere two roundings.
LAMINA_INLINE float fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
LAMINA_INLINE double fma(double a, double b, double c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

template <class T>
LAMINA_INLINE T horner(T, T c) {
  return c;
}
// c0 + x * (c1 + x * (c2 + ...)).
template <class T, class... C>
LAMINA_INLINE T horner(T x, T c0, T c1, C... rest) {
  return fma(horner(x, c1, rest...), x, c0);
}

// ---- Arithmetic
// ----------------------------------------------------------------------------------

template <Integer T>
LAMINA_INLINE Lane<T> operator+(Lane<T> a, Lane<T> b) {
  using W = typename Traits<T>::Wide;
  return {static_cast<T>(static_cast<W>(a.v) + static_cast<W>(b.v))};
}
template <Integer T>
LAMINA_INLINE Lane<T> operator-(Lane<T> a, Lane<T> b) {
  using W = typename Traits<T>::Wide;
  return {static_cast<T>(static_cast<W>(a.v) - static_cast<W>(b.v))};
}
template <Integer T>
LAMINA_INLINE Lane<T> operator*(Lane<T> a, Lane<T> b) {
  using W = typename Traits<T>::Wide;
  return {static_cast<T>(static_cast<W>(a.v) * static_cast<W>(b.v))};
}
template <Integer T>
LAMINA_INLINE Lane<T> operator-(Lane<T> a) {
  using W = typename Traits<T>::Wide;
  return {static_cast<T>(W{0} - static_cast<W>(a.v))};
}
template <Floating T>
LAMINA_INLINE Lane<T> operator+(Lane<T> a, Lane<T> b) {
  return {a.v + b.v};
}
template <Floating T>
LAMINA_INLINE Lane<T> operator-(Lane<T> a, Lane<T> b) {
  return {a.v - b.v};
}
template <Floating T>
LAMINA_INLINE Lane<T> operator*(Lane<T> a, Lane<T> b) {
  return {a.v * b.v};
}
template <Floating T>
LAMINA_INLINE Lane<T> operator/(Lane<T> a, Lane<T> b) {
  return {a.v / b.v};
}
template <Floating T>
LAMINA_INLINE Lane<T> operator-(Lane<T> a) {
  return {-a.v};
}

// NumPy's bool arithmetic: + is or, * is and; - is exclusive or.
LAMINA_INLINE Bool operator+(Bool a, Bool b) { return {static_cast<uint8_t>(a.v | b.v)}; }
LAMINA_INLINE Bool operator*(Bool a, Bool b) { return {static_cast<uint8_t>(a.v & b.v)}; }
LAMINA_INLINE Bool operator-(Bool a, Bool b) { return {static_cast<uint8_t>(a.v ^ b.v)}; }

LAMINA_INLINE C64 operator+(C64 a, C64 b) { return {{a.v.re + b.v.re, a.v.im + b.v.im}}; }
LAMINA_INLINE C64 operator-(C64 a, C64 b) { return {{a.v.re - b.v.re, a.v.im - b.v.im}}; }
LAMINA_INLINE C64 operator*(C64 a, C64 b) {
  return {{a.v.re * b.v.re - a.v.im * b.v.im, a.v.re * b.v.im + a.v.im * b.v.re}};
}
LAMINA_INLINE C64 operator-(C64 a) { return {{-a.v.re, -a.v.im}}; }

// ---- Selection and comparison
// --------------------------------------------------------------------

template <class T>
LAMINA_INLINE Lane<T> select(Bool c, Lane<T> a, Lane<T> b) {
  if constexpr (__is_same(T, Complex)) {
    return {{c.v ? a.v.re : b.v.re, c.v ? a.v.im : b.v.im}};
  } else {
    return {c.v ? a.v : b.v};
  }
}

template <class T>
concept Ordered = Number<T> || __is_same(T, bool);
#define LAMINA_COMPARE(name, op)                  \
  template <Ordered T>                            \
  LAMINA_INLINE Bool name(Lane<T> a, Lane<T> b) { \
    return truth(a.v op b.v);                     \
  }
LAMINA_COMPARE(less, <)
LAMINA_COMPARE(less_equal, <=)
LAMINA_COMPARE(greater, >)
LAMINA_COMPARE(greater_equal, >=)
LAMINA_COMPARE(equal, ==)
LAMINA_COMPARE(not_equal, !=)
#undef LAMINA_COMPARE

// Complex numbers are ordered by real part, then by imaginary part.
LAMINA_INLINE Bool less(C64 a, C64 b) {
  return truth((a.v.re < b.v.re) | ((a.v.re == b.v.re) & (a.v.im < b.v.im)));
}
LAMINA_INLINE Bool less_equal(C64 a, C64 b) {
  return truth((a.v.re < b.v.re) | ((a.v.re == b.v.re) & (a.v.im <= b.v.im)));
}
LAMINA_INLINE Bool greater(C64 a, C64 b) { return less(b, a); }
LAMINA_INLINE Bool greater_equal(C64 a, C64 b) { return less_equal(b, a); }
LAMINA_INLINE Bool equal(C64 a, C64 b) { return truth((a.v.re == b.v.re) & (a.v.im == b.v.im)); }
LAMINA_INLINE Bool not_equal(C64 a, C64 b) {
  return truth((a.v.re != b.v.re) | (a.v.im != b.v.im));
}

LAMINA_INLINE Bool logical_not(Bool a) { return {static_cast<uint8_t>(a.v ^ 1)}; }
LAMINA_INLINE Bool logical_and(Bool a, Bool b) { return {static_cast<uint8_t>(a.v & b.v)}; }
LAMINA_INLINE Bool logical_or(Bool a, Bool b) { return {static_cast<uint8_t>(a.v | b.v)}; }
LAMINA_INLINE Bool logical_xor(Bool a, Bool b) { return {static_cast<uint8_t>(a.v ^ b.v)}; }

template <class T>
LAMINA_INLINE Bool isnan(Lane<T> x) {
  if constexpr (__is_same(T, Complex)) {
    return truth((x.v.re != x.v.re) | (x.v.im != x.v.im));
  } else if constexpr (__is_same(T, bool)) {
    return truth(false);
  } else {
    return truth(x.v != x.v);
  }
}

template <class T>
LAMINA_INLINE T infinity() {
  return static_cast<T>(__builtin_inff());
}

template <class T>
LAMINA_INLINE Bool isinf(Lane<T> x) {
  if constexpr (__is_same(T, Complex)) {
    constexpr float inf = __builtin_inff();
    return truth((__builtin_fabsf(x.v.re) == inf) | (__builtin_fabsf(x.v.im) == inf));
  } else if constexpr (__is_same(T, float) || __is_same(T, double)) {
    return truth((x.v == infinity<T>()) | (x.v == -infinity<T>()));
  } else {
    return truth(false);
  }
}
template <class T>
LAMINA_INLINE Bool isfinite(Lane<T> x) {
  if constexpr (__is_same(T, Complex)) {
    // Infinity and NaN minus themselves are NaN.
    return truth((x.v.re - x.v.re == 0) & (x.v.im - x.v.im == 0));
  } else if constexpr (__is_same(T, float) || __is_same(T, double)) {
    return truth(x.v - x.v == 0);
  } else {
    return truth(true);
  }
}
template <class T>
LAMINA_INLINE Bool isposinf(Lane<T> x) {
  if constexpr (__is_same(T, Complex)) {
    return truth((x.v.re == __builtin_inff()) & (x.v.im == 0));
  } else if constexpr (__is_same(T, float) || __is_same(T, double)) {
    return truth(x.v == infinity<T>());
  } else {
    return truth(false);
  }
}
template <class T>
LAMINA_INLINE Bool isneginf(Lane<T> x) {
  if constexpr (__is_same(T, Complex)) {
    return truth((x.v.re == -__builtin_inff()) & (x.v.im == 0));
  } else if constexpr (__is_same(T, float) || __is_same(T, double)) {
    return truth(x.v == -infinity<T>());
  } else {
    return truth(false);
  }
}

// NaN of either side wins.
template <Floating T>
LAMINA_INLINE Lane<T> maximum(Lane<T> a, Lane<T> b) {
  T m = a.v > b.v ? a.v : b.v;
  return {a.v != a.v ? a.v : m};
}
template <Floating T>
LAMINA_INLINE Lane<T> minimum(Lane<T> a, Lane<T> b) {
  T m = a.v < b.v ? a.v : b.v;
  return {a.v != a.v ? a.v : m};
}
template <Integer T>
LAMINA_INLINE Lane<T> maximum(Lane<T> a, Lane<T> b) {
  return {a.v > b.v ? a.v : b.v};
}
template <Integer T>
LAMINA_INLINE Lane<T> minimum(Lane<T> a, Lane<T> b) {
  return {a.v < b.v ? a.v : b.v};
}
LAMINA_INLINE Bool maximum(Bool a, Bool b) { return a + b; }
LAMINA_INLINE Bool minimum(Bool a, Bool b) { return a * b; }
LAMINA_INLINE C64 maximum(C64 a, C64 b) {
  return select(isnan(a) + logical_not(isnan(b)) * greater(a, b), a, b);
}
LAMINA_INLINE C64 minimum(C64 a, C64 b) {
  return select(isnan(a) + logical_not(isnan(b)) * less(a, b), a, b);
}

}  // namespace lamina::cpu::LAMINA_ISA_NS

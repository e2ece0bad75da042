// The lanes that have no float32 mathematics: integers, bool, double (the C library, one lane at a
// time: double is rare) and complex64 (complex_math.h). Also what a formula gives where it has no
// meaning, and Careful lanes for the arguments a fast float function leaves out.
#pragma once

#include <cmath>

#include "devices/cpu/simd.h"
#include "devices/cpu/simd_math.h"

namespace lamina::cpu::LAMINA_ISA_NS {

// ---- Unsupported
// ---------------------------------------------------------------------------------

// The least specialised overload: taken only where no other fits.
#define LAMINA_FALLBACK(name)            \
  template <class... A>                  \
  LAMINA_INLINE Unsupported name(A...) { \
    return {};                           \
  }
#define LAMINA_FALLBACKS(apply)                                                                   \
  apply(exp) apply(expm1) apply(sigmoid) apply(tanh) apply(sinh) apply(cosh) apply(log)           \
      apply(log2) apply(log10) apply(log1p) apply(logaddexp) apply(arcsinh) apply(arccosh)        \
          apply(arctanh) apply(sin) apply(cos) apply(tan) apply(arcsin) apply(arccos)             \
              apply(arctan) apply(arctan2) apply(erf) apply(erfinv) apply(power) apply(abs)       \
                  apply(floor) apply(ceil) apply(trunc) apply(round) apply(sqrt) apply(rsqrt)     \
                      apply(reciprocal) apply(sign) apply(floor_divide) apply(remainder)          \
                          apply(bitwise_and) apply(bitwise_or) apply(bitwise_xor)                 \
                              apply(bitwise_invert) apply(left_shift) apply(right_shift)          \
                                  apply(logical_not) apply(logical_and) apply(logical_or)         \
                                      apply(logical_xor) apply(conjugate) apply(real) apply(imag) \
                                          apply(degrees) apply(radians) apply(maximum)            \
                                              apply(minimum) apply(select)
LAMINA_FALLBACKS(LAMINA_FALLBACK)
#undef LAMINA_FALLBACKS
#undef LAMINA_FALLBACK
template <class T>
requires(!Traits<T>::floating) LAMINA_INLINE Unsupported operator/(Lane<T>, Lane<T>) { return {}; }
LAMINA_INLINE Unsupported operator/(Bool, Bool) { return {}; }
LAMINA_INLINE Unsupported operator-(Bool) { return {}; }

// ---- Integers and bool
// ---------------------------------------------------------------------------

template <Integer T>
LAMINA_INLINE Lane<T> bitwise_and(Lane<T> a, Lane<T> b) {
  return {static_cast<T>(a.v & b.v)};
}
template <Integer T>
LAMINA_INLINE Lane<T> bitwise_or(Lane<T> a, Lane<T> b) {
  return {static_cast<T>(a.v | b.v)};
}
template <Integer T>
LAMINA_INLINE Lane<T> bitwise_xor(Lane<T> a, Lane<T> b) {
  return {static_cast<T>(a.v ^ b.v)};
}
template <Integer T>
LAMINA_INLINE Lane<T> bitwise_invert(Lane<T> a) {
  return {static_cast<T>(~a.v)};
}
LAMINA_INLINE Bool bitwise_and(Bool a, Bool b) { return a * b; }
LAMINA_INLINE Bool bitwise_or(Bool a, Bool b) { return a + b; }
LAMINA_INLINE Bool bitwise_xor(Bool a, Bool b) { return a - b; }
LAMINA_INLINE Bool bitwise_invert(Bool a) { return logical_not(a); }

// Shifts by the width and more, or by a negative count, shift every bit out.
template <Integer T>
LAMINA_INLINE Lane<T> left_shift(Lane<T> a, Lane<T> b) {
  using U = typename Traits<T>::Unsigned;
  using W = typename Traits<T>::Wide;
  constexpr U bits = Traits<T>::bits;
  U count = static_cast<U>(b.v);
  W shifted = static_cast<W>(static_cast<U>(a.v)) << (count & (bits - 1));
  return {count < bits ? static_cast<T>(shifted) : T{0}};
}
template <Integer T>
LAMINA_INLINE Lane<T> right_shift(Lane<T> a, Lane<T> b) {
  using U = typename Traits<T>::Unsigned;
  constexpr U bits = Traits<T>::bits;
  U count = static_cast<U>(b.v);
  if constexpr (Traits<T>::is_signed) {
    return {static_cast<T>(a.v >> (count < bits ? count : static_cast<U>(bits - 1)))};
  } else {
    return {count < bits ? static_cast<T>(a.v >> (count & (bits - 1))) : T{0}};
  }
}

// Division rounds down. x / 0 is 0, and the lowest integer divided by -1 is itself; neither traps.
template <Integer T>
LAMINA_INLINE Lane<T> floor_divide(Lane<T> a, Lane<T> b) {
  if constexpr (Traits<T>::is_signed) {
    bool special = (b.v == 0) | (b.v == -1);
    T divisor = special ? T{1} : b.v;
    T q = static_cast<T>(a.v / divisor), r = static_cast<T>(a.v % divisor);
    q = static_cast<T>(q - ((r != 0) & ((r < 0) != (divisor < 0))));
    return {b.v == 0 ? T{0} : (b.v == -1 ? (-a).v : q)};
  } else {
    T q = static_cast<T>(a.v / (b.v == 0 ? T{1} : b.v));
    return {b.v == 0 ? T{0} : q};
  }
}
// x mod 0 is 0.
template <Integer T>
LAMINA_INLINE Lane<T> remainder(Lane<T> a, Lane<T> b) {
  if constexpr (Traits<T>::is_signed) {
    T divisor = (b.v == 0) | (b.v == -1) ? T{1} : b.v;
    T r = static_cast<T>(a.v % divisor);
    return {(r != 0) & ((r < 0) != (divisor < 0)) ? static_cast<T>(r + divisor) : r};
  } else {
    return {static_cast<T>(a.v % (b.v == 0 ? T{1} : b.v))};
  }
}
LAMINA_INLINE Bool floor_divide(Bool a, Bool b) { return a * b; }
LAMINA_INLINE Bool remainder(Bool, Bool) { return truth(false); }

// A negative exponent gives the power rounded toward zero.
template <Integer T>
LAMINA_INLINE Lane<T> power(Lane<T> base, Lane<T> exponent) {
  using W = typename Traits<T>::Wide;
  bool inverse = Traits<T>::is_signed && exponent.v < 0;
  auto e = static_cast<typename Traits<T>::Unsigned>(inverse ? (-exponent).v : exponent.v);
  W result = 1, square = static_cast<W>(base.v);
  for (; e != 0; e >>= 1) {
    if (e & 1) result *= square;
    square *= square;
  }
  T plain = static_cast<T>(result);
  bool unit = (base.v == 1) | (Traits<T>::is_signed & (base.v == static_cast<T>(-1)));
  return {inverse & !unit ? T{0} : plain};
}
LAMINA_INLINE Bool power(Bool a, Bool b) { return a + logical_not(b); }

template <Integer T>
LAMINA_INLINE Lane<T> abs(Lane<T> x) {
  if constexpr (Traits<T>::is_signed) return x.v < 0 ? -x : x;
  return x;
}
template <Integer T>
LAMINA_INLINE Lane<T> sign(Lane<T> x) {
  return {static_cast<T>((x.v > 0) - (x.v < 0))};
}
LAMINA_INLINE Bool abs(Bool x) { return x; }
LAMINA_INLINE Bool sign(Bool x) { return x; }

#define LAMINA_IDENTITY(name)             \
  template <Integer T>                    \
  LAMINA_INLINE Lane<T> name(Lane<T> x) { \
    return x;                             \
  }                                       \
  LAMINA_INLINE Bool name(Bool x) { return x; }
LAMINA_IDENTITY(floor)
LAMINA_IDENTITY(ceil)
LAMINA_IDENTITY(trunc)
LAMINA_IDENTITY(round)
#undef LAMINA_IDENTITY

template <class T>
requires Ordered<T> LAMINA_INLINE Lane<T> conjugate(Lane<T> x) { return x; }
template <class T>
requires Ordered<T> LAMINA_INLINE Lane<T> real(Lane<T> x) { return x; }
template <class T>
requires Ordered<T> LAMINA_INLINE Lane<T> imag(Lane<T>) { return {0}; }

// ---- double
// --------------------------------------------------------------------------------------

#define LAMINA_LIBRARY(name, call) \
  LAMINA_INLINE F64 name(F64 x) { return {__builtin_##call(x.v)}; }
LAMINA_LIBRARY(exp, exp)
LAMINA_LIBRARY(expm1, expm1)
LAMINA_LIBRARY(tanh, tanh)
LAMINA_LIBRARY(sinh, sinh)
LAMINA_LIBRARY(cosh, cosh)
LAMINA_LIBRARY(log, log)
LAMINA_LIBRARY(log2, log2)
LAMINA_LIBRARY(log10, log10)
LAMINA_LIBRARY(log1p, log1p)
LAMINA_LIBRARY(arcsinh, asinh)
LAMINA_LIBRARY(arccosh, acosh)
LAMINA_LIBRARY(arctanh, atanh)
LAMINA_LIBRARY(sin, sin)
LAMINA_LIBRARY(cos, cos)
LAMINA_LIBRARY(tan, tan)
LAMINA_LIBRARY(arcsin, asin)
LAMINA_LIBRARY(arccos, acos)
LAMINA_LIBRARY(arctan, atan)
LAMINA_LIBRARY(erf, erf)
LAMINA_LIBRARY(abs, fabs)
LAMINA_LIBRARY(floor, floor)
LAMINA_LIBRARY(ceil, ceil)
LAMINA_LIBRARY(trunc, trunc)
LAMINA_LIBRARY(round, rint)
LAMINA_LIBRARY(sqrt, sqrt)
#undef LAMINA_LIBRARY
LAMINA_INLINE F64 erfinv(F64 x) { return {erfinv_double(x.v)}; }
LAMINA_INLINE F64 rsqrt(F64 x) { return {1.0 / __builtin_sqrt(x.v)}; }
LAMINA_INLINE F64 reciprocal(F64 x) { return {1.0 / x.v}; }
LAMINA_INLINE F64 sign(F64 x) { return {x.v > 0 ? 1.0 : (x.v < 0 ? -1.0 : x.v)}; }
LAMINA_INLINE F64 sigmoid(F64 x) {
  double e = __builtin_exp(-__builtin_fabs(x.v));
  return {(x.v < 0 ? e : 1.0) / (1.0 + e)};
}
LAMINA_INLINE F64 arctan2(F64 y, F64 x) { return {__builtin_atan2(y.v, x.v)}; }
LAMINA_INLINE F64 power(F64 x, F64 y) { return {__builtin_pow(x.v, y.v)}; }
LAMINA_INLINE F64 floor_divide(F64 x, F64 y) { return {__builtin_floor(x.v / y.v)}; }
LAMINA_INLINE F64 remainder(F64 x, F64 y) { return {remainder_double(x.v, y.v)}; }
LAMINA_INLINE F64 logaddexp(F64 a, F64 b) {
  double distance = a.v == b.v ? 0.0 : __builtin_fabs(a.v - b.v);
  return {maximum(a, b).v + __builtin_log1p(__builtin_exp(-distance))};
}
LAMINA_INLINE F64 degrees(F64 x) { return {x.v * 57.295779513082321}; }
LAMINA_INLINE F64 radians(F64 x) { return {x.v * 0.017453292519943296}; }
LAMINA_INLINE F32 degrees(F32 x) { return {x.v * 57.2957795f}; }
LAMINA_INLINE F32 radians(F32 x) { return {x.v * 0.0174532925f}; }

// ---- Careful float
// -------------------------------------------------------------------------------

using CF32 = Careful<float>;
LAMINA_INLINE F32 sin(CF32 x) { return {__builtin_sinf(x.v)}; }
LAMINA_INLINE F32 cos(CF32 x) { return {__builtin_cosf(x.v)}; }
LAMINA_INLINE F32 tan(CF32 x) { return {__builtin_tanf(x.v)}; }
// The remainder of two floats is a float, so double computes it exactly.
LAMINA_INLINE F32 remainder(CF32 x, CF32 y) {
  return {static_cast<float>(remainder_double(x.v, y.v))};
}

// ---- complex64
// -----------------------------------------------------------------------------------

#define LAMINA_CALL(name) \
  LAMINA_INLINE C64 name(C64 x) { return {complex_##name(x.v)}; }
LAMINA_COMPLEX_UNARY(LAMINA_CALL)
#undef LAMINA_CALL

LAMINA_INLINE C64 operator/(C64 x, C64 y) { return {complex_divide(x.v, y.v)}; }
LAMINA_INLINE C64 floor_divide(C64 x, C64 y) { return x / y; }
LAMINA_INLINE C64 power(C64 x, C64 y) { return {complex_power(x.v, y.v)}; }
LAMINA_INLINE C64 logaddexp(C64 x, C64 y) { return {complex_logaddexp(x.v, y.v)}; }
LAMINA_INLINE C64 reciprocal(C64 x) { return C64{{1.0f, 0.0f}} / x; }
LAMINA_INLINE C64 rsqrt(C64 x) { return reciprocal(sqrt(x)); }
LAMINA_INLINE C64 conjugate(C64 x) { return {{x.v.re, -x.v.im}}; }
LAMINA_INLINE F32 real(C64 x) { return {x.v.re}; }
LAMINA_INLINE F32 imag(C64 x) { return {x.v.im}; }
// In double the squares neither over- nor underflow.
LAMINA_INLINE float modulus(Complex x) {
  double re = x.re, im = x.im;
  float size = static_cast<float>(__builtin_sqrt(re * re + im * im));
  return isinf(C64{x}).v ? kInf : size;
}
LAMINA_INLINE F32 abs(C64 x) { return {modulus(x.v)}; }
LAMINA_INLINE C64 sign(C64 x) {
  float size = modulus(x.v);
  return size == 0 ? x : C64{{x.v.re / size, x.v.im / size}};
}
LAMINA_INLINE C64 round(C64 x) { return {{__builtin_rintf(x.v.re), __builtin_rintf(x.v.im)}}; }
LAMINA_INLINE C64 degrees(C64 x) { return {{x.v.re * 57.2957795f, x.v.im * 57.2957795f}}; }
LAMINA_INLINE C64 radians(C64 x) { return {{x.v.re * 0.0174532925f, x.v.im * 0.0174532925f}}; }

}  // namespace lamina::cpu::LAMINA_ISA_NS

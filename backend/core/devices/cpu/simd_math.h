// float32 functions on lanes: branch-free, with polynomials fitted to the reduced ranges named
// beside them (relative error of each fit below 2^-24). Measured error: 1.1 ulp for exp, 0.9 for
// log, at most 2.4 for the rest but tan (3.5). Infinities, NaN, signed zeros and subnormals come
// out right.
#pragma once

#include "devices/cpu/simd.h"

namespace lamina::cpu::LAMINA_ISA_NS {

inline constexpr float kInf = __builtin_inff();
inline constexpr float kNan = __builtin_nanf("");
inline constexpr float kLog2e = 1.44269504088896341f;
// ln 2 in two parts; the first has so few bits that its product with an exponent is exact.
inline constexpr float kLn2High = 0.693359375f;
inline constexpr float kLn2Low = -2.12194440e-4f;
inline constexpr float kHalfPi = 1.57079637f;
inline constexpr float kHalfPiLow = -4.37113883e-8f;
inline constexpr float kHalfPiLowest = -1.71512451e-15f;
// Adding it rounds a float below 2^22 to an integer, which then stands in the low bits.
inline constexpr float kRounder = 12582912.0f;
inline constexpr int32_t kOneBits = 0x3f800000;
inline constexpr int32_t kRootHalfBits = 0x3f3504f3;

LAMINA_INLINE float absolute(float x) { return __builtin_fabsf(x); }
LAMINA_INLINE float with_sign(float x, float s) { return __builtin_copysignf(x, s); }
// NaN passes through both.
LAMINA_INLINE float at_most(float x, float limit) { return x > limit ? limit : x; }
LAMINA_INLINE float at_least(float x, float limit) { return x < limit ? limit : x; }

// ---- Exponentials
// --------------------------------------------------------------------------------

// e^x = 2^n (1 + m): gives m and kRounder's bits plus n. REQUIRES |x| < 2^21.
LAMINA_INLINE float exp_reduce(float x, uint32_t& n) {
  float t = fma(x, kLog2e, kRounder);
  n = bits_as<uint32_t>(t);
  float k = t - kRounder;
  float r = fma(k, -kLn2High, x);
  r = fma(k, -kLn2Low, r);
  float q = horner(r, 0.49999997f, 0.16666542f, 0.0416674279f, 0.00836687628f, 0.00138722092f);
  return fma(r * r, q, r);
}
// 2^n for n in [-126, 128]; kRounder's own bits fall out on the left.
LAMINA_INLINE float power_of_two(uint32_t n) {
  return bits_as<float>((n << 23) + static_cast<uint32_t>(kOneBits));
}
// e^x * 2^shift, in two factors so that neither over- nor underflows on its own.
template <int kShift>
LAMINA_INLINE float exp_scaled(float x) {
  x = at_least(at_most(x, 90.0f), -104.0f);
  uint32_t n;
  float m = exp_reduce(x, n);
  uint32_t half = static_cast<uint32_t>(static_cast<int32_t>(n) >> 1);
  float s = power_of_two(half);
  return fma(s, m, s) * power_of_two(n - half + static_cast<uint32_t>(kShift));
}
// For x in [-80, 80].
LAMINA_INLINE float exp_inside(float x) {
  uint32_t n;
  float m = exp_reduce(x, n);
  float s = power_of_two(n);
  return fma(s, m, s);
}
LAMINA_INLINE F32 exp(F32 x) { return {exp_scaled<0>(x.v)}; }

LAMINA_INLINE F32 expm1(F32 x) {
  float c = at_least(at_most(x.v, 88.8f), -25.0f);
  uint32_t n;
  float m = exp_reduce(c, n);
  float s = power_of_two(n - 1);  // half: 2^128 is no float
  return {with_sign(fma(s, m, s - 0.5f) * 2.0f, x.v)};
}
LAMINA_INLINE F32 sigmoid(F32 x) {
  float e = exp_scaled<0>(-absolute(x.v));
  return {(x.v < 0 ? e : 1.0f) / (1.0f + e)};
}
LAMINA_INLINE F32 tanh(F32 x) {
  float a = absolute(x.v);
  uint32_t n;
  float m = exp_reduce(at_most(a + a, 20.0f), n);
  float s = power_of_two(n);
  float e = fma(s, m, s - 1.0f);
  return {with_sign(e / (e + 2.0f), x.v)};
}
LAMINA_INLINE F32 sinh(F32 x) {
  float a = absolute(x.v), z = a * a;
  float p = horner(z, 0.166666672f, 0.00833331048f, 0.000198428956f, 2.78221319e-06f);
  float near = fma(a * z, p, a);
  float e = exp_scaled<-1>(a);
  float far = e - 0.25f / e;
  return {with_sign(a < 1.0f ? near : far, x.v)};
}
LAMINA_INLINE F32 cosh(F32 x) {
  float e = exp_scaled<-1>(absolute(x.v));
  return {e + 0.25f / e};
}

// ---- Logarithms
// ----------------------------------------------------------------------------------

// log(1 + f) - f for f in [sqrt(1/2) - 1, sqrt(2) - 1].
LAMINA_INLINE float log_tail(float f) {
  float z = f * f;
  float p = horner(f, 0.333333313f, -0.250008196f, 0.200012431f, -0.166234106f, 0.142015398f,
                   -0.131595507f, 0.127624854f, -0.0763694048f);
  return fma(z, -0.5f, z * f * p);
}
// x = 2^n (1 + f) for positive finite x.
LAMINA_INLINE float log_reduce(float x, float& n) {
  bool tiny = x < 1.17549435e-38f;
  float y = tiny ? x * 8388608.0f : x;
  // Unsigned, because the bits of a negative or special x would overflow.
  auto i = static_cast<int32_t>(bits_as<uint32_t>(y) - static_cast<uint32_t>(kRootHalfBits));
  n = static_cast<float>(i >> 23) - (tiny ? 23.0f : 0.0f);
  return bits_as<float>((i & 0x7fffff) + kRootHalfBits) - 1.0f;
}
// Puts in what a logarithm gives outside the positive finite numbers.
LAMINA_INLINE float log_special(float x, float result) {
  float special = x == 0 ? -kInf : (x == kInf ? kInf : kNan);
  return (x > 0) & (x < kInf) ? result : special;
}
LAMINA_INLINE F32 log(F32 x) {
  float n, f = log_reduce(x.v, n);
  float y = f + fma(n, kLn2Low, log_tail(f));
  return {log_special(x.v, fma(n, kLn2High, y))};
}
LAMINA_INLINE F32 log2(F32 x) {
  float n, f = log_reduce(x.v, n);
  return {log_special(x.v, fma(f + log_tail(f), kLog2e, n))};
}
LAMINA_INLINE F32 log10(F32 x) {
  float n, f = log_reduce(x.v, n);
  float y = fma(n, 4.6050390e-06f, (f + log_tail(f)) * 0.434294482f);
  return {log_special(x.v, fma(n, 0.301025391f, y))};
}
LAMINA_INLINE float log1p_core(float x) {
  float u = 1.0f + x;
  auto i = static_cast<int32_t>(bits_as<uint32_t>(u) - static_cast<uint32_t>(kRootHalfBits));
  float n = static_cast<float>(i >> 23);
  uint32_t exponent = static_cast<uint32_t>(i) & ~0x7fffffu;
  float scale = bits_as<float>(static_cast<uint32_t>(kOneBits) - exponent);
  float exact = fma(x, scale, scale - 1.0f);
  float large = bits_as<float>((i & 0x7fffff) + kRootHalfBits) - 1.0f;
  float f = x > 1e10f ? large : exact;
  float y = f + fma(n, kLn2Low, log_tail(f));
  y = fma(n, kLn2High, y);
  float special = x == -1.0f ? -kInf : (x == kInf ? kInf : kNan);
  return (x > -1.0f) & (x < kInf) ? y : special;
}
LAMINA_INLINE F32 log1p(F32 x) { return {with_sign(log1p_core(x.v), x.v)}; }

LAMINA_INLINE F32 logaddexp(F32 a, F32 b) {
  float distance = a.v == b.v ? 0.0f : absolute(a.v - b.v);
  return {maximum(a, b).v + log1p_core(exp_scaled<0>(-distance))};
}

LAMINA_INLINE F32 arcsinh(F32 x) {
  float a = absolute(x.v), z = a * a;
  bool large = a > 1e10f;
  float argument = large ? a : a + z / (1.0f + __builtin_sqrtf(1.0f + z));
  return {with_sign(log1p_core(argument) + (large ? 0.693147181f : 0.0f), x.v)};
}
LAMINA_INLINE F32 arccosh(F32 x) {
  float t = x.v - 1.0f;
  bool large = x.v > 1e10f;
  float argument = large ? x.v : t + __builtin_sqrtf(t * (t + 2.0f));
  float y = log1p_core(argument) + (large ? 0.693147181f : 0.0f);
  return {x.v >= 1.0f ? y : kNan};
}
LAMINA_INLINE F32 arctanh(F32 x) {
  float a = absolute(x.v);
  return {with_sign(0.5f * log1p_core((a + a) / (1.0f - a)), x.v)};
}

// ---- Circular functions
// --------------------------------------------------------------------------

// Beyond it the reduction below loses bits.
inline constexpr float kCircleLimit = 1e5f;

// x = quadrant * pi/2 + r with |r| <= pi/4 and a little, for 0 <= x <= kCircleLimit.
LAMINA_INLINE float circle_reduce(float x, uint32_t& quadrant) {
  float t = fma(x, 0.636619772f, kRounder);
  quadrant = bits_as<uint32_t>(t);
  float k = t - kRounder;
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__)
  float r = fma(k, -kHalfPi, x);
  r = fma(k, -kHalfPiLow, r);
  return fma(k, -kHalfPiLowest, r);
#else
  double r = static_cast<double>(x) - static_cast<double>(k) * 1.5707963267341256;
  return static_cast<float>(r - static_cast<double>(k) * 6.0771005065061922e-11);
#endif
}
LAMINA_INLINE float sin_inside(float r, float z) {
  return fma(r * z, horner(z, -0.166666538f, 0.00833210628f, -0.000195078464f), r);
}
LAMINA_INLINE float cos_inside(float z) {
  float c = horner(z, 0.0416666456f, -0.00138873048f, 2.44314251e-05f);
  return fma(z * z, c, fma(z, -0.5f, 1.0f));
}
LAMINA_INLINE Guarded<float> sin(F32 x) {
  float a = absolute(x.v);
  uint32_t quadrant;
  float r = circle_reduce(a, quadrant), z = r * r;
  float y = (quadrant & 1) != 0 ? cos_inside(z) : sin_inside(r, z);
  uint32_t sign = ((quadrant << 30) ^ bits_as<uint32_t>(x.v)) & 0x80000000u;
  return {bits_as<float>(bits_as<uint32_t>(y) ^ sign), !(a > kCircleLimit)};
}
LAMINA_INLINE Guarded<float> cos(F32 x) {
  float a = absolute(x.v);
  uint32_t quadrant;
  float r = circle_reduce(a, quadrant), z = r * r;
  float y = (quadrant & 1) != 0 ? sin_inside(r, z) : cos_inside(z);
  uint32_t sign = ((quadrant + 1) << 30) & 0x80000000u;
  return {bits_as<float>(bits_as<uint32_t>(y) ^ sign), !(a > kCircleLimit)};
}
LAMINA_INLINE Guarded<float> tan(F32 x) {
  float a = absolute(x.v);
  uint32_t quadrant;
  float r = circle_reduce(a, quadrant), z = r * r;
  float s = sin_inside(r, z), c = cos_inside(z);
  bool odd = (quadrant & 1) != 0;
  float y = (odd ? c : s) / (odd ? s : c);
  uint32_t sign = ((quadrant << 31) ^ bits_as<uint32_t>(x.v)) & 0x80000000u;
  return {bits_as<float>(bits_as<uint32_t>(y) ^ sign), !(a > kCircleLimit)};
}

// arcsin(s) for s in [0, 1/2], z = s * s.
LAMINA_INLINE float arcsin_inside(float s, float z) {
  float p = horner(z, 0.166666597f, 0.0750052109f, 0.0445135869f, 0.0318369977f, 0.0143234357f,
                   0.0376842953f);
  return fma(s * z, p, s);
}
LAMINA_INLINE F32 arcsin(F32 x) {
  float a = absolute(x.v);
  bool outer = a > 0.5f;
  float z = outer ? (1.0f - a) * 0.5f : a * a;
  float p = arcsin_inside(outer ? __builtin_sqrtf(z) : a, z);
  return {with_sign(outer ? kHalfPi - (p + p - kHalfPiLow) : p, x.v)};
}
LAMINA_INLINE F32 arccos(F32 x) {
  float a = absolute(x.v);
  bool outer = a > 0.5f;
  float z = outer ? (1.0f - a) * 0.5f : a * a;
  float p = arcsin_inside(outer ? __builtin_sqrtf(z) : a, z);
  float inner = kHalfPi - (with_sign(p, x.v) - kHalfPiLow);
  float twice = p + p;
  float reflected = 2 * kHalfPi - (twice - 2 * kHalfPiLow);
  return {outer ? (x.v < 0 ? reflected : twice) : inner};
}
// arctan(t) for t in [0, 1].
LAMINA_INLINE float arctan_inside(float t) {
  float z = t * t;
  float p = horner(z, -0.333332986f, 0.19998534f, -0.142641023f, 0.109515063f, -0.0840158165f,
                   0.0579272285f, -0.0311489366f, 0.0108996965f, -0.00179040583f);
  return fma(t * z, p, t);
}
LAMINA_INLINE F32 arctan(F32 x) {
  float a = absolute(x.v);
  bool outer = a > 1.0f;
  float p = arctan_inside((outer ? 1.0f : a) / (outer ? a : 1.0f));
  return {with_sign(outer ? kHalfPi - (p - kHalfPiLow) : p, x.v)};
}
LAMINA_INLINE F32 arctan2(F32 y, F32 x) {
  float a = absolute(x.v), b = absolute(y.v);
  bool steep = b > a;
  float top = steep ? a : b, bottom = steep ? b : a;
  float t = top / bottom;
  t = (top == 0) & (bottom == 0) ? 0.0f : t;
  t = (top == kInf) & (bottom == kInf) ? 1.0f : t;
  float p = arctan_inside(t);
  p = steep ? kHalfPi - (p - kHalfPiLow) : p;
  p = bits_as<int32_t>(x.v) < 0 ? 2 * kHalfPi - (p - 2 * kHalfPiLow) : p;
  return {with_sign(p, y.v)};
}

// ---- Error function
// ------------------------------------------------------------------------------

LAMINA_INLINE F32 erf(F32 x) {
  float a = absolute(x.v), z = a * a;
  float p = horner(z, 0.128379166f, -0.37612626f, 0.112835787f, -0.0268533472f, 0.0051871622f,
                   -0.00079978531f, 7.80690316e-05f);
  float near = fma(a, p, a);
  // log(erfc(a)) on [1, 4]; beyond, erf is 1.
  float l = horner(at_most(a, 4.0f), 0.000188470236f, -1.12958038f, -0.633216143f, -0.108422518f,
                   0.0252107047f, -0.00420546066f, 0.000441516779f, -2.17020897e-05f);
  float far = 1.0f - exp_inside(l);
  return {with_sign(a < 1.0f ? near : far, x.v)};
}
LAMINA_INLINE F32 erfinv(F32 x) {
  float n, a = absolute(x.v);
  float rest = a < 1.0f ? (1.0f - a) * (1.0f + a) : 1.0f;
  float f = log_reduce(rest, n);
  float w = -fma(n, kLn2High, f + fma(n, kLn2Low, log_tail(f)));
  float u = w - 2.5f;
  float near = horner(u, 1.50140941f, 0.24664028f, -0.0041776658f, -0.00125275517f, 0.000218574962f,
                      -4.94393362e-06f, -3.52304801e-06f, 4.60074887e-07f, 2.81387429e-08f,
                      -8.24713187e-09f);
  float s = __builtin_sqrtf(at_least(w, 0.0f)) - 3.0f;
  float far =
      horner(s, 2.83297682f, 1.00167501f, 0.00944482628f, -0.00763781089f, 0.00568957208f,
             -0.00359657034f, 0.00147936365f, -5.54846411e-05f, -0.000305197405f, 0.000113258844f);
  float y = x.v * (w < 5.0f ? near : far);
  return {a < 1.0f ? y : (a == 1.0f ? with_sign(kInf, x.v) : kNan)};
}

// ---- Power
// ---------------------------------------------------------------------------------------

// log2(x) and 2^x in double: y * log2(x) must be good to 2^-31 absolutely.
LAMINA_INLINE double log2_wide(double x) {
  constexpr uint64_t kRootHalf = 0x3fe6a09e667f3bcdULL, kOne = 0x3ff0000000000000ULL;
  uint64_t i = bits_as<uint64_t>(x) + (kOne - kRootHalf);
  // An integer below 2^52 becomes a double by standing in the mantissa of 2^52.
  double n = bits_as<double>((i >> 52) | 0x4330000000000000ULL) - (4503599627370496.0 + 1023.0);
  double m = bits_as<double>((i & 0x000fffffffffffffULL) + kRootHalf);
  double t = (m - 1.0) / (m + 1.0), z = t * t;
  double p = horner(z, 2.885390081845403, 0.96179664829999989, 0.57708664619978933,
                    0.41153410780685251, 0.34282229275197323);
  return fma(t, p, n);
}
LAMINA_INLINE double exp2_wide(double x) {
  constexpr double kWideRounder = 6755399441055744.0;
  double t = x + kWideRounder;
  double r = x - (t - kWideRounder);
  double p =
      horner(r, 1.0000000005541856, 0.6931472057371989, 0.24022646890484578, 0.05550328777076452,
             0.0096184889734655474, 0.0013399931183428894, 0.00015345807585264711);
  return p * bits_as<double>((bits_as<uint64_t>(t) << 52) + 0x3ff0000000000000ULL);
}
LAMINA_INLINE F32 power(F32 base, F32 exponent) {
  float x = base.v, y = exponent.v, a = absolute(x);
  double l = log2_wide(static_cast<double>(a));
  l = a == 0 ? -static_cast<double>(kInf) : l;
  l = a == kInf ? static_cast<double>(kInf) : l;
  l = x != x ? static_cast<double>(kNan) : l;
  double e = static_cast<double>(y) * l;
  e = e > 200.0 ? 200.0 : e;
  e = e < -200.0 ? -200.0 : e;
  float r = static_cast<float>(exp2_wide(e));
  // Floats of 2^23 and more are integers; those of 2^24 and more are even.
  float size = absolute(y);
  float whole = (size + 8388608.0f) - 8388608.0f;
  float half = size * 0.5f;
  float half_whole = (half + 8388608.0f) - 8388608.0f;
  bool integer = (whole == size) | (size >= 8388608.0f);
  bool odd = integer & (half_whole != half) & (size < 16777216.0f);
  bool negative = bits_as<int32_t>(x) < 0;
  r = negative & odd ? -r : r;
  r = (x < 0) & (x != -kInf) & !integer ? kNan : r;
  bool one = (x == 1.0f) | (y == 0) | ((x == -1.0f) & (size == kInf));
  return {one ? 1.0f : r};
}

// ---- Rounding and remainders
// ---------------------------------------------------------------------

LAMINA_INLINE F32 abs(F32 x) { return {absolute(x.v)}; }
LAMINA_INLINE F32 floor(F32 x) { return {__builtin_floorf(x.v)}; }
LAMINA_INLINE F32 ceil(F32 x) { return {__builtin_ceilf(x.v)}; }
LAMINA_INLINE F32 trunc(F32 x) { return {__builtin_truncf(x.v)}; }
LAMINA_INLINE F32 round(F32 x) { return {__builtin_rintf(x.v)}; }
LAMINA_INLINE F32 sqrt(F32 x) { return {__builtin_sqrtf(x.v)}; }
LAMINA_INLINE F32 rsqrt(F32 x) { return {1.0f / __builtin_sqrtf(x.v)}; }
LAMINA_INLINE F32 reciprocal(F32 x) { return {1.0f / x.v}; }
LAMINA_INLINE F32 sign(F32 x) { return {x.v > 0 ? 1.0f : (x.v < 0 ? -1.0f : x.v)}; }
LAMINA_INLINE F32 floor_divide(F32 x, F32 y) { return {__builtin_floorf(x.v / y.v)}; }

// The result has the sign of y, as in Python.
LAMINA_INLINE Guarded<float> remainder(F32 x, F32 y) {
  float ratio = x.v / y.v;
  float q = __builtin_floorf(ratio);
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__)
  float r = fma(-q, y.v, x.v);
#else
  float r = static_cast<float>(static_cast<double>(x.v) - static_cast<double>(q) * y.v);
#endif
  // The quotient may have been rounded across an integer.
  bool outside = ((r < 0) & (y.v > 0)) | ((r > 0) & (y.v < 0));
  r = outside ? r + y.v : r;
  bool beyond = absolute(r) >= absolute(y.v);
  r = beyond & !outside ? r - y.v : r;
  bool ok = (absolute(ratio) < 4194304.0f) & (absolute(y.v) < kInf);
  return {with_sign(r, y.v), ok};
}

}  // namespace lamina::cpu::LAMINA_ISA_NS

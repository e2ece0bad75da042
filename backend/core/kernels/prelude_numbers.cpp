// Helpers for numbers: functions a dialect lacks, and the integer arithmetic of the CPU.
#include "kernels/dialect.h"

namespace lamina {

namespace {
const Helper kHelpers[] = {
    // The polynomials are those of devices/cpu/simd_math.h, fitted to the ranges named there.
    {"lamina_expm1", R"(
inline float expm1_tail(float x) {
  float y = 0.00138722092f;
  y = fma(y, x, 0.00836687628f);
  y = fma(y, x, 0.0416674279f);
  y = fma(y, x, 0.16666542f);
  y = fma(y, x, 0.49999997f);
  return y;
}
inline float lamina_expm1(float value) {
  // e^x = 2^n (1 + m), put together at half size: 2^128 is no float.
  const float x = value > 88.8f ? 88.8f : (value < -25.0f ? -25.0f : value);
  const float k = rint(x * 1.44269504f);
  const float r = fma(k, 2.12194440e-4f, fma(k, -0.693359375f, x));
  const float m = fma(r * r, expm1_tail(r), r);
  const float s = bits_as_float(uint(int(k) + 126) << 23);
  const float y = fma(s, m, s - 0.5f) * 2.0f;
  return value != value ? value : copysign(y, value);
}
)",
     nullptr},
    {"log_tail", R"(
// log(1 + f) - f for f in [sqrt(1/2) - 1, sqrt(2) - 1].
inline float log_series(float x) {
  float y = -0.0763694048f;
  y = fma(y, x, 0.127624854f);
  y = fma(y, x, -0.131595507f);
  y = fma(y, x, 0.142015398f);
  y = fma(y, x, -0.166234106f);
  y = fma(y, x, 0.200012431f);
  y = fma(y, x, -0.250008196f);
  y = fma(y, x, 0.333333313f);
  return y;
}
inline float log_tail(float f) {
  const float z = f * f;
  return fma(z, -0.5f, z * f * log_series(f));
}
)",
     nullptr},
    {"lamina_log1p", R"(
inline float lamina_log1p(float x) {
  // 1 + x = 2^n (1 + f); f is made from x itself while x is no giant, so that no bit is lost.
  const uint u = bits_as_uint(1.0f + x) - 0x3f3504f3u;
  const float n = float(int(u) >> 23);
  const float scale = bits_as_float(0x3f800000u - (u & ~0x7fffffu));
  const float large = bits_as_float((u & 0x7fffffu) + 0x3f3504f3u) - 1.0f;
  const float f = x > 1e10f ? large : fma(x, scale, scale - 1.0f);
  const float y = fma(n, 0.693359375f, f + fma(n, -2.12194440e-4f, log_tail(f)));
  const float special = x == -1.0f ? -INFINITY : (x == INFINITY ? INFINITY : NAN);
  return copysign(x > -1.0f && x < INFINITY ? y : special, x);
}
)",
     nullptr},
    {"lamina_erf", R"(
inline float erf_near(float x) {
  float y = 7.80690316e-05f;
  y = fma(y, x, -0.00079978531f);
  y = fma(y, x, 0.0051871622f);
  y = fma(y, x, -0.0268533472f);
  y = fma(y, x, 0.112835787f);
  y = fma(y, x, -0.37612626f);
  y = fma(y, x, 0.128379166f);
  return y;
}
// log(erfc(x)) on [1, 4]; beyond, erf is 1.
inline float erf_far(float x) {
  float y = -2.17020897e-05f;
  y = fma(y, x, 0.000441516779f);
  y = fma(y, x, -0.00420546066f);
  y = fma(y, x, 0.0252107047f);
  y = fma(y, x, -0.108422518f);
  y = fma(y, x, -0.633216143f);
  y = fma(y, x, -1.12958038f);
  y = fma(y, x, 0.000188470236f);
  return y;
}
inline float lamina_erf(float x) {
  const float a = fabs(x);
  const float y = a < 1.0f ? fma(a, erf_near(a * a), a) : 1.0f - precise::exp(erf_far(a > 4.0f ? 4.0f : a));
  return x != x ? x : copysign(y, x);
}
)",
     nullptr},
    {"lamina_erfinv", R"(
inline float erfinv_near(float x) {
  float y = -8.24713187e-09f;
  y = fma(y, x, 2.81387429e-08f);
  y = fma(y, x, 4.60074887e-07f);
  y = fma(y, x, -3.52304801e-06f);
  y = fma(y, x, -4.94393362e-06f);
  y = fma(y, x, 0.000218574962f);
  y = fma(y, x, -0.00125275517f);
  y = fma(y, x, -0.0041776658f);
  y = fma(y, x, 0.24664028f);
  y = fma(y, x, 1.50140941f);
  return y;
}
inline float erfinv_far(float x) {
  float y = 0.000113258844f;
  y = fma(y, x, -0.000305197405f);
  y = fma(y, x, -5.54846411e-05f);
  y = fma(y, x, 0.00147936365f);
  y = fma(y, x, -0.00359657034f);
  y = fma(y, x, 0.00568957208f);
  y = fma(y, x, -0.00763781089f);
  y = fma(y, x, 0.00944482628f);
  y = fma(y, x, 1.00167501f);
  y = fma(y, x, 2.83297682f);
  return y;
}
inline float lamina_erfinv(float x) {
  const float a = fabs(x);
  const float w = -precise::log(a < 1.0f ? (1.0f - a) * (1.0f + a) : 1.0f);
  const float y = x * (w < 5.0f ? erfinv_near(w - 2.5f) : erfinv_far(precise::sqrt(w) - 3.0f));
  return a < 1.0f ? y : (a == 1.0f ? copysign(INFINITY, x) : NAN);
}
)",
     nullptr},
    {"lamina_sigmoid", R"(
template <typename T>
inline T lamina_sigmoid(T x) {
  const T e = precise::exp(-fabs(x));
  return (x < T(0) ? e : T(1)) / (T(1) + e);
}
)",
     nullptr},
    {"lamina_maximum", R"(
template <typename T>
inline T lamina_maximum(T x, T y) {
  return x != x || x > y ? x : y;
}
)",
     nullptr},
    {"lamina_minimum", R"(
template <typename T>
inline T lamina_minimum(T x, T y) {
  return x != x || x < y ? x : y;
}
)",
     nullptr},
    {"lamina_logaddexp", R"(
template <typename T>
inline T lamina_logaddexp(T x, T y) {
  const T distance = x == y ? T(0) : fabs(x - y);
  return lamina_maximum(x, y) + lamina_log1p(precise::exp(-distance));
}
)",
     nullptr},
    {"lamina_sign", R"(
template <typename T>
inline T lamina_sign(T x) {
  return x > T(0) ? T(1) : (x < T(0) ? T(-1) : x);
}
)",
     nullptr},
    {"float_remainder", R"(
// The result has the sign of y, as in Python.
template <typename T>
inline T float_remainder(T x, T y) {
  T r = precise::fmod(x, y);
  if (r != T(0) && (r < T(0)) != (y < T(0))) r += y;
  return copysign(r, y);
}
)",
     nullptr},
    {"signed_sign", R"(
template <typename T>
inline T signed_sign(T x) {
  return T(int(x > T(0)) - int(x < T(0)));
}
)",
     nullptr},
    {"signed_negative", R"(
// The lowest integer is its own negative.
template <typename T>
inline T signed_negative(T x) {
  return T(ulong(0) - ulong(x));
}
)",
     nullptr},
    {"signed_abs", R"(
template <typename T>
inline T signed_abs(T x) {
  return x < T(0) ? signed_negative(x) : x;
}
)",
     nullptr},
    {"signed_floor_divide", R"(
// Rounds down; x / 0 is 0.
template <typename T>
inline T signed_floor_divide(T x, T y) {
  if (y == T(0)) return T(0);
  if (y == T(-1)) return signed_negative(x);
  const T q = x / y, r = x - q * y;
  return r != T(0) && (r < T(0)) != (y < T(0)) ? T(q - T(1)) : q;
}
)",
     nullptr},
    {"signed_remainder", R"(
// The sign of y; x mod 0 is 0.
template <typename T>
inline T signed_remainder(T x, T y) {
  if (y == T(0) || y == T(-1)) return T(0);
  const T q = x / y, r = x - q * y;
  return r != T(0) && (r < T(0)) != (y < T(0)) ? T(r + y) : r;
}
)",
     nullptr},
    {"unsigned_floor_divide", R"(
template <typename T>
inline T unsigned_floor_divide(T x, T y) {
  return y == T(0) ? T(0) : T(x / y);
}
)",
     nullptr},
    {"unsigned_remainder", R"(
template <typename T>
inline T unsigned_remainder(T x, T y) {
  return y == T(0) ? T(0) : T(x % y);
}
)",
     nullptr},
    {"unsigned_power", R"(
template <typename T>
inline T unsigned_power(T base, ulong exponent) {
  ulong result = 1, square = ulong(base);
  for (; exponent != 0; exponent >>= 1) {
    if (exponent & 1) result *= square;
    square *= square;
  }
  return T(result);
}
)",
     nullptr},
    {"signed_power", R"(
// A negative exponent gives the power rounded toward zero.
template <typename T>
inline T signed_power(T base, T exponent) {
  const bool inverse = exponent < T(0);
  if (inverse && base != T(1) && base != T(-1)) return T(0);
  return unsigned_power(base, inverse ? ulong(0) - ulong(exponent) : ulong(exponent));
}
)",
     nullptr},
    {"lamina_left_shift", R"(
// Counts beyond the width, and negative ones, shift every bit out.
template <typename T>
inline T lamina_left_shift(T x, T y) {
  return y >= T(0) && ulong(y) < sizeof(T) * 8 ? T(ulong(x) << ulong(y)) : T(0);
}
)",
     nullptr},
    {"lamina_right_shift", R"(
template <typename T>
inline T lamina_right_shift(T x, T y) {
  const bool all = y < T(0) || ulong(y) >= sizeof(T) * 8;
  return all ? (x < T(0) ? T(-1) : T(0)) : T(x >> y);
}
)",
     nullptr},
    {"float_to_ulong", R"(
// Negative numbers wrap as those of long do.
template <typename T>
inline ulong float_to_ulong(T x) {
  return x >= T(9223372036854775808.0f) ? ulong(x) : ulong(long(x));
}
)",
     nullptr},
};
}  // namespace

std::span<const Helper> number_helpers() { return kHelpers; }

}  // namespace lamina

// complex64 as float2. Functions take the care of C99's about signs of zero and cut lines where a
// plain formula would miss them; intermediate results are float.
#include "kernels/dialect.h"

namespace lamina {

namespace {
const Helper kHelpers[] = {
    {"complex_add", R"(
inline float2 complex_add(float2 a, float2 b) { return COMPLEX(a.x + b.x, a.y + b.y); }
)",
     nullptr},
    {"complex_subtract", R"(
inline float2 complex_subtract(float2 a, float2 b) { return COMPLEX(a.x - b.x, a.y - b.y); }
)",
     nullptr},
    {"complex_negative", R"(
inline float2 complex_negative(float2 a) { return COMPLEX(-a.x, -a.y); }
)",
     nullptr},
    {"complex_multiply", R"(
inline float2 complex_multiply(float2 a, float2 b) {
  return COMPLEX(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}
)",
     nullptr},
    // Scaled by powers of two, so that squares neither overflow nor vanish.
    {"complex_divide", R"(
inline float2 complex_divide(float2 a, float2 b) {
  const float size = fmax(fabs(b.x), fabs(b.y));
  const bool plain = size > 0.0f && size < INFINITY;
  const int e = plain ? ilogb(size) : 0;
  const float c = ldexp(b.x, -e), d = ldexp(b.y, -e);
  const float scale = c * c + d * d;
  float2 q = COMPLEX(ldexp((a.x * c + a.y * d) / scale, -e), ldexp((a.y * c - a.x * d) / scale, -e));
  if (!isnan(q.x) || !isnan(q.y)) return q;
  if (scale == 0.0f && (!isnan(a.x) || !isnan(a.y))) {
    const float end = copysign(INFINITY, b.x);
    return COMPLEX(end * a.x, end * a.y);
  }
  if ((isinf(a.x) || isinf(a.y)) && isfinite(b.x) && isfinite(b.y)) {
    const float x = copysign(isinf(a.x) ? 1.0f : 0.0f, a.x), y = copysign(isinf(a.y) ? 1.0f : 0.0f, a.y);
    return COMPLEX(INFINITY * (x * c + y * d), INFINITY * (y * c - x * d));
  }
  if ((isinf(b.x) || isinf(b.y)) && isfinite(a.x) && isfinite(a.y)) {
    const float x = copysign(isinf(b.x) ? 1.0f : 0.0f, b.x), y = copysign(isinf(b.y) ? 1.0f : 0.0f, b.y);
    return COMPLEX(0.0f * (a.x * x + a.y * y), 0.0f * (a.y * x - a.x * y));
  }
  return q;
}
)",
     nullptr},
    {"complex_equal", R"(
inline bool complex_equal(float2 a, float2 b) { return a.x == b.x && a.y == b.y; }
)",
     nullptr},
    // By real part, then by imaginary part.
    {"complex_less", R"(
inline bool complex_less(float2 a, float2 b) { return a.x < b.x || (a.x == b.x && a.y < b.y); }
)",
     nullptr},
    {"complex_less_equal", R"(
inline bool complex_less_equal(float2 a, float2 b) {
  return a.x < b.x || (a.x == b.x && a.y <= b.y);
}
)",
     nullptr},
    {"complex_isnan", R"(
inline bool complex_isnan(float2 a) { return isnan(a.x) || isnan(a.y); }
)",
     nullptr},
    // As takes_max and takes_min, by real part, then by imaginary part.
    {"takes_max_complex", R"(
inline bool takes_max_complex(float2 v, uint i, float2 best, uint at) {
  if (complex_isnan(v) || complex_isnan(best))
    return complex_isnan(v) && (!complex_isnan(best) || i < at);
  return complex_less(best, v) || (!complex_less(v, best) && i < at);
}
)",
     nullptr},
    {"takes_min_complex", R"(
inline bool takes_min_complex(float2 v, uint i, float2 best, uint at) {
  if (complex_isnan(v) || complex_isnan(best))
    return complex_isnan(v) && (!complex_isnan(best) || i < at);
  return complex_less(v, best) || (!complex_less(best, v) && i < at);
}
)",
     nullptr},
    {"complex_maximum", R"(
inline float2 complex_maximum(float2 a, float2 b) {
  return complex_isnan(a) || (!complex_isnan(b) && complex_less(b, a)) ? a : b;
}
)",
     nullptr},
    {"complex_minimum", R"(
inline float2 complex_minimum(float2 a, float2 b) {
  return complex_isnan(a) || (!complex_isnan(b) && complex_less(a, b)) ? a : b;
}
)",
     nullptr},
    {"complex_abs", R"(
inline float complex_abs(float2 a) {
  const float x = fabs(a.x), y = fabs(a.y);
  const float high = x > y ? x : y, low = x > y ? y : x;
  if (isinf(x) || isinf(y)) return INFINITY;
  if (high == 0.0f || isnan(x) || isnan(y)) return x + y;
  const int e = ilogb(high);
  const float h = ldexp(high, -e), l = ldexp(low, -e);
  return ldexp(precise::sqrt(h * h + l * l), e);
}
)",
     nullptr},
    {"complex_sign", R"(
inline float2 complex_sign(float2 a) {
  const float size = complex_abs(a);
  return size == 0.0f ? a : COMPLEX(a.x / size, a.y / size);
}
)",
     nullptr},
    {"complex_round", R"(
inline float2 complex_round(float2 a) { return COMPLEX(rint(a.x), rint(a.y)); }
)",
     nullptr},
    {"complex_exp", R"(
inline float2 complex_exp(float2 a) {
  if (a.y == 0.0f) return COMPLEX(precise::exp(a.x), a.y);
  if (a.x == -INFINITY && !isfinite(a.y)) return COMPLEX(0.0f, 0.0f);
  if (a.x == INFINITY && !isfinite(a.y)) return COMPLEX(INFINITY, NAN);
  const float e = precise::exp(a.x * 0.5f);
  return COMPLEX(e * precise::cos(a.y) * e, e * precise::sin(a.y) * e);
}
)",
     nullptr},
    // log|z|: near 1 by log1p of |z|^2 - 1, elsewhere scaled by a power of two.
    {"log_abs", R"(
inline float log_abs(float2 a) {
  const float x = fabs(a.x), y = fabs(a.y);
  const float high = x > y ? x : y, low = x > y ? y : x;
  if (isinf(x) || isinf(y)) return INFINITY;
  if (isnan(x) || isnan(y)) return x + y;
  if (high > 0.5f && high < 2.0f) {
    const float t = (high - 1.0f) * (high + 1.0f);
    return 0.5f * lamina_log1p(fma(low, low, t));
  }
  if (high == 0.0f) return -INFINITY;
  const int e = ilogb(high);
  const float h = ldexp(high, -e), l = ldexp(low, -e);
  return fma(float(e), 0.693147181f, 0.5f * precise::log(fma(h, h, l * l)));
}
)",
     nullptr},
    {"complex_log", R"(
inline float2 complex_log(float2 a) { return COMPLEX(log_abs(a), precise::atan2(a.y, a.x)); }
)",
     nullptr},
    {"complex_log2", R"(
inline float2 complex_log2(float2 a) {
  const float2 l = complex_log(a);
  return COMPLEX(l.x * 1.44269504f, l.y * 1.44269504f);
}
)",
     nullptr},
    {"complex_log10", R"(
inline float2 complex_log10(float2 a) {
  const float2 l = complex_log(a);
  return COMPLEX(l.x * 0.434294482f, l.y * 0.434294482f);
}
)",
     nullptr},
    {"complex_log1p", R"(
inline float2 complex_log1p(float2 a) {
  const float angle = precise::atan2(a.y, 1.0f + a.x);
  if (fabs(a.x) < 0.5f && fabs(a.y) < 0.5f) {
    return COMPLEX(0.5f * lamina_log1p(fma(a.x, a.x, fma(a.y, a.y, 2.0f * a.x))), angle);
  }
  return COMPLEX(log_abs(COMPLEX(1.0f + a.x, a.y)), angle);
}
)",
     nullptr},
    {"complex_sqrt", R"(
inline float2 complex_sqrt(float2 a) {
  if (a.x == 0.0f && a.y == 0.0f) return COMPLEX(0.0f, a.y);
  if (isinf(a.y)) return COMPLEX(INFINITY, a.y);
  const bool small = fabs(a.x) < 1e-30f && fabs(a.y) < 1e-30f;
  const float scale = small ? 1.329227996e36f : 0.0625f, back = small ? 8.67361738e-19f : 4.0f;
  const float2 z = COMPLEX(a.x * scale, a.y * scale);
  const float t = precise::sqrt(0.5f * (complex_abs(z) + fabs(z.x))) * back;
  const float other = isinf(t) ? (isnan(a.y) ? a.y : copysign(0.0f, a.y)) : fabs(a.y) / (2.0f * t);
  return a.x >= 0.0f ? COMPLEX(t, copysign(other, a.y)) : COMPLEX(other, copysign(t, a.y));
}
)",
     nullptr},
    {"complex_sinh", R"(
inline float2 complex_sinh(float2 a) {
  if (a.y == 0.0f) return COMPLEX(precise::sinh(a.x), a.y);
  if (a.x == 0.0f) return COMPLEX(a.x, precise::sin(a.y));
  return COMPLEX(precise::sinh(a.x) * precise::cos(a.y), precise::cosh(a.x) * precise::sin(a.y));
}
)",
     nullptr},
    {"complex_cosh", R"(
inline float2 complex_cosh(float2 a) {
  if (a.y == 0.0f || a.x == 0.0f) return COMPLEX(precise::cosh(a.x) * precise::cos(a.y), a.x * a.y);
  return COMPLEX(precise::cosh(a.x) * precise::cos(a.y), precise::sinh(a.x) * precise::sin(a.y));
}
)",
     nullptr},
    {"complex_tanh", R"(
inline float2 complex_tanh(float2 a) {
  const float t = precise::tan(a.y);
  if (fabs(a.x) > 20.0f) {
    const float c = precise::cos(a.y), s = precise::sin(a.y);
    return COMPLEX(copysign(1.0f, a.x), isfinite(a.y) ? 4.0f * s * c * precise::exp(-2.0f * fabs(a.x)) : 0.0f);
  }
  const float s = precise::sinh(a.x), c2 = 1.0f + s * s, secant = 1.0f + t * t;
  const float bottom = 1.0f + secant * s * s;
  if (!isfinite(t)) return COMPLEX(t, t);
  return COMPLEX(secant * precise::sqrt(c2) * s / bottom, t / bottom);
}
)",
     nullptr},
    {"complex_sin", R"(
inline float2 complex_sin(float2 a) {
  const float2 s = complex_sinh(COMPLEX(-a.y, a.x));
  return COMPLEX(s.y, -s.x);
}
)",
     nullptr},
    {"complex_cos", R"(
inline float2 complex_cos(float2 a) { return complex_cosh(COMPLEX(-a.y, a.x)); }
)",
     nullptr},
    {"complex_tan", R"(
inline float2 complex_tan(float2 a) {
  const float2 t = complex_tanh(COMPLEX(-a.y, a.x));
  return COMPLEX(t.y, -t.x);
}
)",
     nullptr},
    // arcsin and arccos by the real and imaginary parts of sqrt(1 - z) and sqrt(1 + z), which
    // keep the cut lines on [1, inf) and (-inf, -1].
    {"complex_arcsinh_parts", R"(
inline float product_imag(float2 a, float2 b) { return a.x * b.y - a.y * b.x; }
inline float2 complex_arcsinh_parts(float2 a) {
  const float2 s = complex_sqrt(COMPLEX(1.0f + a.y, -a.x)), t = complex_sqrt(COMPLEX(1.0f - a.y, a.x));
  const float x = precise::asinh(product_imag(s, t));
  return COMPLEX(x, precise::atan2(a.y, s.x * t.x - s.y * t.y));
}
)",
     nullptr},
    {"complex_arcsinh", R"(
inline float2 complex_arcsinh(float2 a) {
  const float size = fmax(fabs(a.x), fabs(a.y));
  if (size > 1e9f) {
    const float2 l = complex_log(COMPLEX(fabs(a.x), fabs(a.y)));
    return COMPLEX(copysign(l.x + 0.693147181f, a.x), copysign(l.y, a.y));
  }
  return complex_arcsinh_parts(a);
}
)",
     nullptr},
    {"complex_arcsin", R"(
inline float2 complex_arcsin(float2 a) {
  const float2 s = complex_arcsinh(COMPLEX(-a.y, a.x));
  return COMPLEX(s.y, -s.x);
}
)",
     nullptr},
    {"complex_arccos", R"(
inline float2 complex_arccos(float2 a) {
  const float size = fmax(fabs(a.x), fabs(a.y));
  if (size > 1e9f) {
    const float2 l = complex_log(a);
    return COMPLEX(fabs(l.y), copysign(l.x + 0.693147181f, -a.y));
  }
  const float2 s = complex_sqrt(COMPLEX(1.0f - a.x, -a.y)), t = complex_sqrt(COMPLEX(1.0f + a.x, a.y));
  return COMPLEX(2.0f * precise::atan2(s.x, t.x), precise::asinh(s.y * t.x - s.x * t.y));
}
)",
     nullptr},
    {"complex_arccosh", R"(
inline float2 complex_arccosh(float2 a) {
  const float2 c = complex_arccos(a);
  return signbit(a.y) ? COMPLEX(fabs(c.y), -c.x) : COMPLEX(fabs(c.y), c.x);
}
)",
     nullptr},
    {"complex_arctanh", R"(
inline float2 complex_arctanh(float2 a) {
  const float x = fabs(a.x), y = fabs(a.y);
  if (x > 1e9f || y > 1e9f) {
    const float2 q = complex_divide(COMPLEX(1.0f, 0.0f), COMPLEX(x, y));
    return COMPLEX(copysign(q.x, a.x), copysign(1.57079633f, a.y));
  }
  const float square = y * y, less = 1.0f - x;
  const float re = 0.25f * lamina_log1p(4.0f * x / (less * less + square));
  const float im = 0.5f * precise::atan2(2.0f * y, less * (1.0f + x) - square);
  return COMPLEX(copysign(re, a.x), copysign(im, a.y));
}
)",
     nullptr},
    {"complex_arctan", R"(
inline float2 complex_arctan(float2 a) {
  const float2 t = complex_arctanh(COMPLEX(-a.y, a.x));
  return COMPLEX(t.y, -t.x);
}
)",
     nullptr},
    {"complex_power", R"(
inline float2 complex_power(float2 a, float2 b) {
  if (b.x == 0.0f && b.y == 0.0f) return COMPLEX(1.0f, 0.0f);
  if (a.x == 0.0f && a.y == 0.0f) return b.x > 0.0f ? COMPLEX(0.0f, 0.0f) : COMPLEX(NAN, NAN);
  return complex_exp(complex_multiply(b, complex_log(a)));
}
)",
     nullptr},
    {"complex_logaddexp", R"(
inline float2 complex_logaddexp(float2 a, float2 b) {
  if (complex_isnan(a) || complex_isnan(b)) return COMPLEX(NAN, NAN);
  const bool swap = complex_less(a, b);
  const float2 high = swap ? b : a, low = swap ? a : b;
  if (low.x == -INFINITY || high.x == INFINITY) return high;
  return complex_add(high, complex_log1p(complex_exp(complex_subtract(low, high))));
}
)",
     nullptr},
};
}  // namespace

std::span<const Helper> complex_helpers() { return kHelpers; }

}  // namespace lamina

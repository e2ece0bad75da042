#include "devices/cpu/complex_math.h"

#include <cmath>
#include <complex>
#include <limits>

namespace lamina::cpu {
namespace {

using C = std::complex<float>;
using Wide = std::complex<double>;

C from(Complex x) { return {x.re, x.im}; }
Complex to(C x) { return {x.real(), x.imag()}; }
Complex to(Wide x) { return {static_cast<float>(x.real()), static_cast<float>(x.imag())}; }

Wide log1p(Wide x) {
  // log|1 + x| = log1p(2 re + |x|^2) / 2 keeps the small x that 1 + x would lose.
  double re = x.real(), im = x.imag();
  return {0.5 * std::log1p(2 * re + re * re + im * im), std::atan2(im, 1 + re)};
}

}  // namespace

Complex complex_exp(Complex x) noexcept { return to(std::exp(from(x))); }
Complex complex_log(Complex x) noexcept { return to(std::log(from(x))); }
Complex complex_log2(Complex x) noexcept {
  return to(std::log(Wide(from(x))) * (1 / 0.69314718055994530942));
}
Complex complex_log10(Complex x) noexcept { return to(std::log10(from(x))); }
Complex complex_log1p(Complex x) noexcept { return to(log1p(Wide(from(x)))); }
Complex complex_sqrt(Complex x) noexcept { return to(std::sqrt(from(x))); }
Complex complex_sin(Complex x) noexcept { return to(std::sin(from(x))); }
Complex complex_cos(Complex x) noexcept { return to(std::cos(from(x))); }
Complex complex_tan(Complex x) noexcept { return to(std::tan(from(x))); }
Complex complex_sinh(Complex x) noexcept { return to(std::sinh(from(x))); }
Complex complex_cosh(Complex x) noexcept { return to(std::cosh(from(x))); }
Complex complex_tanh(Complex x) noexcept { return to(std::tanh(from(x))); }
Complex complex_arcsin(Complex x) noexcept { return to(std::asin(from(x))); }
Complex complex_arccos(Complex x) noexcept { return to(std::acos(from(x))); }
Complex complex_arctan(Complex x) noexcept { return to(std::atan(from(x))); }
Complex complex_arcsinh(Complex x) noexcept { return to(std::asinh(from(x))); }
Complex complex_arccosh(Complex x) noexcept { return to(std::acosh(from(x))); }
Complex complex_arctanh(Complex x) noexcept { return to(std::atanh(from(x))); }

Complex complex_divide(Complex x, Complex y) noexcept { return to(from(x) / from(y)); }
Complex complex_power(Complex x, Complex y) noexcept {
  if (y.re == 0 && y.im == 0) return {1, 0};
  if (x.re == 0 && x.im == 0) return y.re > 0 ? Complex{0, 0} : Complex{NAN, NAN};
  return to(std::pow(Wide(from(x)), Wide(from(y))));
}
Complex complex_logaddexp(Complex x, Complex y) noexcept {
  if (std::isnan(x.re) || std::isnan(x.im) || std::isnan(y.re) || std::isnan(y.im))
    return {NAN, NAN};
  bool swap = x.re < y.re || (x.re == y.re && x.im < y.im);
  Wide high(from(swap ? y : x)), low(from(swap ? x : y));
  if (low.real() == -std::numeric_limits<double>::infinity()) return to(high);
  if (high.real() == std::numeric_limits<double>::infinity()) return to(high);
  return to(high + log1p(std::exp(low - high)));
}

double erfinv_double(double x) noexcept {
  double a = std::fabs(x);
  if (!(a < 1)) return a == 1 ? std::copysign(HUGE_VAL, x) : NAN;
  // Winitzki's estimate, then Newton steps; the tail's residual is taken on erfc, which keeps it.
  double l = std::log1p(-a * a), b = 2 / (M_PI * 0.147) + l / 2;
  double y = std::sqrt(std::sqrt(b * b - l / 0.147) - b);
  for (int step = 0; step < 4; ++step) {
    double residual = a > 0.5 ? (1 - a) - std::erfc(y) : std::erf(y) - a;
    double move = residual / (2 / std::sqrt(M_PI) * std::exp(-y * y));
    y -= move / (1 + y * move);
  }
  return std::copysign(y, x);
}

double remainder_double(double x, double y) noexcept {
  double r = std::fmod(x, y);
  if (r != 0 && (r < 0) != (y < 0)) r += y;
  return std::copysign(r, y);
}

}  // namespace lamina::cpu

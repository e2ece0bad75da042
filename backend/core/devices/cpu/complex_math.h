// Functions too rare to be compiled once per instruction set: complex64, and double where the C
// library lacks them.
#pragma once

namespace lamina::cpu {

struct Complex {
  float re, im;
};

#define LAMINA_COMPLEX_UNARY(apply)                                                             \
  apply(exp) apply(log) apply(log2) apply(log10) apply(log1p) apply(sqrt) apply(sin) apply(cos) \
      apply(tan) apply(sinh) apply(cosh) apply(tanh) apply(arcsin) apply(arccos) apply(arctan)  \
          apply(arcsinh) apply(arccosh) apply(arctanh)
#define LAMINA_DECLARE(name) Complex complex_##name(Complex x) noexcept;
LAMINA_COMPLEX_UNARY(LAMINA_DECLARE)
#undef LAMINA_DECLARE

Complex complex_divide(Complex x, Complex y) noexcept;
Complex complex_power(Complex x, Complex y) noexcept;
Complex complex_logaddexp(Complex x, Complex y) noexcept;
double erfinv_double(double x) noexcept;
// Python's sign: that of y.
double remainder_double(double x, double y) noexcept;

}  // namespace lamina::cpu

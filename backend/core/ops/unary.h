// Rows of one input. See ops/elementwise_row.h for what a row states.
#pragma once

#include "ops/elementwise_row.h"

namespace lamina {

template <class V>
void exponential_rows(V& v) {
  v.row(
      RowInfo{.name = "exp",
              .doc = "Exponential of each element.",
              .numpy = "np.exp(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = -8,
              .high = 8,
              .flops = 8},
      [](auto x) { return exp(x); }, [](const auto&, const auto& y) { return y; });
  v.row(
      RowInfo{.name = "expm1",
              .doc = "exp(x) - 1, exact near zero.",
              .numpy = "np.expm1(x)",
              .types = kFloating,
              .accepts = Accepts::inexact,
              .low = -8,
              .high = 8,
              .flops = 9},
      [](auto x) { return expm1(x); }, [](const auto&, const auto& y) { return y + 1.0; });
  v.row(
      RowInfo{.name = "log",
              .doc = "Natural logarithm of each element.",
              .numpy = "np.log(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = 0.01,
              .high = 8,
              .flops = 8},
      [](auto x) { return log(x); }, [](const auto& x, const auto&) { return reciprocal(x); });
  v.row(
      RowInfo{.name = "log2",
              .doc = "Base-2 logarithm of each element.",
              .numpy = "np.log2(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = 0.01,
              .high = 8,
              .flops = 8},
      [](auto x) { return log2(x); },
      [](const auto& x, const auto&) { return reciprocal(x) * 1.4426950408889634; });
  v.row(
      RowInfo{.name = "log10",
              .doc = "Base-10 logarithm of each element.",
              .numpy = "np.log10(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = 0.01,
              .high = 8,
              .flops = 8},
      [](auto x) { return log10(x); },
      [](const auto& x, const auto&) { return reciprocal(x) * 0.43429448190325176; });
  v.row(
      RowInfo{.name = "log1p",
              .doc = "log(1 + x), exact near zero.",
              .numpy = "np.log1p(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = -0.9,
              .high = 8,
              .flops = 9},
      [](auto x) { return log1p(x); },
      [](const auto& x, const auto&) { return reciprocal(x + 1.0); });
  v.row(
      RowInfo{.name = "sigmoid",
              .doc = "Logistic function 1 / (1 + exp(-x)).",
              .numpy = "1 / (1 + np.exp(-x))",
              .types = kFloating,
              .accepts = Accepts::inexact,
              .low = -8,
              .high = 8,
              .flops = 10},
      [](auto x) { return sigmoid(x); }, [](const auto&, const auto& y) { return y * (1.0 - y); });
  v.row(
      RowInfo{.name = "erf",
              .doc = "Error function of each element.",
              .numpy = "scipy.special.erf(x)",
              .types = kFloating,
              .accepts = Accepts::inexact,
              .low = -4,
              .high = 4,
              .flops = 12},
      [](auto x) { return erf(x); },
      [](const auto& x, const auto&) { return exp(-(x * x)) * 1.1283791670955126; });
  v.row(
      RowInfo{.name = "erfinv",
              .doc = "Inverse of the error function; NaN outside [-1, 1].",
              .numpy = "scipy.special.erfinv(x)",
              .types = kFloating,
              .accepts = Accepts::inexact,
              .low = -0.99,
              .high = 0.99,
              .flops = 24},
      [](auto x) { return erfinv(x); },
      [](const auto&, const auto& y) { return exp(y * y) * 0.88622692545275801; });
}

template <class V>
void circular_rows(V& v) {
  v.row(
      RowInfo{.name = "sin",
              .doc = "Sine of each element, in radians.",
              .numpy = "np.sin(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = -8,
              .high = 8,
              .flops = 10},
      [](auto x) { return sin(x); }, [](const auto& x, const auto&) { return cos(x); });
  v.row(
      RowInfo{.name = "cos",
              .doc = "Cosine of each element, in radians.",
              .numpy = "np.cos(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = -8,
              .high = 8,
              .flops = 10},
      [](auto x) { return cos(x); }, [](const auto& x, const auto&) { return -sin(x); });
  v.row(
      RowInfo{.name = "tan",
              .doc = "Tangent of each element, in radians.",
              .numpy = "np.tan(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = -1.5,
              .high = 1.5,
              .flops = 16},
      [](auto x) { return tan(x); }, [](const auto&, const auto& y) { return y * y + 1.0; });
  v.row(
      RowInfo{.name = "arcsin",
              .doc = "Inverse sine of each element.",
              .numpy = "np.arcsin(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = -0.99,
              .high = 0.99,
              .flops = 12},
      [](auto x) { return arcsin(x); },
      [](const auto& x, const auto&) { return rsqrt(1.0 - x * x); });
  v.row(
      RowInfo{.name = "arccos",
              .doc = "Inverse cosine of each element.",
              .numpy = "np.arccos(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = -0.99,
              .high = 0.99,
              .flops = 12},
      [](auto x) { return arccos(x); },
      [](const auto& x, const auto&) { return -rsqrt(1.0 - x * x); });
  v.row(
      RowInfo{.name = "arctan",
              .doc = "Inverse tangent of each element.",
              .numpy = "np.arctan(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = -8,
              .high = 8,
              .flops = 14},
      [](auto x) { return arctan(x); },
      [](const auto& x, const auto&) { return reciprocal(x * x + 1.0); });
  v.row(
      RowInfo{.name = "degrees",
              .doc = "Radians converted to degrees.",
              .numpy = "np.degrees(x)",
              .types = kInexact,
              .accepts = Accepts::inexact},
      [](auto x) { return degrees(x); },
      [](const auto& x, const auto&) { return ones_like(x) * 57.295779513082321; });
  v.row(
      RowInfo{.name = "radians",
              .doc = "Degrees converted to radians.",
              .numpy = "np.radians(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = -180,
              .high = 180},
      [](auto x) { return radians(x); },
      [](const auto& x, const auto&) { return ones_like(x) * 0.017453292519943296; });
}

template <class V>
void hyperbolic_rows(V& v) {
  v.row(
      RowInfo{.name = "sinh",
              .doc = "Hyperbolic sine of each element.",
              .numpy = "np.sinh(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = -8,
              .high = 8,
              .flops = 14},
      [](auto x) { return sinh(x); }, [](const auto& x, const auto&) { return cosh(x); });
  v.row(
      RowInfo{.name = "cosh",
              .doc = "Hyperbolic cosine of each element.",
              .numpy = "np.cosh(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = -8,
              .high = 8,
              .flops = 11},
      [](auto x) { return cosh(x); }, [](const auto& x, const auto&) { return sinh(x); });
  v.row(
      RowInfo{.name = "tanh",
              .doc = "Hyperbolic tangent of each element.",
              .numpy = "np.tanh(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = -4,
              .high = 4,
              .flops = 12},
      [](auto x) { return tanh(x); }, [](const auto&, const auto& y) { return 1.0 - y * y; });
  v.row(
      RowInfo{.name = "arcsinh",
              .doc = "Inverse hyperbolic sine of each element.",
              .numpy = "np.arcsinh(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = -8,
              .high = 8,
              .flops = 14},
      [](auto x) { return arcsinh(x); },
      [](const auto& x, const auto&) { return rsqrt(x * x + 1.0); });
  v.row(
      RowInfo{.name = "arccosh",
              .doc = "Inverse hyperbolic cosine of each element.",
              .numpy = "np.arccosh(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = 1.01,
              .high = 8,
              .flops = 14},
      [](auto x) { return arccosh(x); },
      [](const auto& x, const auto&) { return rsqrt(x - 1.0) * rsqrt(x + 1.0); });
  v.row(
      RowInfo{.name = "arctanh",
              .doc = "Inverse hyperbolic tangent of each element.",
              .numpy = "np.arctanh(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = -0.99,
              .high = 0.99,
              .flops = 14},
      [](auto x) { return arctanh(x); },
      [](const auto& x, const auto&) { return reciprocal(1.0 - x * x); });
}

template <class V>
void algebraic_rows(V& v) {
  v.row(
      RowInfo{.name = "abs",
              .doc = "Absolute value of each element.",
              .numpy = "np.abs(x)",
              .gives = Gives::real},
      [](auto x) { return abs(x); }, [](const auto& x, const auto&) { return sign(x); });
  v.row(
      RowInfo{.name = "negative",
              .doc = "Each element negated.",
              .numpy = "np.negative(x)",
              .types = Types(kInteger | kInexact)},
      [](auto x) { return -x; }, [](const auto& x, const auto&) { return -ones_like(x); });
  v.row(
      RowInfo{.name = "square", .doc = "Each element times itself.", .numpy = "np.square(x)"},
      [](auto x) { return x * x; }, [](const auto& x, const auto&) { return x * 2.0; });
  v.row(
      RowInfo{.name = "sqrt",
              .doc = "Square root of each element.",
              .numpy = "np.sqrt(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = 0.01,
              .high = 8},
      [](auto x) { return sqrt(x); },
      [](const auto&, const auto& y) { return reciprocal(y) * 0.5; });
  v.row(
      RowInfo{.name = "rsqrt",
              .doc = "Reciprocal square root of each element.",
              .numpy = "1 / np.sqrt(x)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = 0.01,
              .high = 8,
              .flops = 2},
      [](auto x) { return rsqrt(x); },
      [](const auto& x, const auto& y) { return y * reciprocal(x) * -0.5; });
  v.row(
      RowInfo{.name = "reciprocal",
              .doc = "One divided by each element.",
              .numpy = "1 / x",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = 0.1,
              .high = 4},
      [](auto x) { return reciprocal(x); }, [](const auto&, const auto& y) { return -(y * y); });
  v.row(
      RowInfo{.name = "sign",
              .doc = "-1, 0 or 1 by the sign; x / |x| for complex numbers.",
              .numpy = "np.sign(x)"},
      [](auto x) { return sign(x); }, [](const auto& x, const auto&) { return zeros_like(x); });
  v.row(
      RowInfo{.name = "real",
              .doc = "Real part of each element.",
              .numpy = "np.real(x)",
              .gives = Gives::real},
      [](auto x) { return real(x); }, [](const auto& x, const auto&) { return ones_like(x); });
  v.row(
      RowInfo{.name = "imag",
              .doc = "Imaginary part of each element.",
              .numpy = "np.imag(x)",
              .gives = Gives::real},
      [](auto x) { return imag(x); }, [](const auto& x, const auto&) { return zeros_like(x); });
  v.row(
      RowInfo{
          .name = "conjugate", .doc = "Complex conjugate of each element.", .numpy = "np.conj(x)"},
      [](auto x) { return conjugate(x); }, [](const auto& x, const auto&) { return ones_like(x); });
}

template <class V>
void rounding_rows(V& v) {
  v.row(
      RowInfo{.name = "floor",
              .doc = "Largest integer not above each element.",
              .numpy = "np.floor(x)",
              .types = kReal},
      [](auto x) { return floor(x); }, [](const auto& x, const auto&) { return zeros_like(x); });
  v.row(
      RowInfo{.name = "ceil",
              .doc = "Smallest integer not below each element.",
              .numpy = "np.ceil(x)",
              .types = kReal},
      [](auto x) { return ceil(x); }, [](const auto& x, const auto&) { return zeros_like(x); });
  v.row(
      RowInfo{.name = "trunc",
              .doc = "Each element without its fraction.",
              .numpy = "np.trunc(x)",
              .types = kReal},
      [](auto x) { return trunc(x); }, [](const auto& x, const auto&) { return zeros_like(x); });
  v.row(
      RowInfo{.name = "round",
              .doc = "Nearest integer to each element, ties to even.",
              .numpy = "np.round(x)"},
      [](auto x) { return round(x); }, [](const auto& x, const auto&) { return zeros_like(x); });
}

template <class V>
void predicate_rows(V& v) {
  constexpr const char* kGivesBool = "gives a bool, which has no derivative";
  v.row(RowInfo{.name = "isnan",
                .doc = "Whether each element is NaN.",
                .numpy = "np.isnan(x)",
                .gives = Gives::boolean,
                .nondifferentiable = kGivesBool},
        [](auto x) { return isnan(x); });
  v.row(RowInfo{.name = "isinf",
                .doc = "Whether each element is infinite.",
                .numpy = "np.isinf(x)",
                .gives = Gives::boolean,
                .nondifferentiable = kGivesBool},
        [](auto x) { return isinf(x); });
  v.row(RowInfo{.name = "isfinite",
                .doc = "Whether each element is neither infinite nor NaN.",
                .numpy = "np.isfinite(x)",
                .gives = Gives::boolean,
                .nondifferentiable = kGivesBool},
        [](auto x) { return isfinite(x); });
  v.row(RowInfo{.name = "isposinf",
                .doc = "Whether each element is positive infinity.",
                .numpy = "np.isposinf(x)",
                .gives = Gives::boolean,
                .nondifferentiable = kGivesBool},
        [](auto x) { return isposinf(x); });
  v.row(RowInfo{.name = "isneginf",
                .doc = "Whether each element is negative infinity.",
                .numpy = "np.isneginf(x)",
                .gives = Gives::boolean,
                .nondifferentiable = kGivesBool},
        [](auto x) { return isneginf(x); });
  v.row(RowInfo{.name = "logical_not",
                .doc = "Whether each element is zero.",
                .numpy = "np.logical_not(x)",
                .types = kBool,
                .accepts = Accepts::boolean,
                .gives = Gives::boolean,
                .nondifferentiable = kGivesBool},
        [](auto x) { return logical_not(x); });
  v.row(RowInfo{.name = "bitwise_invert",
                .doc = "Each element with every bit flipped.",
                .numpy = "np.invert(x)",
                .types = Types(kBool | kInteger),
                .accepts = Accepts::integral,
                .nondifferentiable = "integers have no derivative"},
        [](auto x) { return bitwise_invert(x); });
}

template <class V>
void unary_rows(V& v) {
  exponential_rows(v);
  circular_rows(v);
  hyperbolic_rows(v);
  algebraic_rows(v);
  rounding_rows(v);
  predicate_rows(v);
}

}  // namespace lamina

// Rows of two inputs. See ops/elementwise_row.h for what a row states.
#pragma once

#include "ops/elementwise_row.h"

namespace lamina {

template <class V>
void arithmetic_rows(V& v) {
  v.row(
      RowInfo{
          .name = "add", .doc = "Sum of two arrays, element by element.", .numpy = "np.add(x, y)"},
      [](auto x, auto y) { return x + y; },
      [](const auto&, const auto&, const auto& out) { return ones_like(out); },
      [](const auto&, const auto&, const auto& out) { return ones_like(out); });
  v.row(
      RowInfo{.name = "subtract",
              .doc = "Difference of two arrays, element by element.",
              .numpy = "np.subtract(x, y)"},
      [](auto x, auto y) { return x - y; },
      [](const auto&, const auto&, const auto& out) { return ones_like(out); },
      [](const auto&, const auto&, const auto& out) { return -ones_like(out); });
  v.row(
      RowInfo{.name = "multiply",
              .doc = "Product of two arrays, element by element.",
              .numpy = "np.multiply(x, y)"},
      [](auto x, auto y) { return x * y; },
      [](const auto&, const auto& y, const auto&) { return y; },
      [](const auto& x, const auto&, const auto&) { return x; });
  v.row(
      RowInfo{.name = "divide",
              .doc = "Quotient of two arrays; integers give float32.",
              .numpy = "np.divide(x, y)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = 0.1,
              .high = 4},
      [](auto x, auto y) { return x / y; },
      [](const auto&, const auto& y, const auto&) { return reciprocal(y); },
      [](const auto&, const auto& y, const auto& out) { return -(out / y); });
  v.row(
      RowInfo{.name = "floor_divide",
              .doc = "Quotient rounded down; an integer divided by zero gives 0.",
              .numpy = "np.floor(np.divide(x, y)).astype(x.dtype)",
              .low = 0.1,
              .high = 4,
              .flops = 2},
      [](auto x, auto y) { return floor_divide(x, y); },
      [](const auto&, const auto&, const auto& out) { return zeros_like(out); },
      [](const auto&, const auto&, const auto& out) { return zeros_like(out); });
  v.row(
      RowInfo{.name = "remainder",
              .doc = "Remainder with the sign of the divisor; an integer modulo zero is 0.",
              .numpy = "np.remainder(x, y)",
              .types = kReal,
              .low = 0.1,
              .high = 4,
              .flops = 4},
      [](auto x, auto y) { return remainder(x, y); },
      [](const auto&, const auto&, const auto& out) { return ones_like(out); },
      [](const auto& x, const auto& y, const auto&) { return -floor_divide(x, y); });
  // Where the plain formulas would meet 0 * infinity the limit is put in.
  v.row(
      RowInfo{.name = "power",
              .doc = "x raised to the power y, element by element.",
              .numpy = "np.power(x, y)",
              .low = 0.1,
              .high = 3,
              .flops = 20},
      [](auto x, auto y) { return power(x, y); },
      [](const auto& x, const auto& y, const auto&) {
        return select(equal(y, zeros_like(y)), zeros_like(y), y * power(x, y - 1.0));
      },
      [](const auto& x, const auto&, const auto& out) {
        return log(select(equal(x, zeros_like(x)), ones_like(x), x)) * out;
      });
  v.row(
      RowInfo{.name = "maximum",
              .doc = "Larger of two elements; NaN if either is NaN.",
              .numpy = "np.maximum(x, y)"},
      [](auto x, auto y) { return maximum(x, y); },
      [](const auto& x, const auto& y, const auto& out) {
        return select(greater(x, y), ones_like(out), zeros_like(out));
      },
      [](const auto& x, const auto& y, const auto& out) {
        return select(less_equal(x, y), ones_like(out), zeros_like(out));
      });
  v.row(
      RowInfo{.name = "minimum",
              .doc = "Smaller of two elements; NaN if either is NaN.",
              .numpy = "np.minimum(x, y)"},
      [](auto x, auto y) { return minimum(x, y); },
      [](const auto& x, const auto& y, const auto& out) {
        return select(less(x, y), ones_like(out), zeros_like(out));
      },
      [](const auto& x, const auto& y, const auto& out) {
        return select(greater_equal(x, y), ones_like(out), zeros_like(out));
      });
  v.row(
      RowInfo{.name = "arctan2",
              .doc = "Angle of the point (y, x) as arctan2(x, y) of the inputs.",
              .numpy = "np.arctan2(x, y)",
              .types = kFloating,
              .accepts = Accepts::inexact,
              .low = -4,
              .high = 4,
              .flops = 18},
      [](auto x, auto y) { return arctan2(x, y); },
      [](const auto& x, const auto& y, const auto&) { return y / (x * x + y * y); },
      [](const auto& x, const auto& y, const auto&) { return -(x / (x * x + y * y)); });
  v.row(
      RowInfo{.name = "logaddexp",
              .doc = "log(exp(x) + exp(y)) without overflow.",
              .numpy = "np.logaddexp(x, y)",
              .types = kInexact,
              .accepts = Accepts::inexact,
              .low = -8,
              .high = 8,
              .flops = 20},
      [](auto x, auto y) { return logaddexp(x, y); },
      // Equal inputs, infinities among them, share evenly.
      [](const auto& x, const auto& y, const auto& out) {
        return select(equal(x, y), ones_like(out) * 0.5, reciprocal(exp(y - x) + 1.0));
      },
      [](const auto& x, const auto& y, const auto& out) {
        return select(equal(x, y), ones_like(out) * 0.5, reciprocal(exp(x - y) + 1.0));
      });
}

template <class V>
void comparison_rows(V& v) {
  constexpr const char* kGivesBool = "gives a bool, which has no derivative";
  v.row(RowInfo{.name = "equal",
                .doc = "Whether x == y, element by element.",
                .numpy = "np.equal(x, y)",
                .gives = Gives::boolean,
                .nondifferentiable = kGivesBool},
        [](auto x, auto y) { return equal(x, y); });
  v.row(RowInfo{.name = "not_equal",
                .doc = "Whether x != y, element by element.",
                .numpy = "np.not_equal(x, y)",
                .gives = Gives::boolean,
                .nondifferentiable = kGivesBool},
        [](auto x, auto y) { return not_equal(x, y); });
  v.row(RowInfo{.name = "less",
                .doc = "Whether x < y, element by element.",
                .numpy = "np.less(x, y)",
                .gives = Gives::boolean,
                .nondifferentiable = kGivesBool},
        [](auto x, auto y) { return less(x, y); });
  v.row(RowInfo{.name = "less_equal",
                .doc = "Whether x <= y, element by element.",
                .numpy = "np.less_equal(x, y)",
                .gives = Gives::boolean,
                .nondifferentiable = kGivesBool},
        [](auto x, auto y) { return less_equal(x, y); });
  v.row(RowInfo{.name = "greater",
                .doc = "Whether x > y, element by element.",
                .numpy = "np.greater(x, y)",
                .gives = Gives::boolean,
                .nondifferentiable = kGivesBool},
        [](auto x, auto y) { return greater(x, y); });
  v.row(RowInfo{.name = "greater_equal",
                .doc = "Whether x >= y, element by element.",
                .numpy = "np.greater_equal(x, y)",
                .gives = Gives::boolean,
                .nondifferentiable = kGivesBool},
        [](auto x, auto y) { return greater_equal(x, y); });
  v.row(RowInfo{.name = "logical_and",
                .doc = "Whether both elements are non-zero.",
                .numpy = "np.logical_and(x, y)",
                .types = kBool,
                .accepts = Accepts::boolean,
                .gives = Gives::boolean,
                .nondifferentiable = kGivesBool},
        [](auto x, auto y) { return logical_and(x, y); });
  v.row(RowInfo{.name = "logical_or",
                .doc = "Whether either element is non-zero.",
                .numpy = "np.logical_or(x, y)",
                .types = kBool,
                .accepts = Accepts::boolean,
                .gives = Gives::boolean,
                .nondifferentiable = kGivesBool},
        [](auto x, auto y) { return logical_or(x, y); });
  v.row(RowInfo{.name = "logical_xor",
                .doc = "Whether exactly one element is non-zero.",
                .numpy = "np.logical_xor(x, y)",
                .types = kBool,
                .accepts = Accepts::boolean,
                .gives = Gives::boolean,
                .nondifferentiable = kGivesBool},
        [](auto x, auto y) { return logical_xor(x, y); });
}

template <class V>
void bit_rows(V& v) {
  constexpr const char* kIntegers = "integers have no derivative";
  constexpr Types kBits = Types(kBool | kInteger);
  v.row(RowInfo{.name = "bitwise_and",
                .doc = "Bits set in both elements.",
                .numpy = "np.bitwise_and(x, y)",
                .types = kBits,
                .accepts = Accepts::integral,
                .nondifferentiable = kIntegers},
        [](auto x, auto y) { return bitwise_and(x, y); });
  v.row(RowInfo{.name = "bitwise_or",
                .doc = "Bits set in either element.",
                .numpy = "np.bitwise_or(x, y)",
                .types = kBits,
                .accepts = Accepts::integral,
                .nondifferentiable = kIntegers},
        [](auto x, auto y) { return bitwise_or(x, y); });
  v.row(RowInfo{.name = "bitwise_xor",
                .doc = "Bits set in exactly one element.",
                .numpy = "np.bitwise_xor(x, y)",
                .types = kBits,
                .accepts = Accepts::integral,
                .nondifferentiable = kIntegers},
        [](auto x, auto y) { return bitwise_xor(x, y); });
  v.row(RowInfo{.name = "left_shift",
                .doc = "x shifted left by y bits; 0 past the width.",
                .numpy = "np.left_shift(x, y)",
                .types = kInteger,
                .accepts = Accepts::integral,
                .nondifferentiable = kIntegers},
        [](auto x, auto y) { return left_shift(x, y); });
  v.row(RowInfo{.name = "right_shift",
                .doc = "x shifted right by y bits; signed integers keep their sign.",
                .numpy = "np.right_shift(x, y)",
                .types = kInteger,
                .accepts = Accepts::integral,
                .nondifferentiable = kIntegers},
        [](auto x, auto y) { return right_shift(x, y); });
}

template <class V>
void binary_rows(V& v) {
  arithmetic_rows(v);
  comparison_rows(v);
  bit_rows(v);
}

}  // namespace lamina

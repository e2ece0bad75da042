#include "kernels/spell.h"

#include <vector>

#include "base/error.h"
#include "kernels/dialect.h"
#include "ops/binary.h"
#include "ops/ternary.h"
#include "ops/unary.h"

namespace lamina {
namespace {

// ---- Symbols that write a formula for their dtype
// ----------------------------------------------------------------------------

// A Word in this namespace, where the formulas find these functions.
struct Term {
  std::string text;
  Dtype dtype;
};

template <class... A>
std::string call_text(const std::string& name, const Term& first, const A&... rest) {
  std::string text = name + "(" + first.text;
  ((text += ", " + rest.text), ...);
  return text + ")";
}
Term infix(const Term& a, const char* op, const Term& b, Dtype d) {
  return {"(" + a.text + " " + op + " " + b.text + ")", d};
}
bool is_bool(const Term& x) { return x.dtype == Dtype::bool_; }

// Sums, differences and products of integers wrap: they are made of unsigned numbers.
Term wrapping(const Term& a, const char* op, const Term& b) {
  bool wide = itemsize(a.dtype) == 8;
  if (is_unsigned(a.dtype) && itemsize(a.dtype) >= 4) return infix(a, op, b, a.dtype);
  std::string u = wide ? "ulong(" : "uint(";
  return {std::string(text_type(a.dtype)) + "(" + u + a.text + ") " + op + " " + u + b.text + "))",
          a.dtype};
}
Term arithmetic(const Term& a, const char* op, const Term& b, const char* of_bool,
                const char* of_complex) {
  if (is_bool(a)) return infix(a, of_bool, b, a.dtype);
  if (is_complex(a.dtype)) return {call_text(of_complex, a, b), a.dtype};
  if (is_integer(a.dtype)) return wrapping(a, op, b);
  return infix(a, op, b, a.dtype);
}
Term operator+(const Term& a, const Term& b) { return arithmetic(a, "+", b, "||", "complex_add"); }
Term operator-(const Term& a, const Term& b) {
  return arithmetic(a, "-", b, "!=", "complex_subtract");
}
Term operator*(const Term& a, const Term& b) {
  return arithmetic(a, "*", b, "&&", "complex_multiply");
}
Term operator/(const Term& a, const Term& b) {
  if (is_complex(a.dtype)) return {call_text("complex_divide", a, b), a.dtype};
  return infix(a, "/", b, a.dtype);
}
Term operator-(const Term& a) {
  if (is_complex(a.dtype)) return {call_text("complex_negative", a), a.dtype};
  if (is_floating(a.dtype)) return {"(-" + a.text + ")", a.dtype};
  return wrapping({std::string(text_type(a.dtype)) + "(0)", a.dtype}, "-", a);
}

// A function that complex64 has under complex_<name>, floating dtypes under `real`.
Term inexact(const char* name, const char* real, const Term& x) {
  if (is_complex(x.dtype)) return {call_text(std::string("complex_") + name, x), x.dtype};
  return {call_text(real, x), x.dtype};
}
#define LAMINA_WORD(name, real) \
  Term name(const Term& x) { return inexact(#name, real, x); }
LAMINA_WORD(exp, "precise::exp")
LAMINA_WORD(expm1, "lamina_expm1")
LAMINA_WORD(log, "precise::log")
LAMINA_WORD(log2, "precise::log2")
LAMINA_WORD(log10, "precise::log10")
LAMINA_WORD(log1p, "lamina_log1p")
LAMINA_WORD(sigmoid, "lamina_sigmoid")
LAMINA_WORD(erf, "lamina_erf")
LAMINA_WORD(erfinv, "lamina_erfinv")
LAMINA_WORD(sin, "precise::sin")
LAMINA_WORD(cos, "precise::cos")
LAMINA_WORD(tan, "precise::tan")
LAMINA_WORD(arcsin, "precise::asin")
LAMINA_WORD(arccos, "precise::acos")
LAMINA_WORD(arctan, "precise::atan")
LAMINA_WORD(sinh, "precise::sinh")
LAMINA_WORD(cosh, "precise::cosh")
LAMINA_WORD(tanh, "precise::tanh")
LAMINA_WORD(arcsinh, "precise::asinh")
LAMINA_WORD(arccosh, "precise::acosh")
LAMINA_WORD(arctanh, "precise::atanh")
LAMINA_WORD(sqrt, "precise::sqrt")
#undef LAMINA_WORD

std::string literal(Dtype d, const char* single, const char* wide) {
  return d == Dtype::float64 ? wide : std::string(single) + "f";
}
Term scaled(const Term& x, const std::string& factor) {
  if (!is_complex(x.dtype)) return {"(" + x.text + " * " + factor + ")", x.dtype};
  return {"COMPLEX(" + x.text + ".x * " + factor + ", " + x.text + ".y * " + factor + ")", x.dtype};
}
Term degrees(const Term& x) {
  return scaled(x, literal(x.dtype, "57.2957795", "57.295779513082321"));
}
Term radians(const Term& x) {
  return scaled(x, literal(x.dtype, "0.0174532925", "0.017453292519943296"));
}
Term reciprocal(const Term& x) {
  if (is_complex(x.dtype)) return {"complex_divide(COMPLEX(1.0f, 0.0f), " + x.text + ")", x.dtype};
  return {"(" + literal(x.dtype, "1.0", "1.0") + " / " + x.text + ")", x.dtype};
}
Term rsqrt(const Term& x) { return reciprocal(sqrt(x)); }

Term abs(const Term& x) {
  if (is_complex(x.dtype)) return {call_text("complex_abs", x), Dtype::float32};
  if (is_floating(x.dtype)) return {call_text("fabs", x), x.dtype};
  return is_signed(x.dtype) ? Term{call_text("signed_abs", x), x.dtype} : x;
}
Term sign(const Term& x) {
  if (is_complex(x.dtype)) return {call_text("complex_sign", x), x.dtype};
  if (is_bool(x)) return x;
  return {call_text(is_floating(x.dtype) ? "lamina_sign" : "signed_sign", x), x.dtype};
}
Term real(const Term& x) { return is_complex(x.dtype) ? Term{x.text + ".x", Dtype::float32} : x; }
Term imag(const Term& x) {
  if (is_complex(x.dtype)) return {x.text + ".y", Dtype::float32};
  return {std::string(text_type(x.dtype)) + "(0)", x.dtype};
}
Term conjugate(const Term& x) {
  if (!is_complex(x.dtype)) return x;
  return {"COMPLEX(" + x.text + ".x, -" + x.text + ".y)", x.dtype};
}
// Integers and bool are whole already.
Term rounded(const Term& x, const char* name) {
  return is_floating(x.dtype) ? Term{call_text(name, x), x.dtype} : x;
}
Term floor(const Term& x) { return rounded(x, "floor"); }
Term ceil(const Term& x) { return rounded(x, "ceil"); }
Term trunc(const Term& x) { return rounded(x, "trunc"); }
Term round(const Term& x) {
  if (is_complex(x.dtype)) return {call_text("complex_round", x), x.dtype};
  return rounded(x, "rint");
}

// A predicate of the parts: `joined` for complex64; `exact` for dtypes that hold no such number.
Term predicate(const Term& x, const char* name, const char* joined, const char* exact) {
  auto of = [&](const std::string& part) { return std::string(name) + "(" + part + ")"; };
  if (is_floating(x.dtype)) return {of(x.text), Dtype::bool_};
  if (!is_complex(x.dtype)) return {exact, Dtype::bool_};
  return {"(" + of(x.text + ".x") + joined + of(x.text + ".y") + ")", Dtype::bool_};
}
Term isnan(const Term& x) { return predicate(x, "isnan", " || ", "false"); }
Term isinf(const Term& x) { return predicate(x, "isinf", " || ", "false"); }
Term isfinite(const Term& x) { return predicate(x, "isfinite", " && ", "true"); }
Term is_end(const Term& x, const char* end) {
  if (is_floating(x.dtype)) return {"(" + x.text + " == " + end + ")", Dtype::bool_};
  if (!is_complex(x.dtype)) return {"false", Dtype::bool_};
  return {"(" + x.text + ".x == " + end + " && " + x.text + ".y == 0.0f)", Dtype::bool_};
}
Term isposinf(const Term& x) { return is_end(x, "INFINITY"); }
Term isneginf(const Term& x) { return is_end(x, "-INFINITY"); }

// A function whose helpers are named for the class of integer.
Term by_sign(const char* name, const Term& x, const Term& y) {
  return {call_text((is_signed(x.dtype) ? "signed_" : "unsigned_") + std::string(name), x, y),
          x.dtype};
}
Term floor_divide(const Term& x, const Term& y) {
  if (is_bool(x)) return infix(x, "&&", y, x.dtype);
  if (is_complex(x.dtype)) return x / y;
  if (is_floating(x.dtype)) return floor(x / y);
  return by_sign("floor_divide", x, y);
}
Term remainder(const Term& x, const Term& y) {
  if (is_bool(x)) return {"false", x.dtype};
  if (is_floating(x.dtype)) return {call_text("float_remainder", x, y), x.dtype};
  return by_sign("remainder", x, y);
}
Term power(const Term& x, const Term& y) {
  if (is_bool(x)) return {"(" + x.text + " || !" + y.text + ")", x.dtype};
  if (is_complex(x.dtype)) return {call_text("complex_power", x, y), x.dtype};
  if (is_floating(x.dtype)) return {call_text("precise::pow", x, y), x.dtype};
  if (is_signed(x.dtype)) return by_sign("power", x, y);
  return by_sign("power", x, {"ulong(" + y.text + ")", y.dtype});
}
Term extreme(const char* of_bool, const char* name, const Term& x, const Term& y) {
  if (is_bool(x)) return infix(x, of_bool, y, x.dtype);
  const char* prefix = is_complex(x.dtype) ? "complex_" : "lamina_";
  return {call_text(std::string(prefix) + name, x, y), x.dtype};
}
Term maximum(const Term& x, const Term& y) { return extreme("||", "maximum", x, y); }
Term minimum(const Term& x, const Term& y) { return extreme("&&", "minimum", x, y); }
Term arctan2(const Term& x, const Term& y) { return {call_text("precise::atan2", x, y), x.dtype}; }
Term logaddexp(const Term& x, const Term& y) {
  return {call_text(is_complex(x.dtype) ? "complex_logaddexp" : "lamina_logaddexp", x, y), x.dtype};
}
Term left_shift(const Term& x, const Term& y) {
  return {call_text("lamina_left_shift", x, y), x.dtype};
}
Term right_shift(const Term& x, const Term& y) {
  return {call_text("lamina_right_shift", x, y), x.dtype};
}

Term compared(const Term& x, const char* op, const Term& y) {
  if (!is_complex(x.dtype)) return infix(x, op, y, Dtype::bool_);
  bool equality = op[1] == '=' && (op[0] == '=' || op[0] == '!');
  if (equality) return {(op[0] == '!' ? "!" : "") + call_text("complex_equal", x, y), Dtype::bool_};
  const char* name = op[1] == '=' ? "complex_less_equal" : "complex_less";
  return {op[0] == '<' ? call_text(name, x, y) : call_text(name, y, x), Dtype::bool_};
}
#define LAMINA_COMPARED(name, op) \
  Term name(const Term& x, const Term& y) { return compared(x, op, y); }
LAMINA_COMPARED(equal, "==")
LAMINA_COMPARED(not_equal, "!=")
LAMINA_COMPARED(less, "<")
LAMINA_COMPARED(less_equal, "<=")
LAMINA_COMPARED(greater, ">")
LAMINA_COMPARED(greater_equal, ">=")
#undef LAMINA_COMPARED

Term logical_and(const Term& x, const Term& y) { return infix(x, "&&", y, Dtype::bool_); }
Term logical_or(const Term& x, const Term& y) { return infix(x, "||", y, Dtype::bool_); }
Term logical_xor(const Term& x, const Term& y) { return infix(x, "!=", y, Dtype::bool_); }
Term logical_not(const Term& x) { return {"(!" + x.text + ")", Dtype::bool_}; }
Term bitwise(const Term& x, const char* of_bool, const char* op, const Term& y) {
  if (is_bool(x)) return infix(x, of_bool, y, x.dtype);
  return {std::string(text_type(x.dtype)) + infix(x, op, y, x.dtype).text, x.dtype};
}
Term bitwise_and(const Term& x, const Term& y) { return bitwise(x, "&&", "&", y); }
Term bitwise_or(const Term& x, const Term& y) { return bitwise(x, "||", "|", y); }
Term bitwise_xor(const Term& x, const Term& y) { return bitwise(x, "!=", "^", y); }
Term bitwise_invert(const Term& x) {
  if (is_bool(x)) return logical_not(x);
  return {std::string(text_type(x.dtype)) + "(~" + x.text + ")", x.dtype};
}
Term select(const Term& c, const Term& x, const Term& y) {
  return {"(" + c.text + " ? " + x.text + " : " + y.text + ")", x.dtype};
}

// ---- Rows
// ----------------------------------------------------------------------------

using Writer = Word (*)(std::span<const Word>);

struct Collector {
  std::vector<Writer> writers;

  template <class F, class... P>
  void row(const RowInfo&, F, P...) {
    writers.push_back([](std::span<const Word> s) -> Word {
      auto term = [&](size_t i) { return Term{s[i].text, s[i].dtype}; };
      auto word = [](Term t) { return Word{std::move(t.text), t.dtype}; };
      if constexpr (requires(Term t) { F{}(t); }) {
        return word(F{}(term(0)));
      } else if constexpr (requires(Term t) { F{}(t, t); }) {
        return word(F{}(term(0), term(1)));
      } else {
        return word(F{}(term(0), term(1), term(2)));
      }
    });
  }
};

}  // namespace

Word spell_formula(uint16_t op, std::span<const Word> sources) {
  static const std::vector<Writer> writers = [] {
    Collector collector;
    unary_rows(collector);
    binary_rows(collector);
    ternary_rows(collector);
    return std::move(collector.writers);
  }();
  return writers.at(op)(sources);
}

Word spell_cast(const Word& from, Dtype to) {
  const Dtype d = from.dtype, result = compute_dtype(to);
  if (d == to) return from;
  if (to == Dtype::bool_) {
    if (is_complex(d)) return {"(" + from.text + ".x != 0.0f || " + from.text + ".y != 0.0f)", to};
    return {"(" + from.text + " != " + text_type(d) + "(0))", to};
  }
  if (is_complex(d)) return spell_cast({from.text + ".x", Dtype::float32}, to);
  if (is_complex(to)) return {"COMPLEX(" + spell_cast(from, Dtype::float32).text + ", 0.0f)", to};
  if (result != to)
    return {"float(" + std::string(text_type(to)) + "(" + spell_cast(from, result).text + "))",
            result};
  std::string type = text_type(to), inner = from.text;
  if (is_floating(d) && is_integer(to)) {
    // The CPU takes the low bits of the integer part; a direct conversion might saturate.
    if (to == Dtype::uint64) return {"float_to_ulong(" + inner + ")", to};
    if (to == Dtype::uint32) inner = "long(" + inner + ")";
    if (itemsize(to) < 4) inner = "int(" + inner + ")";
  }
  return {type + "(" + inner + ")", to};
}

std::string spell_store(const Word& value, Dtype to) {
  Word v = spell_cast(value, compute_dtype(to));
  return compute_dtype(to) == to ? v.text : std::string(text_type(to)) + "(" + v.text + ")";
}

Word spell_combine(ReduceOp op, const Word& x, const Word& y) {
  const Term a{x.text, x.dtype}, b{y.text, y.dtype};
  auto word = [](Term t) { return Word{std::move(t.text), t.dtype}; };
  switch (op) {
    case ReduceOp::sum:
      return word(a + b);
    case ReduceOp::prod:
      return word(a * b);
    case ReduceOp::min:
      return word(minimum(a, b));
    case ReduceOp::max:
      return word(maximum(a, b));
    case ReduceOp::all:
      return word(logical_and(a, b));
    case ReduceOp::any:
      return word(logical_or(a, b));
    default:
      throw InternalError("arg reductions do not combine values alone");
  }
}

std::string spell_identity(ReduceOp op, Dtype d) {
  const std::string type = text_type(d);
  bool lowest = op == ReduceOp::max || op == ReduceOp::argmax;
  bool highest = op == ReduceOp::min || op == ReduceOp::argmin;
  if (!lowest && !highest) {
    const char* one = op == ReduceOp::prod || op == ReduceOp::all ? "1" : "0";
    if (is_complex(d)) return std::string("COMPLEX(") + one + ".0f, 0.0f)";
    return type + "(" + one + ")";
  }
  if (d == Dtype::bool_) return lowest ? "false" : "true";
  if (is_complex(d))
    return lowest ? "COMPLEX(-INFINITY, -INFINITY)" : "COMPLEX(INFINITY, INFINITY)";
  if (is_floating(d)) return type + (lowest ? "(-INFINITY)" : "(INFINITY)");
  if (is_unsigned(d)) return lowest ? type + "(0)" : type + "(~" + type + "(0))";
  int bits = static_cast<int>(itemsize(d)) * 8;
  std::string top = itemsize(d) == 8 ? "ulong(1)" : "uint(1)";
  std::string lowest_text = type + "(" + top + " << " + std::to_string(bits - 1) + ")";
  return lowest ? lowest_text : type + "(~" + lowest_text + ")";
}

}  // namespace lamina

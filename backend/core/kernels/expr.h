// A symbol that writes a formula down. Calling a row's formula with Sym{"$0"}, ... gives a C-like
// expression over the inputs: operators are spelled as such, functions by their row's name.
#pragma once

#include <string>
#include <utility>

namespace lamina {

struct Sym {
  std::string text;

  static Sym input(int index) { return {"$" + std::to_string(index)}; }
};

inline Sym infix(const Sym& a, const char* op, const Sym& b) {
  std::string text = "(";
  text.append(a.text).append(" ").append(op).append(" ").append(b.text).append(")");
  return {text};
}
inline Sym operator+(const Sym& a, const Sym& b) { return infix(a, "+", b); }
inline Sym operator-(const Sym& a, const Sym& b) { return infix(a, "-", b); }
inline Sym operator*(const Sym& a, const Sym& b) { return infix(a, "*", b); }
inline Sym operator/(const Sym& a, const Sym& b) { return infix(a, "/", b); }
inline Sym operator-(const Sym& a) { return {"(-" + a.text + ")"}; }

template <class... Args>
Sym call(const char* name, const Sym& first, const Args&... rest) {
  std::string text = std::string(name) + "(" + first.text;
  ((text += ", " + rest.text), ...);
  return {text + ")"};
}

#define LAMINA_SYM1(name) \
  inline Sym name(const Sym& x) { return call(#name, x); }
#define LAMINA_SYM2(name) \
  inline Sym name(const Sym& x, const Sym& y) { return call(#name, x, y); }
#define LAMINA_SYM_INFIX(name, op) \
  inline Sym name(const Sym& x, const Sym& y) { return infix(x, op, y); }

LAMINA_SYM1(exp)
LAMINA_SYM1(expm1)
LAMINA_SYM1(log)
LAMINA_SYM1(log2)
LAMINA_SYM1(log10)
LAMINA_SYM1(log1p)
LAMINA_SYM1(sigmoid)
LAMINA_SYM1(erf)
LAMINA_SYM1(erfinv)
LAMINA_SYM1(sin)
LAMINA_SYM1(cos)
LAMINA_SYM1(tan)
LAMINA_SYM1(arcsin)
LAMINA_SYM1(arccos)
LAMINA_SYM1(arctan)
LAMINA_SYM1(degrees)
LAMINA_SYM1(radians)
LAMINA_SYM1(sinh)
LAMINA_SYM1(cosh)
LAMINA_SYM1(tanh)
LAMINA_SYM1(arcsinh)
LAMINA_SYM1(arccosh)
LAMINA_SYM1(arctanh)
LAMINA_SYM1(abs)
LAMINA_SYM1(sqrt)
LAMINA_SYM1(rsqrt)
LAMINA_SYM1(reciprocal)
LAMINA_SYM1(sign)
LAMINA_SYM1(real)
LAMINA_SYM1(imag)
LAMINA_SYM1(conjugate)
LAMINA_SYM1(floor)
LAMINA_SYM1(ceil)
LAMINA_SYM1(trunc)
LAMINA_SYM1(round)
LAMINA_SYM1(isnan)
LAMINA_SYM1(isinf)
LAMINA_SYM1(isfinite)
LAMINA_SYM1(isposinf)
LAMINA_SYM1(isneginf)
LAMINA_SYM2(floor_divide)
LAMINA_SYM2(remainder)
LAMINA_SYM2(power)
LAMINA_SYM2(maximum)
LAMINA_SYM2(minimum)
LAMINA_SYM2(arctan2)
LAMINA_SYM2(logaddexp)
LAMINA_SYM2(left_shift)
LAMINA_SYM2(right_shift)
LAMINA_SYM_INFIX(equal, "==")
LAMINA_SYM_INFIX(not_equal, "!=")
LAMINA_SYM_INFIX(less, "<")
LAMINA_SYM_INFIX(less_equal, "<=")
LAMINA_SYM_INFIX(greater, ">")
LAMINA_SYM_INFIX(greater_equal, ">=")
LAMINA_SYM_INFIX(logical_and, "&&")
LAMINA_SYM_INFIX(logical_or, "||")
LAMINA_SYM_INFIX(logical_xor, "!=")
LAMINA_SYM_INFIX(bitwise_and, "&")
LAMINA_SYM_INFIX(bitwise_or, "|")
LAMINA_SYM_INFIX(bitwise_xor, "^")
#undef LAMINA_SYM1
#undef LAMINA_SYM2
#undef LAMINA_SYM_INFIX

inline Sym logical_not(const Sym& x) { return {"(!" + x.text + ")"}; }
inline Sym bitwise_invert(const Sym& x) { return {"(~" + x.text + ")"}; }
inline Sym select(const Sym& c, const Sym& a, const Sym& b) {
  return {"(" + c.text + " ? " + a.text + " : " + b.text + ")"};
}

}  // namespace lamina

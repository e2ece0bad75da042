#include "base/dtype.h"

#include <algorithm>

namespace lamina {

int64_t itemsize(Dtype d) {
  static constexpr int8_t sizes[kDtypeCount] = {1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 2, 4, 8, 8};
  return sizes[static_cast<int>(d)];
}

const char* name_of(Dtype d) {
  static constexpr const char* names[kDtypeCount] = {
      "bool",  "uint8", "uint16",  "uint32",   "uint64",  "int8",    "int16",
      "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64"};
  return names[static_cast<int>(d)];
}

Dtype promote(Dtype a, Dtype b) {
  if (a == b) return a;
  if (a > b) std::swap(a, b);  // a is the lower in declaration order
  if (a == Dtype::bool_) return b;
  if (b == Dtype::complex64) return Dtype::complex64;
  if (is_floating(b)) {
    if (!is_floating(a)) return b;
    if (b == Dtype::bfloat16) return Dtype::float32;  // with float16
    return b;
  }
  if (is_unsigned(a) == is_unsigned(b)) return b;
  // Unsigned with signed: the smallest signed dtype that holds both; with uint64 none does.
  if (a == Dtype::uint64) return Dtype::float32;
  if (itemsize(a) < itemsize(b)) return b;
  return a == Dtype::uint8 ? Dtype::int16 : a == Dtype::uint16 ? Dtype::int32 : Dtype::int64;
}

Dtype at_least_float(Dtype d) { return is_inexact(d) ? d : Dtype::float32; }

}  // namespace lamina

// Element types, their properties and MLX's promotion rules.
#pragma once

#include <complex>
#include <cstdint>
#include <string>

#include "base/half.h"

namespace lamina {

enum class Dtype : uint8_t {
  bool_,
  uint8,
  uint16,
  uint32,
  uint64,
  int8,
  int16,
  int32,
  int64,
  float16,
  bfloat16,
  float32,
  float64,
  complex64,
};
inline constexpr int kDtypeCount = 14;

using complex64_t = std::complex<float>;

// Bytes per element.
int64_t itemsize(Dtype d);
const char* name_of(Dtype d);
inline bool is_unsigned(Dtype d) { return d >= Dtype::uint8 && d <= Dtype::uint64; }
inline bool is_signed(Dtype d) { return d >= Dtype::int8 && d <= Dtype::int64; }
inline bool is_integer(Dtype d) { return is_unsigned(d) || is_signed(d); }
inline bool is_floating(Dtype d) { return d >= Dtype::float16 && d <= Dtype::float64; }
inline bool is_complex(Dtype d) { return d == Dtype::complex64; }
inline bool is_inexact(Dtype d) { return d >= Dtype::float16; }
// The dtype that holds values of both, by MLX's table.
Dtype promote(Dtype a, Dtype b);
// Inexact dtypes stay; everything else becomes float32.
Dtype at_least_float(Dtype d);
// The dtype arithmetic is done in: float16 and bfloat16 compute as float32.
inline Dtype compute_dtype(Dtype d) {
  return d == Dtype::float16 || d == Dtype::bfloat16 ? Dtype::float32 : d;
}

template <class T>
struct dtype_of_t;
#define LAMINA_DTYPE(T, D)                   \
  template <>                                \
  struct dtype_of_t<T> {                     \
    static constexpr Dtype value = Dtype::D; \
  }
LAMINA_DTYPE(bool, bool_);
LAMINA_DTYPE(uint8_t, uint8);
LAMINA_DTYPE(uint16_t, uint16);
LAMINA_DTYPE(uint32_t, uint32);
LAMINA_DTYPE(uint64_t, uint64);
LAMINA_DTYPE(int8_t, int8);
LAMINA_DTYPE(int16_t, int16);
LAMINA_DTYPE(int32_t, int32);
LAMINA_DTYPE(int64_t, int64);
LAMINA_DTYPE(float16_t, float16);
LAMINA_DTYPE(bfloat16_t, bfloat16);
LAMINA_DTYPE(float, float32);
LAMINA_DTYPE(double, float64);
LAMINA_DTYPE(complex64_t, complex64);
#undef LAMINA_DTYPE
template <class T>
inline constexpr Dtype dtype_of = dtype_of_t<T>::value;

// Calls f(T{}) with the C++ type of d and returns its result.
template <class F>
decltype(auto) dispatch(Dtype d, F&& f) {
  switch (d) {
    case Dtype::bool_:
      return f(bool{});
    case Dtype::uint8:
      return f(uint8_t{});
    case Dtype::uint16:
      return f(uint16_t{});
    case Dtype::uint32:
      return f(uint32_t{});
    case Dtype::uint64:
      return f(uint64_t{});
    case Dtype::int8:
      return f(int8_t{});
    case Dtype::int16:
      return f(int16_t{});
    case Dtype::int32:
      return f(int32_t{});
    case Dtype::int64:
      return f(int64_t{});
    case Dtype::float16:
      return f(float16_t{});
    case Dtype::bfloat16:
      return f(bfloat16_t{});
    case Dtype::float32:
      return f(float{});
    case Dtype::float64:
      return f(double{});
    default:
      return f(complex64_t{});
  }
}

}  // namespace lamina

// Sorting runs of signed integer keys, and the keys of every dtype's order.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "base/dtype.h"

namespace lamina::cpu {

// Sorts keys[0, n) ascending. `keys` must have room for sort_room(n) items, whose tail may be
// overwritten; `scratch` as much. Thread safe.
void sort_keys(int32_t* keys, int32_t* scratch, int64_t n);
// As above; only the bits from `low_bit` up are known to be out of order (radix passes below it
// are spared).
void sort_keys(int64_t* keys, int64_t* scratch, int64_t n, int low_bit = 0);
int64_t sort_room(int64_t n);

// Puts the kth smallest key at kth, no larger ones before it, no smaller ones after it.
void select_key(int32_t* keys, int32_t* scratch, int64_t n, int64_t kth);
void select_key(int64_t* keys, int64_t* scratch, int64_t n, int64_t kth);

// Reorders so that every key of [0, low) is less than every later one and those of [low, high) are
// equal; then [0, low) and [high, n) can be sorted apart. high > 0. REQUIRES: n > 64.
struct KeySplit {
  int64_t low, high;
};
KeySplit split_keys(int32_t* keys, int32_t* scratch, int64_t n);
KeySplit split_keys(int64_t* keys, int64_t* scratch, int64_t n);

// The signed integer whose order is T's order; 32 bits wide where T has 32 bits or fewer.
template <class T>
struct SortKey {
  using Float = std::conditional_t<std::is_same_v<T, double>, double, float>;
  static constexpr bool kReal = !std::is_integral_v<T>;
  using type = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;
  using Bits = std::make_unsigned_t<type>;

  static type encode(T value) {
    if constexpr (kReal) {
      Float f = static_cast<Float>(value) + Float(0);  // -0.0 becomes 0.0
      type i = std::bit_cast<type>(f);
      i ^= (i >> (sizeof(type) * 8 - 1)) & std::numeric_limits<type>::max();
      return f == f ? i : std::numeric_limits<type>::max();
    } else if constexpr (std::is_unsigned_v<T> && sizeof(T) == sizeof(type)) {
      return static_cast<type>(value ^ (Bits{1} << (sizeof(type) * 8 - 1)));
    } else {
      return static_cast<type>(value);
    }
  }

  static T decode(type key) {
    if constexpr (kReal) {
      if (key == std::numeric_limits<type>::max())
        return T(std::numeric_limits<Float>::quiet_NaN());
      key ^= (key >> (sizeof(type) * 8 - 1)) & std::numeric_limits<type>::max();
      return T(std::bit_cast<Float>(key));
    } else if constexpr (std::is_unsigned_v<T> && sizeof(T) == sizeof(type)) {
      return static_cast<T>(static_cast<Bits>(key) ^ (Bits{1} << (sizeof(type) * 8 - 1)));
    } else {
      return static_cast<T>(key);
    }
  }
};

// NumPy's order of complex numbers: by real part, then by imaginary part; after all numbers those
// with a NaN in the imaginary part, in the real part, in both.
struct ComplexKey {
  float re, im;
  int nan_rank() const { return (re != re) * 2 + (im != im); }
  friend bool operator<(ComplexKey a, ComplexKey b) {
    int x = a.nan_rank(), y = b.nan_rank();
    if (x != y) return x < y;
    if (a.re < b.re || a.re > b.re) return a.re < b.re;
    return a.im < b.im;
  }
  friend bool operator<=(ComplexKey a, ComplexKey b) { return !(b < a); }
};

template <>
struct SortKey<complex64_t> {
  using type = ComplexKey;
  static type encode(complex64_t value) { return {value.real(), value.imag()}; }
  static complex64_t decode(type key) { return {key.re, key.im}; }
};

}  // namespace lamina::cpu

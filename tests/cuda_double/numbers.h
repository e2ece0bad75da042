// Elements of device memory as numbers, for the doubles of libraries.
#pragma once

#include <complex>
#include <cstdint>
#include <cstring>

namespace cuda_double {

enum class Type { f32, f64, f16, bf16, c64 };

inline size_t size_of(Type type) {
  return type == Type::f32 ? 4 : type == Type::f64 || type == Type::c64 ? 8 : 2;
}

using Number = std::complex<double>;

inline Number load(const char* at, Type type) {
  auto as = [&]<class T>(T value) {
    std::memcpy(&value, at, sizeof value);
    return value;
  };
  switch (type) {
    case Type::f32:
      return static_cast<double>(as(float{}));
    case Type::f64:
      return as(double{});
    case Type::c64:
      return as(std::complex<float>{});
    case Type::f16:
      return static_cast<double>(static_cast<float>(as(_Float16{})));
    default: {
      const uint32_t wide = static_cast<uint32_t>(as(uint16_t{})) << 16;
      float value;
      std::memcpy(&value, &wide, 4);
      return static_cast<double>(value);
    }
  }
}

inline void store(char* at, Type type, Number x) {
  auto put = [&](auto value) { std::memcpy(at, &value, sizeof value); };
  const auto single = static_cast<float>(x.real());
  switch (type) {
    case Type::f32:
      return put(single);
    case Type::f64:
      return put(x.real());
    case Type::c64:
      return put(std::complex<float>(x));
    case Type::f16:
      return put(static_cast<_Float16>(single));
    default: {
      uint32_t bits;
      std::memcpy(&bits, &single, 4);
      if ((bits & 0x7fffffffu) > 0x7f800000u) return put(static_cast<uint16_t>(bits >> 16 | 64));
      bits += 0x7fffu + (bits >> 16 & 1);
      return put(static_cast<uint16_t>(bits >> 16));
    }
  }
}

}  // namespace cuda_double

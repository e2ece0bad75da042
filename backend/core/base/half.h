// float16 and bfloat16 as storage types: arithmetic is done in float.
#pragma once

#include <bit>
#include <cstdint>

namespace lamina {

struct bfloat16_t {
  uint16_t bits = 0;
  bfloat16_t() = default;
  explicit bfloat16_t(float f) {
    uint32_t u = std::bit_cast<uint32_t>(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) {
      bits = static_cast<uint16_t>((u >> 16) | 0x40);
    } else {
      bits = static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
    }
  }
  operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }
};

struct float16_t {
  uint16_t bits = 0;
  float16_t() = default;
  explicit float16_t(float f) {
    uint32_t u = std::bit_cast<uint32_t>(f);
    uint32_t sign = (u >> 16) & 0x8000u;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) {
      bits = static_cast<uint16_t>(sign | 0x7e00u);
    } else if (u >= 0x477ff000u) {
      bits = static_cast<uint16_t>(sign | 0x7c00u);
    } else if (u < 0x38800000u) {
      // Subnormal: adding 0.5 in float rounds to the nearest multiple of 2^-24.
      float shifted = std::bit_cast<float>(u) + 0.5f;
      bits = static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
    } else {
      u += 0xfffu + ((u >> 13) & 1) + (uint32_t{112} * 0xff800000u);
      bits = static_cast<uint16_t>(sign | (u >> 13));
    }
  }
  operator float() const {
    uint32_t sign = uint32_t{bits & 0x8000u} << 16;
    uint32_t rest = uint32_t{bits & 0x7fffu} << 13;
    uint32_t exponent = rest & 0x0f800000u;
    if (exponent == 0x0f800000u) return std::bit_cast<float>(sign | (rest + 0x70000000u));
    if (exponent == 0) {
      float value = std::bit_cast<float>(rest + 0x38800000u) - std::bit_cast<float>(0x38800000u);
      return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
    }
    return std::bit_cast<float>(sign | (rest + 0x38000000u));
  }
};

}  // namespace lamina

// Block loops that move and convert elements, for one instruction set.
#pragma once

#include "devices/cpu/blocks_ops.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace lamina::cpu::LAMINA_ISA_NS {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

// ---- float16 and bfloat16
// ------------------------------------------------------------------------

struct Half {
  uint16_t bits;
};
struct Brain {
  uint16_t bits;
};

LAMINA_INLINE float widen(Brain h) { return bits_as<float>(static_cast<uint32_t>(h.bits) << 16); }
LAMINA_INLINE uint16_t narrow_brain(float f) {
  uint32_t u = bits_as<uint32_t>(f);
  uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1)) >> 16;
  uint32_t nan = (u >> 16) | 0x40;
  return static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}
LAMINA_INLINE float widen(Half h) {
#if defined(__F16C__)
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h.bits)));
#elif defined(__aarch64__)
  return static_cast<float>(bits_as<__fp16>(h.bits));
#else
  uint32_t sign = (h.bits & 0x8000u) << 16, rest = (h.bits & 0x7fffu) << 13;
  uint32_t exponent = rest & 0x0f800000u;
  float tiny = bits_as<float>(rest + 0x38800000u) - bits_as<float>(0x38800000u);
  uint32_t normal = rest + (exponent == 0x0f800000u ? 0x70000000u : 0x38000000u);
  return bits_as<float>(sign | (exponent == 0 ? bits_as<uint32_t>(tiny) : normal));
#endif
}
LAMINA_INLINE uint16_t narrow_half(float f) {
#if defined(__F16C__)
  return static_cast<uint16_t>(_mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(f), 0)));
#elif defined(__aarch64__)
  return bits_as<uint16_t>(static_cast<__fp16>(f));
#else
  uint32_t u = bits_as<uint32_t>(f), sign = (u >> 16) & 0x8000u;
  u &= 0x7fffffffu;
  uint32_t tiny = bits_as<uint32_t>(bits_as<float>(u) + 0.5f) - 0x3f000000u;
  uint32_t normal = (u + 0xfffu + ((u >> 13) & 1) - 0x38000000u) >> 13;
  uint32_t r = u < 0x38800000u ? tiny : normal;
  r = u >= 0x477ff000u ? 0x7c00u : r;
  r = u > 0x7f800000u ? 0x7e00u : r;
  return static_cast<uint16_t>(sign | r);
#endif
}

// n contiguous elements between storage and float.
LAMINA_INLINE void widen_run(float* d, const Brain* s, int64_t n) {
  LAMINA_LANES
  for (int64_t i = 0; i < n; ++i) d[i] = widen(s[i]);
}
LAMINA_INLINE void narrow_run(Brain* d, const float* s, int64_t n) {
  LAMINA_LANES
  for (int64_t i = 0; i < n; ++i) d[i].bits = narrow_brain(s[i]);
}
LAMINA_INLINE void widen_run(float* d, const Half* s, int64_t n) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= n; i += 8) {
    auto* p = reinterpret_cast<const __m128i*>(s + i);
    _mm256_storeu_ps(d + i, _mm256_cvtph_ps(_mm_loadu_si128(p)));
  }
#endif
  LAMINA_LANES
  for (int64_t j = i; j < n; ++j) d[j] = widen(s[j]);
}
LAMINA_INLINE void narrow_run(Half* d, const float* s, int64_t n) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= n; i += 8) {
    auto* p = reinterpret_cast<__m128i*>(d + i);
    _mm_storeu_si128(p, _mm256_cvtps_ph(_mm256_loadu_ps(s + i), 0));
  }
#endif
  LAMINA_LANES
  for (int64_t j = i; j < n; ++j) d[j].bits = narrow_half(s[j]);
}

// ---- Load and store
// ------------------------------------------------------------------------------

template <class T>
LAMINA_LOOP void load_same(void* dst, const void* src, int64_t stride, int64_t n) {
  auto* d = static_cast<T*>(dst);
  auto* s = static_cast<const T*>(src);
  if (stride == 1) {
    __builtin_memcpy(d, s, static_cast<size_t>(n) * sizeof(T));
  } else if (stride == 0) {
    if (n <= 0) return;
    const T value = s[0];
    LAMINA_LANES
    for (int64_t i = 0; i < n; ++i) d[i] = value;
  } else if (stride == -1) {
    LAMINA_LANES
    for (int64_t i = 0; i < n; ++i) d[i] = s[-i];
  } else {
    LAMINA_LANES
    for (int64_t i = 0; i < n; ++i) d[i] = s[i * stride];
  }
}
template <class T>
LAMINA_LOOP void store_same(void* dst, const void* src, int64_t stride, int64_t n) {
  auto* d = static_cast<T*>(dst);
  auto* s = static_cast<const T*>(src);
  if (stride == 1) {
    __builtin_memcpy(d, s, static_cast<size_t>(n) * sizeof(T));
  } else {
    LAMINA_LANES
    for (int64_t i = 0; i < n; ++i) d[i * stride] = s[i];
  }
}
template <class H>
LAMINA_LOOP void load_half(void* dst, const void* src, int64_t stride, int64_t n) {
  auto* d = static_cast<float*>(dst);
  auto* s = static_cast<const H*>(src);
  if (stride == 1) {
    widen_run(d, s, n);
  } else {
    LAMINA_LANES
    for (int64_t i = 0; i < n; ++i) d[i] = widen(s[i * stride]);
  }
}
template <class H>
LAMINA_LOOP void store_half(void* dst, const void* src, int64_t stride, int64_t n) {
  auto* d = static_cast<H*>(dst);
  auto* s = static_cast<const float*>(src);
  if (stride == 1) {
    narrow_run(d, s, n);
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    if constexpr (__is_same(H, Half)) d[i * stride].bits = narrow_half(s[i]);
    if constexpr (__is_same(H, Brain)) d[i * stride].bits = narrow_brain(s[i]);
  }
}

// ---- Two-dimensional load
// ------------------------------------------------------------------------

// d[i * dn + j] = s[i + j * sn] for an 8 x 8 block of 4-byte elements, in registers.
LAMINA_INLINE void transpose_8x8(uint32_t* d, int64_t dn, const uint32_t* s, int64_t sn) {
  typedef uint32_t V __attribute__((vector_size(32)));
  V r[8], t[8];
  for (int j = 0; j < 8; ++j) __builtin_memcpy(&r[j], s + j * sn, 32);
  for (int j = 0; j < 8; j += 2) {
    t[j] = __builtin_shufflevector(r[j], r[j + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    t[j + 1] = __builtin_shufflevector(r[j], r[j + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int j = 0; j < 8; j += 4) {
    for (int k = 0; k < 2; ++k) {
      r[j + 2 * k] = __builtin_shufflevector(t[j + k], t[j + k + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      r[j + 2 * k + 1] =
          __builtin_shufflevector(t[j + k], t[j + k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int j = 0; j < 4; ++j) {
    V low = __builtin_shufflevector(r[j], r[j + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    V high = __builtin_shufflevector(r[j], r[j + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    __builtin_memcpy(d + j * dn, &low, 32);
    __builtin_memcpy(d + (j + 4) * dn, &high, 32);
  }
}

// One whole cache line of 4-byte elements a side.
inline constexpr int64_t kTile = 16;

template <class T>
LAMINA_INLINE void transpose_tile(T* d, int64_t dn, const T* s, int64_t sn, int64_t m, int64_t n) {
  if constexpr (sizeof(T) == 4) {
    if (m == kTile && n == kTile) {
      // The two halves of a cache line one after the other: rows a power of two apart fall into one
      // cache set, which holds only eight.
      for (int64_t j = 0; j < kTile; j += 8) {
        for (int64_t i = 0; i < kTile; i += 8)
          transpose_8x8(d + i * dn + j, dn, s + i + j * sn, sn);
      }
      return;
    }
  }
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) d[i * dn + j] = s[i + j * sn];
  }
}

template <class T>
LAMINA_LOOP void load_2d_same(void* dst, const void* src, int64_t sm, int64_t sn, int64_t m,
                              int64_t n) {
  auto* d = static_cast<T*>(dst);
  auto* s = static_cast<const T*>(src);
  if (sm != 1 || sn == 1 || m == 1) {
    for (int64_t i = 0; i < m; ++i) load_same<T>(d + i * n, s + i * sm, sn, n);
    return;
  }
  for (int64_t j = 0; j < n; j += kTile) {
    int64_t columns = n - j < kTile ? n - j : kTile;
    for (int64_t i = 0; i < m; i += kTile) {
      int64_t rows = m - i < kTile ? m - i : kTile;
      transpose_tile(d + i * n + j, n, s + i + j * sn, sn, rows, columns);
    }
  }
}
template <class H>
LAMINA_LOOP void load_2d_half(void* dst, const void* src, int64_t sm, int64_t sn, int64_t m,
                              int64_t n) {
  auto* d = static_cast<float*>(dst);
  auto* s = static_cast<const H*>(src);
  if (sm != 1 || sn == 1 || m == 1) {
    for (int64_t i = 0; i < m; ++i) load_half<H>(d + i * n, s + i * sm, sn, n);
    return;
  }
  uint32_t tile[kTile * kTile];
  for (int64_t j = 0; j < n; j += kTile) {
    int64_t columns = n - j < kTile ? n - j : kTile;
    for (int64_t i = 0; i < m; i += kTile) {
      int64_t rows = m - i < kTile ? m - i : kTile;
      for (int64_t k = 0; k < columns; ++k) {
        widen_run(reinterpret_cast<float*>(tile + k * kTile), s + i + (j + k) * sn, rows);
      }
      transpose_tile(reinterpret_cast<uint32_t*>(d + i * n + j), n,
                     static_cast<const uint32_t*>(tile), kTile, rows, columns);
    }
  }
}

// ---- Conversion, iota, fill
// ----------------------------------------------------------------------

// C's conversion where C defines one; elsewhere the low bits of the integer part.
template <class To, class From>
LAMINA_INLINE To convert(From x) {
  if constexpr (__is_same(From, To)) {
    return x;
  } else if constexpr (__is_same(From, Complex)) {
    return convert<To>(x.re);
  } else if constexpr (__is_same(To, Complex)) {
    return {convert<float>(x), 0.0f};
  } else if constexpr (Floating<From> && Integer<To>) {
    if constexpr (sizeof(To) < 4) {
      return static_cast<To>(static_cast<int32_t>(x));
    } else if constexpr (__is_same(To, uint32_t)) {
      return static_cast<To>(static_cast<int64_t>(x));
    } else if constexpr (__is_same(To, uint64_t)) {
      constexpr From top = 9223372036854775808.0;
      bool large = x >= top;
      auto low = static_cast<uint64_t>(static_cast<int64_t>(large ? x - top : x));
      return low ^ (large ? uint64_t{1} << 63 : uint64_t{0});
    } else {
      return static_cast<To>(x);
    }
  } else {
    return static_cast<To>(x);
  }
}
template <class T>
LAMINA_INLINE uint8_t convert_to_bool(T x) {
  if constexpr (__is_same(T, Complex)) {
    return (x.re != 0) | (x.im != 0);
  } else {
    return x != 0;
  }
}

// bool goes as uint8_t: its bytes are 0 and 1.
template <class From, class To>
LAMINA_LOOP void cast_loop(void* dst, const void* const* src, int64_t n) {
  auto* d = static_cast<To*>(dst);
  auto* s = static_cast<const From*>(src[0]);
  LAMINA_LANES
  for (int64_t i = 0; i < n; ++i) d[i] = convert<To>(s[i]);
}
template <class From>
LAMINA_LOOP void cast_to_bool(void* dst, const void* const* src, int64_t n) {
  auto* d = static_cast<uint8_t*>(dst);
  auto* s = static_cast<const From*>(src[0]);
  LAMINA_LANES
  for (int64_t i = 0; i < n; ++i) d[i] = convert_to_bool(s[i]);
}
template <class From, class H>
LAMINA_LOOP void cast_to_half(void* dst, const void* const* src, int64_t n) {
  constexpr int64_t kRun = 64;
  auto* d = static_cast<float*>(dst);
  auto* s = static_cast<const From*>(src[0]);
  float wide[kRun];
  H rounded[kRun];
  for (int64_t begin = 0; begin < n; begin += kRun) {
    int64_t count = n - begin < kRun ? n - begin : kRun;
    LAMINA_LANES
    for (int64_t i = 0; i < count; ++i) wide[i] = convert<float>(s[begin + i]);
    narrow_run(rounded, wide, count);
    widen_run(d + begin, rounded, count);
  }
}

template <class T>
LAMINA_LOOP void iota_loop(void* dst, const void* const* src, int64_t n) {
  auto* d = static_cast<T*>(dst);
  int64_t ends[2];
  __builtin_memcpy(ends, src[0], sizeof ends);
  const int64_t start = ends[0], step = ends[1];
  if constexpr (__is_same(T, Complex) || Floating<T>) {
    constexpr int64_t kSmall = int64_t{1} << 30;
    int64_t last = start + n * step;
    if (start > -kSmall && start < kSmall && last > -kSmall && last < kSmall) {
      auto first = static_cast<int32_t>(start), stride = static_cast<int32_t>(step);
      LAMINA_LANES
      for (int32_t i = 0; i < static_cast<int32_t>(n); ++i) d[i] = convert<T>(first + i * stride);
    } else {
      for (int64_t i = 0; i < n; ++i) d[i] = convert<T>(start + i * step);
    }
  } else {
    using W = typename Traits<T>::Wide;
    auto first = static_cast<W>(start), stride = static_cast<W>(step);
    LAMINA_LANES
    for (int64_t i = 0; i < n; ++i) d[i] = static_cast<T>(first + static_cast<W>(i) * stride);
  }
}
template <class T>
LAMINA_LOOP void fill_loop(void* dst, const void* const* src, int64_t n) {
  load_same<T>(dst, src[0], 0, n);
}

// ---- Table
// ---------------------------------------------------------------------------------------

template <class T>
inline constexpr int kIndexOf = static_cast<int>(DtypeOf<T>::value);
inline constexpr int kBool_ = static_cast<int>(Dtype::bool_);
inline constexpr int kHalf_ = static_cast<int>(Dtype::float16);
inline constexpr int kBrain_ = static_cast<int>(Dtype::bfloat16);

template <class T>
void fill_copies_same(BlockTable& table, int d) {
  table.load[d] = load_same<T>;
  table.load_2d[d] = load_2d_same<T>;
  table.store[d] = store_same<T>;
  table.fill[d] = fill_loop<T>;
}
template <class H>
void fill_copies_half(BlockTable& table, int d) {
  table.load[d] = load_half<H>;
  table.load_2d[d] = load_2d_half<H>;
  table.store[d] = store_half<H>;
  table.fill[d] = fill_loop<uint32_t>;
  table.iota[d] = iota_loop<float>;
}

template <class From, class... Tos>
void fill_casts_from(BlockTable& table, int from) {
  ((table.cast[from][kIndexOf<Tos>] = cast_loop<From, Tos>), ...);
  table.cast[from][kBool_] = cast_to_bool<From>;
  table.cast[from][kHalf_] = cast_to_half<From, Half>;
  table.cast[from][kBrain_] = cast_to_half<From, Brain>;
}
template <class... Ts>
void fill_casts(BlockTable& table) {
  (fill_casts_from<Ts, Ts...>(table, kIndexOf<Ts>), ...);
  fill_casts_from<uint8_t, Ts...>(table, kBool_);
  // Values of the two small floats are float.
  for (int to = 0; to < kDtypeCount; ++to) {
    table.cast[kHalf_][to] = table.cast[kBrain_][to] = table.cast[kIndexOf<float>][to];
  }
  ((table.iota[kIndexOf<Ts>] = iota_loop<Ts>), ...);
}

inline void fill_copies(BlockTable& table) {
  for (int d = 0; d < kDtypeCount; ++d) {
    switch (static_cast<Dtype>(d)) {
      case Dtype::bool_:
      case Dtype::uint8:
      case Dtype::int8:
        fill_copies_same<uint8_t>(table, d);
        break;
      case Dtype::uint16:
      case Dtype::int16:
        fill_copies_same<uint16_t>(table, d);
        break;
      case Dtype::float16:
        fill_copies_half<Half>(table, d);
        break;
      case Dtype::bfloat16:
        fill_copies_half<Brain>(table, d);
        break;
      case Dtype::uint32:
      case Dtype::int32:
      case Dtype::float32:
        fill_copies_same<uint32_t>(table, d);
        break;
      default:
        fill_copies_same<uint64_t>(table, d);
        break;
    }
  }
  fill_casts<uint8_t, uint16_t, uint32_t, uint64_t, int8_t, int16_t, int32_t, int64_t, float,
             double, Complex>(table);
}

}  // namespace lamina::cpu::LAMINA_ISA_NS

// A bitonic sorting network over 64-byte vectors, instantiated once per instruction set.
#pragma once

#include <cstdint>
#include <utility>

#define LAMINA_INLINE inline __attribute__((always_inline))

namespace lamina::cpu {

// Item (v, lane) of the memory is taken as element lane * count + v of the sequence, so that all
// but a few steps compare whole vectors; what order the input is in does not matter, and the result
// is read out transposed.
template <class K>
struct Network {
  static constexpr int kLanes = 64 / sizeof(K);
  // Up to so many vectors are sorted without touching memory in between.
  static constexpr int kMaxFixed = 16;
  typedef K Vector __attribute__((vector_size(64)));
  typedef K Unaligned __attribute__((vector_size(64), aligned(sizeof(K)), may_alias));

  static LAMINA_INLINE void load(Vector& x, const K* a, int64_t v) {
    x = *reinterpret_cast<const Unaligned*>(a + v * kLanes);
  }
  static LAMINA_INLINE void store(const Vector& x, K* a, int64_t v) {
    *reinterpret_cast<Unaligned*>(a + v * kLanes) = x;
  }
  static LAMINA_INLINE void exchange(Vector& x, Vector& y) {
    Vector low = x < y ? x : y;
    y = x < y ? y : x;
    x = low;
  }

  using Numbers = std::make_integer_sequence<int, kLanes>;
  // Lane l takes the item of lane l ^ kFlip.
  template <int kFlip, int... l>
  static LAMINA_INLINE void permute_lanes(Vector& x, std::integer_sequence<int, l...>) {
    x = __builtin_shufflevector(x, x, (l ^ kFlip)...);
  }
  template <int kFlip>
  static LAMINA_INLINE void permute(Vector& x) {
    permute_lanes<kFlip>(x, Numbers{});
  }
  // x gets the smaller ones where bit `bit` of the lane is clear, y everywhere else.
  static LAMINA_INLINE void exchange_lanes(Vector& x, Vector& y, int bit) {
    Vector low = x < y ? x : y, high = x < y ? y : x;
    Vector upper;
    for (int l = 0; l < kLanes; ++l) upper[l] = (l & bit) ? -1 : 0;
    x = upper ? high : low;
    y = upper ? low : high;
  }
  template <int kBit>
  static LAMINA_INLINE void clean_lanes(Vector& x) {
    if constexpr (kBit > 0) {
      Vector y = x;
      permute<kBit>(y);
      exchange_lanes(x, y, kBit);
      clean_lanes<kBit / 2>(x);
    }
  }
  // Joins sorted groups of kGroup / 2 lanes in a pair of mirrored vectors.
  template <int kGroup>
  static LAMINA_INLINE void merge_pair(Vector& x, Vector& y) {
    permute<kGroup - 1>(y);
    exchange_lanes(x, y, kGroup / 2);
    permute<kGroup - 1>(y);
    clean_lanes<kGroup / 4>(x);
    clean_lanes<kGroup / 4>(y);
  }

  template <int kCount>
  static LAMINA_INLINE void clean_fixed(Vector* x, int from) {
#pragma GCC unroll 4
    for (int h = from; h > 0; h /= 2)
#pragma GCC unroll 16
      for (int i = 0; i < kCount; ++i)
        if (!(i & h)) exchange(x[i], x[i + h]);
  }
  // Each lane by itself.
  template <int kCount>
  static LAMINA_INLINE void sort_columns(Vector* x) {
#pragma GCC unroll 4
    for (int half = 1; half < kCount; half *= 2) {
#pragma GCC unroll 16
      for (int i = 0; i < kCount; ++i)
        if (!(i & half)) exchange(x[i], x[i ^ (2 * half - 1)]);
      clean_fixed<kCount>(x, half / 2);
    }
  }
  template <int kCount, int kGroup>
  static LAMINA_INLINE void merge_fixed(Vector* x) {
#pragma GCC unroll 8
    for (int i = 0; i < kCount / 2; ++i) merge_pair<kGroup>(x[i], x[kCount - 1 - i]);
    clean_fixed<kCount>(x, kCount / 2);
  }
  // From lane kFrom on, the lanes of x and y by turns.
  template <int kFrom, int... l>
  static LAMINA_INLINE void by_turns(const Vector& x, const Vector& y, Vector& out,
                                     std::integer_sequence<int, l...>) {
    out = __builtin_shufflevector(x, y, (kFrom + l / 2 + (l & 1) * kLanes)...);
  }
  // Rotates the bits of every item's position by one: `log2 kCount` times makes lane-major order.
  template <int kCount>
  static LAMINA_INLINE void interleave(Vector* x) {
    Vector y[kCount];
#pragma GCC unroll 8
    for (int i = 0; i < kCount / 2; ++i) {
      by_turns<0>(x[i], x[i + kCount / 2], y[2 * i], Numbers{});
      by_turns<kLanes / 2>(x[i], x[i + kCount / 2], y[2 * i + 1], Numbers{});
    }
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) x[i] = y[i];
  }
  // kCount * kLanes items in place, kCount a power of two above 1.
  template <int kCount>
  static LAMINA_INLINE void run_fixed(K* a) {
    Vector x[kCount];
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) load(x[i], a, i);
    sort_columns<kCount>(x);
    merge_fixed<kCount, 2>(x);
    merge_fixed<kCount, 4>(x);
    merge_fixed<kCount, 8>(x);
    if constexpr (kLanes == 16) merge_fixed<kCount, 16>(x);
#pragma GCC unroll 4
    for (int h = 1; h < kCount; h *= 2) interleave<kCount>(x);
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) store(x[i], a, i);
  }

  // Steps of distance h, h/2, ..., 1 over `count` vectors; three steps share a pass, the last two
  // or one go alone. h < count, both powers of two.
  static LAMINA_INLINE void clean(K* a, int64_t count, int64_t h) {
    for (; h >= 4; h /= 8) clean_pass<8>(a, count, h / 4);
    if (h == 2) clean_pass<4>(a, count, 1);
    if (h == 1) clean_pass<2>(a, count, 1);
  }
  // kWay vectors `step` apart at a time.
  template <int kWay>
  static LAMINA_INLINE void clean_pass(K* a, int64_t count, int64_t step) {
    for (int64_t base = 0; base < count; base += kWay * step)
      for (int64_t i = base; i < base + step; ++i) {
        Vector x[kWay];
#pragma GCC unroll 8
        for (int k = 0; k < kWay; ++k) load(x[k], a, i + k * step);
        clean_fixed<kWay>(x, kWay / 2);
#pragma GCC unroll 8
        for (int k = 0; k < kWay; ++k) store(x[k], a, i + k * step);
      }
  }
  // Joins sorted halves of blocks of 2 * half vectors.
  static LAMINA_INLINE void merge_vectors(K* a, int64_t count, int64_t half) {
    for (int64_t base = 0; base < count; base += 2 * half)
      for (int64_t i = 0; i < half; ++i) {
        Vector x, y;
        load(x, a, base + i), load(y, a, base + 2 * half - 1 - i);
        exchange(x, y);
        store(x, a, base + i), store(y, a, base + 2 * half - 1 - i);
      }
    clean(a, count, half / 2);
  }
  template <int kGroup>
  static LAMINA_INLINE void merge_lanes(K* a, int64_t count) {
    for (int64_t v = 0; v < count / 2; ++v) {
      Vector x, y;
      load(x, a, v), load(y, a, count - 1 - v);
      merge_pair<kGroup>(x, y);
      store(x, a, v), store(y, a, count - 1 - v);
    }
    clean(a, count, count / 2);
  }

  // n is a power of two, more than kMaxFixed vectors. The result is in out.
  static LAMINA_INLINE void run(K* a, K* out, int64_t n) {
    int64_t count = n / kLanes;
    for (int64_t v = 0; v < count; v += 8) {
      Vector x[8];
#pragma GCC unroll 8
      for (int k = 0; k < 8; ++k) load(x[k], a, v + k);
      sort_columns<8>(x);
#pragma GCC unroll 8
      for (int k = 0; k < 8; ++k) store(x[k], a, v + k);
    }
    for (int64_t half = 8; half < count; half *= 2) merge_vectors(a, count, half);
    merge_lanes<2>(a, count);
    merge_lanes<4>(a, count);
    merge_lanes<8>(a, count);
    if constexpr (kLanes == 16) merge_lanes<16>(a, count);
    for (int64_t v = 0; v < count; ++v)
      for (int l = 0; l < kLanes; ++l) out[l * count + v] = a[v * kLanes + l];
  }

  // n items in place, n <= kMaxFixed * kLanes a power of two, at least two vectors.
  static LAMINA_INLINE void run_small(K* a, int64_t n) {
    switch (n / kLanes) {
      case 2:
        return run_fixed<2>(a);
      case 4:
        return run_fixed<4>(a);
      case 8:
        return run_fixed<8>(a);
      default:
        return run_fixed<16>(a);
    }
  }
};

}  // namespace lamina::cpu

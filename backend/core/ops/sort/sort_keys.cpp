#include "ops/sort/sort_keys.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

// The networks vectorise; the best width is chosen when the library is loaded.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__)
#define LAMINA_SIMD_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define LAMINA_SIMD_CLONES
#endif
#define LAMINA_INLINE inline __attribute__((always_inline))

namespace lamina::cpu {
namespace {

constexpr int64_t kSmall = 24;            // up to here std::sort
constexpr int64_t kNetworkMax = 1 << 13;  // up to here a sorting network, above it radix sort
constexpr int kDigitBits = 11;
constexpr int64_t kBuckets = 1 << kDigitBits;

// A bitonic network over 64-byte vectors. Item (v, lane) of the memory is taken as element
// lane * count + v of the sequence, so that all but the last few steps compare whole vectors; what
// order the input is in does not matter, and the result is read out transposed.
template <class K>
struct Network {
  static constexpr int kLanes = 64 / sizeof(K);
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

  // Lane l takes the item of lane l ^ flip.
  static LAMINA_INLINE void permute(Vector& x, int flip) {
    Vector order;
    for (int l = 0; l < kLanes; ++l) order[l] = l ^ flip;
    x = __builtin_shuffle(x, order);
  }
  // x gets the smaller ones where bit `bit` of the lane is clear, y everywhere else.
  static LAMINA_INLINE void exchange_lanes(Vector& x, Vector& y, int bit) {
    Vector low = x < y ? x : y, high = x < y ? y : x;
    Vector upper;
    for (int l = 0; l < kLanes; ++l) upper[l] = (l & bit) ? -1 : 0;
    x = upper ? high : low;
    y = upper ? low : high;
  }

  // Steps of distance h, h/2, ..., 1 over `count` vectors; pairs of steps share one pass.
  static LAMINA_INLINE void clean(K* a, int64_t count, int64_t h) {
    for (; h >= 2; h /= 4) {
      int64_t q = h / 2;
      for (int64_t base = 0; base < count; base += 2 * h)
        for (int64_t i = base; i < base + q; ++i) {
          Vector x0, x1, x2, x3;
          load(x0, a, i), load(x1, a, i + q), load(x2, a, i + h), load(x3, a, i + h + q);
          exchange(x0, x2), exchange(x1, x3), exchange(x0, x1), exchange(x2, x3);
          store(x0, a, i), store(x1, a, i + q), store(x2, a, i + h), store(x3, a, i + h + q);
        }
    }
    if (h == 1)
      for (int64_t i = 0; i < count; i += 2) {
        Vector x, y;
        load(x, a, i), load(y, a, i + 1);
        exchange(x, y);
        store(x, a, i), store(y, a, i + 1);
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
      permute(y, kGroup - 1);
      exchange_lanes(x, y, kGroup / 2);
      permute(y, kGroup - 1);
      clean_lanes<kGroup / 4>(x);
      clean_lanes<kGroup / 4>(y);
      store(x, a, v), store(y, a, count - 1 - v);
    }
    clean(a, count, count / 2);
  }

  template <int kBit>
  static LAMINA_INLINE void clean_lanes(Vector& x) {
    if constexpr (kBit > 0) {
      Vector y = x;
      permute(y, kBit);
      exchange_lanes(x, y, kBit);
      clean_lanes<kBit / 2>(x);
    }
  }

  // n is a power of two, at least 2 * kLanes. The result is in out.
  static LAMINA_INLINE void run(K* a, K* out, int64_t n) {
    int64_t count = n / kLanes;
    for (int64_t half = 1; half < count; half *= 2) merge_vectors(a, count, half);
    merge_lanes<2>(a, count);
    merge_lanes<4>(a, count);
    merge_lanes<8>(a, count);
    if constexpr (kLanes == 16) merge_lanes<16>(a, count);
    for (int64_t v = 0; v < count; ++v)
      for (int l = 0; l < kLanes; ++l) out[l * count + v] = a[v * kLanes + l];
  }
};

LAMINA_SIMD_CLONES void run_network(int32_t* a, int32_t* out, int64_t n) {
  Network<int32_t>::run(a, out, n);
}
LAMINA_SIMD_CLONES void run_network(int64_t* a, int64_t* out, int64_t n) {
  Network<int64_t>::run(a, out, n);
}

template <class K>
int64_t network_size(int64_t n) {
  return static_cast<int64_t>(
      std::max(std::bit_ceil(static_cast<uint64_t>(n)), uint64_t{2 * Network<K>::kLanes}));
}

// Least significant digit first; stable. Digits that are the same in all keys cost no pass.
template <class K>
void radix_sort(K* keys, K* scratch, int64_t n, int low_bit) {
  using Bits = std::make_unsigned_t<K>;
  constexpr Bits kSign = Bits{1} << (sizeof(K) * 8 - 1);
  int passes = (static_cast<int>(sizeof(K)) * 8 - low_bit + kDigitBits - 1) / kDigitBits;
  std::vector<int64_t> counts(passes * kBuckets);
  for (int64_t i = 0; i < n; ++i) {
    Bits bits = (static_cast<Bits>(keys[i]) ^ kSign) >> low_bit;
    for (int p = 0; p < passes; ++p)
      ++counts[p * kBuckets + (static_cast<int64_t>(bits >> (p * kDigitBits)) & (kBuckets - 1))];
  }
  K *from = keys, *to = scratch;
  for (int p = 0; p < passes; ++p) {
    int64_t* place = counts.data() + p * kBuckets;
    int shift = low_bit + p * kDigitBits;
    auto digit = [&](K key) {
      return static_cast<int64_t>((static_cast<Bits>(key) ^ kSign) >> shift) & (kBuckets - 1);
    };
    if (place[digit(from[0])] == n) continue;
    for (int64_t b = 0, sum = 0; b < kBuckets; ++b) sum += std::exchange(place[b], sum);
    for (int64_t i = 0; i < n; ++i) to[place[digit(from[i])]++] = from[i];
    std::swap(from, to);
  }
  if (from != keys) std::copy_n(from, n, keys);
}

template <class K>
void sort_any(K* keys, K* scratch, int64_t n, int low_bit) {
  if (n <= kSmall) {
    std::sort(keys, keys + n);
  } else if (n <= kNetworkMax) {
    int64_t room = network_size<K>(n);
    std::fill(keys + n, keys + room, std::numeric_limits<K>::max());
    run_network(keys, scratch, room);
    std::copy_n(scratch, n, keys);
  } else {
    radix_sort(keys, scratch, n, low_bit);
  }
}

}  // namespace

int64_t sort_room(int64_t n) {
  return n <= kNetworkMax ? std::max(network_size<int32_t>(n), network_size<int64_t>(n)) : n;
}

void sort_keys(int32_t* keys, int32_t* scratch, int64_t n) { sort_any(keys, scratch, n, 0); }

void sort_keys(int64_t* keys, int64_t* scratch, int64_t n, int low_bit) {
  sort_any(keys, scratch, n, low_bit);
}

}  // namespace lamina::cpu

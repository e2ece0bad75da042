#include "ops/sort/sort_keys.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "base/simd_clones.h"
#include "ops/sort/sort_network.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define LAMINA_AVX512 __attribute__((target("avx512f,popcnt")))
#endif

namespace lamina::cpu {
namespace {

constexpr int64_t kTiny = 12;              // up to here std::sort
constexpr int64_t kNetworkMax = 1 << 13;   // without AVX-512: up to here a network, above it radix
constexpr int64_t kNetworkBest = 1 << 11;  // with AVX-512: the same, if little padding is needed
constexpr int kDigitBits = 11;
constexpr int64_t kBuckets = 1 << kDigitBits;

template <class K>
constexpr int64_t kSmall = Network<K>::kMaxFixed* Network<K>::kLanes;

LAMINA_SIMD_CLONES void run_network(int32_t* a, int32_t* out, int64_t n) {
  Network<int32_t>::run(a, out, n);
}
LAMINA_SIMD_CLONES void run_network(int64_t* a, int64_t* out, int64_t n) {
  Network<int64_t>::run(a, out, n);
}
LAMINA_SIMD_CLONES void run_small(int32_t* a, int64_t n) { Network<int32_t>::run_small(a, n); }
LAMINA_SIMD_CLONES void run_small(int64_t* a, int64_t n) { Network<int64_t>::run_small(a, n); }

template <class K>
int64_t network_size(int64_t n) {
  return static_cast<int64_t>(
      std::max(std::bit_ceil(static_cast<uint64_t>(n)), uint64_t{2 * Network<K>::kLanes}));
}

// n <= kSmall, in place, touching nothing beyond.
template <class K>
void sort_small(K* keys, int64_t n) {
  if (n <= kTiny) return std::sort(keys, keys + n);
  alignas(64) K block[kSmall<K>];
  int64_t room = network_size<K>(n);
  std::copy_n(keys, n, block);
  std::fill(block + n, block + room, std::numeric_limits<K>::max());
  run_small(block, room);
  std::copy_n(block, n, keys);
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

// Near the middle of the keys, from a sample; n > 64.
template <class K>
K pivot_of(const K* keys, int64_t n) {
  constexpr int64_t kSample = 32;
  K sample[kSample];
  for (int64_t i = 0; i < kSample; ++i) sample[i] = keys[i * (n / kSample)];
  sort_small(sample, kSample);
  return sample[kSample / 2];
}

#ifdef LAMINA_AVX512
bool has_avx512() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("popcnt");
  return has;
}

// One step of a partition for each key width: which lanes go low, and packing them.
struct Wide32 {
  LAMINA_AVX512 static __mmask16 low(__m512i v, int32_t pivot) {
    return _mm512_cmplt_epi32_mask(v, _mm512_set1_epi32(pivot));
  }
  LAMINA_AVX512 static __m512i pack(__mmask16 m, __m512i v) {
    return _mm512_maskz_compress_epi32(m, v);
  }
};
struct Wide64 {
  LAMINA_AVX512 static __mmask8 low(__m512i v, int64_t pivot) {
    return _mm512_cmplt_epi64_mask(v, _mm512_set1_epi64(pivot));
  }
  LAMINA_AVX512 static __m512i pack(__mmask8 m, __m512i v) {
    return _mm512_maskz_compress_epi64(m, v);
  }
};

// Keys below the pivot come first; returns how many. Either side keeps its order, which the radix
// sort of part of the bits relies on. Whole vectors are stored on either side: what
// a store writes too much is overwritten later or, in keys, has been read already.
template <class Wide, class K>
LAMINA_AVX512 int64_t partition_wide(K* keys, K* scratch, int64_t n, K pivot) {
  constexpr int64_t kLanes = 64 / sizeof(K);
  int64_t low = 0, high = 0, i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    __m512i v = _mm512_loadu_si512(keys + i);
    auto m = Wide::low(v, pivot);
    auto rest = static_cast<decltype(m)>(~m);
    _mm512_storeu_si512(keys + low, Wide::pack(m, v));
    _mm512_storeu_si512(scratch + high, Wide::pack(rest, v));
    int64_t count = __builtin_popcount(m);
    low += count;
    high += kLanes - count;
  }
  for (; i < n; ++i) {
    K key = keys[i];
    if (key < pivot)
      keys[low++] = key;
    else
      scratch[high++] = key;
  }
  std::copy_n(scratch, high, keys + low);
  return low;
}
#else
bool has_avx512() { return false; }
#endif

template <class K>
int64_t partition_below(K* keys, K* scratch, int64_t n, K pivot) {
#ifdef LAMINA_AVX512
  if (has_avx512())
    return partition_wide<std::conditional_t<sizeof(K) == 4, Wide32, Wide64>>(keys, scratch, n,
                                                                              pivot);
#endif
  int64_t low = 0, high = 0;
  for (int64_t i = 0; i < n; ++i) {
    K key = keys[i];
    bool below = key < pivot;
    keys[low] = key;
    scratch[high] = key;
    low += below;
    high += !below;
  }
  std::copy_n(scratch, high, keys + low);
  return low;
}

template <class K>
KeySplit split_any(K* keys, K* scratch, int64_t n) {
  K pivot = pivot_of(keys, n);
  int64_t low = partition_below(keys, scratch, n, pivot);
  if (low > 0) return {low, low};
  // The pivot is the smallest: set all of its copies apart, they are in place.
  if (pivot == std::numeric_limits<K>::max()) return {0, n};
  return {0, partition_below(keys, scratch, n, static_cast<K>(pivot + 1))};
}

// `budget` bounds the number of splits; keys that defeat the sample are left to radix sort.
template <class K>
void quick_sort(K* keys, K* scratch, int64_t n, int low_bit, int budget) {
  while (n > kSmall<K>) {
    if (budget-- == 0) return radix_sort(keys, scratch, n, low_bit);
    KeySplit split = split_any(keys, scratch, n);
    quick_sort(keys, scratch, split.low, low_bit, budget);
    keys += split.high;
    n -= split.high;
  }
  sort_small(keys, n);
}

template <class K>
void sort_any(K* keys, K* scratch, int64_t n, int low_bit) {
  if (n <= kSmall<K>) {
    sort_small(keys, n);
  } else if (has_avx512() && !(n <= kNetworkBest && n > network_size<K>(n) / 4 * 3)) {
    quick_sort(keys, scratch, n, low_bit, 2 * std::bit_width(static_cast<uint64_t>(n)));
  } else if (n <= kNetworkMax) {
    int64_t room = network_size<K>(n);
    std::fill(keys + n, keys + room, std::numeric_limits<K>::max());
    run_network(keys, scratch, room);
    std::copy_n(scratch, n, keys);
  } else {
    radix_sort(keys, scratch, n, low_bit);
  }
}

template <class K>
void select_any(K* keys, K* scratch, int64_t n, int64_t kth) {
  if (!has_avx512()) return std::nth_element(keys, keys + kth, keys + n);
  for (int budget = 4 * std::bit_width(static_cast<uint64_t>(n)); n > kSmall<K>; --budget) {
    if (budget == 0) return std::nth_element(keys, keys + kth, keys + n);
    KeySplit split = split_any(keys, scratch, n);
    if (kth < split.low) {
      n = split.low;
    } else if (kth < split.high) {
      return;
    } else {
      keys += split.high;
      n -= split.high;
      kth -= split.high;
    }
  }
  sort_small(keys, n);
}

}  // namespace

int64_t sort_room(int64_t n) {
  return n <= kNetworkMax ? std::max(network_size<int32_t>(n), network_size<int64_t>(n)) : n;
}

void sort_keys(int32_t* keys, int32_t* scratch, int64_t n) { sort_any(keys, scratch, n, 0); }
void sort_keys(int64_t* keys, int64_t* scratch, int64_t n, int low_bit) {
  sort_any(keys, scratch, n, low_bit);
}
void select_key(int32_t* keys, int32_t* scratch, int64_t n, int64_t kth) {
  select_any(keys, scratch, n, kth);
}
void select_key(int64_t* keys, int64_t* scratch, int64_t n, int64_t kth) {
  select_any(keys, scratch, n, kth);
}
KeySplit split_keys(int32_t* keys, int32_t* scratch, int64_t n) {
  return split_any(keys, scratch, n);
}
KeySplit split_keys(int64_t* keys, int64_t* scratch, int64_t n) {
  return split_any(keys, scratch, n);
}

}  // namespace lamina::cpu

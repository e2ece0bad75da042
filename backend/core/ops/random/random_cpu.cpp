#include "ops/random/random_cpu.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"
#include "base/simd_clones.h"
#include "base/thread_pool.h"
#include "ops/copy/strided.h"

namespace lamina::cpu {
namespace {

static_assert(std::endian::native == std::endian::little, "words are stored as bytes");

// Counters done together: enough to fill the vector registers, small enough to stay in them.
constexpr int64_t kLanes = 64;
constexpr int64_t kGrain = 1 << 13;

struct Key {
  uint32_t a, b;
};

inline uint32_t rotated(uint32_t x, int by) { return (x << by) | (x >> (32 - by)); }

// n <= kLanes counter pairs (x[i], y[i]) become their results.
LAMINA_SIMD_CLONES
void threefry(Key key, uint32_t* __restrict x, uint32_t* __restrict y, int64_t n) {
  const uint32_t schedule[3] = {key.a, key.b, key.a ^ key.b ^ 0x1BD11BDAu};
  static constexpr int kRotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  for (int64_t i = 0; i < n; ++i) {
    uint32_t u = x[i] + schedule[0], v = y[i] + schedule[1];
#pragma GCC unroll 5
    for (int group = 0; group < 5; ++group) {
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        u += v;
        v = rotated(v, kRotations[group % 2][r]) ^ u;
      }
      u += schedule[(group + 1) % 3];
      v += schedule[(group + 2) % 3] + static_cast<uint32_t>(group + 1);
    }
    x[i] = u;
    y[i] = v;
  }
}

// One key's share of the output.
struct Share {
  unsigned char* out;
  int64_t bytes, words, half;
  bool odd;

  void store(int64_t word, const uint32_t* values, int64_t n) const {
    int64_t from = word * 4;
    std::memcpy(out + from, values, static_cast<size_t>(std::min(n * 4, bytes - from)));
  }
};

// Counters [begin, end) of a share; counter `half` exists when the word count is odd.
void fill_share(const Share& share, Key key, int64_t begin, int64_t end) {
  uint32_t x[kLanes], y[kLanes];
  int64_t second = share.half + share.odd;
  for (int64_t at = begin; at < std::min(end, share.half); at += kLanes) {
    int64_t n = std::min(kLanes, std::min(end, share.half) - at);
    for (int64_t i = 0; i < n; ++i) {
      x[i] = static_cast<uint32_t>(at + i);
      y[i] = static_cast<uint32_t>(at + second + i);
    }
    threefry(key, x, y, n);
    share.store(at, x, n);
    share.store(at + second, y, n);
  }
  if (share.odd && end > share.half) {
    x[0] = static_cast<uint32_t>(share.half);
    y[0] = 0;
    threefry(key, x, y, 1);
    share.store(share.half, x, 1);
  }
}

}  // namespace

void random_bits(const TensorView& keys, const TensorView& out) {
  if (keys.dtype != Dtype::uint32 || keys.shape.empty() || keys.shape.back() != 2)
    throw ValueError("random: keys must be uint32 of shape (..., 2), got " +
                     std::string(name_of(keys.dtype)) + " " + to_string(keys.shape));
  int64_t axis = static_cast<int64_t>(keys.shape.size()) - 1;
  Nest<1> nest = collapse<1>(keys.shape, {&keys.strides}, axis);
  if (out.size() == 0) return;
  if (nest.size == 0 || out.size() % nest.size != 0)
    throw ShapeError("random: " + to_string(out.shape) + " cannot be dealt out to " +
                     std::to_string(nest.size) + " keys");
  int64_t bytes = out.size() / nest.size * itemsize(out.dtype);
  int64_t words = (bytes + 3) / 4, half = words / 2;
  int64_t counters = half + words % 2, step = keys.strides[axis];
  // Work is counted in counters, over all keys.
  parallel_for(nest.size * counters, kGrain, [&](int64_t begin, int64_t end, int) {
    Walker<1> at(nest, nest.rank(), begin / counters);
    for (int64_t k = begin / counters; k * counters < end; ++k, at.next()) {
      const uint32_t* key = keys.as<uint32_t>() + at.offset[0];
      Share share{out.as<unsigned char>() + k * bytes, bytes, words, half, words % 2 != 0};
      fill_share(share, {key[0], key[step]}, std::max<int64_t>(begin - k * counters, 0),
                 std::min(end - k * counters, counters));
    }
  });
}

}  // namespace lamina::cpu

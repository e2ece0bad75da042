// Chains of float operations and sums of products, for one instruction set. The units that fill the
// table from here are compiled without contraction into multiply-add: every operation rounds.
#pragma once

#include "devices/cpu/blocks_reduce.h"

namespace lamina::cpu::LAMINA_ISA_NS {

template <ChainOp kOp, class V>
LAMINA_INLINE V chained(V a, V x) {
  if constexpr (kOp == ChainOp::add) return a + x;
  if constexpr (kOp == ChainOp::subtract) return a - x;
  if constexpr (kOp == ChainOp::subtract_from) return x - a;
  if constexpr (kOp == ChainOp::multiply) return a * x;
}

template <ChainOp... kOps>
struct Chain {
  static constexpr int kSources = 1 + static_cast<int>(sizeof...(kOps));
  static constexpr int64_t kLanes = kVectorBytes / 4;
  using V = typename VectorOf<float, kVectorBytes>::type;

  template <class T, class At>
  LAMINA_INLINE static T value(At at) {
    T a = at(0);
    int k = 0;
    ((a = chained<kOps>(a, at(++k))), ...);
    return a;
  }

  LAMINA_LOOP void run(void* dst, const void* const* src, unsigned singles, int64_t n) {
    if (n <= 0) return;
    auto* d = static_cast<float*>(dst);
    V single[kSources];
    const float* from[kSources];
    int64_t step[kSources];  // 0: the vector of one scalar
    LAMINA_UNROLL
    for (int k = 0; k < kSources; ++k) {
      from[k] = static_cast<const float*>(src[k]);
      step[k] = singles >> k & 1 ? 0 : 1;
      if (step[k] != 0) continue;
      single[k] = *from[k] - V{};  // keeps -0
      from[k] = reinterpret_cast<const float*>(&single[k]);
    }
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      V a = value<V>([&](int k) { return vector_at<V>(from[k] + i * step[k]); });
      __builtin_memcpy(d + i, &a, sizeof a);
    }
    for (; i < n; ++i) d[i] = value<float>([&](int k) { return from[k][i * step[k]]; });
  }
};

template <ChainOp... kOps>
void fill_chain(BlockTable& table) {
  constexpr int kOp[] = {static_cast<int>(kOps)...};
  if constexpr (sizeof...(kOps) == 3) {
    table.chain[kOp[0]][kOp[1]][kOp[2]] = Chain<kOps...>::run;
    return;
  }
  if constexpr (sizeof...(kOps) == 2)
    table.chain[kOp[0]][kOp[1]][static_cast<int>(ChainOp::none)] = Chain<kOps...>::run;
  if constexpr (sizeof...(kOps) < 3) {
    fill_chain<kOps..., ChainOp::add>(table);
    fill_chain<kOps..., ChainOp::subtract>(table);
    fill_chain<kOps..., ChainOp::subtract_from>(table);
    fill_chain<kOps..., ChainOp::multiply>(table);
  }
}

// One line: eight vectors of sums in flight.
LAMINA_INLINE float dot_run(const float* x, const float* y, int64_t n) {
  using V = typename VectorOf<float>::type;
  constexpr int64_t kLanes = kReadBytes / 4, kFlight = 8;
  V a[kFlight] = {};
  int64_t i = 0;
  for (; i + kFlight * kLanes <= n; i += kFlight * kLanes) {
    LAMINA_UNROLL
    for (int k = 0; k < kFlight; ++k)
      a[k] += vector_at<V>(x + i + k * kLanes) * vector_at<V>(y + i + k * kLanes);
  }
  LAMINA_UNROLL
  for (int width = kFlight / 2; width > 0; width /= 2)
    for (int k = 0; k < width; ++k) a[k] += a[k + width];
  for (; i + kLanes <= n; i += kLanes) a[0] += vector_at<V>(x + i) * vector_at<V>(y + i);
  float sum = across<Sum, float>(a[0]);
  for (; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

LAMINA_LOOP void dot_rows_loop(void* acc, const void* x, const void* y, int64_t m, int64_t n) {
  auto* a = static_cast<float*>(acc);
  auto *p = static_cast<const float*>(x), *q = static_cast<const float*>(y);
  for (int64_t i = 0; i < m; ++i) a[i] += dot_run(p + i * n, q + i * n, n);
}

inline void fill_all_chains(BlockTable& table) {
  fill_chain<ChainOp::add>(table);
  fill_chain<ChainOp::subtract>(table);
  fill_chain<ChainOp::multiply>(table);
  table.dot_rows = dot_rows_loop;
}

}  // namespace lamina::cpu::LAMINA_ISA_NS

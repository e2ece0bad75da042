// Block loops of the reductions, for one instruction set.
#pragma once

#include "devices/cpu/blocks_copy.h"

namespace lamina::cpu::LAMINA_ISA_NS {

// On Zen 4 loads of 32 bytes read memory and the outer caches as fast as loads of 64 or faster, and
// whoever only reads is bound by that; not measured elsewhere.
inline constexpr int kReadBytes = kVectorBytes < 32 ? kVectorBytes : 32;

template <class T, int kBytes = kReadBytes>
struct VectorOf {
  typedef T type __attribute__((vector_size(kBytes)));
};

// How two values combine; the same text serves one value and a vector of them. A NaN stays.
// `quick` may lose a NaN, where the reduction watches for them apart.
struct Sum {
  template <class T>
  LAMINA_INLINE static T combine(T a, T b) {
    return a + b;
  }
};
struct Product {
  template <class T>
  LAMINA_INLINE static T combine(T a, T b) {
    return a * b;
  }
};
struct Min {
  template <class T>
  LAMINA_INLINE static T combine(T a, T b) {
    return ((b < a) | (b != b)) ? b : a;
  }
  template <class T>
  LAMINA_INLINE static T quick(T a, T b) {
    return b < a ? b : a;
  }
};
struct Max {
  template <class T>
  LAMINA_INLINE static T combine(T a, T b) {
    return ((b > a) | (b != b)) ? b : a;
  }
  template <class T>
  LAMINA_INLINE static T quick(T a, T b) {
    return b > a ? b : a;
  }
};

template <class V, class T>
LAMINA_INLINE V vector_at(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

// All lanes of v combined, by halves.
template <class Op, class T, int kBytes = kReadBytes>
LAMINA_INLINE T across(typename VectorOf<T, kBytes>::type v) {
  if constexpr (kBytes > 16) {
    typename VectorOf<T, kBytes / 2>::type half[2];
    __builtin_memcpy(half, &v, sizeof half);
    return across<Op, T, kBytes / 2>(Op::combine(half[0], half[1]));
  } else {
    constexpr int kLanes = kBytes / static_cast<int>(sizeof(T));
    T lane[kLanes];
    __builtin_memcpy(lane, &v, sizeof lane);
    LAMINA_UNROLL
    for (int width = kLanes / 2; width > 0; width /= 2)
      for (int k = 0; k < width; ++k) lane[k] = Op::combine(lane[k], lane[k + width]);
    return lane[0];
  }
}

// Whether there was a NaN in what `see` was given: two vectors by one comparison.
template <class T>
class NanSeen {
  using V = typename VectorOf<T>::type;

 public:
  LAMINA_INLINE void see(V a, V b) {
    auto unordered = [](auto x, auto y) {
#if defined(__AVX512VL__)
      if constexpr (sizeof(T) == 4) return _mm256_cmp_ps_mask(x, y, _CMP_UNORD_Q);
      if constexpr (sizeof(T) == 8) return _mm256_cmp_pd_mask(x, y, _CMP_UNORD_Q);
#elif defined(__AVX__)
      if constexpr (sizeof(T) == 4) return (Lanes)_mm256_cmp_ps(x, y, _CMP_UNORD_Q);
      if constexpr (sizeof(T) == 8) return (Lanes)_mm256_cmp_pd(x, y, _CMP_UNORD_Q);
#else
      return (x != x) | (y != y);
#endif
    };
    seen_ |= unordered(a, b);
  }
  LAMINA_INLINE bool any() const {
    unsigned char bytes[sizeof seen_], all = 0;
    __builtin_memcpy(bytes, &seen_, sizeof bytes);
    for (unsigned char byte : bytes) all |= byte;
    return all != 0;
  }

 private:
#if defined(__AVX512VL__)
  unsigned char seen_ = 0;
#else
  using Lanes = decltype(V{} != V{});
  Lanes seen_ = {};
#endif
};

// Combines n > 0 contiguous elements: eight vectors in flight, so that additions do not wait for
// one another and rounding errors grow with n / (8 vectors) only. kWatch: quick steps, and the
// careful ones again if there was a NaN.
template <class Op, bool kWatch, class T>
LAMINA_INLINE T reduce_run(const T* s, int64_t n) {
  using V = typename VectorOf<T>::type;
  constexpr int64_t kLanes = kReadBytes / static_cast<int64_t>(sizeof(T)), kFlight = 8;
  auto join = [](auto a, auto b) {
    if constexpr (kWatch) return Op::quick(a, b);
    return Op::combine(a, b);
  };
  T result = s[0];
  int64_t i = 1;
  if (n >= kLanes) {
    V a[kFlight];
    [[maybe_unused]] NanSeen<T> nans;
    a[0] = vector_at<V>(s);
    i = kLanes;
    if (n >= kFlight * kLanes) {
      LAMINA_UNROLL
      for (int k = 0; k < kFlight; ++k) a[k] = vector_at<V>(s + k * kLanes);
      if constexpr (kWatch) {
        LAMINA_UNROLL
        for (int k = 0; k < kFlight; k += 2) nans.see(a[k], a[k + 1]);
      }
      for (i = kFlight * kLanes; i + kFlight * kLanes <= n; i += kFlight * kLanes) {
        LAMINA_UNROLL
        for (int k = 0; k < kFlight; k += 2) {
          V x = vector_at<V>(s + i + k * kLanes), y = vector_at<V>(s + i + (k + 1) * kLanes);
          if constexpr (kWatch) nans.see(x, y);
          a[k] = join(a[k], x);
          a[k + 1] = join(a[k + 1], y);
        }
      }
      LAMINA_UNROLL
      for (int width = kFlight / 2; width > 0; width /= 2)
        for (int k = 0; k < width; ++k) a[k] = join(a[k], a[k + width]);
    }
    if constexpr (kWatch) {
      if (nans.any()) return reduce_run<Op, false>(s, n);
    }
    for (; i + kLanes <= n; i += kLanes) a[0] = Op::combine(a[0], vector_at<V>(s + i));
    result = across<Op, T>(a[0]);
  }
  for (; i < n; ++i) result = Op::combine(result, s[i]);
  return result;
}

// Whether reductions by Op over T watch for NaNs apart.
template <class Op, class T>
inline constexpr bool kWatches = Traits<T>::floating&& requires(T x) {
  Op::quick(x, x);
};

template <class Op, class T>
LAMINA_LOOP void reduce_rows_loop(void* acc, const void* src, int64_t m, int64_t n) {
  auto* a = static_cast<T*>(acc);
  auto* s = static_cast<const T*>(src);
  if (n <= 0) return;
  for (int64_t i = 0; i < m; ++i)
    a[i] = Op::combine(a[i], reduce_run<Op, kWatches<Op, T>>(s + i * n, n));
}

// acc[j] with rows 0 .. kRows - 1 of s, pairwise.
template <class Op, int kRows, class T>
LAMINA_INLINE void reduce_cols_step(T* acc, const T* s, int64_t n) {
  constexpr int64_t kLanes = kVectorBytes / static_cast<int64_t>(sizeof(T));
  auto merged = [](auto at, const T* p, [[maybe_unused]] int64_t n) {
    if constexpr (kRows == 1) return at(p);
    if constexpr (kRows == 4) {
      return Op::combine(Op::combine(at(p), at(p + n)), Op::combine(at(p + 2 * n), at(p + 3 * n)));
    }
  };
  using V = typename VectorOf<T, kVectorBytes>::type;
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    auto v = Op::combine(vector_at<V>(acc + j),
                         merged([](const T* p) { return vector_at<V>(p); }, s + j, n));
    __builtin_memcpy(acc + j, &v, sizeof v);
  }
  for (; j < n; ++j) acc[j] = Op::combine(acc[j], merged([](const T* p) { return *p; }, s + j, n));
}

template <class Op, class T>
LAMINA_LOOP void reduce_cols_loop(void* acc, const void* src, int64_t m, int64_t n) {
  auto* a = static_cast<T*>(acc);
  auto* s = static_cast<const T*>(src);
  int64_t i = 0;
  for (; i + 4 <= m; i += 4, s += 4 * n) reduce_cols_step<Op, 4>(a, s, n);
  for (; i < m; ++i, s += n) reduce_cols_step<Op, 1>(a, s, n);
}

// ---- complex64
// -----------------------------------------------------------------------------------

struct ComplexSum {
  LAMINA_INLINE static C64 combine(C64 a, C64 b) { return a + b; }
};
struct ComplexProduct {
  LAMINA_INLINE static C64 combine(C64 a, C64 b) { return a * b; }
};
struct ComplexMin {
  LAMINA_INLINE static C64 combine(C64 a, C64 b) { return minimum(a, b); }
};
struct ComplexMax {
  LAMINA_INLINE static C64 combine(C64 a, C64 b) { return maximum(a, b); }
};
template <class Op>
LAMINA_LOOP void reduce_rows_complex(void* acc, const void* src, int64_t m, int64_t n) {
  auto* a = static_cast<C64*>(acc);
  auto* s = static_cast<const C64*>(src);
  if (n <= 0) return;
  for (int64_t i = 0; i < m; ++i, s += n) {
    C64 even = s[0], odd = n > 1 ? s[1] : s[0];
    for (int64_t j = 2; j + 1 < n; j += 2) {
      even = Op::combine(even, s[j]);
      odd = Op::combine(odd, s[j + 1]);
    }
    if (n > 1) even = Op::combine(even, odd);
    if (n > 2 && n % 2 == 1) even = Op::combine(even, s[n - 1]);
    a[i] = Op::combine(a[i], even);
  }
}
template <class Op>
LAMINA_LOOP void reduce_cols_complex(void* acc, const void* src, int64_t m, int64_t n) {
  auto* a = static_cast<C64*>(acc);
  auto* s = static_cast<const C64*>(src);
  for (int64_t i = 0; i < m; ++i, s += n) {
    for (int64_t j = 0; j < n; ++j) a[j] = Op::combine(a[j], s[j]);
  }
}

// ---- Positions of extremes
// -----------------------------------------------------------------------

// Whether v takes the place of the best so far: strictly better, or the first NaN.
template <bool kLargest, class T>
LAMINA_INLINE bool better(T v, T best) {
  bool beats = kLargest ? v > best : v < best;
  return beats | ((v != v) & (best == best));
}
template <class T>
LAMINA_INLINE bool same(T a, T b) {
  return (a == b) | ((a != a) & (b != b));
}

// The extreme first, by vectors; its position after, and only where it is needed.
template <bool kLargest, class T>
LAMINA_LOOP void arg_rows_loop(void* best, uint32_t* index, const void* src, int64_t base,
                               int64_t m, int64_t n) {
  constexpr int64_t kRun = 64;
  auto* b = static_cast<T*>(best);
  auto* s = static_cast<const T*>(src);
  if (n <= 0) return;
  for (int64_t i = 0; i < m; ++i, s += n) {
    T value;
    if constexpr (kLargest) value = reduce_run<Max, kWatches<Max, T>>(s, n);
    if constexpr (!kLargest) value = reduce_run<Min, kWatches<Min, T>>(s, n);
    if (!better<kLargest>(value, b[i])) continue;
    int64_t j = 0;
    for (; j + kRun <= n; j += kRun) {
      T found = 0;
      LAMINA_LANES
      for (int64_t k = 0; k < kRun; ++k) found = same(s[j + k], value) ? T{1} : found;
      if (found != 0) break;
    }
    while (!same(s[j], value)) ++j;
    b[i] = value;
    index[i] = static_cast<uint32_t>(base + j);
  }
}
template <bool kLargest, class T>
LAMINA_LOOP void arg_cols_loop(void* best, uint32_t* index, const void* src, int64_t base,
                               int64_t m, int64_t n) {
  auto* b = static_cast<T*>(best);
  auto* s = static_cast<const T*>(src);
  for (int64_t i = 0; i < m; ++i, s += n) {
    auto position = static_cast<uint32_t>(base + i);
    LAMINA_LANES
    for (int64_t j = 0; j < n; ++j) {
      bool take = better<kLargest>(s[j], b[j]);
      b[j] = take ? s[j] : b[j];
      index[j] = take ? position : index[j];
    }
  }
}
template <bool kLargest, bool kRows>
LAMINA_LOOP void arg_complex(void* best, uint32_t* index, const void* src, int64_t base, int64_t m,
                             int64_t n) {
  auto* b = static_cast<C64*>(best);
  auto* s = static_cast<const C64*>(src);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      C64 v = s[i * n + j];
      int64_t at = kRows ? i : j;
      bool beats = kLargest ? greater(v, b[at]).v : less(v, b[at]).v;
      bool nan = isnan(b[at]).v;
      if (nan || !(beats || isnan(v).v)) continue;
      b[at] = v;
      index[at] = static_cast<uint32_t>(base + (kRows ? j : i));
    }
  }
}

// ---- Table
// ---------------------------------------------------------------------------------------

template <class Op, class T>
void fill_reduce(BlockTable& table, ReduceOp op, int d) {
  table.reduce_rows[static_cast<int>(op)][d] = reduce_rows_loop<Op, T>;
  table.reduce_cols[static_cast<int>(op)][d] = reduce_cols_loop<Op, T>;
}
template <class Op>
void fill_reduce_complex(BlockTable& table, ReduceOp op) {
  table.reduce_rows[static_cast<int>(op)][kIndexOf<Complex>] = reduce_rows_complex<Op>;
  table.reduce_cols[static_cast<int>(op)][kIndexOf<Complex>] = reduce_cols_complex<Op>;
}
template <class T>
void fill_args(BlockTable& table, int d) {
  table.arg_rows[0][d] = arg_rows_loop<false, T>;
  table.arg_rows[1][d] = arg_rows_loop<true, T>;
  table.arg_cols[0][d] = arg_cols_loop<false, T>;
  table.arg_cols[1][d] = arg_cols_loop<true, T>;
}
template <class T>
void fill_reductions_of(BlockTable& table) {
  constexpr int d = kIndexOf<T>;
  // Sums and products of integers wrap, so the unsigned loop serves the signed type too.
  fill_reduce<Sum, typename Traits<T>::Unsigned>(table, ReduceOp::sum, d);
  fill_reduce<Product, typename Traits<T>::Unsigned>(table, ReduceOp::prod, d);
  fill_reduce<Min, T>(table, ReduceOp::min, d);
  fill_reduce<Max, T>(table, ReduceOp::max, d);
  fill_args<T>(table, d);
}
template <class... Ts>
void fill_reductions_of_all(BlockTable& table) {
  (fill_reductions_of<Ts>(table), ...);
}

inline void fill_reductions(BlockTable& table) {
  fill_reductions_of_all<uint8_t, uint16_t, uint32_t, uint64_t, int8_t, int16_t, int32_t, int64_t,
                         float, double>(table);
  // Over bytes that are 0 and 1 the larger is "or" and the smaller is "and".
  constexpr ReduceOp kOrs[] = {ReduceOp::sum, ReduceOp::max, ReduceOp::any};
  constexpr ReduceOp kAnds[] = {ReduceOp::prod, ReduceOp::min, ReduceOp::all};
  for (ReduceOp op : kOrs) {
    fill_reduce<Max, uint8_t>(table, op, kBool_);
  }
  for (ReduceOp op : kAnds) {
    fill_reduce<Min, uint8_t>(table, op, kBool_);
  }
  fill_args<uint8_t>(table, kBool_);
  fill_reduce_complex<ComplexSum>(table, ReduceOp::sum);
  fill_reduce_complex<ComplexProduct>(table, ReduceOp::prod);
  fill_reduce_complex<ComplexMin>(table, ReduceOp::min);
  fill_reduce_complex<ComplexMax>(table, ReduceOp::max);
  table.arg_rows[0][kIndexOf<Complex>] = arg_complex<false, true>;
  table.arg_rows[1][kIndexOf<Complex>] = arg_complex<true, true>;
  table.arg_cols[0][kIndexOf<Complex>] = arg_complex<false, false>;
  table.arg_cols[1][kIndexOf<Complex>] = arg_complex<true, false>;
}

}  // namespace lamina::cpu::LAMINA_ISA_NS

// Text of the loops of gemm_kernels.h. Included once by each gemm_kernels_<isa>.cpp, after it has
// set the target, inside namespace lamina::cpu::<isa>; needs kVecBytes and kMicroRows. No include
// guard: every instruction set gets its own copy. Calls no library function, so that no copy
// compiled for a newer processor can be picked by the linker for an older one.

template <class T>
inline constexpr int kLanes = kVecBytes / static_cast<int>(sizeof(T));

template <class T>
struct Lanes {
  typedef T V __attribute__((vector_size(kVecBytes)));
  typedef T U __attribute__((vector_size(kVecBytes), aligned(alignof(T)), may_alias));
};

template <class T>
struct ComputeOf {
  using type = T;
};
template <>
struct ComputeOf<float16_t> {
  using type = float;
};
template <>
struct ComputeOf<bfloat16_t> {
  using type = float;
};
template <>
struct ComputeOf<int8_t> {
  using type = uint32_t;
};
template <>
struct ComputeOf<uint8_t> {
  using type = uint32_t;
};
template <>
struct ComputeOf<bool> {
  using type = uint32_t;
};
template <>
struct ComputeOf<int16_t> {
  using type = uint32_t;
};
template <>
struct ComputeOf<uint16_t> {
  using type = uint32_t;
};
template <>
struct ComputeOf<int32_t> {
  using type = uint32_t;
};
template <>
struct ComputeOf<int64_t> {
  using type = uint64_t;
};

// kLanes<float> elements widened to float.
template <class S>
inline __attribute__((always_inline)) typename Lanes<float>::V load_float(const S* src) {
  if constexpr (sizeof(S) == 4) {
    return *reinterpret_cast<const typename Lanes<float>::U*>(src);
  } else {
    typename Lanes<float>::V out{};
#if defined(__AVX512F__)
    if constexpr (dtype_of<S> == Dtype::float16)
      return (typename Lanes<float>::V)_mm512_cvtph_ps(
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(src)));
    else
      return (typename Lanes<float>::V)_mm512_slli_epi32(
          _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(src))), 16);
#elif defined(__AVX2__)
    if constexpr (dtype_of<S> == Dtype::float16)
      return (typename Lanes<float>::V)_mm256_cvtph_ps(
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(src)));
    else
      return (typename Lanes<float>::V)_mm256_slli_epi32(
          _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(src))), 16);
#endif
    for (int i = 0; i < kLanes<float>; ++i) out[i] = static_cast<float>(src[i]);
    return out;
  }
}

template <class S>
inline __attribute__((always_inline)) typename Lanes<typename ComputeOf<S>::type>::V load_lanes(
    const S* src) {
  using T = typename ComputeOf<S>::type;
  if constexpr (dtype_of<T> == Dtype::float32) {
    return load_float(src);
  } else if constexpr (sizeof(S) == sizeof(T)) {
    return *reinterpret_cast<const typename Lanes<T>::U*>(src);
  } else {
    typename Lanes<T>::V out{};
    for (int i = 0; i < kLanes<T>; ++i) out[i] = static_cast<T>(src[i]);
    return out;
  }
}

template <class T>
inline __attribute__((always_inline)) void store_lanes(T* dst, typename Lanes<T>::V v) {
  *reinterpret_cast<typename Lanes<T>::U*>(dst) = v;
}

template <class T, int kRows>
void micro(int64_t k, const void* a_packed, const void* b_packed, void* c_out, int64_t ldc,
           bool accumulate) {
  using V = typename Lanes<T>::V;
  constexpr int kCols = 2 * kLanes<T>;
  const T* a = static_cast<const T*>(a_packed);
  const T* b = static_cast<const T*>(b_packed);
  T* c = static_cast<T*>(c_out);
  V acc[kRows][2];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) acc[i][0] = acc[i][1] = V{};
  for (int64_t p = 0; p < k; ++p, a += kRows, b += kCols) {
    V b0 = *reinterpret_cast<const V*>(b);
    V b1 = *reinterpret_cast<const V*>(b + kLanes<T>);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      acc[i][0] += a[i] * b0;
      acc[i][1] += a[i] * b1;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    T* row = c + i * ldc;
    if (accumulate) {
      acc[i][0] += load_lanes(row);
      acc[i][1] += load_lanes(row + kLanes<T>);
    }
    store_lanes(row, acc[i][0]);
    store_lanes(row + kLanes<T>, acc[i][1]);
  }
}

template <class S>
void pack(void* dst_out, const void* src_in, int64_t stride_i, int64_t stride_p, int64_t count,
          int64_t width, int64_t k) {
  using T = typename ComputeOf<S>::type;
  T* dst = static_cast<T*>(dst_out);
  const S* src = static_cast<const S*>(src_in);
  if (stride_i == 1 && count == width && width % kLanes<T> == 0) {
    for (int64_t p = 0; p < k; ++p)
      for (int64_t i = 0; i < width; i += kLanes<T>)
        store_lanes(dst + p * width + i, load_lanes(src + p * stride_p + i));
    return;
  }
  // Reads go along whichever axis is contiguous; the written block stays in the first-level cache.
  constexpr int64_t kStep = 16;
  for (int64_t p0 = 0; p0 < k; p0 += kStep) {
    int64_t p1 = p0 + kStep < k ? p0 + kStep : k;
    if (stride_i == 1) {
      for (int64_t p = p0; p < p1; ++p)
        for (int64_t i = 0; i < count; ++i)
          dst[p * width + i] = static_cast<T>(src[p * stride_p + i]);
    } else {
      for (int64_t i = 0; i < count; ++i)
        for (int64_t p = p0; p < p1; ++p)
          dst[p * width + i] = static_cast<T>(src[i * stride_i + p * stride_p]);
    }
    for (int64_t p = p0; p < p1; ++p)
      for (int64_t i = count; i < width; ++i) dst[p * width + i] = T{};
  }
}

template <class T>
inline __attribute__((always_inline)) T sum_lanes(typename Lanes<T>::V v) {
  T total = 0;
  for (int i = 0; i < kLanes<T>; ++i) total += v[i];
  return total;
}

// kRows rows of x against kCols columns of b at a time.
template <class S, int kRows, int kCols>
inline __attribute__((always_inline)) void dot_tile(int64_t k, const typename ComputeOf<S>::type* x,
                                                    int64_t ldx, const S* b, int64_t ldb,
                                                    typename ComputeOf<S>::type* y, int64_t ldy) {
  using T = typename ComputeOf<S>::type;
  using V = typename Lanes<T>::V;
  // One row has too few independent sums to hide the latency of an addition.
  constexpr int kChains = kRows * kCols >= 8 ? 1 : 2;
  V acc[kChains][kRows][kCols];
#pragma GCC unroll 16
  for (int h = 0; h < kChains; ++h)
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
      for (int j = 0; j < kCols; ++j) acc[h][r][j] = V{};
  int64_t p = 0;
  for (; p + kChains * kLanes<T> <= k; p += kChains * kLanes<T>) {
#pragma GCC unroll 16
    for (int h = 0; h < kChains; ++h) {
      V xs[kRows];
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) xs[r] = load_lanes(x + r * ldx + p + h * kLanes<T>);
#pragma GCC unroll 16
      for (int j = 0; j < kCols; ++j) {
        V bv = load_lanes(b + j * ldb + p + h * kLanes<T>);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) acc[h][r][j] += xs[r] * bv;
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int j = 0; j < kCols; ++j) {
      V v = acc[0][r][j];
      if constexpr (kChains == 2) v += acc[1][r][j];
      T total = sum_lanes<T>(v);
      for (int64_t q = p; q < k; ++q) total += x[r * ldx + q] * static_cast<T>(b[j * ldb + q]);
      y[r * ldy + j] = total;
    }
  }
}

template <class S, int kRows>
void dot_rows(int64_t n, int64_t k, const typename ComputeOf<S>::type* x, int64_t ldx, const S* b,
              int64_t ldb, typename ComputeOf<S>::type* y, int64_t ldy) {
  constexpr int kCols = kRows == 8 ? 2 : 4;  // as many sums as there are registers for
  int64_t j = 0;
  for (; j + kCols <= n; j += kCols)
    dot_tile<S, kRows, kCols>(k, x, ldx, b + j * ldb, ldb, y + j, ldy);
  for (; j < n; ++j) dot_tile<S, kRows, 1>(k, x, ldx, b + j * ldb, ldb, y + j, ldy);
}

// Adds kDepth rows of b, scaled, to kRows rows of y, which stay in the first-level cache.
template <class S, int kRows, int kDepth>
inline __attribute__((always_inline)) void axpy_tile(int64_t n,
                                                     const typename ComputeOf<S>::type* x,
                                                     int64_t ldx, const S* b, int64_t ldb,
                                                     typename ComputeOf<S>::type* y, int64_t ldy,
                                                     bool first) {
  using T = typename ComputeOf<S>::type;
  using V = typename Lanes<T>::V;
  int64_t j = 0;
  for (; j + kLanes<T> <= n; j += kLanes<T>) {
    V acc[kRows];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) acc[r] = first ? V{} : load_lanes(y + r * ldy + j);
#pragma GCC unroll 16
    for (int d = 0; d < kDepth; ++d) {
      V bv = load_lanes(b + d * ldb + j);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) acc[r] += x[r * ldx + d] * bv;
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) store_lanes(y + r * ldy + j, acc[r]);
  }
  for (; j < n; ++j)
    for (int r = 0; r < kRows; ++r) {
      T total = first ? T{} : y[r * ldy + j];
      for (int d = 0; d < kDepth; ++d) total += x[r * ldx + d] * static_cast<T>(b[d * ldb + j]);
      y[r * ldy + j] = total;
    }
}

template <class S, int kRows>
void axpy_rows(int64_t n, int64_t k, const typename ComputeOf<S>::type* x, int64_t ldx, const S* b,
               int64_t ldb, typename ComputeOf<S>::type* y, int64_t ldy) {
  int64_t p = 0;
  for (; p + 8 <= k; p += 8)
    axpy_tile<S, kRows, 8>(n, x + p, ldx, b + p * ldb, ldb, y, ldy, p == 0);
  for (; p < k; ++p) axpy_tile<S, kRows, 1>(n, x + p, ldx, b + p * ldb, ldb, y, ldy, p == 0);
}

template <class S, bool kDot>
void skinny(int64_t rows, int64_t n, int64_t k, const void* x_in, int64_t ldx, const void* b_in,
            int64_t ldb, void* y_out, int64_t ldy) {
  using T = typename ComputeOf<S>::type;
  const T* x = static_cast<const T*>(x_in);
  const S* b = static_cast<const S*>(b_in);
  T* y = static_cast<T*>(y_out);
  auto run = [&]<int kRows>() {
    if constexpr (kDot) {
      dot_rows<S, kRows>(n, k, x, ldx, b, ldb, y, ldy);
    } else {
      axpy_rows<S, kRows>(n, k, x, ldx, b, ldb, y, ldy);
    }
    x += kRows * ldx;
    y += kRows * ldy;
    rows -= kRows;
  };
  while (rows >= 8) run.template operator()<8>();
  if (rows >= 4) run.template operator()<4>();
  if (rows >= 2) run.template operator()<2>();
  if (rows >= 1) run.template operator()<1>();
}

template <class S>
void widen(void* dst_out, const void* src_in, int64_t n) {
  float* dst = static_cast<float*>(dst_out);
  const S* src = static_cast<const S*>(src_in);
  int64_t i = 0;
  for (; i + kLanes<float> <= n; i += kLanes<float>) store_lanes(dst + i, load_float(src + i));
  for (; i < n; ++i) dst[i] = static_cast<float>(src[i]);
}

template <class S>
void narrow(void* dst_out, const void* src_in, int64_t n) {
  S* dst = static_cast<S*>(dst_out);
  const float* src = static_cast<const float*>(src_in);
  int64_t i = 0;
#if defined(__AVX512F__)
  if constexpr (dtype_of<S> == Dtype::float16) {
    for (; i + 16 <= n; i += 16)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst + i),
                          _mm512_cvtps_ph(_mm512_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
  }
#elif defined(__AVX2__)
  if constexpr (dtype_of<S> == Dtype::float16) {
    for (; i + 8 <= n; i += 8)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(dst + i),
                       _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
  }
#endif
  for (; i < n; ++i) dst[i] = static_cast<S>(src[i]);
}

template <class T, int... kRows>
void fill_micro(GemmKernels& table, int index, std::integer_sequence<int, kRows...>) {
  ((table.micro[index][kRows + 1] = micro<T, kRows + 1>), ...);
  table.micro_cols[index] = 2 * kLanes<T>;
}

template <class S>
void fill_dtype(GemmKernels& table) {
  int d = static_cast<int>(dtype_of<S>);
  table.pack[d] = pack<S>;
  if constexpr (dtype_of<S> >= Dtype::float16) {
    table.dot[d] = skinny<S, true>;
    table.axpy[d] = skinny<S, false>;
  }
  if constexpr (dtype_of<S> >= Dtype::float16 && sizeof(S) <= 4) {
    table.widen[d] = widen<S>;
    table.narrow[d] = narrow<S>;
  }
}

template <class... S>
void fill_dtypes(GemmKernels& table) {
  (fill_dtype<S>(table), ...);
}

void fill_kernels(GemmKernels& table) {
  using Rows = std::make_integer_sequence<int, kMicroRows>;
  table.micro_rows = kMicroRows;
  fill_micro<float>(table, 0, Rows{});
  fill_micro<double>(table, 1, Rows{});
  fill_micro<uint32_t>(table, 2, Rows{});
  fill_micro<uint64_t>(table, 3, Rows{});
  fill_dtypes<bool, uint8_t, uint16_t, uint32_t, uint64_t, int8_t, int16_t, int32_t, int64_t,
              float16_t, bfloat16_t, float, double>(table);
}

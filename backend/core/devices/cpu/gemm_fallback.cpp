#include "devices/cpu/gemm_fallback.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/small_vector.h"
#include "devices/cpu/scratch.h"

namespace lamina::cpu {

namespace avx512 {
void fill(GemmKernels& table);
}
namespace avx2 {
void fill(GemmKernels& table);
}
namespace baseline {
void fill(GemmKernels& table);
}

namespace {

GemmKernels choose_kernels() {
  GemmKernels table{};
  const char* wish = std::getenv("LAMINA_ISA");
  auto allowed = [&](const char* isa) { return !wish || !*wish || !std::strcmp(wish, isa); };
#if defined(__x86_64__)
  if (allowed("avx512") && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    avx512::fill(table);
    return table;
  }
  if (allowed("avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    avx2::fill(table);
    return table;
  }
#endif
  (void)allowed;
  baseline::fill(table);
  return table;
}

// A packed block of b is read from the second-level cache, one micro panel of it from the first.
constexpr int64_t kBlockBytes = 1024;  // of one micro panel's lane: depth * itemsize
constexpr int64_t kBlockRowBytes = 384 << 10;
constexpr int64_t kBlockColBytes = 2 << 20;

struct Blocking {
  int64_t rows, cols, depth;
};

Blocking blocking(int64_t itemsize, int micro_rows, int micro_cols) {
  Blocking out;
  out.depth = kBlockBytes / itemsize;
  out.rows = std::max<int64_t>(1, kBlockRowBytes / itemsize / out.depth / micro_rows) * micro_rows;
  out.cols = kBlockColBytes / itemsize / out.depth / micro_cols * micro_cols;
  return out;
}

// One packed block of a against one packed block of b. Rows are dealt evenly over the micro panels
// (`starts` has one entry more than there are panels).
template <class T>
void multiply_blocks(const GemmKernels& kernels, int index, const T* a, const T* b,
                     const int* starts, int panels, int64_t cols, int64_t depth, T* c, int64_t ldc,
                     bool accumulate) {
  const int64_t nr = kernels.micro_cols[index];
  T tile[kMaxMicroRows * 64];
  for (int64_t j = 0; j < cols; j += nr) {
    const T* b_panel = b + j * depth;
    int64_t width = std::min(nr, cols - j);
    for (int i = 0; i < panels; ++i) {
      int rows = starts[i + 1] - starts[i];
      const T* a_panel = a + starts[i] * depth;
      T* out = c + starts[i] * ldc + j;
      MicroLoop loop = kernels.micro[index][rows];
      if (width == nr) {
        loop(depth, a_panel, b_panel, out, ldc, accumulate);
        continue;
      }
      loop(depth, a_panel, b_panel, tile, nr, false);
      for (int r = 0; r < rows; ++r)
        for (int64_t q = 0; q < width; ++q)
          out[r * ldc + q] = accumulate ? out[r * ldc + q] + tile[r * nr + q] : tile[r * nr + q];
    }
  }
}

template <class T>
void gemm_blocked(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, T* c,
                  int64_t ldc, bool accumulate) {
  const GemmKernels& kernels = gemm_kernels();
  const int index = gemm_compute_index(dtype_of<T>);
  const int64_t nr = kernels.micro_cols[index];
  const Blocking block = blocking(sizeof(T), kernels.micro_rows, static_cast<int>(nr));
  const PackLoop pack_a = kernels.pack[static_cast<int>(a.dtype)];
  const PackLoop pack_b = kernels.pack[static_cast<int>(b.dtype)];
  const int64_t col_block = std::min(block.cols, (n + nr - 1) / nr * nr);
  const int64_t depth_block = std::min(block.depth, k);
  Scratch a_packed(std::min(block.rows, m) * depth_block * int64_t{sizeof(T)});
  Scratch b_packed(col_block * depth_block * int64_t{sizeof(T)});
  for (int64_t j0 = 0; j0 < n; j0 += block.cols) {
    int64_t cols = std::min(block.cols, n - j0);
    for (int64_t p0 = 0; p0 < k; p0 += block.depth) {
      int64_t depth = std::min(block.depth, k - p0);
      for (int64_t j = 0; j < cols; j += nr)
        pack_b(b_packed.as<T>() + j * depth, b.at(p0, j0 + j), b.col_stride, b.row_stride,
               std::min(nr, cols - j), nr, depth);
      for (int64_t i0 = 0; i0 < m; i0 += block.rows) {
        int rows = static_cast<int>(std::min(block.rows, m - i0));
        int panels = (rows + kernels.micro_rows - 1) / kernels.micro_rows;
        SmallVector<int, 64> starts(static_cast<size_t>(panels + 1));
        for (int i = 0; i <= panels; ++i)
          starts[static_cast<size_t>(i)] = static_cast<int>(int64_t{rows} * i / panels);
        for (int i = 0; i < panels; ++i) {
          int first = starts[static_cast<size_t>(i)];
          int count = starts[static_cast<size_t>(i) + 1] - first;
          pack_a(a_packed.as<T>() + first * depth, a.at(i0 + first, p0), a.row_stride, a.col_stride,
                 count, count, depth);
        }
        multiply_blocks<T>(kernels, index, a_packed.as<T>(), b_packed.as<T>(), starts.data(),
                           panels, cols, depth, c + i0 * ldc + j0, ldc, p0 > 0 || accumulate);
      }
    }
  }
}

// Calls f(T{}) with the type products of dtype d are computed in.
template <class F>
void dispatch_compute(Dtype d, F&& f) {
  switch (gemm_compute_index(gemm_compute_dtype(d))) {
    case 0:
      return f(float{});
    case 1:
      return f(double{});
    case 2:
      return f(uint32_t{});
    default:
      return f(uint64_t{});
  }
}

template <class S, class T>
void tiny(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, T* c, int64_t ldc) {
  const S* ap = static_cast<const S*>(a.data);
  const S* bp = static_cast<const S*>(b.data);
  for (int64_t i = 0; i < m; ++i) {
    T* row = c + i * ldc;
    for (int64_t j = 0; j < n; ++j) row[j] = T{};
    for (int64_t p = 0; p < k; ++p) {
      T x = static_cast<T>(ap[i * a.row_stride + p * a.col_stride]);
      const S* bq = bp + p * b.row_stride;
      if (b.col_stride == 1) {
        for (int64_t j = 0; j < n; ++j) row[j] += x * static_cast<T>(bq[j]);
      } else {
        for (int64_t j = 0; j < n; ++j) row[j] += x * static_cast<T>(bq[j * b.col_stride]);
      }
    }
  }
}

void tiny_complex(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, complex64_t* c,
                  int64_t ldc) {
  const complex64_t* ap = static_cast<const complex64_t*>(a.data);
  const complex64_t* bp = static_cast<const complex64_t*>(b.data);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      float re = 0, im = 0;
      for (int64_t p = 0; p < k; ++p) {
        complex64_t x = ap[i * a.row_stride + p * a.col_stride];
        complex64_t y = bp[p * b.row_stride + j * b.col_stride];
        re += x.real() * y.real() - x.imag() * y.imag();
        im += x.real() * y.imag() + x.imag() * y.real();
      }
      c[i * ldc + j] = {re, im};
    }
}

}  // namespace

const GemmKernels& gemm_kernels() {
  static const GemmKernels table = choose_kernels();
  return table;
}

Dtype gemm_compute_dtype(Dtype d) {
  switch (d) {
    case Dtype::float64:
      return Dtype::float64;
    case Dtype::float16:
    case Dtype::bfloat16:
    case Dtype::float32:
      return Dtype::float32;
    case Dtype::int64:
    case Dtype::uint64:
      return Dtype::uint64;
    case Dtype::complex64:
      return Dtype::complex64;
    default:
      return Dtype::uint32;
  }
}

void gemm_own(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, void* c,
              int64_t ldc, bool accumulate) {
  if (m == 0 || n == 0) return;
  dispatch_compute(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    gemm_blocked<T>(m, n, k, a, b, static_cast<T*>(c), ldc, accumulate);
  });
}

void gemm_tiny(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, void* c,
               int64_t ldc) {
  if (a.dtype == Dtype::complex64)
    return tiny_complex(m, n, k, a, b, static_cast<complex64_t*>(c), ldc);
  dispatch(a.dtype, [&](auto zero) {
    using S = decltype(zero);
    if constexpr (dtype_of<S> != Dtype::complex64) {
      dispatch_compute(a.dtype, [&](auto compute_zero) {
        using T = decltype(compute_zero);
        tiny<S, T>(m, n, k, a, b, static_cast<T*>(c), ldc);
      });
    }
  });
}

void gemm_skinny(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, void* c,
                 int64_t ldc) {
  const GemmKernels& kernels = gemm_kernels();
  const Dtype compute = gemm_compute_dtype(a.dtype);
  const int64_t size = itemsize(compute);
  const void* x = a.data;
  int64_t ldx = a.row_stride;
  Scratch copy(a.dtype == compute && a.col_stride == 1 ? 0 : m * k * size);
  if (a.dtype != compute || a.col_stride != 1) {
    PackLoop pack = kernels.pack[static_cast<int>(a.dtype)];
    // Rows of a, one after another: the "lanes" of the packing are the positions along k.
    pack(copy.as<char>(), a.data, a.col_stride, a.row_stride, k, k, m);
    x = copy.as<char>();
    ldx = k;
  }
  const int d = static_cast<int>(b.dtype);
  if (b.row_stride == 1) {
    kernels.dot[d](m, n, k, x, ldx, b.data, b.col_stride, c, ldc);
    return;
  }
  // Rows of y stay in the first-level cache while b streams past.
  const int64_t step = std::max<int64_t>(256, 16384 / (std::min<int64_t>(m, 8) * size));
  for (int64_t j = 0; j < n; j += step)
    kernels.axpy[d](m, std::min(step, n - j), k, x, ldx, b.at(0, j), b.row_stride,
                    static_cast<char*>(c) + j * size, ldc);
}

void store_product(void* dst, Dtype dtype, const void* src, int64_t n) {
  if (ConvertLoop loop = gemm_kernels().narrow[static_cast<int>(dtype)]) return loop(dst, src, n);
  dispatch(dtype, [&](auto zero) {
    using S = decltype(zero);
    if constexpr (sizeof(S) <= 2) {
      for (int64_t i = 0; i < n; ++i)
        static_cast<S*>(dst)[i] = static_cast<S>(static_cast<const uint32_t*>(src)[i]);
    } else {
      std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(S));
    }
  });
}

}  // namespace lamina::cpu

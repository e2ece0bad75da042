#include "ops/matmul/matmul_cpu.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/error.h"
#include "base/thread_pool.h"
#include "devices/cpu/onednn.h"
#include "devices/cpu/scratch.h"
#include "ops/matmul/product.h"

namespace lamina::cpu {
namespace {

// Products of fewer multiplications than this are quicker in plain loops than in a library call.
constexpr int64_t kTinyWork = 600;
// Up to this many rows, b is read once at the speed of memory instead of being packed, where it
// does not fit the second-level cache anyway.
constexpr int64_t kSkinnyRows = 8;
constexpr int64_t kCachedBytes = 1 << 20;
// Work below which waking other threads costs more than it saves (about 20 us of one core).
constexpr int64_t kParallelFlops = 2'000'000;
constexpr int64_t kParallelBytes = 256 << 10;
constexpr int64_t kPanelBytes = 1 << 20;

int64_t round_up(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }

#if LAMINA_ONEDNN
// BLAS' description of a factor: transposed or not, and the distance between its long lines.
struct BlasFactor {
  char trans;
  int64_t ld;
};

// False when neither axis is contiguous, or rows overlap (a broadcast axis).
bool as_blas(const Factor& f, int64_t rows, int64_t cols, BlasFactor* out) {
  if ((f.col_stride == 1 || cols == 1) && (f.row_stride >= cols || rows == 1)) {
    *out = {'N', std::max(rows == 1 ? cols : f.row_stride, cols)};
    return true;
  }
  if ((f.row_stride == 1 || rows == 1) && (f.col_stride >= rows || cols == 1)) {
    *out = {'T', std::max(cols == 1 ? rows : f.col_stride, rows)};
    return true;
  }
  return false;
}

std::string describe(const Block& p) {
  return "matmul: (" + std::to_string(p.m) + ", " + std::to_string(p.k) + ") @ (" +
         std::to_string(p.k) + ", " + std::to_string(p.n) + ")";
}

// Lines of a factor widened to float32, lines `line` apart.
void widen_lines(float* dst, const Factor& f, const BlasFactor& blas, int64_t rows, int64_t cols) {
  const int64_t lines = blas.trans == 'N' ? rows : cols;
  const int64_t length = blas.trans == 'N' ? cols : rows;
  ConvertLoop widen = gemm_kernels().widen[static_cast<int>(f.dtype)];
  for (int64_t i = 0; i < lines; ++i)
    widen(dst + i * length, static_cast<const uint16_t*>(f.data) + i * blas.ld, length);
}

// A 16-bit product through float32: blocks of both factors are widened, so that temporary memory
// stays within the cache.
void product_widened(const OneDnn& lib, const Block& p, const BlasFactor& a, const BlasFactor& b,
                     float* c, int64_t ldc, bool accumulate) {
  constexpr int64_t kElements = 1 << 20;
  const int64_t depth = std::min<int64_t>(p.k, 4096);
  const int64_t cols = std::min(p.n, std::max<int64_t>(64, kElements / depth));
  const int64_t rows = std::min(p.m, std::max<int64_t>(64, kElements / depth));
  Scratch a_wide(rows * depth * 4), b_wide(depth * cols * 4);
  OneThread guard(lib);
  for (int64_t p0 = 0; p0 < p.k; p0 += depth) {
    int64_t kk = std::min(depth, p.k - p0);
    for (int64_t j = 0; j < p.n; j += cols) {
      int64_t nn = std::min(cols, p.n - j);
      widen_lines(b_wide.as<float>(), p.b.from(p0, j), b, kk, nn);
      for (int64_t i = 0; i < p.m; i += rows) {
        int64_t mm = std::min(rows, p.m - i);
        // With one block of rows and one of depth, a stays widened over all blocks of columns.
        if (j == 0 || rows < p.m || depth < p.k)
          widen_lines(a_wide.as<float>(), p.a.from(i, p0), a, mm, kk);
        check_onednn(
            lib.sgemm(a.trans, b.trans, mm, nn, kk, 1.0f, a_wide.as<float>(),
                      a.trans == 'N' ? kk : mm, b_wide.as<float>(), b.trans == 'N' ? nn : kk,
                      p0 > 0 || accumulate ? 1.0f : 0.0f, c + i * ldc + j, ldc),
            describe(p));
      }
    }
  }
}

// False when the library cannot take the product.
bool product_by_library(const Block& p, void* c, int64_t ldc, bool accumulate) {
  const Dtype d = p.a.dtype;
  if (d != Dtype::float32 && d != Dtype::bfloat16 && d != Dtype::float16) return false;
  const OneDnn* lib = onednn();
  BlasFactor a, b;
  if (!lib || !as_blas(p.a, p.m, p.k, &a) || !as_blas(p.b, p.k, p.n, &b)) return false;
  float* out = static_cast<float*>(c);
  const float beta = accumulate ? 1.0f : 0.0f;
  if (d == Dtype::float32) {
    OneThread guard(*lib);
    check_onednn(
        lib->sgemm(a.trans, b.trans, p.m, p.n, p.k, 1.0f, static_cast<const float*>(p.a.data), a.ld,
                   static_cast<const float*>(p.b.data), b.ld, beta, out, ldc),
        describe(p));
  } else if (d == Dtype::bfloat16 && lib->gemm_bf16) {
    OneThread guard(*lib);
    check_onednn(lib->gemm_bf16(a.trans, b.trans, p.m, p.n, p.k, 1.0f, p.a.data, a.ld, p.b.data,
                                b.ld, beta, out, ldc),
                 describe(p));
  } else {
    product_widened(*lib, p, a, b, out, ldc, accumulate);
  }
  return true;
}
#else
bool product_by_library(const Block&, void*, int64_t, bool) { return false; }
#endif

// True for a product of `rows` rows by a large factor of k x n that is better streamed.
bool streams(int64_t rows, int64_t n, int64_t k, Dtype dtype) {
  // 16-bit factors would have to be widened for the library.
  const int64_t always = dtype == Dtype::float32 ? 2 : 4;
  return rows <= always || (rows <= kSkinnyRows && n * k * itemsize(dtype) > kCachedBytes);
}

bool unit_stride(const Factor& f) { return f.row_stride == 1 || f.col_stride == 1; }

// c = a @ b' for few columns: the transposed product, whose result is then turned.
void product_few_columns(const Block& p, void* c, int64_t ldc) {
  const int64_t size = itemsize(gemm_compute_dtype(p.a.dtype));
  if (p.n == 1 && ldc == 1) {
    gemm_skinny(1, p.m, p.k, p.b.transposed(), p.a.transposed(), c, p.m);
    return;
  }
  Scratch turned(p.m * p.n * size);
  gemm_skinny(p.n, p.m, p.k, p.b.transposed(), p.a.transposed(), turned.as<char>(), p.m);
  for (int64_t i = 0; i < p.m; ++i)
    for (int64_t j = 0; j < p.n; ++j)
      std::memcpy(static_cast<char*>(c) + (i * ldc + j) * size,
                  turned.as<char>() + (j * p.m + i) * size, static_cast<size_t>(size));
}

// Real and imaginary parts of a factor apart, row-major.
void split_complex(const Factor& f, int64_t rows, int64_t cols, float* re, float* im) {
  const complex64_t* src = static_cast<const complex64_t*>(f.data);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j) {
      complex64_t v = src[i * f.row_stride + j * f.col_stride];
      re[i * cols + j] = v.real();
      im[i * cols + j] = v.imag();
    }
}

// Four real products of the parts, over stretches of rows and of the summed axis that bound the
// memory they take.
void product_complex(const Block& p, complex64_t* c, int64_t ldc) {
  const int64_t depth = std::min<int64_t>(p.k, 2048), step = std::min<int64_t>(p.m, 512);
  Scratch b_parts(2 * depth * p.n * 4), a_parts(2 * step * depth * 4), sums(2 * step * p.n * 4);
  float *b_re = b_parts.as<float>(), *b_im = b_re + depth * p.n;
  float *a_re = a_parts.as<float>(), *a_im = a_re + step * depth;
  float *c_re = sums.as<float>(), *c_im = c_re + step * p.n;
  for (int64_t p0 = 0; p0 < p.k; p0 += depth) {
    const int64_t kk = std::min(depth, p.k - p0);
    split_complex(p.b.from(p0, 0), kk, p.n, b_re, b_im);
    for (int64_t i0 = 0; i0 < p.m; i0 += step) {
      const int64_t mm = std::min(step, p.m - i0);
      auto add = [&](const float* a, const float* b, float* to, bool accumulate) {
        product({{a, Dtype::float32, kk, 1}, {b, Dtype::float32, p.n, 1}, mm, p.n, kk}, to, p.n,
                accumulate);
      };
      split_complex(p.a.from(i0, p0), mm, kk, a_re, a_im);
      add(a_re, b_re, c_re, false);
      add(a_re, b_im, c_im, false);
      add(a_im, b_re, c_im, true);
      for (int64_t j = 0; j < mm * kk; ++j) a_im[j] = -a_im[j];
      add(a_im, b_im, c_re, true);
      for (int64_t i = 0; i < mm; ++i)
        for (int64_t j = 0; j < p.n; ++j) {
          complex64_t v{c_re[i * p.n + j], c_im[i * p.n + j]};
          complex64_t& to = c[(i0 + i) * ldc + j];
          to = p0 ? to + v : v;
        }
    }
  }
}

}  // namespace

void product(const Block& p, void* c, int64_t ldc, bool accumulate) {
  if (!accumulate && p.m * p.n * p.k <= kTinyWork)
    return gemm_tiny(p.m, p.n, p.k, p.a, p.b, c, ldc);
  if (is_complex(p.a.dtype)) return product_complex(p, static_cast<complex64_t*>(c), ldc);
  if (is_floating(p.a.dtype) && !accumulate) {
    if (streams(p.m, p.n, p.k, p.a.dtype) && unit_stride(p.b))
      return gemm_skinny(p.m, p.n, p.k, p.a, p.b, c, ldc);
    if (streams(p.n, p.m, p.k, p.a.dtype) && unit_stride(p.a))
      return product_few_columns(p, c, ldc);
  }
  if (!product_by_library(p, c, ldc, accumulate))
    gemm_own(p.m, p.n, p.k, p.a, p.b, c, ldc, accumulate);
}

namespace {

// Offsets of one batch item in elements.
struct BatchOffset {
  int64_t a = 0, b = 0;
};

BatchOffset batch_offset(const MatmulPlan& plan, int64_t item) {
  BatchOffset out;
  for (size_t axis = plan.batch.size(); axis-- > 0;) {
    int64_t i = item % plan.batch[axis];
    item /= plan.batch[axis];
    out.a += i * plan.a_batch[axis];
    out.b += i * plan.b_batch[axis];
  }
  return out;
}

Factor factor_a(const MatmulPlan& plan, const void* a) {
  return {a, plan.dtype, plan.a_row, plan.a_col};
}
Factor factor_b(const MatmulPlan& plan, const void* b) {
  return {b, plan.dtype, plan.b_row, plan.b_col};
}

bool same_bits(Dtype compute, Dtype out) {
  return itemsize(compute) == itemsize(out) && is_floating(compute) == is_floating(out);
}

// A product into an array of out_dtype, through temporary memory where that is not what is summed
// in.
void product_to(const Block& p, Dtype compute, Dtype out_dtype, char* out, int64_t ldc) {
  const int64_t out_size = itemsize(out_dtype);
  if (p.m == 0 || p.n == 0) return;
  if (p.k == 0) {
    for (int64_t i = 0; i < p.m; ++i)
      std::memset(out + i * ldc * out_size, 0, static_cast<size_t>(p.n * out_size));
    return;
  }
  if (same_bits(compute, out_dtype)) return product(p, out, ldc);
  const int64_t size = itemsize(compute);
  const int64_t step = std::max<int64_t>(64, 4 * kPanelBytes / (p.n * size));
  Scratch sums(std::min(step, p.m) * p.n * size);
  for (int64_t i = 0; i < p.m; i += step) {
    int64_t rows = std::min(step, p.m - i);
    product({p.a.from(i, 0), p.b, rows, p.n, p.k}, sums.as<char>(), p.n);
    for (int64_t r = 0; r < rows; ++r)
      store_product(out + (i + r) * ldc * out_size, out_dtype, sums.as<char>() + r * p.n * size,
                    p.n);
  }
}

// Merges neighbouring batch axes, and the innermost one into the rows where b is the same for all.
void merge_axes(MatmulPlan& plan) {
  Shape batch;
  Strides a_batch, b_batch;
  for (size_t axis = 0; axis < plan.batch.size(); ++axis) {
    int64_t size = plan.batch[axis], sa = plan.a_batch[axis], sb = plan.b_batch[axis];
    if (size == 1) continue;
    if (!batch.empty() && a_batch.back() == sa * size && b_batch.back() == sb * size) {
      batch.back() *= size;
      a_batch.back() = sa;
      b_batch.back() = sb;
      continue;
    }
    batch.push_back(size);
    a_batch.push_back(sa);
    b_batch.push_back(sb);
  }
  if (!batch.empty() && b_batch.back() == 0 && a_batch.back() == plan.a_row * plan.m) {
    plan.m *= batch.back();
    plan.batch_count /= std::max<int64_t>(1, batch.back());
    batch.pop_back();
    a_batch.pop_back();
    b_batch.pop_back();
  }
  plan.batch = batch;
  plan.a_batch = a_batch;
  plan.b_batch = b_batch;
}

bool worth_splitting(const MatmulPlan& plan) {
  if (thread_count() == 1) return false;
  int64_t bytes = plan.batch_count * itemsize(plan.dtype) * plan.k * std::max(plan.m, plan.n);
  return plan.flops() >= kParallelFlops || bytes >= kParallelBytes;
}

// The summed axis is long and the result small: each piece sums a stretch of it, the stretches are
// added in order.
void matmul_split_depth(const MatmulPlan& plan, const void* a, const void* b, int64_t pieces,
                        char* out) {
  const int64_t count = plan.m * plan.n;
  const int64_t size = itemsize(plan.compute);
  Scratch partial(pieces * count * size);
  char* sums = partial.as<char>();
  const Factor fa = factor_a(plan, a), fb = factor_b(plan, b);
  const int64_t depth = round_up((plan.k + pieces - 1) / pieces, 16);
  parallel_for(pieces, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t p0 = std::min(i * depth, plan.k), p1 = std::min(p0 + depth, plan.k);
      product_to({fa.from(0, p0), fb.from(p0, 0), plan.m, plan.n, p1 - p0}, plan.compute,
                 plan.compute, sums + i * count * size, plan.n);
    }
  });
  auto add = [&](auto zero) {
    using T = decltype(zero);
    T* total = reinterpret_cast<T*>(sums);
    for (int64_t i = 1; i < pieces; ++i)
      for (int64_t j = 0; j < count; ++j) total[j] += total[i * count + j];
  };
  if (plan.compute == Dtype::float64) {
    add(double{});
  } else {
    add(float{});
  }
  store_product(out, plan.out_dtype, sums, count);
}

void matmul_split_columns(const MatmulPlan& plan, const void* a, const void* b, int64_t pieces,
                          char* out) {
  const int64_t width = round_up((plan.n + pieces - 1) / pieces, 32);
  const int64_t per_item = (plan.n + width - 1) / width;
  const int64_t size = itemsize(plan.out_dtype);
  parallel_for(plan.batch_count * per_item, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t item = i / per_item, j = i % per_item * width;
      BatchOffset at = batch_offset(plan, item);
      const int64_t in_size = itemsize(plan.dtype);
      Factor fa = factor_a(plan, static_cast<const char*>(a) + at.a * in_size);
      Factor fb = factor_b(plan, static_cast<const char*>(b) + at.b * in_size).from(0, j);
      product_to({fa, fb, plan.m, std::min(width, plan.n - j), plan.k}, plan.compute,
                 plan.out_dtype, out + (item * plan.m * plan.n + j) * size, plan.n);
    }
  });
}

}  // namespace

MatmulPlan::MatmulPlan(const TensorView& a, const TensorView& b, Dtype out)
    : dtype(a.dtype), out_dtype(out), compute(gemm_compute_dtype(a.dtype)) {
  auto signature = [&] {
    return std::string(name_of(a.dtype)) + to_string(a.shape) + " @ " + name_of(b.dtype) +
           to_string(b.shape);
  };
  if (a.dtype != b.dtype) throw DtypeError("matmul: dtypes differ: " + signature());
  if (out != dtype && !(out == Dtype::float32 && compute == Dtype::float32))
    throw DtypeError("matmul: no " + std::string(name_of(out)) + " result of " + signature());
  const size_t axes = a.shape.size();
  if (axes < 2 || b.shape.size() != axes || a.shape[axes - 1] != b.shape[axes - 2])
    throw InternalError("matmul: shapes do not fit: " + signature());
  m = a.shape[axes - 2];
  k = a.shape[axes - 1];
  n = b.shape[axes - 1];
  // Strides of axes of size 1 mean nothing; these values read as contiguous.
  a_col = k == 1 ? 1 : a.strides[axes - 1];
  a_row = m == 1 ? std::max<int64_t>(k, 1) : a.strides[axes - 2];
  b_col = n == 1 ? 1 : b.strides[axes - 1];
  b_row = k == 1 ? std::max<int64_t>(n, 1) : b.strides[axes - 2];
  if (n == 1 && b_row != 1) b_col = 1;
  for (size_t axis = 0; axis + 2 < axes; ++axis) {
    if (a.shape[axis] != b.shape[axis])
      throw InternalError("matmul: batch axes do not fit: " + signature());
    batch.push_back(a.shape[axis]);
    a_batch.push_back(a.strides[axis]);
    b_batch.push_back(b.strides[axis]);
    batch_count *= a.shape[axis];
  }
  if (batch_count > 0) merge_axes(*this);
}

int64_t MatmulPlan::panel_rows() const {
  const int64_t total = rows();
  int64_t fit = std::max<int64_t>(64, kPanelBytes / (std::max<int64_t>(n, 1) * itemsize(compute)));
  int64_t share = round_up((total + thread_count() - 1) / thread_count(), 16);
  return std::max<int64_t>(1, std::min({fit, share, std::max<int64_t>(total, 1)}));
}

namespace {

// run_panel with the result in `result` instead of the plan's dtype.
void panel_as(const MatmulPlan& plan, Dtype result, const void* a, const void* b, int64_t row0,
              int64_t rows, void* out, int64_t out_row_stride) {
  const int64_t in_size = itemsize(plan.dtype), out_size = itemsize(result);
  int64_t item = row0 / plan.m, i = row0 % plan.m;
  char* to = static_cast<char*>(out);
  BatchOffset at = batch_offset(plan, item);
  for (;;) {
    int64_t count = std::min(rows, plan.m - i);
    Factor fa = factor_a(plan, static_cast<const char*>(a) + at.a * in_size).from(i, 0);
    Factor fb = factor_b(plan, static_cast<const char*>(b) + at.b * in_size);
    product_to({fa, fb, count, plan.n, plan.k}, plan.compute, result, to, out_row_stride);
    to += count * out_row_stride * out_size;
    rows -= count;
    i = 0;
    ++item;
    if (rows <= 0) return;
    if (item % plan.batch.back() == 0) {
      at = batch_offset(plan, item);
    } else {
      at.a += plan.a_batch.back();
      at.b += plan.b_batch.back();
    }
  }
}

}  // namespace

void run_panel(const MatmulPlan& plan, const void* a, const void* b, int64_t row0, int64_t rows,
               void* out, int64_t out_row_stride) {
  if (rows <= 0 || plan.n == 0) return;
  if (same_bits(plan.compute, plan.out_dtype) || rows <= plan.m || plan.k == 0)
    return panel_as(plan, plan.out_dtype, a, b, row0, rows, out, out_row_stride);
  // Many small products: rounded together.
  const int64_t size = itemsize(plan.compute), out_size = itemsize(plan.out_dtype);
  const int64_t step = std::max<int64_t>(64, 4 * kPanelBytes / (plan.n * size));
  Scratch sums(std::min(step, rows) * plan.n * size);
  for (int64_t r = 0; r < rows; r += step) {
    const int64_t count = std::min(step, rows - r);
    panel_as(plan, plan.compute, a, b, row0 + r, count, sums.as<char>(), plan.n);
    char* to = static_cast<char*>(out) + r * out_row_stride * out_size;
    if (out_row_stride == plan.n) {
      store_product(to, plan.out_dtype, sums.as<char>(), count * plan.n);
      continue;
    }
    for (int64_t i = 0; i < count; ++i)
      store_product(to + i * out_row_stride * out_size, plan.out_dtype,
                    sums.as<char>() + i * plan.n * size, plan.n);
  }
}

void matmul(const TensorView& a, const TensorView& b, const TensorView& c) {
  const MatmulPlan plan(a, b, c.dtype);
  const int64_t rows = plan.rows();
  if (rows == 0 || plan.n == 0) return;
  char* out = c.as<char>();
  if (plan.k == 0 || !worth_splitting(plan)) {
    run_panel(plan, a.data, b.data, 0, rows, out, plan.n);
    return;
  }
  const int64_t threads = thread_count();
  // Two pieces a thread let a fast core help a slow one; more would repeat the packing of b.
  const int64_t pieces =
      rows >= threads * 512 || plan.batch_count >= 4 * threads ? 2 * threads : threads;
  const bool sums_split = is_floating(plan.compute) && plan.batch_count == 1 &&
                          plan.k >= 256 * pieces && plan.m * plan.n <= 128 * 1024;
  if (rows >= pieces * 48 || plan.batch_count >= pieces) {
    const int64_t size = itemsize(plan.out_dtype) * plan.n;
    int64_t share = (rows + pieces - 1) / pieces;
    if (plan.m >= 48) share = round_up(share, 16);
    if (!sums_split || rows >= pieces * 512) {
      parallel_for((rows + share - 1) / share, 1, [&](int64_t begin, int64_t end, int) {
        int64_t first = begin * share, last = std::min(end * share, rows);
        run_panel(plan, a.data, b.data, first, last - first, out + first * size, plan.n);
      });
      return;
    }
  }
  if (plan.n >= pieces * 48 && !(sums_split && plan.n < pieces * 512))
    return matmul_split_columns(plan, a.data, b.data, pieces, out);
  if (sums_split) return matmul_split_depth(plan, a.data, b.data, pieces, out);
  const int64_t share = (rows + threads - 1) / threads;
  const int64_t size = itemsize(plan.out_dtype) * plan.n;
  parallel_for(rows, share, [&](int64_t begin, int64_t end, int) {
    run_panel(plan, a.data, b.data, begin, end - begin, out + begin * size, plan.n);
  });
}

}  // namespace lamina::cpu

#include "ops/quantized/coded_cpu.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/thread_pool.h"
#include "devices/cpu/scratch.h"
#include "ops/copy/copy_cpu.h"
#include "ops/matmul/product.h"

namespace lamina::cpu {
namespace {

// Up to this many rows of x, codes are decoded in registers for each eight of them; beyond, it pays
// to decode a block into the cache once and to multiply that.
constexpr int64_t kDotRows = 80;
// Rows of codes whose scales are widened together.
constexpr int64_t kScaleRows = 64;
// A decoded block stays in the second-level cache.
constexpr int64_t kBlockElements = 192 << 10;
constexpr int64_t kBlockDepth = 1024;
// Multiplications below which waking other threads costs more than it saves.
constexpr int64_t kParallelWork = 1'000'000;

struct ScaleTables {
  float e8m0[256], e4m3[256];
  ScaleTables() {
    for (int i = 0; i < 256; ++i) {
      e8m0[i] = std::ldexp(1.0f, i - 127);
      const int magnitude = i & 0x7f, fraction = magnitude & 7, exponent = magnitude >> 3;
      float v = exponent ? std::ldexp(static_cast<float>(8 + fraction), exponent - 10)
                         : std::ldexp(static_cast<float>(fraction), -9);
      if (magnitude == 0x7f) v = std::numeric_limits<float>::quiet_NaN();
      e4m3[i] = i & 0x80 ? -v : v;
    }
  }
};

const float* table_of(int64_t group) {
  static const ScaleTables tables;
  return group == 16 ? tables.e4m3 : tables.e8m0;
}

// A rectangle of one dtype as rows of float in row-major order.
void widen_rows(const TensorView& from, const char* data, int64_t rows, int64_t columns,
                const float* table, float* to) {
  const int64_t size = itemsize(from.dtype), rank = static_cast<int64_t>(from.shape.size());
  const int64_t row = from.strides[static_cast<size_t>(rank - 2)],
                column = from.strides[static_cast<size_t>(rank - 1)];
  if (table) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t g = 0; g < columns; ++g)
        to[i * columns + g] = table[static_cast<uint8_t>(data[i * row + g * column])];
    return;
  }
  const ConvertLoop widen = gemm_kernels().widen[static_cast<int>(from.dtype)];
  if (widen && column == 1) {
    for (int64_t i = 0; i < rows; ++i) widen(to + i * columns, data + i * row * size, columns);
    return;
  }
  dispatch(from.dtype, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (dtype_of<T> >= Dtype::float16 && dtype_of<T> <= Dtype::float64) {
      const T* src = reinterpret_cast<const T*>(data);
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t g = 0; g < columns; ++g)
          to[i * columns + g] = static_cast<float>(src[i * row + g * column]);
    }
  });
}

// One matrix of codes, from which rectangles are taken.
class Matrix {
 public:
  Matrix(const CodedMatrices& w, int64_t number)
      : w_(w),
        words_(w.words.as<uint32_t>() + matrix_offset(w.words, number)),
        scales_(at(w.scales, number)),
        biases_(w.biases.data ? at(w.biases, number) : nullptr) {
    const size_t row = w.words.shape.size() - 2;
    words_row_ = w.words.strides[row];
    in_place_ = unit(w.scales) &&
                (!biases_ || (unit(w.biases) && w.biases.strides[row] == w.scales.strides[row]));
  }

  // Bytes of scratch that `rows` rows of `groups` groups need for their scales.
  static int64_t scratch_bytes(int64_t rows, int64_t groups) { return rows * groups * 8; }

  CodedRows take(int64_t row, int64_t rows, int64_t group, int64_t groups, float* scratch) const {
    CodedRows out;
    out.words = words_ + row * words_row_ + group * w_.group * w_.bits / 32;
    out.words_row = words_row_;
    out.groups = groups;
    out.group = w_.group;
    const char* scales = from(w_.scales, scales_, row, group);
    const char* biases = biases_ ? from(w_.biases, biases_, row, group) : nullptr;
    if (in_place_) {
      out.scales = reinterpret_cast<const float*>(scales);
      out.biases = reinterpret_cast<const float*>(biases);
      out.scales_row = w_.scales.strides[w_.scales.shape.size() - 2];
      return out;
    }
    const float* table = w_.scales.dtype == Dtype::uint8 ? table_of(w_.group) : nullptr;
    widen_rows(w_.scales, scales, rows, groups, table, scratch);
    if (biases) widen_rows(w_.biases, biases, rows, groups, nullptr, scratch + rows * groups);
    out.scales = scratch;
    out.biases = biases ? scratch + rows * groups : nullptr;
    out.scales_row = groups;
    return out;
  }

 private:
  static bool unit(const TensorView& v) {
    return v.dtype == Dtype::float32 && (v.strides[v.shape.size() - 1] == 1 || v.shape.back() == 1);
  }
  static const char* at(const TensorView& v, int64_t number) {
    return v.as<char>() + matrix_offset(v, number) * itemsize(v.dtype);
  }
  static const char* from(const TensorView& v, const char* data, int64_t row, int64_t group) {
    const size_t rank = v.shape.size();
    return data + (row * v.strides[rank - 2] + group * v.strides[rank - 1]) * itemsize(v.dtype);
  }

  const CodedMatrices& w_;
  const uint32_t* words_;
  const char *scales_, *biases_;
  int64_t words_row_;
  bool in_place_;
};

// Words of a row must follow one another; a view in which they do not is copied.
struct Packed {
  explicit Packed(const CodedMatrices& w)
      : matrices(w), copy(needs_copy(w.words) ? w.words.size() * int64_t{sizeof(uint32_t)} : 0) {
    if (!needs_copy(w.words)) return;
    matrices.words = {copy.as<void>(), Dtype::uint32, w.words.shape,
                      row_major_strides(w.words.shape)};
    cpu::copy(w.words, matrices.words);
  }
  static bool needs_copy(const TensorView& v) {
    return v.shape.back() > 1 && v.strides.back() != 1;
  }

  CodedMatrices matrices;
  Scratch copy;
};

// Rows of x as float.
class Rows {
 public:
  Rows(const TensorView& x, const ProductItem& item)
      : wide_(x.dtype == Dtype::float32 && (x.strides.back() == 1 || x.shape.back() == 1)
                  ? 0
                  : item.rows * x.shape.back() * int64_t{sizeof(float)}) {
    const char* from = x.as<char>() + item.a * itemsize(x.dtype);
    const int64_t depth = x.shape.back();
    if (x.dtype == Dtype::float32 && (x.strides.back() == 1 || depth == 1)) {
      data_ = reinterpret_cast<const float*>(from);
      row_ = item.a_row;
      return;
    }
    const PackLoop pack = gemm_kernels().pack[static_cast<int>(x.dtype)];
    pack(wide_.as<void>(), from, x.strides.back(), item.a_row, depth, depth, item.rows);
    data_ = wide_.as<float>();
    row_ = depth;
  }
  const float* data() const { return data_; }
  int64_t row() const { return row_; }

 private:
  Scratch wide_;
  const float* data_;
  int64_t row_;
};

// What one product needs; `out` is its first element.
struct Job {
  const Matrix& w;
  const CodedMatrices& format;
  bool transpose;
  const float* x;
  int64_t x_row, m, n, k;
  char* out;
  Dtype out_dtype;

  // Columns [j, j + columns) of rows [i, i + rows) of the result.
  void store(const float* y, int64_t y_row, int64_t i, int64_t rows, int64_t j,
             int64_t columns) const {
    const int64_t size = itemsize(out_dtype);
    for (int64_t r = 0; r < rows; ++r)
      store_product(out + ((i + r) * n + j) * size, out_dtype, y + r * y_row, columns);
  }
};

void dot_columns(const Job& job, int64_t i, int64_t rows, int64_t begin, int64_t end) {
  const bool direct = job.out_dtype == Dtype::float32;
  const int64_t groups = job.k / job.format.group;
  const CodedDotLoop dot = coded_loops().dot[static_cast<int>(job.format.code)];
  Scratch scales(Matrix::scratch_bytes(kScaleRows, groups));
  Scratch sums(direct ? 0 : rows * kScaleRows * int64_t{sizeof(float)});
  for (int64_t j = begin; j < end; j += kScaleRows) {
    const int64_t count = std::min(kScaleRows, end - j);
    const CodedRows w = job.w.take(j, count, 0, groups, scales.as<float>());
    float* y = direct ? reinterpret_cast<float*>(job.out) + i * job.n + j : sums.as<float>();
    const int64_t y_row = direct ? job.n : kScaleRows;
    dot(w, count, rows, job.x + i * job.x_row, job.x_row, y, y_row);
    if (!direct) job.store(y, y_row, i, rows, j, count);
  }
}

// The same through decoded blocks.
void block_columns(const Job& job, int64_t i, int64_t rows, int64_t begin, int64_t end) {
  const int64_t group = job.format.group;
  const bool direct = job.out_dtype == Dtype::float32;
  // Few rows take all of the depth at once, so that no sum is read again.
  int64_t depth = job.k, columns = std::max(group, kBlockElements / std::max<int64_t>(1, depth));
  if (rows > kDotRows) {
    depth = std::min(job.k, kBlockDepth);
    columns = kBlockElements / depth;
  }
  columns = std::max(group, std::min(columns, end - begin) / group * group);
  const int64_t lines = job.transpose ? columns : depth;
  const int64_t groups = (job.transpose ? depth : columns) / group;
  const DecodeLoop decode = coded_loops().decode[static_cast<int>(job.format.code)];
  Scratch scales(Matrix::scratch_bytes(lines, groups));
  Scratch block(depth * columns * int64_t{sizeof(float)});
  Scratch sums(direct ? 0 : rows * columns * int64_t{sizeof(float)});
  for (int64_t j = begin; j < end; j += columns) {
    const int64_t nn = std::min(columns, end - j);
    float* y = direct ? reinterpret_cast<float*>(job.out) + i * job.n + j : sums.as<float>();
    const int64_t y_row = direct ? job.n : columns;
    for (int64_t p = 0; p < job.k; p += depth) {
      const int64_t kk = std::min(depth, job.k - p);
      Factor b{block.as<void>(), Dtype::float32, 1, kk};
      if (job.transpose) {
        decode(job.w.take(j, nn, p / group, kk / group, scales.as<float>()), nn, block.as<float>(),
               kk);
      } else {
        decode(job.w.take(p, kk, j / group, nn / group, scales.as<float>()), kk, block.as<float>(),
               nn);
        b = {block.as<void>(), Dtype::float32, nn, 1};
      }
      const Factor a{job.x + i * job.x_row + p, Dtype::float32, job.x_row, 1};
      product({a, b, rows, nn, kk}, y, y_row, p > 0);
    }
    if (!direct) job.store(y, y_row, i, rows, j, nn);
  }
}

void run(const Job& job) {
  if (job.m == 0 || job.n == 0) return;
  if (job.k == 0) {
    const float zero = 0;
    for (int64_t i = 0; i < job.m * job.n; ++i)
      store_product(job.out + i * itemsize(job.out_dtype), job.out_dtype, &zero, 1);
    return;
  }
  const bool dots = job.transpose && job.m <= kDotRows;
  const int64_t unit = job.transpose ? 8 : job.format.group;
  const int64_t units = (job.n + unit - 1) / unit;
  auto piece = [&](int64_t i, int64_t rows, int64_t first, int64_t last) {
    const int64_t begin = first * unit, end = std::min(job.n, last * unit);
    dots ? dot_columns(job, i, rows, begin, end) : block_columns(job, i, rows, begin, end);
  };
  const int64_t threads = thread_count();
  if (threads == 1 || job.m * job.n * job.k < kParallelWork) return piece(0, job.m, 0, units);
  if (units < 4 * threads && job.m >= 32 * threads) {
    parallel_for(job.m, (job.m + threads - 1) / threads,
                 [&](int64_t begin, int64_t end, int) { piece(begin, end - begin, 0, units); });
    return;
  }
  // Two pieces a thread let a fast core help a slow one.
  const int64_t share = (units + 2 * threads - 1) / (2 * threads);
  parallel_for((units + share - 1) / share, 1, [&](int64_t begin, int64_t end, int) {
    piece(0, job.m, begin * share, std::min(units, end * share));
  });
}

}  // namespace

void decode(const CodedMatrices& given, const TensorView& out) {
  const Packed packed(given);
  const CodedMatrices& w = packed.matrices;
  if (out.size() == 0) return;
  const int64_t columns = w.columns(), groups = w.groups(), per_matrix = w.rows();
  const int64_t rows = matrix_count(w.words) * per_matrix, size = itemsize(out.dtype);
  const bool direct = out.dtype == Dtype::float32;
  const DecodeLoop loop = coded_loops().decode[static_cast<int>(w.code)];
  const int64_t step = std::max<int64_t>(1, std::min(kScaleRows, (64 << 10) / columns));
  parallel_for(
      rows, std::max<int64_t>(step, (256 << 10) / columns), [&](int64_t begin, int64_t end, int) {
        Scratch scales(Matrix::scratch_bytes(step, groups));
        Scratch wide(direct ? 0 : step * columns * int64_t{sizeof(float)});
        for (int64_t r = begin; r < end;) {
          const int64_t number = r / per_matrix, first = r % per_matrix;
          const int64_t count = std::min({step, end - r, per_matrix - first});
          const Matrix matrix(w, number);
          char* to = out.as<char>() + r * columns * size;
          float* values = direct ? reinterpret_cast<float*>(to) : wide.as<float>();
          loop(matrix.take(first, count, 0, groups, scales.as<float>()), count, values, columns);
          if (!direct) store_product(to, out.dtype, values, count * columns);
          r += count;
        }
      });
}

void coded_product(const TensorView& x, const CodedMatrices& given, bool transpose,
                   const std::vector<ProductItem>& items, const TensorView& out) {
  const Packed packed(given);
  const CodedMatrices& w = packed.matrices;
  const int64_t n = out.shape.back(), k = x.shape.back(), size = itemsize(out.dtype);
  auto one = [&](const ProductItem& item) {
    const Rows rows(x, item);
    const Matrix matrix(w, item.b);
    run({matrix, w, transpose, rows.data(), rows.row(), item.rows, n, k,
         out.as<char>() + item.out * n * size, out.dtype});
  };
  const int64_t count = static_cast<int64_t>(items.size());
  const int64_t work = count ? out.size() / count * std::max<int64_t>(1, k) : 0;
  if (count >= 2 * thread_count() && work < 4 * kParallelWork) {
    const int64_t grain = std::max<int64_t>(1, kParallelWork / std::max<int64_t>(1, work));
    parallel_for(count, grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) one(items[static_cast<size_t>(i)]);
    });
    return;
  }
  for (const ProductItem& item : items) one(item);
}

}  // namespace lamina::cpu

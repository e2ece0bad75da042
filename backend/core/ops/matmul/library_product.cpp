#include "ops/matmul/library_product.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace lamina {

namespace {

constexpr int64_t kMaxSize = std::numeric_limits<int32_t>::max();  // of an axis, in the libraries

std::optional<LibraryProduct::Matrix> matrix(int64_t rows, int64_t cols, int64_t row_stride,
                                             int64_t col_stride) {
  // An axis of one element may be told any stride.
  if (cols == 1 || col_stride == 1) {
    int64_t lead = rows == 1 ? cols : row_stride;
    if (lead >= cols) return LibraryProduct::Matrix{false, lead, 0};
  }
  if (rows == 1 || row_stride == 1) {
    int64_t lead = cols == 1 ? rows : col_stride;
    if (lead >= rows) return LibraryProduct::Matrix{true, lead, 0};
  }
  return std::nullopt;
}

// Sizes and strides of a, b and out along one axis of the batch.
struct BatchAxis {
  int64_t size, a, b, out;
};

// Axes of one element go, and axes that one step takes through become one.
std::vector<BatchAxis> joined(const TensorView& a, const TensorView& b, const TensorView& out) {
  std::vector<BatchAxis> axes;
  for (size_t d = 0; d + 2 < out.shape.size(); ++d) {
    BatchAxis next{out.shape[d], a.strides[d], b.strides[d], out.strides[d]};
    if (next.size == 1) continue;
    if (!axes.empty()) {
      BatchAxis& last = axes.back();
      if (last.a == next.a * next.size && last.b == next.b * next.size &&
          last.out == next.out * next.size) {
        last = {last.size * next.size, next.a, next.b, next.out};
        continue;
      }
    }
    axes.push_back(next);
  }
  return axes;
}

}  // namespace

std::optional<LibraryProduct> library_product(const TensorView& a, const TensorView& b,
                                              const TensorView& out) {
  const size_t rank = out.shape.size(), row = rank - 2, col = rank - 1;
  LibraryProduct p;
  p.dtype = out.dtype;
  p.rows = out.shape[row];
  p.cols = out.shape[col];
  p.depth = a.shape[col];
  int64_t a_row = a.strides[row], out_row = out.strides[row];
  std::vector<BatchAxis> axes = joined(a, b, out);
  while (!axes.empty() && axes.back().b == 0) {
    const BatchAxis& last = axes.back();
    if (p.rows == 1) {
      a_row = last.a;
      out_row = last.out;
    } else if (last.a != p.rows * a_row || last.out != p.rows * out_row) {
      break;
    }
    p.rows *= last.size;
    axes.pop_back();
  }
  if (axes.size() > 1) return std::nullopt;
  auto ma = matrix(p.rows, p.depth, a_row, a.strides[col]);
  auto mb = matrix(p.depth, p.cols, b.strides[row], b.strides[col]);
  auto mo = matrix(p.rows, p.cols, out_row, out.strides[col]);
  if (!ma || !mb || !mo || mo->transposed) return std::nullopt;
  p.a = *ma;
  p.b = *mb;
  p.out = *mo;
  if (!axes.empty()) {
    const BatchAxis& batch = axes[0];
    if (batch.a < 0 || batch.b < 0) return std::nullopt;
    p.batch = batch.size;
    p.a.batch_stride = batch.a;
    p.b.batch_stride = batch.b;
    p.out.batch_stride = batch.out;
  }
  for (int64_t n : {p.rows, p.cols, p.depth, p.batch, p.a.lead, p.b.lead, p.out.lead})
    if (n > kMaxSize) return std::nullopt;
  return p;
}

}  // namespace lamina

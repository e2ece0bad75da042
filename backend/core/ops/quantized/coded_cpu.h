// Matrices of codes on the CPU: decoded, or multiplied without ever being decoded as a whole.
#pragma once

#include <vector>

#include "base/tensor_view.h"
#include "ops/matmul/product_items.h"
#include "ops/quantized/coded_loops.h"

namespace lamina::cpu {

// Matrices of codes [..., rows, words] with scales, and biases where the code is a whole number,
// [..., rows, groups]; the leading axes agree. Any strides.
struct CodedMatrices {
  TensorView words, scales, biases;  // biases: no data for floating codes
  Code code;
  int64_t bits, group;

  int64_t rows() const { return words.shape[words.shape.size() - 2]; }
  int64_t groups() const { return scales.shape[scales.shape.size() - 1]; }
  int64_t columns() const { return groups() * group; }
};

// out[..., rows, columns] = the values; out is row-major, of a floating dtype.
void decode(const CodedMatrices& w, const TensorView& out);

// out row by row: rows of x (a view's data and last stride) by the item's matrix of w, or by its
// transpose. x and out: float16, bfloat16 or float32; out is row-major. Sums are in float32.
void coded_product(const TensorView& x, const CodedMatrices& w, bool transpose,
                   const std::vector<ProductItem>& items, const TensorView& out);

}  // namespace lamina::cpu

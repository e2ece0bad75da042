// The products of many matrices by many, as a list: matrix `a` number lhs[i] by matrix `b` number
// rhs[i]. Neighbours that share their right side become one product of more rows.
#pragma once

#include <vector>

#include "base/tensor_view.h"

namespace lamina::cpu {

struct ProductItem {
  int64_t a;      // of the first row, in elements
  int64_t a_row;  // between rows
  int64_t rows;
  int64_t b;    // number of the matrix on the right
  int64_t out;  // row of the result it starts at; rows follow one another
};

// Offset of matrix `number` (row-major over all axes but the last two), in elements.
int64_t matrix_offset(const TensorView& v, int64_t number);
int64_t matrix_count(const TensorView& v);

// Numbers of matrices at index arrays of equal shapes and any integer dtype; a negative one counts
// from the end. Throws IndexError, naming `op`, for one that is out of range.
std::vector<ProductItem> product_items(const char* op, const TensorView& a, int64_t b_count,
                                       const TensorView& lhs, const TensorView& rhs);
// Matrix i by matrix i.
std::vector<ProductItem> product_items(const TensorView& a);

}  // namespace lamina::cpu

// What the double's matrix library computes, as an executable like any kernel.
#pragma once

#include "executor.h"

namespace metal_double {

struct MatrixShape {
  int64_t rows = 0, columns = 0, matrices = 1, row_bytes = 0, matrix_bytes = 0;
  bool half = false;
  int64_t element_bytes() const { return half ? 2 : 4; }
};
struct ProductShape {
  MatrixShape left, right, result;  // as they lie in memory
  bool transpose_left = false, transpose_right = false;
  int64_t rows = 0, columns = 0, depth = 0, batch_start = 0, batch = 1;
  bool wrong = false;  // one element in five is off, as of a library that a compiler has broken
};

// What the library refuses, as a sentence, or "".
std::string refusal(const MatrixShape& matrix, const Bound& bound, const char* which);
std::string refusal(const ProductShape& product);
// Of what is bound at 0, 1 and 2.
std::shared_ptr<Executable> make_product(const ProductShape& product);

}  // namespace metal_double

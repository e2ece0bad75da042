// Matrix products on the CPU: whole, in parallel over the pool, or panel by panel for a caller that
// wants each panel while it is in the cache.
#pragma once

#include <cstdint>

#include "base/tensor_view.h"

namespace lamina::cpu {

// What is static of one product c[..., M, N] = a[..., M, K] @ b[..., K, N]. Immutable after
// creation; may be used by several threads at once. Views of every call must have the shapes,
// strides and dtypes of the ones it was made from; their data may differ.
struct MatmulPlan {
  Dtype dtype;      // of a and b
  Dtype out_dtype;  // dtype itself, or float32 for float16 and bfloat16: the unrounded sums
  Dtype compute;    // what products are summed in
  Shape batch;      // leading axes that are left after merging
  Strides a_batch, b_batch;
  int64_t batch_count = 1;
  int64_t m = 0, n = 0, k = 0;
  int64_t a_row, a_col, b_row, b_col;  // strides in elements

  // REQUIRES: the views are at least 2-d, their batch axes agree (stride 0 where broadcast), a's
  // last size is b's last but one. Throws DtypeError when the dtypes differ or there is no such
  // output.
  MatmulPlan(const TensorView& a, const TensorView& b, Dtype out_dtype);

  // Rows of the result seen as one matrix [batch_count * m, n].
  int64_t rows() const { return batch_count * m; }
  int64_t flops() const { return 2 * rows() * n * k; }
  // Rows of a panel that keep the library efficient and the panel in the second-level cache. A
  // caller that splits rows() into panels of this size has enough of them for every thread where it
  // can.
  int64_t panel_rows() const;
};

// Rows [row0, row0 + rows) of the result, computed on the calling thread: element (i, j) goes to
// out[(i - row0) * out_row_stride + j] in out_dtype. Rows are independent of how they are grouped
// into panels only up to rounding.
void run_panel(const MatmulPlan& plan, const void* a, const void* b, int64_t row0, int64_t rows,
               void* out, int64_t out_row_stride);

// c = a @ b. c: row-major, of the inputs' dtype or float32; may not overlap a or b. Splits its work
// over the pool. The result depends on nothing but the inputs, the number of threads and the
// machine.
void matmul(const TensorView& a, const TensorView& b, const TensorView& c);

}  // namespace lamina::cpu

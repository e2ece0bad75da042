// The own matrix product: portable, blocked, every dtype and every stride. Serves machines without
// the library and dtypes the library lacks, and runs on the calling thread.
#pragma once

#include <cstdint>

#include "devices/cpu/gemm_kernels.h"

namespace lamina::cpu {

// One factor of a product: element (i, j) is at data[i * row_stride + j * col_stride].
struct Factor {
  const void* data;
  Dtype dtype;
  int64_t row_stride;
  int64_t col_stride;

  const char* at(int64_t i, int64_t j) const {
    return static_cast<const char*>(data) + (i * row_stride + j * col_stride) * itemsize(dtype);
  }
  Factor from(int64_t i, int64_t j) const { return {at(i, j), dtype, row_stride, col_stride}; }
  Factor transposed() const { return {data, dtype, col_stride, row_stride}; }
};

// c[i * ldc + j] = sum_p a(i, p) * b(p, j) for i < m, j < n, p < k; c in gemm_compute_dtype of the
// factors' dtype (signed integers as their unsigned twins). REQUIRES: same compute dtype on both
// sides, not complex; k > 0. With `accumulate` the product is added to c.
void gemm_own(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, void* c,
              int64_t ldc, bool accumulate = false);

// The same for products so small that packing would cost more than the product; complex64 too,
// whose compute dtype is its own.
void gemm_tiny(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, void* c,
               int64_t ldc);

// The same where m is small and b contiguous along one of its axes: reads b once, at the speed of
// memory. Floating dtypes only.
void gemm_skinny(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, void* c,
                 int64_t ldc);

// dst[i] = src[i] for i < n, from the compute dtype to the storage dtype.
void store_product(void* dst, Dtype dtype, const void* src, int64_t n);

}  // namespace lamina::cpu

// A product of two matrices on the calling thread, by whichever means is quickest for its shape.
#pragma once

#include "devices/cpu/gemm_fallback.h"

namespace lamina::cpu {

// a [m, k] @ b [k, n], both of one dtype.
struct Block {
  Factor a, b;
  int64_t m, n, k;
};

// c[i * ldc + j] = a @ b, or += with `accumulate` (not for complex), in gemm_compute_dtype of the
// dtype. c overlaps neither factor.
void product(const Block& block, void* c, int64_t ldc, bool accumulate = false);

}  // namespace lamina::cpu

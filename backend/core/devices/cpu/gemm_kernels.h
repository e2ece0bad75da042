// Inner loops of the own matrix product, compiled once per instruction set and chosen at run time.
// Loops never allocate and never throw.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace lamina::cpu {

inline constexpr int kMaxMicroRows = 14;
inline constexpr int kMaxSkinnyRows = 8;

// c[i * ldc + j] (+)= sum_p a[p * rows + i] * b[p * nr + j], i < rows (fixed per entry), j < nr.
using MicroLoop = void (*)(int64_t k, const void* a, const void* b, void* c, int64_t ldc,
                           bool accumulate);
// dst[p * width + i] = compute(src[i * stride_i + p * stride_p]) for i < count, p < k; lanes count
// to width are zero. Serves both factors: i runs over rows of a, or over columns of b.
using PackLoop = void (*)(void* dst, const void* src, int64_t stride_i, int64_t stride_p,
                          int64_t count, int64_t width, int64_t k);
// y[r * ldy + j] = sum_p x[r * ldx + p] * b[j * ldb + p], b contiguous along p.
using SkinnyDotLoop = void (*)(int64_t rows, int64_t n, int64_t k, const void* x, int64_t ldx,
                               const void* b, int64_t ldb, void* y, int64_t ldy);
// y[r * ldy + j] = sum_p x[r * ldx + p] * b[p * ldb + j], b contiguous along j.
using SkinnyAxpyLoop = SkinnyDotLoop;
// dst[i] = convert(src[i]), between a 16-bit float dtype and float, or a copy.
using ConvertLoop = void (*)(void* dst, const void* src, int64_t n);

// Dtype the own product computes dtype d in; the unsigned integers stand for the signed ones too,
// whose products are the same bits.
Dtype gemm_compute_dtype(Dtype d);
// 0 float32, 1 float64, 2 uint32, 3 uint64.
inline int gemm_compute_index(Dtype compute) {
  switch (compute) {
    case Dtype::float32:
      return 0;
    case Dtype::float64:
      return 1;
    case Dtype::uint32:
      return 2;
    default:
      return 3;
  }
}

struct GemmKernels {
  const char* isa;
  int micro_rows;                         // most rows of a micro tile
  int micro_cols[4];                      // columns of a micro tile, by compute index
  MicroLoop micro[4][kMaxMicroRows + 1];  // [compute index][rows]
  PackLoop pack[kDtypeCount];             // storage dtype -> its compute dtype
  SkinnyDotLoop dot[kDtypeCount];         // by dtype of b; x and y in its compute dtype;
  SkinnyAxpyLoop axpy[kDtypeCount];       // nullptr where b is not floating
  ConvertLoop widen[kDtypeCount];         // float16, bfloat16, float32 -> float32
  ConvertLoop narrow[kDtypeCount];        // float32 -> float16, bfloat16, float32
};

// The loops for this machine; LAMINA_ISA=baseline|avx2|avx512|neon overrides. Thread safe.
const GemmKernels& gemm_kernels();

}  // namespace lamina::cpu

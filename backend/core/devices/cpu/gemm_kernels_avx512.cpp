// The own product's loops for AVX-512 (F, BW, VL, DQ).
#include <cstdint>
#include <utility>

#include "base/dtype.h"
#include "devices/cpu/gemm_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(                                                    \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")
#endif

namespace lamina::cpu::avx512 {
namespace {
inline constexpr int kVecBytes = 64;
inline constexpr int kMicroRows = 14;
#include "devices/cpu/gemm_kernels_text.h"
}  // namespace

void fill(GemmKernels& table) {
  fill_kernels(table);
  table.isa = "avx512";
}

}  // namespace lamina::cpu::avx512

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

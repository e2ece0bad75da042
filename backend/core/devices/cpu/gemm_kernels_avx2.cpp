// The own product's loops for AVX2 with FMA and F16C.
#include <cstdint>
#include <utility>

#include "base/dtype.h"
#include "devices/cpu/gemm_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

namespace lamina::cpu::avx2 {
namespace {
inline constexpr int kVecBytes = 32;
inline constexpr int kMicroRows = 6;
#include "devices/cpu/gemm_kernels_text.h"
}  // namespace

void fill(GemmKernels& table) {
  fill_kernels(table);
  table.isa = "avx2";
}

}  // namespace lamina::cpu::avx2

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

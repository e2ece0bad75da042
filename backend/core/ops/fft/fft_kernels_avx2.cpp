// The transform's loops for AVX2 with FMA.
#include <cstdint>
#include <utility>

#include "ops/fft/fft_kernels.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

namespace lamina::cpu::avx2 {
namespace {
inline constexpr int kVecBytes = 32;
#include "ops/fft/fft_kernels_text.h"
}  // namespace

void fill(FftKernels& table) { table = {"avx2", load, store, pass, scale, turn}; }

}  // namespace lamina::cpu::avx2

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

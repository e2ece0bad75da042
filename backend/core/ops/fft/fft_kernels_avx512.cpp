// The transform's loops for AVX-512.
#include <cstdint>
#include <utility>

#include "ops/fft/fft_kernels.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#endif

namespace lamina::cpu::avx512 {
namespace {
inline constexpr int kVecBytes = 64;
#include "ops/fft/fft_kernels_text.h"
}  // namespace

void fill(FftKernels& table) { table = {"avx512", load, store, pass, scale, turn}; }

}  // namespace lamina::cpu::avx512

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

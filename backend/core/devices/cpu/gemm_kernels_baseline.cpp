// The own product's loops for processors without wide vectors, and for NEON.
#include <cstdint>
#include <utility>

#include "base/dtype.h"
#include "devices/cpu/gemm_kernels.h"

namespace lamina::cpu::baseline {
namespace {
inline constexpr int kVecBytes = 16;
// 32 registers hold 8 rows of two accumulators; 16 registers hold 4.
#if defined(__aarch64__)
inline constexpr int kMicroRows = 8;
#else
inline constexpr int kMicroRows = 4;
#endif
#include "devices/cpu/gemm_kernels_text.h"
}  // namespace

void fill(GemmKernels& table) {
  fill_kernels(table);
#if defined(__aarch64__)
  table.isa = "neon";
#else
  table.isa = "baseline";
#endif
}

}  // namespace lamina::cpu::baseline

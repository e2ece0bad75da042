// The transform's loops for processors without wide vectors, and for NEON.
#include <cstdint>
#include <utility>

#include "ops/fft/fft_kernels.h"

namespace lamina::cpu::baseline {
namespace {
inline constexpr int kVecBytes = 16;
#include "ops/fft/fft_kernels_text.h"
}  // namespace

void fill(FftKernels& table) { table = {"baseline", load, store, pass, scale, turn}; }

}  // namespace lamina::cpu::baseline

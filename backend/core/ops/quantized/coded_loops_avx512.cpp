// The loops over coded rows for AVX-512 (F, BW, VL, DQ); the build gives the file its flags.
#if defined(__x86_64__)
#include <immintrin.h>

#include <utility>

#include "ops/quantized/coded_loops.h"

namespace lamina::cpu::avx512 {
namespace {
inline constexpr int kVecBytes = 64;
#include "ops/quantized/coded_loops.inc"
}  // namespace

void fill_coded(CodedLoops& loops) { fill(loops); }

}  // namespace lamina::cpu::avx512
#endif

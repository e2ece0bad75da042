// The loops over coded rows for processors without wide vectors, and for NEON; the choice between
// instruction sets.
#include <cstring>
#include <utility>

#include "devices/cpu/gemm_kernels.h"
#include "ops/quantized/coded_loops.h"

namespace lamina::cpu {

namespace avx512 {
void fill_coded(CodedLoops& loops);
}
namespace avx2 {
void fill_coded(CodedLoops& loops);
}

namespace {

inline constexpr int kVecBytes = 16;
#include "ops/quantized/coded_loops.inc"

CodedLoops choose() {
  CodedLoops loops{};
#if defined(__x86_64__)
  const char* isa = gemm_kernels().isa;
  if (!std::strcmp(isa, "avx512")) {
    avx512::fill_coded(loops);
    return loops;
  }
  if (!std::strcmp(isa, "avx2")) {
    avx2::fill_coded(loops);
    return loops;
  }
#endif
  fill(loops);
  return loops;
}

}  // namespace

const CodedLoops& coded_loops() {
  static const CodedLoops loops = choose();
  return loops;
}

}  // namespace lamina::cpu

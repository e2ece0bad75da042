#include "ops/linalg/iteration_text.h"

#include "ops/linalg/common.h"

namespace lamina::text {

std::vector<FaultFn> iteration_faults(const char* op, const TensorView& a) {
  return {[op, shape = a.shape](uint64_t noted) {
            linear::not_finite(op, shape, static_cast<int64_t>(noted >> 32));
          },
          [op, shape = a.shape](uint64_t noted) {
            linear::not_converged(op, shape, static_cast<int64_t>(noted >> 32));
          }};
}

std::string with_vectors(bool on) {
  return on ? "#define WITH_VECTORS(...) __VA_ARGS__\n#define number_of(x) number(x)\n"
            : "#define WITH_VECTORS(...)\n#define number_of(x) (x)\n";
}

const char* precision_of(Dtype d) {
  return d == Dtype::float64
             ? "#define EPSILON 0x1p-52\n#define LEAST 0x1p-500\n#define TINY 1e-290\n"
             : "#define EPSILON 0x1p-23f\n#define LEAST 0x1p-60f\n#define TINY 1e-30f\n";
}

}  // namespace lamina::text

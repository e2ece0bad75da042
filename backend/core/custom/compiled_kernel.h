// CUDA kernels that were compiled elsewhere (mx.fast.precompiled_cuda_kernel): a module's bytes,
// which the driver loads, and what one of its functions is launched with.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "custom/custom.h"

namespace lamina {

// Passed by value after the arrays: bool, int and float of C.
using ScalarParameter = std::variant<bool, int32_t, float>;

struct CompiledKernelCall {
  std::string name;                          // of the function in the module
  std::shared_ptr<const std::string> image;  // PTX, cubin or fatbin
  std::vector<ScalarParameter> scalars;
  Shape grid, threadgroup;  // threads in all, and in a group; three numbers each
  int64_t threadgroup_bytes = 0;
  std::optional<double> init;  // written to all outputs first
  bool contiguous = false;     // inputs are copied to row-major order where they are not
};

// The function's parameters are pointers to the inputs, pointers to the results, then the scalars.
// Whole groups are launched, as CUDA does. Throws ValueError for sizes that cannot be; what the
// driver finds is an error of the evaluation.
Arrays call_compiled(const CompiledKernelCall& call, const Arrays& inputs,
                     const std::vector<ResultType>& results);

}  // namespace lamina

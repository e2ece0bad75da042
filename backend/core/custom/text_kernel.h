// Kernels whose body a Python program writes (mx.fast.metal_kernel, cuda_kernel): the function
// around the body, its arguments and its launch.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "custom/custom.h"
#include "kernels/text.h"

namespace lamina {

struct KernelSource {
  std::string name;  // an identifier
  Dialect dialect = Dialect::msl;
  std::vector<std::string> inputs, outputs;
  std::string source, header;
  bool contiguous = true;         // inputs are copied to row-major order where they are not
  bool atomic = false;            // outputs are atomic<T>
  int64_t threadgroup_bytes = 0;  // dynamic shared memory (CUDA)
};

// The value of a template argument: a type, a number or a truth value.
using TemplateValue = std::variant<Dtype, int64_t, bool>;
struct TemplateArgument {
  std::string name;
  TemplateValue value;
};

struct KernelLaunch {
  Shape grid, threadgroup;     // threads in all, and in a group; three numbers each
  std::optional<double> init;  // written to all outputs first
};

// A kernel and its specialisations. Lives for ever; any thread.
class UserKernel {
 public:
  // Throws ValueError where a name cannot be an argument's or stands twice, or an output is never
  // written, or written as the atomic that it is not.
  explicit UserKernel(KernelSource source);

  Arrays call(const Arrays& inputs, const std::vector<TemplateArgument>& arguments,
              const std::vector<ResultType>& results, const KernelLaunch& launch) const;
  // The text that such a call compiles, for a reader.
  std::string text(const Arrays& inputs, const std::vector<TemplateArgument>& arguments,
                   const std::vector<ResultType>& results, const KernelLaunch& launch) const;
  const KernelSource& source() const { return source_; }

 private:
  Params params_for(const Arrays& inputs, const std::vector<TemplateArgument>& arguments,
                    const std::vector<ResultType>& results, const KernelLaunch& launch) const;
  const CustomPrimitive& specialised(const std::vector<TemplateArgument>& arguments) const;

  KernelSource source_;
};

// The text for one device: an initialising kernel for each output if asked for, then the body's.
TextProgram write_kernel(const KernelSource& source, const std::vector<TemplateArgument>& arguments,
                         const KernelLaunch& launch, const TextCall& call,
                         const TextTraits& traits);
// The launch that writes one value to every element of a call's output `index`.
TextKernel write_fill(const TextCall& call, size_t index, double value, const TextTraits& traits);
// What the outputs are (dtype, rank, sizes of each) as integers of a node's parameters, which start
// with grid, threadgroup, whether and to what outputs are initialised; and back.
Shape results_to_keep(const std::vector<ResultType>& results);
std::vector<ResultType> kept_results(const Params& params);
// Throws ValueError where the outputs' dtypes do not have the value they are initialised to.
// `names` may be empty.
void check_init(const std::string& who, double value, const std::vector<ResultType>& results,
                const std::vector<std::string>& names);
// Throw ValueError where CUDA has no grid of so many threadgroups, or no group of so much memory.
void check_cuda_groups(const std::string& who, const std::array<int64_t, 3>& groups);
void check_shared_memory(const std::string& who, int64_t bytes);

}  // namespace lamina

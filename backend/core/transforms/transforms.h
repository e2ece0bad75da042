// Function transforms. Each traces the function on tracers, then walks the graph it built, applying
// the rows' rules; what they make is graph again, so they nest to any depth.
#pragma once

#include <functional>
#include <optional>
#include <utility>

#include "graph/array.h"

namespace lamina {

using Function = std::function<Arrays(const Arrays&)>;

// Outputs of f at primals, and sum over outputs of cotangent * d output / d primal, per primal.
// `cotangents` is asked once the outputs are known. Throws TraceError where a rule is missing.
std::pair<Arrays, Arrays> vjp(const Function& f, const Arrays& primals,
                              const std::function<Arrays(const Arrays& outputs)>& cotangents);
// Outputs of f at primals and their tangents.
std::pair<Arrays, Arrays> jvp(const Function& f, const Arrays& primals, const Arrays& tangents);
// f over slices of its inputs along in_axes (nullopt: not sliced), results stacked along out_axes.
using OptionalAxes = std::vector<std::optional<int64_t>>;
Arrays vmap(const Function& f, const Arrays& inputs, const OptionalAxes& in_axes,
            const std::function<OptionalAxes(size_t outputs)>& out_axes);
// f's outputs; its vjp runs f again instead of keeping what f computed.
Arrays checkpoint(const Function& f, const Arrays& inputs);

// A function with rules of its own. Absent rules: the function is differentiated as usual.
struct CustomRules {
  std::function<Arrays(const Arrays& primals, const Arrays& cotangents, const Arrays& outputs)> vjp;
  std::function<Arrays(const Arrays& primals, const Arrays& tangents)> jvp;
  // Returns outputs with the batch at axis 0.
  std::function<Arrays(const Arrays& primals, const std::vector<bool>& batched, int64_t batch)>
      vmap;
  size_t primals = 0, outputs = 0;
};
Arrays custom_function(const Function& f, const Arrays& inputs, CustomRules rules);

}  // namespace lamina

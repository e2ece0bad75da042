// The three shapes a fused group takes as text. Each gets a simplified kernel of its kind.
#pragma once

#include "kernels/text.h"

namespace lamina {

TextProgram write_map(const Kernel& kernel, const TextTraits& traits);
// An elementwise kernel some of whose arguments are contiguous along another axis than its results:
// those pass through threadgroup memory. The axis, or -1 where there is none that pays.
int transposed_axis(const Kernel& kernel, const TextTraits& traits);
TextProgram write_transposed_map(const Kernel& kernel, const TextTraits& traits, int axis);
TextProgram write_reduce(const Kernel& kernel, const TextTraits& traits);
TextProgram write_row(const Kernel& kernel, const TextTraits& traits);

}  // namespace lamina

// The three shapes a fused group takes as text. Each gets a simplified kernel of its kind.
#pragma once

#include "kernels/text.h"

namespace lamina {

TextProgram write_map(const Kernel& kernel, const TextTraits& traits);
TextProgram write_reduce(const Kernel& kernel, const TextTraits& traits);
TextProgram write_row(const Kernel& kernel, const TextTraits& traits);

}  // namespace lamina

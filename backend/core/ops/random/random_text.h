// Random bits as kernel text: the bits of the CPU, word for word.
#pragma once

#include "kernels/text.h"

namespace lamina::text {

TextProgram random_bits(const TextCall& call, const TextTraits& traits);

}  // namespace lamina::text

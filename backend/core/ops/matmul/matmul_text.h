// Matrix products as kernel text: tiles; a product with a vector is a reduction.
#pragma once

#include "kernels/text.h"

namespace lamina::text {

TextProgram matmul(const TextCall& call, const TextTraits& traits);
TextProgram gather_mm(const TextCall& call, const TextTraits& traits);
TextProgram segmented_mm(const TextCall& call, const TextTraits& traits);
bool matmul_takes_epilogue(const TextCall& call, const Shape& domain, const TextTraits& traits);

}  // namespace lamina::text

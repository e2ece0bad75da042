// Convolutions, channels last, and their gradients as kernel text: matrix products whose factors
// are read through the geometry of the convolution.
#pragma once

#include "kernels/text.h"

namespace lamina::text {

TextProgram convolution(const TextCall& call, const TextTraits& traits);
TextProgram convolution_input_gradient(const TextCall& call, const TextTraits& traits);
TextProgram convolution_weight_gradient(const TextCall& call, const TextTraits& traits);
bool convolution_takes_epilogue(const TextCall& call, const Shape& domain,
                                const TextTraits& traits);
// A mirrored weight's elements are not in the order of the product's.
bool weight_gradient_takes_epilogue(const TextCall& call, const Shape& domain,
                                    const TextTraits& traits);

}  // namespace lamina::text

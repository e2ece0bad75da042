// Convolution by oneDNN's float32 primitives.
#pragma once

#include "ops/conv/conv_geometry.h"

namespace lamina::cpu {

enum class ConvKind : uint8_t { forward, input, weight };

// One of the three convolutions over row-major float arrays: forward (input, weight -> out),
// gradient by input (cotangent, weight -> out), gradient by weight (input, cotangent -> out).
// False, with nothing done, when the library is absent or has only its slow reference loops for the
// geometry.
bool conv_by_library(ConvKind kind, const ConvGeometry& g, const float* first, const float* second,
                     float* out);

}  // namespace lamina::cpu

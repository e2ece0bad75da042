// A convolution or one of its gradients, as vendors' libraries take it.
#pragma once

#include <memory>

#include "kernels/library.h"
#include "kernels/text.h"

namespace lamina {

// `call` is that of the convolution's text. For texts only where libraries do not have it: arrays
// that are not row-major, padding that is not the same on both sides, an input whose elements lie
// apart.
std::shared_ptr<const LibraryWork> library_convolution(const TextCall& call,
                                                       LibraryConvolution::Kind kind);

}  // namespace lamina

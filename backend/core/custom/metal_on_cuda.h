// The common subset of Metal as CUDA: what a metal_kernel body may say and still be compiled for an
// NVIDIA GPU (docs/custom-kernels.md lists it).
#pragma once

#include <string>

namespace lamina {

// Declarations that stand before such a text: what it mentions of them, in namespace metal.
std::string metal_on_cuda(const std::string& text, bool atomics);
// The text with Metal's words in CUDA's spelling, line by line. `whole` is all of the kernel's
// text, of which this is a part: what it names itself stays as it is.
std::string cuda_spelling(const std::string& text, const std::string& whole);

}  // namespace lamina

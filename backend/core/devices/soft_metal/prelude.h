// The Metal standard library as C++ for OpenCL, and what a module calls in the machine.
#pragma once

#include <string>

namespace lamina::soft_metal {

// Types, as_type, numeric_limits; mathematics; atomics, SIMD-groups, entry functions.
extern const char* const kPreludeTypes;
extern const char* const kPreludeMath;
extern const char* const kPreludeAtomics;
extern const char* const kPreludeLanes;
// Macros, for the preprocessor alone.
extern const char* const kPreludeMacros;
// C, linked into each module.
extern const char* const kGlue;

}  // namespace lamina::soft_metal

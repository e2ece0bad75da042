// The common subset that kernel texts are written in, and its two spellings.
//
// Common text is MSL (see the Metal Shading Language specification) with these words besides:
//   group_id       uint3, position of the threadgroup in the grid
//   thread_id      uint, position of the thread in its group; groups have one dimension
//   lane, simd     uint, position in the SIMD-group, number of the SIMD-group
//   BARRIER()      all threads of the group arrive; their threadgroup memory is visible
//   DEVICE_BARRIER()  the same of their device memory; BARRIERS() of both
//   SIMD_BARRIER() both, of a SIMD-group's threads
//   SHARED(T, name, n)   threadgroup memory of n T, at the top of a kernel's body
//   UNROLL         before a loop with constant bounds
//   COMPLEX(x, y)  a complex64, which is a float2
// and the helper functions of the prelude, of which a unit contains those it uses. CUDA's spelling
// comes about by replacing whole words: address spaces vanish, `inline` gains __device__, and so
// on.
#pragma once

#include <string>

#include "kernels/text.h"

namespace lamina {

// The type's name in common text, as it lies in memory.
const char* text_type(Dtype d);
// What arithmetic on it is done in: float16 and bfloat16 are float there.
inline const char* value_type(Dtype d) { return text_type(compute_dtype(d)); }

// The whole unit: the dialect's opening, the helpers that `text` uses, `text` itself.
std::string assemble(const std::string& text, Dialect dialect);

// A helper of the prelude. `cuda` is null where the common text serves both.
struct Helper {
  const char* name;  // the word whose use asks for it
  const char* text;
  const char* cuda;
};
std::span<const Helper> basic_helpers();
std::span<const Helper> number_helpers();
std::span<const Helper> complex_helpers();
std::span<const Helper> atomic_helpers();

}  // namespace lamina

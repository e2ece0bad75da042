// The .npy format, versions 1 to 3. (.npz is a zip archive of them: Python's side does that.)
#pragma once

#include <string>

#include "base/tensor_view.h"
#include "io/file.h"

namespace lamina {

struct NpyHeader {
  Dtype dtype;
  Shape shape;
  bool fortran_order;  // the first axis varies fastest
  bool swapped;        // stored in the other byte order; see swap_bytes
  int64_t offset;      // of the first element, from the start of the file

  Strides strides() const;  // of the stored layout
};

// Reads the header of a whole file's bytes and checks that the elements are all there. "V2" is
// bfloat16, as MLX writes it. Throws ValueError naming the file.
NpyHeader read_npy_header(const unsigned char* data, int64_t size, const std::string& file);

// Reverses the bytes of `count` items in place; of complex items each half by itself.
void swap_bytes(void* data, Dtype dtype, int64_t count);

// Writes version 1 (2 when the header needs it). A view that is contiguous with its axes reversed
// is written in Fortran order as it lies; any other in row-major order.
void write_npy(const ByteSink& sink, const TensorView& view);

}  // namespace lamina

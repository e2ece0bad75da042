// The safetensors format: 8 bytes of header length, a JSON header, the tensors' bytes.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/tensor_view.h"
#include "io/file.h"

namespace lamina {

// A tensor in a file, row-major, not necessarily aligned to its item size.
struct StoredTensor {
  std::string name;
  Dtype dtype;
  Shape shape;
  int64_t offset;  // of its first byte, from the start of the file
  int64_t bytes;
};

using Metadata = std::vector<std::pair<std::string, std::string>>;

struct SafetensorsIndex {
  std::vector<StoredTensor> tensors;  // in the header's order
  Metadata metadata;
};

// Reads the header of a whole file's bytes (mapped or in memory; only the header is touched).
// Every tensor returned lies inside the file and overlaps no other. Throws ValueError naming the
// file, and the tensor where there is one. Eight-bit floats are given as uint8.
SafetensorsIndex read_safetensors_index(const unsigned char* data, int64_t size,
                                        const std::string& file);

struct NamedView {
  std::string name;
  TensorView view;  // any strides
};

// Writes the tensors, larger items first so that each is aligned to its item size. ValueError when
// a name comes twice or is "__metadata__".
void write_safetensors(const ByteSink& sink, std::span<const NamedView> tensors,
                       const Metadata& metadata);

// The bytes of a view in row-major order, through a buffer of bounded size when it is strided.
void write_row_major(const ByteSink& sink, const TensorView& view);

}  // namespace lamina

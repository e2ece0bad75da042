// Arrays out of files.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "graph/array.h"
#include "io/gguf.h"
#include "io/safetensors.h"

namespace lamina {

// A whole file's bytes. With `mapping`, arrays may stay in it; without, they are copied out.
struct FileBytes {
  const unsigned char* data;
  int64_t size;
  std::string name;  // for errors
  std::shared_ptr<const MappedFile> mapping;

  static FileBytes map(const std::string& path);
};

struct LoadedTensors {
  std::vector<std::pair<std::string, Array>> arrays;  // in the header's order
  Metadata metadata;
};

struct LoadedGguf {
  std::vector<std::pair<std::string, Array>> arrays;
  GgufMetadata metadata;
};

// Elements that lie in the mapping aligned and in native order are used in place: nothing is read
// before they are. The others are copied. All throw ValueError naming the file, and OutOfMemory.
Array load_npy(const FileBytes& file);
LoadedTensors load_safetensors(const FileBytes& file);
// Tensors in blocks of 256 become float16, those in blocks of 32 three arrays: words under the
// tensor's name, and ".scales" and ".biases" in place of its ".weight", as quantized_matmul takes
// them in mode affine with groups of 32.
LoadedGguf load_gguf(const FileBytes& file);

}  // namespace lamina

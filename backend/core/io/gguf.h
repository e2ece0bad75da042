// The GGUF format, versions 1 to 3, little-endian: values by key, then tensors.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/tensor_view.h"
#include "io/file.h"
#include "io/safetensors.h"

namespace lamina {

// A value of the file's metadata: a text, a list of texts, a number or a list of numbers.
struct GgufValue {
  enum class Kind { text, texts, number, numbers };
  Kind kind = Kind::text;
  std::vector<std::string> texts{};  // bytes as they are in the file; one for a text
  Dtype dtype = Dtype::float32;      // of numbers
  std::string numbers{};             // their bytes

  int64_t count() const { return static_cast<int64_t>(numbers.size()) / itemsize(dtype); }
};
using GgufMetadata = std::vector<std::pair<std::string, GgufValue>>;

// How a tensor's elements lie: plain ones of a dtype, or blocks of 32 that share a scale.
enum class GgufCoding { plain, q4_0, q4_1, q8_0 };

struct GgufTensor {
  std::string name;
  GgufCoding coding;
  Dtype dtype;  // of plain elements
  Shape shape;  // outermost axis first
  int64_t offset, bytes;
};

struct GgufIndex {
  std::vector<GgufTensor> tensors;
  GgufMetadata metadata;
};

// Reads the head of a whole file's bytes. Every tensor returned lies inside the file and overlaps
// no other. Throws ValueError naming the file, and the key or the tensor where there is one.
GgufIndex read_gguf_index(const unsigned char* data, int64_t size, const std::string& file);

// A tensor of blocks, taken apart into what quantized_matmul takes: words of codes in order, scales
// and biases in groups of 32. `words` has rows x columns * bits / 32, the others rows x columns /
// 32 elements.
void unpack_gguf_blocks(const GgufTensor& tensor, const unsigned char* blocks, uint32_t* words,
                        float16_t* scales, float16_t* biases);
int64_t gguf_bits(GgufCoding coding);

// Writes version 3. ValueError when a name comes twice or is empty, DtypeError for a dtype that the
// format does not have; both before anything is written.
void write_gguf(const ByteSink& sink, std::span<const NamedView> tensors,
                const GgufMetadata& metadata);

}  // namespace lamina

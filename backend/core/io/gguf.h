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

// How a tensor's elements lie: plain ones of a dtype, blocks of 32 that share a scale, or blocks of
// 256 with scales of their own within.
enum class GgufCoding { plain, q4_0, q4_1, q8_0, q2_k, q4_k, q6_k };

struct GgufTensor {
  std::string name;
  GgufCoding coding;
  Dtype dtype;  // of plain elements; float16 of blocks of 256, which are given as that
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

// Whether a coding is given as words, scales and biases.
bool gguf_in_words(GgufCoding coding);
int64_t gguf_bits(GgufCoding coding);  // of a code of these
// A tensor of blocks of 32, taken apart into what quantized_matmul takes: words of codes in order,
// scales and biases in groups of 32. `words` has rows x columns * bits / 32, the others rows x
// columns / 32 elements.
void unpack_gguf_blocks(const GgufTensor& tensor, const unsigned char* blocks, uint32_t* words,
                        float16_t* scales, float16_t* biases);
// The elements of a tensor of blocks of 256.
void decode_gguf_blocks(const GgufTensor& tensor, const unsigned char* blocks, float16_t* out);

// Writes version 3. ValueError when a name comes twice or is empty, DtypeError for a dtype that the
// format does not have; both before anything is written.
void write_gguf(const ByteSink& sink, std::span<const NamedView> tensors,
                const GgufMetadata& metadata);

}  // namespace lamina

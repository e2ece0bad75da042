// Blocks of GGUF's codings, as ggml defines them.
#include <cstring>

#include "base/error.h"
#include "io/gguf.h"

namespace lamina {
namespace {

constexpr int64_t kSmall = 32, kLarge = 256;

float half_at(const unsigned char* p) {
  float16_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// Writes the elements of one block of 256.
using Decode = void (*)(const unsigned char* block, float* to);

// 16 bytes of a scale and a least value for 16 elements each, 64 of codes, the scales' own scales.
void decode_q2(const unsigned char* block, float* to) {
  const float scale = half_at(block + 80), least = half_at(block + 82);
  for (int64_t i = 0; i < kLarge; ++i) {
    const unsigned char both = block[i / 16];
    const unsigned char code = block[16 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
    to[i] = scale * static_cast<float>(both & 15) * static_cast<float>(code) -
            least * static_cast<float>(both >> 4);
  }
}

// The scales' own scales, 12 bytes of eight scales and least values of 6 bits, 128 of codes.
void decode_q4(const unsigned char* block, float* to) {
  const float scale = half_at(block), least = half_at(block + 2);
  const unsigned char* six = block + 4;
  for (int64_t g = 0; g < 8; ++g) {
    // Of the last four, the upper two bits lie in the bytes of the first four.
    const int a = g < 4 ? six[g] & 63 : (six[g + 4] & 15) | (six[g - 4] >> 6 << 4);
    const int b = g < 4 ? six[g + 4] & 63 : (six[g + 4] >> 4) | (six[g] >> 6 << 4);
    const float step = scale * static_cast<float>(a), base = least * static_cast<float>(b);
    const unsigned char* codes = block + 16 + g / 2 * 32;
    for (int64_t i = 0; i < 32; ++i)
      to[g * 32 + i] = step * static_cast<float>(codes[i] >> (g % 2 * 4) & 15) - base;
  }
}

// 128 bytes of the codes' low four bits, 64 of their high two, 16 scales, the scales' own scale.
void decode_q6(const unsigned char* block, float* to) {
  const float scale = half_at(block + 208);
  for (int64_t i = 0; i < kLarge; ++i) {
    const int64_t part = i / 128, at = i % 128;
    const int low = block[part * 64 + at % 64] >> (at / 64 * 4) & 15;
    const int high = block[128 + part * 32 + at % 32] >> (at / 32 * 2) & 3;
    const auto own = static_cast<signed char>(block[192 + i / 16]);
    to[i] = scale * static_cast<float>(own) * static_cast<float>((low | high << 4) - 32);
  }
}

}  // namespace

bool gguf_in_words(GgufCoding coding) {
  return coding == GgufCoding::q4_0 || coding == GgufCoding::q4_1 || coding == GgufCoding::q8_0;
}

int64_t gguf_bits(GgufCoding coding) { return coding == GgufCoding::q8_0 ? 8 : 4; }

void unpack_gguf_blocks(const GgufTensor& tensor, const unsigned char* blocks, uint32_t* words,
                        float16_t* scales, float16_t* biases) {
  const bool own_bias = tensor.coding == GgufCoding::q4_1;
  const int64_t bits = gguf_bits(tensor.coding), head = own_bias ? 4 : 2;
  const int64_t block = head + kSmall * bits / 8, count = tensor.bytes / block;
  // Codes of the other two are signed, about half of their range.
  const float middle = bits == 8 ? 128.0f : 8.0f;
  for (int64_t i = 0; i < count; ++i, blocks += block, words += bits) {
    const unsigned char* codes = blocks + head;
    std::memcpy(&scales[i], blocks, 2);
    if (own_bias)
      std::memcpy(&biases[i], blocks + 2, 2);
    else
      biases[i] = float16_t(-middle * static_cast<float>(scales[i]));
    if (bits == 8) {
      std::memcpy(words, codes, kSmall);
      for (int64_t w = 0; w < 8; ++w) words[w] ^= 0x80808080u;
      continue;
    }
    // Byte j holds elements j and j + 16.
    for (int64_t w = 0; w < 4; ++w) {
      uint32_t word = 0;
      for (int64_t k = 0; k < 8; ++k)
        word |= (uint32_t{codes[w % 2 * 8 + k]} >> (w / 2 * 4) & 15u) << (4 * k);
      words[w] = word;
    }
  }
}

void decode_gguf_blocks(const GgufTensor& tensor, const unsigned char* blocks, float16_t* out) {
  Decode decode = decode_q6;
  if (tensor.coding == GgufCoding::q2_k) decode = decode_q2;
  if (tensor.coding == GgufCoding::q4_k) decode = decode_q4;
  const int64_t count = element_count(tensor.shape) / kLarge;
  const int64_t bytes = count ? tensor.bytes / count : 0;
  float values[kLarge];
  for (int64_t i = 0; i < count; ++i, blocks += bytes, out += kLarge) {
    decode(blocks, values);
    for (int64_t k = 0; k < kLarge; ++k) out[k] = float16_t(values[k]);
  }
}

}  // namespace lamina

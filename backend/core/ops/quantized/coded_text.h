// Matrices of codes as kernel text: decoded, or multiplied without ever being decoded as a whole.
#pragma once

#include "kernels/text.h"
#include "kernels/unit.h"
#include "ops/quantized/quantized.h"

namespace lamina::text {

// Consecutive codes of one group that a thread takes at once: whole words of the stream.
class CodedChunks {
 public:
  // Views of words, scales and, if affine, biases; `operand` is the first one's. `least`: codes a
  // chunk has, or more where words end elsewhere.
  CodedChunks(std::span<const TensorView> in, int operand, const Quantization& q, int64_t least,
              const TextTraits& traits, bool wide);

  int64_t codes() const { return codes_; }
  int64_t rows() const { return in_[0].shape[in_[0].shape.size() - 2]; }
  int64_t columns() const { return in_[1].shape.back() * q_.group; }
  int64_t matrices() const;
  // Buffers; `struct Chunk`; `Chunk take(<parameters>, p, row, number)`, both counted within a
  // matrix; `float value_of(chunk, e)`.
  void declare(Unit& unit) const;
  // Lines that find matrix number `number`: what take is given first then has the name `arguments`.
  std::string place(Unit& unit, const std::string& number, const std::string& indent) const;
  std::string arguments() const;

 private:
  std::span<const TensorView> in_;
  int operand_;
  Quantization q_;
  const TextTraits& traits_;
  bool wide_;
  int64_t codes_, words_;
  bool pack_;  // the words of a chunk are read at once
};

TextProgram dequantize(const TextCall& call, const TextTraits& traits);
TextProgram quantized_matmul(const TextCall& call, const TextTraits& traits);
TextProgram gather_qmm(const TextCall& call, const TextTraits& traits);

}  // namespace lamina::text

// Quantized matrices: rows cut into groups, each element a code of a few bits, each group with a
// scale (and a bias). Codes lie in uint32 words, one after the other from the low bits.
#pragma once

#include <optional>
#include <string>

#include "graph/array.h"

namespace lamina {

enum class QuantMode : int64_t { affine, mxfp4, mxfp8, nvfp4 };

struct Quantization {
  QuantMode mode;
  int64_t group;
  int64_t bits;

  bool affine() const { return mode == QuantMode::affine; }
};

// Fills in the mode's defaults. Throws ValueError, naming `op`, for what the mode does not have.
Quantization quantization(const char* op, const std::string& mode, std::optional<int64_t> group,
                          std::optional<int64_t> bits);

// Words and scales; biases are empty unless the mode is affine.
struct Quantized {
  Array words, scales, biases;
};

// w (..., rows, columns), floating; columns a multiple of the group. `global_scale` (float32, one
// element, or empty) is nvfp4's: scales are stored relative to it.
Quantized quantize(const Array& w, const Quantization& q, const Array& global_scale);
// The elements, as `dtype`; without one the affine scales' dtype, else bfloat16.
Array dequantize(const Quantized& w, const Quantization& q, const Array& global_scale,
                 std::optional<Dtype> dtype);
// x (..., M, K) or (K,) by w (..., K, N), or by the transpose of w (..., N, K).
Array quantized_matmul(const Array& x, const Quantized& w, bool transpose, const Quantization& q);
// Matrix x[lhs] by matrix w[rhs] for every pair of indices, which count matrices over all axes but
// the last two; empty: every one in turn.
Array gather_qmm(const Array& x, const Quantized& w, const Array& lhs, const Array& rhs,
                 bool transpose, const Quantization& q, const Array& global_scale);
// Products in which x is rounded to the format too. w: floating, rounded as well, or words with
// `scales`; x by the transpose of w.
Array qqmm(const Array& x, const Array& w, const Array& scales, const Quantization& q,
           const Array& global_scale_x, const Array& global_scale_w);
Array gather_qqmm(const Array& x, const Array& w, const Array& scales, const Array& lhs,
                  const Array& rhs, const Quantization& q, const Array& global_scale_x,
                  const Array& global_scale_w);

// Eight-bit floats (four bits of exponent, three of fraction) in uint8, and back. Values beyond 448
// become 448, NaN too, as in MLX.
Array to_fp8(const Array& x);
Array from_fp8(const Array& x, Dtype dtype);

}  // namespace lamina

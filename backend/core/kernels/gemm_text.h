// Tiled matrix products as text: out(z, row, col) = sum over k of a(z, row, k) * b(z, k, col). What
// the three stand for is given as functions, so that the same tiles serve matrix products and
// convolutions. Sums are float32 for 16-bit dtypes.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/unit.h"

namespace lamina {

struct GemmText {
  std::string name;
  Dtype a_dtype, b_dtype, out_dtype;
  int a_operand = 0, b_operand = 1, out_operand = 2;
  int64_t rows = 0, cols = 0, depth = 0, batch = 1;
  bool wide = false;          // indices need 64 bits
  bool a_along_depth = true;  // neighbours in memory lie along k
  bool b_along_depth = false;
  // Writes bodies of `a_at`, `b_at` (the element, as stored, in a variable's stead) and `out_at`
  // (an index): they see z, row, k, col as uint, p and the buffers a, b.
  std::function<std::string(Unit&)> a_at, b_at, out_at;
  // Further operands that the bodies see, by name.
  struct Operand {
    std::string name;
    Dtype dtype;
    int operand;
  };
  std::vector<Operand> more{};
  // Lines that declare `begin` and `end`, the part of the depth that z has; null: all of it. Not
  // with may_split.
  std::function<std::string(Unit&)> depth_at{};
  int64_t out_size = 0;
  bool may_split = true;  // the depth may be cut into parts that a second launch adds up
  // Over the result, which then is no operand; its arguments come after the two factors. In the
  // result's row-major order an element is number (z, row, col), or (row, z, col) where columns of
  // all z stand side by side.
  const TextEpilogue* epilogue = nullptr;
  bool batch_in_columns = false;
};

TextProgram write_gemm(const GemmText& gemm, const TextTraits& traits);

}  // namespace lamina

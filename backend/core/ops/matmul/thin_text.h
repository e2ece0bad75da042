// Products of matrices with few rows, many or gathered ones, as kernel text: every element of the
// right factor is read once for all rows. Sums are float32.
#pragma once

#include <functional>
#include <string>

#include "kernels/unit.h"

namespace lamina::text {

// How the right factor is read: in chunks of neighbouring elements, which lie along the summed
// axis (a row of chunks for each column of the result) or along the columns (one for each k).
struct ThinRight {
  int64_t chunk = 1;
  bool along_depth = true;
  int64_t matrices = 1;
  // Declares the buffers, `struct Chunk`, `Chunk take(<arguments>, p, uint row, uint number)` and
  // `float value_of(thread const Chunk&, uint e)`.
  std::function<void(Unit&)> declare;
  // Lines that find matrix `number`, after which `arguments` name it.
  std::function<std::string(Unit&, const std::string& number, const std::string& indent)> place;
  std::string arguments;
};

// Numbers of matrices, one for each product.
struct Numbers {
  const TensorView* view = nullptr;  // null: every matrix in turn
  int operand = 0;
};

struct ThinProduct {
  std::string name;
  const TensorView *x, *out;  // operand 0, and the last one; out is row-major
  int out_operand;
  int64_t items;
  Numbers left, right;
  ThinRight factor;
  bool wide;
};

// Rows up to which this is worth more than tiles.
inline constexpr int64_t kThinRows = 32;
TextProgram write_thin(const ThinProduct& product, const TextTraits& traits);

// A factor of floating elements; b (..., K, N).
ThinRight dense_right(const TensorView& b, int operand, bool wide, const TextTraits& traits);

// Lines that give `name`, the number that item `item` of the products has, as a uint, and clear
// `inside` where it is out of range. `declare`: adds the numbers' buffer, "<name>_numbers".
std::string number_lines(Unit& unit, const Numbers& numbers, const std::string& name,
                         int64_t matrices, const std::string& item, bool wide,
                         const std::string& indent, bool declare = true);

}  // namespace lamina::text

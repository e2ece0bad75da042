// Shapes, strides and the arithmetic on them. Sizes and strides are 64-bit and count elements.
#pragma once

#include <optional>
#include <string>

#include "base/small_vector.h"

namespace lamina {

using Shape = SmallVector<int64_t, 6>;
using Strides = SmallVector<int64_t, 6>;
using Axes = SmallVector<int64_t, 6>;

// Number of elements; 1 for a scalar. Throws ValueError when it does not fit 63 bits.
int64_t element_count(const Shape& shape);
Strides row_major_strides(const Shape& shape);
// "(2, 3)", "(4,)", "()".
std::string to_string(const Shape& shape);
// NumPy broadcasting; nullopt when the shapes do not match.
std::optional<Shape> broadcast_shapes(const Shape& a, const Shape& b);
bool is_row_major(const Shape& shape, const Strides& strides);

// How the elements of an array lie in its buffer: element (i0, i1, ...) is at
// offset + sum(i * stride), counted in elements.
struct Layout {
  Shape shape;
  Strides strides;
  int64_t offset = 0;
  static Layout row_major(const Shape& shape) { return {shape, row_major_strides(shape), 0}; }
  bool contiguous() const { return is_row_major(shape, strides); }
  friend bool operator==(const Layout&, const Layout&) = default;
};

// The same elements under another shape without a copy, or nullopt if strides cannot say it.
std::optional<Layout> reshape_layout(const Layout& from, const Shape& shape);
// REQUIRES: from.shape broadcasts to shape. New and repeated axes get stride 0.
Layout broadcast_layout(const Layout& from, const Shape& shape);

}  // namespace lamina

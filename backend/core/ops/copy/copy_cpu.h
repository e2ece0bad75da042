// Strided copies: the one way elements move between layouts.
#pragma once

#include <span>

#include "base/tensor_view.h"

namespace lamina::cpu {

// dst[i] = src[i] for every index. Shapes and dtypes are equal; any strides (0 and negative too on
// src; dst's elements must be distinct). src and dst must not overlap unless they are the same
// view. Splits itself over the pool. Throws ShapeError/DtypeError when the views do not match.
void copy(const TensorView& src, const TensorView& dst);

// dst = the parts laid one after another along `axis` (negative counts from the end).
void concatenate(std::span<const TensorView> parts, int64_t axis, const TensorView& dst);

// Every element of dst becomes the single element of `value` (same dtype, any shape of size 1).
void fill(const TensorView& value, const TensorView& dst);

}  // namespace lamina::cpu

// A product over the last two axes, as matrix libraries take it.
#pragma once

#include <optional>

#include "base/tensor_view.h"
#include "kernels/library.h"

namespace lamina {

// Nothing where libraries have no strides for it: lines that overlap, batches apart by no one step.
// Axes of the batch over which b stays the same become rows where memory allows it.
std::optional<LibraryProduct> library_product(const TensorView& a, const TensorView& b,
                                              const TensorView& out);

}  // namespace lamina

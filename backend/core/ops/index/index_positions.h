// What gather and scatter share in text: reading indices of any integer dtype, in range or not.
#pragma once

#include "kernels/walk.h"

namespace lamina::text {

// Buffer `index<k>` of the launch.
void declare_index(Unit& unit, size_t k, const TensorView& index, int operand);
// Declares `at<k>`, the place on an axis of `size` that the index names, and lets the variable
// `inside` become false where `extent` elements from there do not fit.
std::string position_lines(Unit& unit, size_t k, const std::string& element, Dtype dtype,
                           int64_t size, int64_t extent, bool wide, const std::string& indent);

}  // namespace lamina::text

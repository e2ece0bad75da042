// What gather and scatter share in text: reading indices of any integer dtype, in range or not.
#pragma once

#include "kernels/walk.h"

namespace lamina::text {

// Buffer `index<k>` of the launch.
void declare_index(Unit& unit, size_t k, const TensorView& index, int operand);
// Declares `at<k>`, the place on an axis of `size` that the index names, and lets the variable
// `inside` become false where `extent` elements from there do not fit; TextTraits::bounds notes it.
std::string position_lines(Unit& unit, size_t k, const std::string& element, Dtype dtype,
                           int64_t size, int64_t extent, bool wide, const std::string& indent);

// The faults of index arrays, which stand behind the first `before` operands, one for each of the
// axes of `target`; none unless the traits ask for it.
std::vector<FaultFn> index_faults(const char* op, const TextCall& call, size_t before,
                                  const Axes& axes, const Shape& target, const TextTraits& traits);

}  // namespace lamina::text

// Sorting as kernel text: blocks are sorted in threadgroup memory, then merged. Partitions are
// sorted whole, which is one of their right answers.
#pragma once

#include "kernels/text.h"

namespace lamina::text {

TextProgram sort(const TextCall& call, const TextTraits& traits);     // sort, partition
TextProgram argsort(const TextCall& call, const TextTraits& traits);  // argsort, argpartition
TextProgram searchsorted(const TextCall& call, const TextTraits& traits);

}  // namespace lamina::text

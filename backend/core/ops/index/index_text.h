// Gather, scatter and their along-an-axis forms as kernel text. An index counts from the end where
// it is negative. A kernel cannot raise: an index out of range reads zero and writes nothing, and
// with TextTraits::bounds it is noted for the device to raise.
#pragma once

#include "kernels/text.h"

namespace lamina::text {

TextProgram gather(const TextCall& call, const TextTraits& traits);
TextProgram take_along_axis(const TextCall& call, const TextTraits& traits);
TextProgram scatter(const TextCall& call, const TextTraits& traits);
TextProgram put_along_axis(const TextCall& call, const TextTraits& traits);

}  // namespace lamina::text

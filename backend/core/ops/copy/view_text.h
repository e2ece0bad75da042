// The same bytes under another dtype as kernel text.
#pragma once

#include "kernels/text.h"

namespace lamina::text {

TextProgram bitcast(const TextCall& call, const TextTraits& traits);

}  // namespace lamina::text

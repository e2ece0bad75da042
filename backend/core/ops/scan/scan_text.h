// Running sums, products, extremes and log-sum-exps as kernel text.
#pragma once

#include "kernels/text.h"

namespace lamina::text {

// `kind` is a ScanOp of ops/ops.h.
TextProgram scan(const TextCall& call, const TextTraits& traits, int kind);
bool scan_takes_epilogue(const TextCall& call, const Shape& domain, const TextTraits& traits);

}  // namespace lamina::text

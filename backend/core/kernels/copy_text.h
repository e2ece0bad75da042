// Copies between an operand and another as a launch of their own.
#pragma once

#include "kernels/text.h"

namespace lamina {

struct CopyEnd {
  int operand;  // as in TextKernel::Bind
  Dtype dtype;
  Strides strides;
};
// to[i] = from[i] over `shape`, converted where the dtypes differ. REQUIRES: shape holds elements.
TextKernel copy_launch(const Shape& shape, const CopyEnd& from, const CopyEnd& to,
                       const TextTraits& traits);

}  // namespace lamina

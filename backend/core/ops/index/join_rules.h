// Derivatives of scatters that multiply or take extremes; scatter and put_along_axis share them.
#pragma once

#include <functional>

#include "ops/ops.h"

namespace lamina {

// A scatter's addressing: `pick` reads the elements that the updates address, `join` writes updates
// into an array.
struct Addressing {
  std::function<Array(const Array& x)> pick;
  std::function<Array(const Array& x, const Array& updates, ScatterMode mode)> join;
};

// d y = at_source * d x + join(0, at_updates * d u, add), y the result of the scatter.
struct JoinWeights {
  Array at_source, at_updates;
};
// REQUIRES: mode is multiply, max or min. Elements that tie share the derivative.
JoinWeights join_weights(const Addressing& a, const Array& x, const Array& u, const Array& y,
                         ScatterMode mode);

}  // namespace lamina

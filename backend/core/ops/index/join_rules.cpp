#include "ops/index/join_rules.h"

namespace lamina {

namespace {

// The product of x's element and all updates of its place but one, exact where some are zero.
JoinWeights product_weights(const Addressing& a, const Array& x, const Array& u) {
  Array zero = scalar_like(0, u), one = scalar_like(1, u);
  Array is_zero = equal(u, zero);
  Array filled = select(is_zero, one, u);
  Array product = a.join(ones_like(x), filled, ScatterMode::multiply);
  Array zeros_there = a.join(zeros_like(x), select(is_zero, one, zero), ScatterMode::add);
  Array picked = a.pick(product), count = a.pick(zeros_there);
  Array others = select(is_zero, select(equal(count, one), picked, zero),
                        select(equal(count, zero), picked / filled, zero));
  return {a.join(ones_like(x), u, ScatterMode::multiply), others * a.pick(x)};
}

}  // namespace

JoinWeights join_weights(const Addressing& a, const Array& x, const Array& u, const Array& y,
                         ScatterMode mode) {
  if (mode == ScatterMode::multiply) return product_weights(a, x, u);
  Array from_source = astype(equal(x, y), x.dtype());
  Array from_updates = astype(equal(u, a.pick(y)), x.dtype());
  Array ties = a.join(from_source, from_updates, ScatterMode::add);
  return {from_source / ties, from_updates / a.pick(ties)};
}

}  // namespace lamina

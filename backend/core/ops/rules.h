// Small helpers shared by the rows' derivative and batching rules. Private to ops/ and transforms/.
#pragma once

#include "graph/primitive.h"
#include "ops/ops.h"

namespace lamina {

// Sums x over the axes along which `shape` was broadcast to x's shape.
Array unbroadcast(const Array& x, const Shape& shape);
// x with the batch at axis 0, made by repeating it when it was not batched.
Array batched_input(const Array& x, bool batched, int64_t batch);
// Puts size-1 axes behind the batch axis until x has `rank` axes besides it.
Array align_rank(const Array& x, int64_t rank);
// The factor that a cotangent takes where a tangent takes x: its conjugate if it is complex.
inline Array adjoint_factor(const Array& x) { return is_complex(x.dtype()) ? conjugate(x) : x; }
Shape with_batch(int64_t batch, const Shape& shape);

}  // namespace lamina

// Sorting and searching along an axis.
//
// The order of all of them: ascending, false < true, NaN after everything else, -0.0 equal to 0.0.
// src has any strides, out is row-major. axis may be negative. complex64 raises DtypeError. All
// split themselves over the pool; results do not depend on the number of threads.
#pragma once

#include "base/tensor_view.h"

namespace lamina::cpu {

// out has src's shape and dtype. NaNs come out as one canonical NaN.
void sort(const TensorView& src, const TensorView& out, int64_t axis);
// out is uint32 of src's shape; equal elements keep their order (stable).
void argsort(const TensorView& src, const TensorView& out, int64_t axis);

// Element kth along the axis is where sort would put it, smaller or equal ones before it, larger or
// equal ones after it, in no particular order. A negative kth counts from the end; ValueError when
// it is out of range.
void partition(const TensorView& src, const TensorView& out, int64_t kth, int64_t axis);
void argpartition(const TensorView& src, const TensorView& out, int64_t kth, int64_t axis);

// out[i...] (uint32 or int64, values' shape) = how many elements of the ascending 1-D `sorted` are
// less than (right: less than or equal to) values[i...]. Both have one dtype.
void searchsorted(const TensorView& sorted, const TensorView& values, bool right,
                  const TensorView& out);

}  // namespace lamina::cpu

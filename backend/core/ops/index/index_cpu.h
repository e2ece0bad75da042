// Gather, scatter and their along-an-axis forms.
//
// Indices may have any integer dtype; a negative index counts from the end. Every index is checked:
// one that is out of range raises IndexError "<op>: index 10 is out of bounds for axis 0 with size
// 3", where <op> is the caller's name of the operation. Scatters check all indices before they
// write anything, and their result does not depend on the number of threads.
// All calls split themselves over the pool and return when done.
#pragma once

#include <span>

#include "base/tensor_view.h"

namespace lamina::cpu {

// How a scatter joins an update with what is there. `none` replaces; of several updates of one
// element the last in row-major order of the indices stays. On bool, add is or and multiply is and.
enum class ScatterMode : uint8_t { none, add, multiply, max, min };

// out[i..., s...] = src[start(i) + s], where start(i)[axes[k]] = indices[k][i] and 0 on the other
// axes. REQUIRES: one distinct non-negative axis per index array; slice_sizes has src's rank and
// fits src; out has shape broadcast(indices) + slice_sizes, is row-major and has src's dtype.
void gather(const char* op, const TensorView& src, std::span<const TensorView> indices,
            const Axes& axes, const Shape& slice_sizes, const TensorView& out);

// out = src with `axis` replaced by the axes of `indices`:
// out[a..., i..., b...] = src[a..., indices[i...], b...]. out is row-major.
void take(const char* op, const TensorView& src, const TensorView& indices, int64_t axis,
          const TensorView& out);

// dst[start(i) + s] is joined with updates[i..., s...], in row-major order of i; start as in
// gather. REQUIRES: updates has shape broadcast(indices) + slice (slice of dst's rank, fitting
// dst) and dst's dtype; dst's elements are distinct. dst may have any strides.
void scatter(const char* op, const TensorView& dst, std::span<const TensorView> indices,
             const TensorView& updates, const Axes& axes, ScatterMode mode);

// out[.., i, ..] = src[.., indices[.., i, ..], ..]. src and indices have equal sizes on the other
// axes (broadcast them by stride 0); out has indices' shape, any strides.
void take_along_axis(const char* op, const TensorView& src, const TensorView& indices, int64_t axis,
                     const TensorView& out);

// dst[.., indices[.., i, ..], ..] is joined with updates[.., i, ..] for i ascending. indices and
// updates have equal shapes, and dst's sizes on the other axes. ScatterMode::none is
// put_along_axis, ScatterMode::add is scatter_add_axis.
void scatter_along_axis(const char* op, const TensorView& dst, const TensorView& indices,
                        const TensorView& updates, int64_t axis, ScatterMode mode);

inline void put_along_axis(const char* op, const TensorView& dst, const TensorView& indices,
                           const TensorView& updates, int64_t axis) {
  scatter_along_axis(op, dst, indices, updates, axis, ScatterMode::none);
}
inline void scatter_add_axis(const char* op, const TensorView& dst, const TensorView& indices,
                             const TensorView& updates, int64_t axis) {
  scatter_along_axis(op, dst, indices, updates, axis, ScatterMode::add);
}

}  // namespace lamina::cpu

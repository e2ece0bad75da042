// Walking several strided operands of one shape together.
#pragma once

#include <array>
#include <cstdlib>

#include "base/error.h"
#include "base/shape.h"
#include "base/tensor_view.h"

namespace lamina::cpu {

// A loop nest over N operands. After `collapse` no axis has size 1 and no two neighbours could be
// one axis; a nest of rank 0 visits one element. `empty` nests visit nothing.
template <int N>
struct Nest {
  Shape shape;
  std::array<Strides, N> strides;
  int64_t size = 1;

  int rank() const { return static_cast<int>(shape.size()); }
  int64_t last() const { return shape.empty() ? 1 : shape.back(); }
  int64_t last_stride(int operand) const { return shape.empty() ? 1 : strides[operand].back(); }
};

// The nest of all axes of `shape` but `skip` (-1: none), merged where every operand allows it.
template <int N>
Nest<N> collapse(const Shape& shape, const std::array<const Strides*, N>& strides,
                 int64_t skip = -1) {
  Nest<N> nest;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    if (static_cast<int64_t>(axis) == skip) continue;
    nest.size *= shape[axis];
    if (shape[axis] == 1) continue;
    bool merge = !nest.shape.empty();
    for (int k = 0; k < N && merge; ++k)
      merge = nest.strides[k].back() == (*strides[k])[axis] * shape[axis];
    if (merge) {
      nest.shape.back() *= shape[axis];
      for (int k = 0; k < N; ++k) nest.strides[k].back() = (*strides[k])[axis];
    } else {
      nest.shape.push_back(shape[axis]);
      for (int k = 0; k < N; ++k) nest.strides[k].push_back((*strides[k])[axis]);
    }
  }
  return nest;
}

// The position in the first `depth` axes of a nest, as one offset per operand (in elements).
template <int N>
class Walker {
 public:
  // REQUIRES: `nest` outlives the walker; 0 <= linear < product of the first `depth` sizes.
  Walker(const Nest<N>& nest, int depth, int64_t linear) : nest_(nest), index_(depth) {
    offset.fill(0);
    for (int axis = depth; axis-- > 0;) {
      int64_t i = linear % nest.shape[axis];
      linear /= nest.shape[axis];
      index_[axis] = i;
      for (int k = 0; k < N; ++k) offset[k] += i * nest.strides[k][axis];
    }
  }

  void next() {
    for (size_t axis = index_.size(); axis-- > 0;) {
      for (int k = 0; k < N; ++k) offset[k] += nest_.strides[k][axis];
      if (++index_[axis] < nest_.shape[axis]) return;
      index_[axis] = 0;
      for (int k = 0; k < N; ++k) offset[k] -= nest_.strides[k][axis] * nest_.shape[axis];
    }
  }

  std::array<int64_t, N> offset;

 private:
  const Nest<N>& nest_;
  SmallVector<int64_t, 6> index_;
};

// Rows of a view along one axis: the other axes as a nest, and the row's own stride and length.
inline int64_t checked_axis(const char* op, int64_t axis, size_t rank) {
  int64_t n = static_cast<int64_t>(rank);
  if (axis < -n || axis >= n)
    throw ValueError(std::string(op) + ": axis " + std::to_string(axis) +
                     " is out of range for rank " + std::to_string(n));
  return axis < 0 ? axis + n : axis;
}

// Calls f with an unsigned integer of the item's width; complex64 is 8 bytes.
template <class F>
decltype(auto) dispatch_width(int64_t itemsize, F&& f) {
  switch (itemsize) {
    case 1:
      return f(uint8_t{});
    case 2:
      return f(uint16_t{});
    case 4:
      return f(uint32_t{});
    default:
      return f(uint64_t{});
  }
}

}  // namespace lamina::cpu

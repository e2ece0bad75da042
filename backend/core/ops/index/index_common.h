// What gather and scatter share: reading indices of any integer dtype, checked.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/tensor_view.h"
#include "base/thread_pool.h"
#include "ops/copy/strided.h"

namespace lamina::cpu {

// Positions resolved per block; small enough to stay in L1.
inline constexpr int64_t kIndexBlock = 512;
// Elements one piece of parallel work handles at least.
inline constexpr int64_t kIndexGrain = 1 << 13;

template <class I>
[[noreturn]] void index_error(const char* op, I index, int64_t axis, int64_t size) {
  throw IndexError(std::string(op) + ": index " + std::to_string(index) +
                   " is out of bounds for axis " + std::to_string(axis) + " with size " +
                   std::to_string(size));
}

// The index as a position in [0, size - extent].
template <class I>
inline int64_t resolve(const char* op, I index, int64_t axis, int64_t size, int64_t extent) {
  if constexpr (std::is_signed_v<I>) {
    int64_t i = index;
    if (i < 0) i += size;
    if (i < 0 || i + extent > size) index_error(op, index, axis, size);
    return i;
  } else {
    // Compared unsigned: a uint64 beyond 2^63 must not wrap to a valid position.
    if (size < extent || index > static_cast<uint64_t>(size - extent))
      index_error(op, index, axis, size);
    return static_cast<int64_t>(index);
  }
}

// Calls f with the C++ type of an integer dtype.
template <class F>
void dispatch_index(const char* op, Dtype d, F&& f) {
  dispatch(d, [&](auto item) {
    using I = decltype(item);
    if constexpr (std::is_integral_v<I> && !std::is_same_v<I, bool>)
      f(item);
    else
      throw DtypeError(std::string(op) + ": indices must be integers, got " + name_of(d));
  });
}

// One index array: a position along `axis` of the indexed view for every point of `nest`.
struct IndexColumn {
  Nest<1> nest;
  const void* data;
  Dtype dtype;
  int64_t axis;
  int64_t size;    // of the indexed axis
  int64_t extent;  // of the slice on it
  int64_t stride;  // of the indexed axis, in elements

  // offsets[j] += stride * position of index begin + j.
  void add_offsets(const char* op, int64_t begin, int64_t n, int64_t* offsets) const {
    dispatch_index(op, dtype, [&](auto item) {
      using I = decltype(item);
      int64_t row = nest.last(), step = nest.last_stride(0);
      Walker<1> at(nest, std::max(nest.rank() - 1, 0), begin / row);
      int64_t skip = begin % row;
      for (int64_t done = 0; done < n;) {
        int64_t run = std::min(row - skip, n - done);
        const I* p = static_cast<const I*>(data) + at.offset[0] + skip * step;
        for (int64_t j = 0; j < run; ++j)
          offsets[done + j] += stride * resolve(op, p[j * step], axis, size, extent);
        done += run;
        skip = 0;
        at.next();
      }
    });
  }
};

// All index arrays of one gather or scatter, broadcast together.
struct IndexTable {
  Shape shape;
  int64_t count = 1;
  std::vector<IndexColumn> columns;

  IndexTable(const char* op, const TensorView& target, std::span<const TensorView> indices,
             const Axes& axes, const Shape& slice) {
    if (indices.size() != axes.size())
      throw ValueError(std::string(op) + ": " + std::to_string(indices.size()) +
                       " index arrays for " + std::to_string(axes.size()) + " axes");
    if (slice.size() != target.shape.size())
      throw ShapeError(std::string(op) + ": a slice of shape " + to_string(slice) +
                       " does not index shape " + to_string(target.shape));
    for (size_t k = 0; k < slice.size(); ++k)
      if (slice[k] < 0 || slice[k] > target.shape[k])
        throw ShapeError(std::string(op) + ": a slice of shape " + to_string(slice) +
                         " is larger than " + to_string(target.shape));
    for (const TensorView& index : indices) {
      auto joined = broadcast_shapes(shape, index.shape);
      if (!joined)
        throw ShapeError(std::string(op) + ": index shapes do not broadcast: " + to_string(shape) +
                         " and " + to_string(index.shape));
      shape = *joined;
    }
    count = element_count(shape);
    for (size_t k = 0; k < indices.size(); ++k) {
      const TensorView& index = indices[k];
      int64_t axis = checked_axis(op, axes[k], target.shape.size());
      Layout layout = broadcast_layout({index.shape, index.strides, 0}, shape);
      columns.push_back({collapse<1>(shape, {&layout.strides}), index.data, index.dtype, axis,
                         target.shape[axis], slice[axis], target.strides[axis]});
    }
  }

  // offsets[j] = where the slice of index begin + j starts, in elements of the target.
  void offsets(const char* op, int64_t begin, int64_t n, int64_t* out) const {
    std::fill_n(out, n, 0);
    for (const IndexColumn& column : columns) column.add_offsets(op, begin, n, out);
  }

  // Every offset, checked; may throw before the caller has written anything.
  std::unique_ptr<int64_t[]> all_offsets(const char* op) const {
    std::unique_ptr<int64_t[]> out(new int64_t[count]);
    parallel_for(count, kIndexGrain, [&](int64_t begin, int64_t end, int) {
      offsets(op, begin, end - begin, out.get() + begin);
    });
    return out;
  }
};

// The shape of `view` without its first `lead` axes, and its strides.
inline Shape tail(const Shape& shape, size_t lead) {
  return Shape(shape.begin() + lead, shape.end());
}

}  // namespace lamina::cpu

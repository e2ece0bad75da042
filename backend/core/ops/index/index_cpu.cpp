#include "ops/index/index_cpu.h"

#include <cstring>

#include "ops/copy/copy_cpu.h"
#include "ops/index/index_common.h"

namespace lamina::cpu {
namespace {

// A slice longer than this is copied by the parallel copy, one after another.
constexpr int64_t kLongSlice = 1 << 18;

void require_same_dtype(const char* op, const TensorView& a, const TensorView& b) {
  if (a.dtype != b.dtype)
    throw DtypeError(std::string(op) + ": dtypes differ: " + name_of(a.dtype) + " and " +
                     name_of(b.dtype));
}

// One slice of `nest`'s shape into consecutive elements.
template <class T>
void copy_slice(const Nest<1>& nest, const T* src, T* out) {
  int64_t row = nest.last(), step = nest.last_stride(0), rows = nest.size / row;
  Walker<1> at(nest, std::max(nest.rank() - 1, 0), 0);
  for (int64_t r = 0; r < rows; ++r, at.next(), out += row) {
    const T* from = src + at.offset[0];
    if (step == 1)
      std::memcpy(out, from, static_cast<size_t>(row) * sizeof(T));
    else
      for (int64_t j = 0; j < row; ++j) out[j] = from[j * step];
  }
}

template <class T>
void gather_slices(const char* op, const IndexTable& table, const Nest<1>& slice, const T* src,
                   T* out) {
  int64_t grain = std::max<int64_t>(1, kIndexGrain / slice.size);
  parallel_for(table.count, grain, [&](int64_t begin, int64_t end, int) {
    int64_t offsets[kIndexBlock];
    for (int64_t at = begin; at < end; at += kIndexBlock) {
      int64_t n = std::min(kIndexBlock, end - at);
      table.offsets(op, at, n, offsets);
      T* to = out + at * slice.size;
      if (slice.size == 1) {
        for (int64_t j = 0; j < n; ++j) to[j] = src[offsets[j]];
      } else {
        for (int64_t j = 0; j < n; ++j) copy_slice(slice, src + offsets[j], to + j * slice.size);
      }
    }
  });
}

// out[a, i] = src[a, positions[i]]: rows of single elements.
template <class T>
void take_elements(const Nest<1>& outer, const int64_t* offsets, int64_t n, const T* src, T* out) {
  int64_t grain = std::max<int64_t>(1, kIndexGrain / n);
  parallel_for(outer.size, grain, [&](int64_t begin, int64_t end, int) {
    Walker<1> at(outer, outer.rank(), begin);
    for (int64_t row = begin; row < end; ++row, at.next()) {
      const T* from = src + at.offset[0];
      T* to = out + row * n;
      for (int64_t i = 0; i < n; ++i) to[i] = from[offsets[i]];
    }
  });
}

// out[a, i, b...] = src[a, positions[i], b...]: slices of more than one element.
template <class T>
void take_slices(const Nest<1>& outer, const int64_t* offsets, int64_t n, const Nest<1>& slice,
                 const T* src, T* out) {
  int64_t grain = std::max<int64_t>(1, kIndexGrain / slice.size);
  parallel_for(outer.size * n, grain, [&](int64_t begin, int64_t end, int) {
    Walker<1> at(outer, outer.rank(), begin / n);
    int64_t i = begin % n;
    for (int64_t unit = begin; unit < end; ++unit) {
      copy_slice(slice, src + at.offset[0] + offsets[i], out + unit * slice.size);
      if (++i == n) {
        i = 0;
        at.next();
      }
    }
  });
}

}  // namespace

void gather(const char* op, const TensorView& src, std::span<const TensorView> indices,
            const Axes& axes, const Shape& slice_sizes, const TensorView& out) {
  require_same_dtype(op, src, out);
  IndexTable table(op, src, indices, axes, slice_sizes);
  Nest<1> slice = collapse<1>(slice_sizes, {&src.strides});
  if (slice.size == 0 || table.count == 0) {
    table.all_offsets(op);  // an index out of range is an error even of an empty slice
    return;
  }
  int64_t width = itemsize(src.dtype);
  if (slice.size >= kLongSlice && table.count < thread_count() * 4) {
    auto offsets = table.all_offsets(op);
    TensorView from{nullptr, src.dtype, slice_sizes, src.strides};
    TensorView to{nullptr, src.dtype, slice_sizes, row_major_strides(slice_sizes)};
    for (int64_t i = 0; i < table.count; ++i) {
      from.data = src.as<char>() + offsets[i] * width;
      to.data = out.as<char>() + i * slice.size * width;
      copy(from, to);
    }
    return;
  }
  dispatch_width(width, [&](auto item) {
    using T = decltype(item);
    gather_slices(op, table, slice, src.as<T>(), out.as<T>());
  });
}

void take(const char* op, const TensorView& src, const TensorView& indices, int64_t axis,
          const TensorView& out) {
  axis = checked_axis(op, axis, src.shape.size());
  if (axis == 0 || src.shape.size() == 1) {
    Shape slice = src.shape;
    slice[axis] = src.shape[axis] > 0 ? 1 : 0;
    if (slice[axis] == 1) return gather(op, src, {&indices, 1}, {axis}, slice, out);
  }
  require_same_dtype(op, src, out);
  // The axis named in an error is the caller's, so the table is made on src itself.
  Shape one(src.shape.size(), 0);
  one[axis] = 1;
  if (src.shape[axis] == 0) {
    if (indices.size() == 0) return;
    dispatch_index(op, indices.dtype,
                   [&](auto item) { index_error(op, *indices.as<decltype(item)>(), axis, 0); });
  }
  IndexTable table(op, src, {&indices, 1}, {axis}, one);
  auto offsets = table.all_offsets(op);
  Shape head(src.shape.begin(), src.shape.begin() + axis);
  Shape rest = tail(src.shape, axis + 1);
  Strides head_strides(src.strides.begin(), src.strides.begin() + axis);
  Strides rest_strides = tail(src.strides, axis + 1);
  Nest<1> outer = collapse<1>(head, {&head_strides});
  Nest<1> slice = collapse<1>(rest, {&rest_strides});
  if (outer.size == 0 || slice.size == 0 || table.count == 0) return;
  dispatch_width(itemsize(src.dtype), [&](auto item) {
    using T = decltype(item);
    if (slice.size == 1) {
      take_elements(outer, offsets.get(), table.count, src.as<T>(), out.as<T>());
    } else {
      take_slices(outer, offsets.get(), table.count, slice, src.as<T>(), out.as<T>());
    }
  });
}

void take_along_axis(const char* op, const TensorView& src, const TensorView& indices, int64_t axis,
                     const TensorView& out) {
  require_same_dtype(op, src, out);
  axis = checked_axis(op, axis, src.shape.size());
  for (size_t k = 0; k < src.shape.size(); ++k)
    if (indices.shape.size() != src.shape.size() ||
        (static_cast<int64_t>(k) != axis && indices.shape[k] != src.shape[k]))
      throw ShapeError(std::string(op) + ": indices of shape " + to_string(indices.shape) +
                       " do not match " + to_string(src.shape) + " off axis " +
                       std::to_string(axis));
  int64_t n = indices.shape[axis], size = src.shape[axis];
  Nest<3> outer = collapse<3>(indices.shape, {&out.strides, &src.strides, &indices.strides}, axis);
  if (n == 0 || outer.size == 0) return;
  int64_t os = out.strides[axis], ss = src.strides[axis], is = indices.strides[axis];
  dispatch_index(op, indices.dtype, [&](auto index_item) {
    using I = decltype(index_item);
    dispatch_width(itemsize(src.dtype), [&](auto item) {
      using T = decltype(item);
      int64_t grain = std::max<int64_t>(1, kIndexGrain / n);
      parallel_for(outer.size, grain, [&](int64_t begin, int64_t end, int) {
        Walker<3> at(outer, outer.rank(), begin);
        for (int64_t row = begin; row < end; ++row, at.next()) {
          T* to = out.as<T>() + at.offset[0];
          const T* from = src.as<T>() + at.offset[1];
          const I* index = indices.as<I>() + at.offset[2];
          for (int64_t i = 0; i < n; ++i)
            to[i * os] = from[ss * resolve(op, index[i * is], axis, size, 1)];
        }
      });
    });
  });
}

}  // namespace lamina::cpu

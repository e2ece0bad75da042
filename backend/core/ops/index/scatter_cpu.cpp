#include <type_traits>

#include "ops/index/index_common.h"
#include "ops/index/index_cpu.h"

namespace lamina::cpu {
namespace {

// Slices at least this long are split over threads; shorter ones are dealt out by destination.
constexpr int64_t kLongSlice = 1 << 12;

template <class T>
bool less(const T& a, const T& b) {
  if constexpr (std::is_same_v<T, complex64_t>)
    return a.real() < b.real() || (a.real() == b.real() && a.imag() < b.imag());
  else
    return a < b;
}

// What a destination element becomes. NaN wins max and min, as everywhere else.
template <ScatterMode mode, class T>
T joined(T there, T update) {
  if constexpr (mode == ScatterMode::none) {
    return update;
  } else if constexpr (mode == ScatterMode::add) {
    if constexpr (std::is_same_v<T, bool>)
      return there || update;
    else if constexpr (std::is_class_v<T> && !std::is_same_v<T, complex64_t>)
      return T(float(there) + float(update));
    else
      return static_cast<T>(there + update);
  } else if constexpr (mode == ScatterMode::multiply) {
    if constexpr (std::is_same_v<T, bool>)
      return there && update;
    else if constexpr (std::is_class_v<T> && !std::is_same_v<T, complex64_t>)
      return T(float(there) * float(update));
    else
      return static_cast<T>(there * update);
  } else if constexpr (mode == ScatterMode::max) {
    return update != update || less(there, update) ? update : there;
  } else {
    return update != update || less(update, there) ? update : there;
  }
}

template <class F>
void dispatch_mode(ScatterMode mode, F&& f) {
  using M = ScatterMode;
  switch (mode) {
    case M::none:
      return f(std::integral_constant<M, M::none>{});
    case M::add:
      return f(std::integral_constant<M, M::add>{});
    case M::multiply:
      return f(std::integral_constant<M, M::multiply>{});
    case M::max:
      return f(std::integral_constant<M, M::max>{});
    default:
      return f(std::integral_constant<M, M::min>{});
  }
}

// Replacing needs no arithmetic: one instance per item width instead of per dtype.
template <class F>
void dispatch_join(Dtype dtype, ScatterMode mode, F&& f) {
  if (mode == ScatterMode::none) {
    dispatch_width(itemsize(dtype), [&](auto item) {
      f(item, std::integral_constant<ScatterMode, ScatterMode::none>{});
    });
  } else {
    dispatch(dtype, [&](auto item) {
      dispatch_mode(mode, [&](auto m) {
        if constexpr (m.value != ScatterMode::none) f(item, m);
      });
    });
  }
}

// Wrapping arithmetic of signed integers is defined only on their unsigned twins.
template <class T, ScatterMode mode>
using arithmetic_t =
    typename std::conditional_t<std::is_integral_v<T> && !std::is_same_v<T, bool> &&
                                    (mode == ScatterMode::add || mode == ScatterMode::multiply),
                                std::make_unsigned<std::conditional_t<
                                    std::is_integral_v<T> && !std::is_same_v<T, bool>, T, int>>,
                                std::type_identity<T>>::type;

// Elements [begin, end) of one slice.
template <ScatterMode mode, class T>
void join_slice(const Nest<2>& slice, T* dst, const T* update, int64_t begin, int64_t end) {
  int64_t row = slice.last(), ds = slice.last_stride(0), us = slice.last_stride(1);
  Walker<2> at(slice, std::max(slice.rank() - 1, 0), begin / row);
  int64_t skip = begin % row;
  while (begin < end) {
    int64_t n = std::min(row - skip, end - begin);
    T* to = dst + at.offset[0] + skip * ds;
    const T* from = update + at.offset[1] + skip * us;
    if (ds == 1 && us == 1) {
      for (int64_t j = 0; j < n; ++j) to[j] = joined<mode, T>(to[j], from[j]);
    } else {
      for (int64_t j = 0; j < n; ++j) to[j * ds] = joined<mode, T>(to[j * ds], from[j * us]);
    }
    begin += n;
    skip = 0;
    at.next();
  }
}

struct Scatter {
  Nest<1> points;  // updates, over the indices
  Nest<2> slice;   // dst and updates, over one slice
  const int64_t* offsets;
  int64_t count;
  // No two slices that start at different offsets overlap.
  bool disjoint;
};

// Every thread walks all indices and writes its own part of each slice.
template <ScatterMode mode, class T>
void scatter_long(const Scatter& s, T* dst, const T* updates) {
  parallel_for(s.slice.size, kLongSlice / 2, [&](int64_t begin, int64_t end, int) {
    Walker<1> at(s.points, s.points.rank(), 0);
    for (int64_t i = 0; i < s.count; ++i, at.next())
      join_slice<mode>(s.slice, dst + s.offsets[i], updates + at.offset[0], begin, end);
  });
}

// Every thread walks all indices and takes those that start in its own range of offsets, so that
// updates of one element meet in one thread and in order.
template <ScatterMode mode, class T>
void scatter_short(const Scatter& s, T* dst, const T* updates) {
  int64_t parts = s.disjoint ? thread_count() : 1;
  if (s.count * s.slice.size < 4 * kIndexGrain) parts = 1;
  int64_t low = 0, high = 0;
  if (parts > 1) {
    auto [lo, hi] = std::minmax_element(s.offsets, s.offsets + s.count);
    low = *lo;
    high = *hi + 1;
  }
  parallel_for(parts, 1, [&](int64_t first, int64_t last, int) {
    int64_t span = high - low;
    int64_t from = low + span / parts * first;
    int64_t to = last == parts ? high : low + span / parts * last;
    Walker<1> at(s.points, s.points.rank(), 0);
    bool scalar = s.slice.size == 1;
    for (int64_t i = 0; i < s.count; ++i, at.next()) {
      int64_t offset = s.offsets[i];
      if (parts > 1 && (offset < from || offset >= to)) continue;
      if (scalar) {
        dst[offset] = joined<mode, T>(dst[offset], updates[at.offset[0]]);
      } else {
        join_slice<mode>(s.slice, dst + offset, updates + at.offset[0], 0, s.slice.size);
      }
    }
  });
}

}  // namespace

void scatter(const char* op, const TensorView& dst, std::span<const TensorView> indices,
             const TensorView& updates, const Axes& axes, ScatterMode mode) {
  size_t rank = dst.shape.size();
  if (updates.shape.size() < rank)
    throw ShapeError(std::string(op) + ": updates of shape " + to_string(updates.shape) +
                     " have fewer axes than " + to_string(dst.shape));
  if (updates.dtype != dst.dtype)
    throw DtypeError(std::string(op) + ": dtypes differ: " + name_of(dst.dtype) + " and " +
                     name_of(updates.dtype));
  size_t lead = updates.shape.size() - rank;
  Shape slice_shape = tail(updates.shape, lead);
  IndexTable table(op, dst, indices, axes, slice_shape);
  Shape point_shape(updates.shape.begin(), updates.shape.begin() + lead);
  if (!(point_shape == table.shape))
    throw ShapeError(std::string(op) + ": updates of shape " + to_string(updates.shape) +
                     " do not start with the indices' shape " + to_string(table.shape));
  auto offsets = table.all_offsets(op);
  Strides point_strides(updates.strides.begin(), updates.strides.begin() + lead);
  Strides slice_strides = tail(updates.strides, lead);
  Scatter s{collapse<1>(point_shape, {&point_strides}),
            collapse<2>(slice_shape, {&dst.strides, &slice_strides}), offsets.get(), table.count,
            true};
  if (s.count == 0 || s.slice.size == 0) return;
  for (const IndexColumn& column : table.columns) s.disjoint &= column.extent == 1;
  dispatch_join(dst.dtype, mode, [&](auto item, auto m) {
    using T = arithmetic_t<decltype(item), m.value>;
    if (s.slice.size >= kLongSlice && s.disjoint) {
      scatter_long<m.value>(s, dst.as<T>(), updates.as<T>());
    } else {
      scatter_short<m.value>(s, dst.as<T>(), updates.as<T>());
    }
  });
}

namespace {

struct AlongAxis {
  Nest<3> outer;  // dst, updates, indices
  int64_t n, size, axis;
  int64_t dst_stride, update_stride, index_stride;
};

// The checked position of every index, row by row of `outer`.
std::unique_ptr<int64_t[]> positions(const char* op, const AlongAxis& a,
                                     const TensorView& indices) {
  std::unique_ptr<int64_t[]> out(new int64_t[a.outer.size * a.n]);
  dispatch_index(op, indices.dtype, [&](auto item) {
    using I = decltype(item);
    parallel_for(a.outer.size, std::max<int64_t>(1, kIndexGrain / a.n),
                 [&](int64_t begin, int64_t end, int) {
                   Walker<3> at(a.outer, a.outer.rank(), begin);
                   for (int64_t row = begin; row < end; ++row, at.next()) {
                     const I* index = indices.as<I>() + at.offset[2];
                     for (int64_t i = 0; i < a.n; ++i)
                       out[row * a.n + i] =
                           resolve(op, index[i * a.index_stride], a.axis, a.size, 1);
                   }
                 });
  });
  return out;
}

// Rows never meet in dst, so they may run in parallel.
template <ScatterMode mode, class T>
void join_along_axis(const AlongAxis& a, const int64_t* position, T* dst, const T* updates) {
  parallel_for(a.outer.size, std::max<int64_t>(1, kIndexGrain / a.n),
               [&](int64_t begin, int64_t end, int) {
                 Walker<3> at(a.outer, a.outer.rank(), begin);
                 for (int64_t row = begin; row < end; ++row, at.next()) {
                   T* to = dst + at.offset[0];
                   const T* from = updates + at.offset[1];
                   for (int64_t i = 0; i < a.n; ++i) {
                     T& there = to[position[row * a.n + i] * a.dst_stride];
                     there = joined<mode, T>(there, from[i * a.update_stride]);
                   }
                 }
               });
}

}  // namespace

void scatter_along_axis(const char* op, const TensorView& dst, const TensorView& indices,
                        const TensorView& updates, int64_t axis, ScatterMode mode) {
  axis = checked_axis(op, axis, dst.shape.size());
  if (updates.dtype != dst.dtype)
    throw DtypeError(std::string(op) + ": dtypes differ: " + name_of(dst.dtype) + " and " +
                     name_of(updates.dtype));
  if (!(indices.shape == updates.shape))
    throw ShapeError(std::string(op) + ": indices and updates differ: " + to_string(indices.shape) +
                     " and " + to_string(updates.shape));
  for (size_t k = 0; k < dst.shape.size(); ++k)
    if (indices.shape.size() != dst.shape.size() ||
        (static_cast<int64_t>(k) != axis && indices.shape[k] != dst.shape[k]))
      throw ShapeError(std::string(op) + ": indices of shape " + to_string(indices.shape) +
                       " do not match " + to_string(dst.shape) + " off axis " +
                       std::to_string(axis));
  AlongAxis a{collapse<3>(indices.shape, {&dst.strides, &updates.strides, &indices.strides}, axis),
              indices.shape[axis],
              dst.shape[axis],
              axis,
              dst.strides[axis],
              updates.strides[axis],
              indices.strides[axis]};
  if (a.n == 0 || a.outer.size == 0) return;
  auto position = positions(op, a, indices);
  dispatch_join(dst.dtype, mode, [&](auto item, auto m) {
    using T = arithmetic_t<decltype(item), m.value>;
    join_along_axis<m.value>(a, position.get(), dst.as<T>(), updates.as<T>());
  });
}

}  // namespace lamina::cpu

#include "ops/copy/copy_cpu.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/thread_pool.h"
#include "ops/copy/strided.h"

namespace lamina::cpu {
namespace {

// Operand order of every nest here.
constexpr int kDst = 0, kSrc = 1;
// Bytes one piece of parallel work moves at least.
constexpr int64_t kGrainBytes = 1 << 16;
// Side of the square tiles of a transpose: both sides of a tile fit L1 for 8-byte items.
constexpr int64_t kTile = 32;

template <class T>
void copy_row(T* dst, int64_t ds, const T* src, int64_t ss, int64_t n) {
  if (ds == 1 && ss == 1) {
    if (n * sizeof(T) >= 64) {
      std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(T));
    } else {
      for (int64_t i = 0; i < n; ++i) dst[i] = src[i];
    }
  } else if (ss == 0) {
    T value = *src;
    if (ds == 1)
      std::fill_n(dst, n, value);
    else
      for (int64_t i = 0; i < n; ++i) dst[i * ds] = value;
  } else if (ds == 1) {
    for (int64_t i = 0; i < n; ++i) dst[i] = src[i * ss];
  } else {
    for (int64_t i = 0; i < n; ++i) dst[i * ds] = src[i * ss];
  }
}

// Elements [begin, end) in the nest's order.
template <class T>
void copy_range(const Nest<2>& nest, T* dst, const T* src, int64_t begin, int64_t end) {
  int64_t row = nest.last();
  int64_t ds = nest.last_stride(kDst), ss = nest.last_stride(kSrc);
  Walker<2> at(nest, std::max(nest.rank() - 1, 0), begin / row);
  int64_t skip = begin % row;
  while (begin < end) {
    int64_t n = std::min(row - skip, end - begin);
    copy_row(dst + at.offset[kDst] + skip * ds, ds, src + at.offset[kSrc] + skip * ss, ss, n);
    begin += n;
    skip = 0;
    at.next();
  }
}

// dst is unit-stride on the last axis, src on the one before it: a transpose, tile by tile.
template <class T>
void copy_tile(T* dst, int64_t ds, const T* src, int64_t ss, int64_t rows, int64_t cols) {
  T block[kTile][kTile + 16 / sizeof(T)];
  for (int64_t c = 0; c < cols; ++c)
    for (int64_t r = 0; r < rows; ++r) block[r][c] = src[c * ss + r];
  for (int64_t r = 0; r < rows; ++r) std::copy_n(block[r], cols, dst + r * ds);
}

template <class T>
void copy_transposed(const Nest<2>& nest, T* dst, const T* src) {
  int rank = nest.rank();
  int64_t rows = nest.shape[rank - 2], cols = nest.shape[rank - 1];
  int64_t ds = nest.strides[kDst][rank - 2], ss = nest.strides[kSrc][rank - 1];
  int64_t row_tiles = (rows + kTile - 1) / kTile;
  int64_t outer = nest.size / (rows * cols);
  int64_t grain = std::max<int64_t>(1, kGrainBytes / (kTile * cols * int64_t{sizeof(T)}));
  parallel_for(outer * row_tiles, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t unit = begin; unit < end; ++unit) {
      Walker<2> at(nest, rank - 2, unit / row_tiles);
      int64_t r = unit % row_tiles * kTile, n = std::min(kTile, rows - r);
      for (int64_t c = 0; c < cols; c += kTile)
        copy_tile(dst + at.offset[kDst] + r * ds + c, ds, src + at.offset[kSrc] + c * ss + r, ss, n,
                  std::min(kTile, cols - c));
    }
  });
}

// Axes reordered so that dst is written forwards and as sequentially as it can be.
Nest<2> nest_for(const TensorView& src, const TensorView& dst, int64_t* dst_shift,
                 int64_t* src_shift) {
  Shape shape;
  Strides d, s;
  Axes order(dst.shape.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return std::abs(dst.strides[a]) > std::abs(dst.strides[b]);
  });
  *dst_shift = *src_shift = 0;
  for (int64_t axis : order) {
    int64_t n = dst.shape[axis], ds = dst.strides[axis], ss = src.strides[axis];
    if (ds < 0 || (ds == 0 && ss < 0)) {
      *dst_shift += (n - 1) * ds;
      *src_shift += (n - 1) * ss;
      ds = -ds;
      ss = -ss;
    }
    shape.push_back(n);
    d.push_back(ds);
    s.push_back(ss);
  }
  return collapse<2>(shape, {&d, &s});
}

// Brings the axis on which src is unit-stride next to the last, if a tiled transpose pays.
bool make_transpose(Nest<2>* nest) {
  int rank = nest->rank();
  if (rank < 2 || nest->strides[kDst][rank - 1] != 1 || nest->strides[kSrc][rank - 1] == 1 ||
      nest->strides[kSrc][rank - 1] == 0 || nest->shape[rank - 1] < 8)
    return false;
  for (int axis = 0; axis < rank - 1; ++axis) {
    if (nest->strides[kSrc][axis] != 1 || nest->shape[axis] < 8) continue;
    for (int i = axis; i < rank - 2; ++i) {
      std::swap(nest->shape[i], nest->shape[i + 1]);
      for (auto& s : nest->strides) std::swap(s[i], s[i + 1]);
    }
    return true;
  }
  return false;
}

}  // namespace

void copy(const TensorView& src, const TensorView& dst) {
  if (!(src.shape == dst.shape))
    throw ShapeError("copy: shapes differ: " + to_string(src.shape) + " to " +
                     to_string(dst.shape));
  if (src.dtype != dst.dtype)
    throw DtypeError(std::string("copy: dtypes differ: ") + name_of(src.dtype) + " to " +
                     name_of(dst.dtype));
  if (dst.size() == 0) return;
  int64_t dst_shift, src_shift;
  Nest<2> nest = nest_for(src, dst, &dst_shift, &src_shift);
  bool transpose = make_transpose(&nest);
  dispatch_width(itemsize(src.dtype), [&](auto item) {
    using T = decltype(item);
    T* to = dst.as<T>() + dst_shift;
    const T* from = src.as<T>() + src_shift;
    if (to == from && nest.strides[kDst] == nest.strides[kSrc]) return;
    if (transpose) return copy_transposed(nest, to, from);
    parallel_for(nest.size, kGrainBytes / int64_t{sizeof(T)},
                 [&](int64_t begin, int64_t end, int) { copy_range(nest, to, from, begin, end); });
  });
}

void concatenate(std::span<const TensorView> parts, int64_t axis, const TensorView& dst) {
  axis = checked_axis("concatenate", axis, dst.shape.size());
  int64_t at = 0;
  for (const TensorView& part : parts) {
    TensorView slot = dst;
    if (part.shape.size() != dst.shape.size())
      throw ShapeError("concatenate: ranks differ: " + to_string(part.shape) + " into " +
                       to_string(dst.shape));
    slot.shape[axis] = part.shape[axis];
    slot.data = dst.as<char>() + at * dst.strides[axis] * itemsize(dst.dtype);
    at += part.shape[axis];
    if (at > dst.shape[axis]) break;
    copy(part, slot);
  }
  if (at != dst.shape[axis])
    throw ShapeError("concatenate: the parts do not fill " + to_string(dst.shape) + " on axis " +
                     std::to_string(axis));
}

void fill(const TensorView& value, const TensorView& dst) {
  TensorView src = value;
  src.shape = dst.shape;
  src.strides = Strides(dst.shape.size(), 0);
  copy(src, dst);
}

}  // namespace lamina::cpu

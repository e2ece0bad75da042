#include "ops/sort/sort_cpu.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "ops/copy/copy_cpu.h"
#include "ops/copy/strided.h"
#include "ops/sort/sort_keys.h"

namespace lamina::cpu {
namespace {

constexpr int64_t kGrain = 1 << 13;
// Rows at least this long are sorted by several threads when there are too few rows.
constexpr int64_t kLongRow = 1 << 17;
// Rows at least this long are partitioned by selection instead of sorted.
constexpr int64_t kSelect = 1 << 12;

// A view's axis moved to the end.
TensorView axis_last(TensorView v, int64_t axis) {
  for (size_t i = axis; i + 1 < v.shape.size(); ++i) {
    std::swap(v.shape[i], v.shape[i + 1]);
    std::swap(v.strides[i], v.strides[i + 1]);
  }
  return v;
}

template <class K>
void sort_rest(K* keys, K* scratch, int64_t n, int low_bit) {
  if constexpr (sizeof(K) == 8)
    sort_keys(keys, scratch, n, low_bit);
  else
    sort_keys(keys, scratch, n);
}

// Sorts one long row: split until there are pieces for all threads, then piece by piece.
template <class K>
void sort_pieces(K* keys, K* scratch, int64_t n, int low_bit) {
  struct Piece {
    int64_t begin, end;
  };
  std::vector<Piece> done, left{{0, n}};
  int64_t enough = std::max<int64_t>(kLongRow / 8, n / (4 * thread_count()));
  while (!left.empty()) {
    Piece p = left.back();
    left.pop_back();
    // A piece whose neighbour is being sorted must not need room for padding.
    if (p.end - p.begin <= enough || done.size() + left.size() > 256) {
      if (p.end > p.begin) done.push_back(p);
      continue;
    }
    KeySplit split = split_keys(keys + p.begin, scratch + p.begin, p.end - p.begin);
    left.push_back({p.begin, p.begin + split.low});
    left.push_back({p.begin + split.high, p.end});
  }
  parallel_for(static_cast<int64_t>(done.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t count = done[i].end - done[i].begin;
      K *from = keys + done[i].begin, *spare = scratch + done[i].begin;
      if (sort_room(count) == count) {
        sort_rest(from, spare, count, low_bit);
      } else {
        std::sort(from, from + count);
      }
    }
  });
}

// How the keys of a row are ordered; kth < 0: completely.
template <class K>
void order_keys(K* keys, K* scratch, int64_t n, int64_t kth, bool alone, int low_bit) {
  if (kth >= 0 && n >= kSelect) {
    select_key(keys, scratch, n, kth);
  } else if (alone && n >= kLongRow && thread_count() > 1) {
    sort_pieces(keys, scratch, n, low_bit);
  } else {
    sort_rest(keys, scratch, n, low_bit);
  }
}

void order_keys(ComplexKey* keys, ComplexKey*, int64_t n, int64_t kth, bool, int) {
  if (kth >= 0 && n >= kSelect)
    std::nth_element(keys, keys + kth, keys + n);
  else
    std::sort(keys, keys + n);
}

// Two rows' worth of keys, per thread of the caller's making.
template <class K>
struct KeySpace {
  explicit KeySpace(int64_t n) : keys(new K[sort_room(n)]), scratch(new K[sort_room(n)]) {}
  std::unique_ptr<K[]> keys, scratch;
};

template <class T>
void sort_row(const T* src, T* out, int64_t n, int64_t kth, bool alone,
              KeySpace<typename SortKey<T>::type>& space) {
  auto* keys = space.keys.get();
  for (int64_t i = 0; i < n; ++i) keys[i] = SortKey<T>::encode(src[i]);
  order_keys(keys, space.scratch.get(), n, kth, alone, 0);
  for (int64_t i = 0; i < n; ++i) out[i] = SortKey<T>::decode(keys[i]);
}

// Keys of 32 bits and the position share one 64-bit key; its low half is in order already.
template <class T>
void argsort_packed(const T* src, uint32_t* out, int64_t n, int64_t kth, bool alone,
                    KeySpace<int64_t>& space) {
  int64_t* keys = space.keys.get();
  for (int64_t i = 0; i < n; ++i)
    keys[i] = static_cast<int64_t>(static_cast<uint64_t>(SortKey<T>::encode(src[i])) << 32 |
                                   static_cast<uint64_t>(i));
  order_keys(keys, space.scratch.get(), n, kth, alone, 32);
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<uint32_t>(keys[i]);
}

template <class T, class K>
void argsort_wide(const T* src, uint32_t* out, int64_t n, int64_t kth, K* keys) {
  for (int64_t i = 0; i < n; ++i) keys[i] = SortKey<T>::encode(src[i]);
  std::iota(out, out + n, 0u);
  auto less = [keys](uint32_t a, uint32_t b) {
    return keys[a] < keys[b] || (!(keys[b] < keys[a]) && a < b);
  };
  if (kth >= 0 && n >= kSelect)
    std::nth_element(out, out + kth, out + n, less);
  else
    std::sort(out, out + n, less);
}

// Runs row(src, out, alone, space) on every row of contiguous rows, `space` made once per piece.
template <class Space, class T, class O, class F>
void for_rows(const TensorView& src, O* out, int64_t n, F&& row) {
  int64_t axis = static_cast<int64_t>(src.shape.size()) - 1;
  Nest<1> nest = collapse<1>(src.shape, {&src.strides}, axis);
  bool alone = nest.size < thread_count();
  auto piece = [&](int64_t begin, int64_t end, int) {
    Space space(n);
    Walker<1> at(nest, nest.rank(), begin);
    for (int64_t r = begin; r < end; ++r, at.next())
      row(src.as<T>() + at.offset[0], out + r * n, alone, space);
  };
  // Few long rows: one after another, each spread over the pool.
  if (alone && n >= kLongRow) return piece(0, nest.size, 0);
  parallel_for(nest.size, std::max<int64_t>(1, kGrain / n), piece);
}

// src and out with contiguous rows on the last axis, whatever the caller's layout.
template <class F>
void with_rows(const char* op, const TensorView& src, const TensorView& out, int64_t axis,
               F&& run) {
  axis = checked_axis(op, axis, src.shape.size());
  if (!(src.shape == out.shape))
    throw ShapeError(std::string(op) + ": shapes differ: " + to_string(src.shape) + " and " +
                     to_string(out.shape));
  if (src.size() == 0) return;
  TensorView from = axis_last(src, axis), to = axis_last(out, axis);
  std::unique_ptr<char[]> from_copy, to_copy;
  auto compact = [](TensorView* v, std::unique_ptr<char[]>* memory) {
    memory->reset(new char[v->size() * itemsize(v->dtype)]);
    v->data = memory->get();
    v->strides = row_major_strides(v->shape);
  };
  if (from.strides.back() != 1 && from.shape.back() != 1) {
    TensorView strided = from;
    compact(&from, &from_copy);
    copy(strided, from);
  }
  if (to.contiguous()) return run(from, to);
  TensorView strided = to;
  compact(&to, &to_copy);
  run(from, to);
  copy(to, strided);
}

void sort_or_select(const char* op, const TensorView& src, const TensorView& out, int64_t kth,
                    int64_t axis) {
  with_rows(op, src, out, axis, [&](const TensorView& from, const TensorView& to) {
    int64_t n = from.shape.back();
    dispatch(src.dtype, [&](auto item) {
      using T = decltype(item);
      using Space = KeySpace<typename SortKey<T>::type>;
      for_rows<Space, T>(from, to.as<T>(), n, [&](const T* s, T* o, bool alone, Space& space) {
        sort_row(s, o, n, kth, alone, space);
      });
    });
  });
}

void argsort_or_select(const char* op, const TensorView& src, const TensorView& out, int64_t kth,
                       int64_t axis) {
  if (out.dtype != Dtype::uint32)
    throw DtypeError(std::string(op) + ": positions are uint32, got " + name_of(out.dtype));
  with_rows(op, src, out, axis, [&](const TensorView& from, const TensorView& to) {
    int64_t n = from.shape.back();
    if (n > int64_t{1} << 32)
      throw ValueError(std::string(op) + ": an axis of " + std::to_string(n) +
                       " elements is too long for uint32 positions");
    dispatch(src.dtype, [&](auto item) {
      using T = decltype(item);
      using Key = typename SortKey<T>::type;
      // Narrow keys share a word with their position.
      using Space = KeySpace<std::conditional_t<sizeof(Key) == 4, int64_t, Key>>;
      for_rows<Space, T>(from, to.as<uint32_t>(), n,
                         [&](const T* s, uint32_t* o, bool alone, Space& space) {
                           if constexpr (sizeof(Key) == 4)
                             argsort_packed(s, o, n, kth, alone, space);
                           else
                             argsort_wide(s, o, n, kth, space.keys.get());
                         });
    });
  });
}

int64_t checked_kth(const char* op, int64_t kth, const TensorView& src, int64_t axis) {
  axis = checked_axis(op, axis, src.shape.size());
  int64_t n = src.shape[axis];
  if (kth < -n || kth >= n)
    throw ValueError(std::string(op) + ": kth " + std::to_string(kth) +
                     " is out of bounds for axis " + std::to_string(axis) + " with size " +
                     std::to_string(n));
  return kth < 0 ? kth + n : kth;
}

}  // namespace

void sort(const TensorView& src, const TensorView& out, int64_t axis) {
  sort_or_select("sort", src, out, -1, axis);
}

void argsort(const TensorView& src, const TensorView& out, int64_t axis) {
  argsort_or_select("argsort", src, out, -1, axis);
}

void partition(const TensorView& src, const TensorView& out, int64_t kth, int64_t axis) {
  kth = checked_kth("partition", kth, src, axis);
  sort_or_select("partition", src, out, kth, axis);
}

void argpartition(const TensorView& src, const TensorView& out, int64_t kth, int64_t axis) {
  kth = checked_kth("argpartition", kth, src, axis);
  argsort_or_select("argpartition", src, out, kth, axis);
}

void searchsorted(const TensorView& sorted, const TensorView& values, bool right,
                  const TensorView& out) {
  if (sorted.shape.size() != 1)
    throw ShapeError("searchsorted: the sorted sequence must have one axis, got " +
                     to_string(sorted.shape));
  if (sorted.dtype != values.dtype)
    throw DtypeError(std::string("searchsorted: dtypes ") + name_of(sorted.dtype) + " and " +
                     name_of(values.dtype) + " cannot be compared");
  if (out.dtype != Dtype::uint32 && out.dtype != Dtype::int64)
    throw DtypeError(std::string("searchsorted: positions are uint32 or int64, got ") +
                     name_of(out.dtype));
  int64_t n = sorted.shape[0], step = sorted.strides[0];
  Nest<1> nest = collapse<1>(values.shape, {&values.strides});
  if (nest.size == 0) return;
  dispatch(values.dtype, [&](auto item) {
    using T = decltype(item);
    const T* row = sorted.as<T>();
    parallel_for(nest.size, 1 << 10, [&](int64_t begin, int64_t end, int) {
      Walker<1> at(nest, nest.rank(), begin);
      for (int64_t i = begin; i < end; ++i, at.next()) {
        auto key = SortKey<T>::encode(values.as<T>()[at.offset[0]]);
        int64_t first = 0;
        for (int64_t left = n; left > 0;) {
          int64_t half = left / 2;
          auto there = SortKey<T>::encode(row[(first + half) * step]);
          bool beyond = right ? there <= key : there < key;
          first = beyond ? first + half + 1 : first;
          left = beyond ? left - half - 1 : half;
        }
        if (out.dtype == Dtype::uint32)
          out.as<uint32_t>()[i] = static_cast<uint32_t>(first);
        else
          out.as<int64_t>()[i] = first;
      }
    });
  });
}

}  // namespace lamina::cpu

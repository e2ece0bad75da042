#include "base/shape.h"

#include "base/error.h"

namespace lamina {

int64_t element_count(const Shape& shape) {
  int64_t n = 1;
  bool empty = false;
  for (int64_t d : shape) {
    if (d == 0) empty = true;
    if (d != 0 && __builtin_mul_overflow(n, d, &n))
      throw ValueError("shape: " + to_string(shape) + " has more than 2^63 elements");
  }
  return empty ? 0 : n;
}

Strides row_major_strides(const Shape& shape) {
  Strides strides(shape.size());
  int64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

std::string to_string(const Shape& shape) {
  std::string out = "(";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i) out += ", ";
    out += std::to_string(shape[i]);
  }
  return out + (shape.size() == 1 ? ",)" : ")");
}

std::optional<Shape> broadcast_shapes(const Shape& a, const Shape& b) {
  const Shape& longer = a.size() >= b.size() ? a : b;
  const Shape& shorter = a.size() >= b.size() ? b : a;
  Shape out = longer;
  size_t skip = longer.size() - shorter.size();
  for (size_t i = 0; i < shorter.size(); ++i) {
    int64_t x = longer[skip + i], y = shorter[i];
    if (x == y || y == 1) continue;
    if (x != 1) return std::nullopt;
    out[skip + i] = y;
  }
  return out;
}

bool is_row_major(const Shape& shape, const Strides& strides) {
  int64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == 0) return true;
    if (shape[i] != 1 && strides[i] != step) return false;
    step *= shape[i];
  }
  return true;
}

std::optional<Layout> reshape_layout(const Layout& from, const Shape& shape) {
  Layout out{shape, Strides(shape.size()), from.offset};
  if (element_count(shape) == 0 || from.contiguous()) {
    out.strides = row_major_strides(shape);
    return out;
  }
  // Walk both shapes from the left, matching runs of equal element count; a run of old axes must
  // be mergeable into one stride before the new axes can split it.
  size_t i = 0, j = 0;
  const size_t n = from.shape.size(), m = shape.size();
  while (i < n || j < m) {
    if (i < n && from.shape[i] == 1) {
      ++i;
      continue;
    }
    if (j < m && shape[j] == 1) {
      out.strides[j++] = 0;
      continue;
    }
    if (i >= n || j >= m) return std::nullopt;
    size_t i1 = i + 1, j1 = j + 1;
    int64_t a = from.shape[i], b = shape[j];
    while (a != b) {
      if (a < b)
        a *= from.shape[i1++];
      else
        b *= shape[j1++];
    }
    size_t last = i;
    for (size_t k = i + 1; k < i1; ++k) {
      if (from.shape[k] == 1) continue;
      if (from.strides[last] != from.strides[k] * from.shape[k]) return std::nullopt;
      last = k;
    }
    int64_t step = from.strides[last];
    for (size_t k = j1; k-- > j;) {
      out.strides[k] = step;
      step *= shape[k];
    }
    i = i1;
    j = j1;
  }
  return out;
}

Layout broadcast_layout(const Layout& from, const Shape& shape) {
  Layout out{shape, Strides(shape.size()), from.offset};
  size_t skip = shape.size() - from.shape.size();
  for (size_t i = 0; i < from.shape.size(); ++i)
    out.strides[skip + i] = from.shape[i] == 1 && shape[skip + i] != 1 ? 0 : from.strides[i];
  return out;
}

}  // namespace lamina

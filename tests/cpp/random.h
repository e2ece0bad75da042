// Random values for property tests: the same on every machine for the same seed.
#pragma once

#include <cstdint>
#include <vector>

#include "base/shape.h"

namespace lamina::test {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {}
  uint64_t bits() {  // splitmix64
    uint64_t z = state_ += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(n)); }
  int64_t within(int64_t low, int64_t high) { return low + below(high - low + 1); }
  bool once_in(int64_t n) { return below(n) == 0; }
  template <class T>
  const T& of(const std::vector<T>& choices) {
    return choices[static_cast<size_t>(below(static_cast<int64_t>(choices.size())))];
  }
  std::vector<int> permutation(int n) {
    std::vector<int> out;
    for (int i = 0; i < n; ++i) out.insert(out.begin() + below(i + 1), i);
    return out;
  }
  Shape shape(int max_rank, int64_t max_size) {
    Shape out;
    for (int64_t rank = within(0, max_rank); rank > 0; --rank) out.push_back(within(1, max_size));
    return out;
  }

 private:
  uint64_t state_;
};

// Calls f(index) for every index of the shape, in row-major order.
template <class F>
void each_index(const Shape& shape, F&& f) {
  if (element_count(shape) == 0) return;
  Shape index(shape.size(), 0);
  for (;;) {
    f(index);
    size_t d = shape.size();
    while (d > 0 && ++index[d - 1] == shape[d - 1]) index[--d] = 0;
    if (d == 0) return;
  }
}

inline int64_t place(const Shape& index, const Strides& strides, int64_t offset) {
  for (size_t d = 0; d < index.size(); ++d) offset += index[d] * strides[d];
  return offset;
}
inline int64_t place(const Shape& index, const Layout& layout) {
  return place(index, layout.strides, layout.offset);
}

}  // namespace lamina::test

// Several strided views walked together, for structured operations: one count becomes the index of
// the element in each view.
#pragma once

#include <string>
#include <vector>

#include "base/tensor_view.h"
#include "kernels/unit.h"

namespace lamina {

class Walk {
 public:
  // Views of one shape, by strides. Neighbouring axes are joined where all strides allow it.
  // `prefix` keeps the names of several walks of a unit apart.
  Walk(Unit& unit, std::string prefix, Shape shape, std::vector<Strides> strides, bool wide);

  int64_t count() const { return element_count(shape_); }
  // Lines that declare the axes' variables from a count below count().
  std::string split(const std::string& from, const std::string& indent) const;
  // The index in a view.
  std::string index(size_t view) const;

 private:
  Unit& unit_;
  std::string prefix_;
  Shape shape_;
  std::vector<Strides> strides_;
  bool wide_;
};

// Whether an index of one of the views, or a count up to `count`, needs more than 31 bits.
bool needs_long(const TextTraits& traits, std::initializer_list<const TensorView*> views,
                int64_t count = 0);
// Strides with one axis left out, or set to 0.
Strides without_axis(const Strides& strides, int64_t axis);
Strides zeroed_axis(Strides strides, int64_t axis);

// The unsigned type of so many bytes (1, 2, 4, 8, 16), for what only moves elements.
const char* word_type(int64_t bytes);
// Throws DtypeError where the device lacks the dtype.
void check_dtype(const char* op, Dtype d, const TextTraits& traits);

// Grids of one thread an item: 256 threads a group.
inline constexpr int kItemThreads = 256;
inline std::array<int64_t, 3> item_groups(int64_t items) {
  return {(items + kItemThreads - 1) / kItemThreads, 1, 1};
}
// "const uint item = ...; if (item >= p.items) return;"
std::string item_lines(Unit& unit, int64_t items, bool wide);

}  // namespace lamina

// What vendors' libraries do, in terms that all of them share: a device that has one may take it in
// place of a text that does the same.
#pragma once

#include <array>
#include <cstdint>
#include <variant>

#include "base/dtype.h"

namespace lamina {

// out = a @ b as matrix libraries take it: lines of a matrix are rows, or columns of a transposed
// one, and lie `lead` elements apart. Sums are in float32 at least.
struct LibraryProduct {
  struct Matrix {
    bool transposed = false;
    int64_t lead = 0;
    int64_t batch_stride = 0;  // 0: the same matrix throughout
  };
  Dtype dtype = Dtype::float32;
  int64_t rows = 0, cols = 0, depth = 0, batch = 1;
  Matrix a, b, out;
};

// A convolution of row-major arrays, channels last: input (batch, in..., channels), weight
// (filters, kernel..., channels / groups), output (batch, out..., filters). Axes that the program
// does not have come first and are of size 1.
struct LibraryConvolution {
  // forward: input, weight -> output; input_gradient: output's, weight -> input's;
  // weight_gradient: input, output's -> weight's.
  enum class Kind : uint8_t { forward, input_gradient, weight_gradient };
  using Extent = std::array<int64_t, 3>;
  Kind kind = Kind::forward;
  Dtype dtype = Dtype::float32;
  int spatial = 2;  // axes the program has
  int64_t batch = 1, channels = 1, filters = 1, groups = 1;
  Extent in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1};
  Extent stride{1, 1, 1}, pad{0, 0, 0}, dilation{1, 1, 1};
  bool flip = false;  // the kernel is mirrored
};

struct LibraryWork {
  std::variant<LibraryProduct, LibraryConvolution> what;
  // What it takes the place of: a program's launches from this one on, and the temporaries that
  // they alone need.
  size_t first_launch = 0, temporaries = 0;
  // Two inputs and the output, as a bind names operands.
  std::array<int, 3> operands{0, 1, 2};
};

}  // namespace lamina

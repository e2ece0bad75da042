// What a program with matrices computes, in terms of vendors' libraries: a device that has one may
// take it in place of a text that does the same. What no library does is told as well: devices look
// at the sums of what they launch for the first time (devices/proof.h).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "base/tensor_view.h"

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

// A product over views of any strides, for texts only: (batch..., rows, depth) by (batch..., depth,
// cols) to (batch..., rows, cols). A view's data is null.
struct TextProduct {
  Dtype dtype = Dtype::float32;
  TensorView a, b, out;
  // For each product of the batch the number of its matrix, counted through the factor's leading
  // axes, which then are no batch; from the end where negative, and zeros where out of range.
  std::optional<TensorView> a_numbers{}, b_numbers{};
  // (batch..., 2): where in the depth each product begins and ends, cut to it. The factors then
  // have no leading axes.
  std::optional<TensorView> segments{};
};

// A convolution of arrays with channels last: input (batch, in..., channels), weight
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
  Extent stride{1, 1, 1}, pad{0, 0, 0}, dilation{1, 1, 1};  // pad: before the first element
  bool flip = false;                                        // the kernel is mirrored
  // For texts only: how far the input's elements lie apart in what the kernel moves over.
  Extent apart{1, 1, 1};
  // Of axes in memory, as named above; a library's arrays are row-major.
  using Steps = std::array<int64_t, 5>;
  Steps in_steps{}, kernel_steps{}, out_steps{};
};

struct LibraryWork {
  std::variant<LibraryProduct, LibraryConvolution, TextProduct> what;
  bool texts_only = false;  // no library does it
  // What it takes the place of: a program's launches from this one on, and the temporaries that
  // they alone need.
  size_t first_launch = 0, temporaries = 0;
  // Two inputs and the output, as a bind names operands.
  std::array<int, 3> operands{0, 1, 2};
  // TextProduct's numbers of a and of b, or its segments.
  std::vector<int> further{};
};

}  // namespace lamina

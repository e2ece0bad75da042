// Random kernels with memory for their arguments, and what they should compute: the IR taken at its
// word, point by point, instruction by instruction.
#pragma once

#include <complex>
#include <vector>

#include "devices/cpu/blocks.h"
#include "kernels/kernel.h"
#include "random.h"

namespace lamina::test {

// A value of one point, in its compute dtype, and how far rounding may have taken it.
struct Scalar {
  alignas(8) unsigned char bytes[8] = {};
  double error = 0;
};
std::complex<double> number(const Scalar& s, Dtype d);

struct RandomKernel {
  explicit RandomKernel(uint64_t seed);

  Kernel kernel;
  std::vector<ScalarValue> scalars;
  // Of every argument before the launch and, where it is an output, after. An output may have the
  // buffer of an input.
  std::vector<std::vector<unsigned char>> memory;
  std::vector<int> buffer_of;  // per argument, into memory
  // Per argument: what its elements should hold; empty for inputs. By position in the buffer.
  struct Expected {
    int64_t element;
    Scalar value;  // in the argument's dtype
  };
  std::vector<std::vector<Expected>> expected;

  // Whether the buffers after a launch hold what is expected, and nothing else has changed.
  void check(const std::vector<std::vector<unsigned char>>& after) const;
};

}  // namespace lamina::test

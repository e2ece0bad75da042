// A launch over a batch of matrices, one threadgroup for each: what the texts of linear algebra
// share. Private to ops/linalg/.
#pragma once

#include <string>
#include <vector>

#include "kernels/walk.h"

namespace lamina::text {

// The body of a text finds:
//   Number, Real      the dtype and that of its absolute values, with plus, minus, times, over,
//                     scaled, with_product (c + a b), less_product (c - a b), conjugate_of,
//                     real_of, imaginary_of, size_of, size2_of, extent_of, spread_of,
//                     shifted (by a power of two), number, lane_total, lane_high, lane_last,
//                     BEST_OF_LANES
//   THREADS, SIMDS    of the group, and matrix, its number in the batch
//   row, column       a thread's place when the group goes over a matrix by ROWS and COLUMNS
//   note(k, at)       fault k of this matrix, for one thread
class MatrixLaunch {
 public:
  // `a`: the matrices. `step`: elements that a step of the algorithm goes over, `across`: how many
  // of them lie side by side in memory.
  MatrixLaunch(const TextTraits& traits, const std::string& name, const TensorView& a, int64_t step,
               int64_t across);

  // Element (i, j) of an operand's matrix as NAME(i, j). The batch is that of `a`.
  void view(const std::string& name, const TensorView& v, int operand);
  // `name` points to what this matrix has of a contiguous result, `count` elements.
  void result(const std::string& name, const std::string& type, int64_t itemsize, int operand,
              int64_t count);
  // Memory of this matrix's own: of the threadgroup where `count` numbers of it fit, as they do
  // for small matrices.
  void memory(const std::string& name, const std::string& type, int64_t itemsize, int64_t count);
  // `const uint name`, and a condition, of the constant block.
  std::string size(const std::string& name, int64_t value);
  std::string flag(const std::string& name, bool value);
  // Text in front of the kernel.
  void declare(const std::string& text) { unit_.declare(text); }
  int64_t simds() const { return threads_ / 32; }

  TextProgram finish(const std::string& body, std::vector<FaultFn> faults);

 private:
  Unit unit_;
  TextProgram program_;
  int64_t matrices_;
  int threads_;
  int64_t shared_left_;
  bool wide_ = false;
  Shape batch_;
  std::vector<std::string> view_names_;
  std::vector<TensorView> views_;
  std::string shared_, opening_;
};

}  // namespace lamina::text

// What the texts of iterations share: scale, precision, faults. Private to ops/linalg/.
#pragma once

#include <string>
#include <vector>

#include "ops/linalg/matrix_launch.h"

namespace lamina::text {

// For `note(0, 0)`, of a matrix that is not finite, and `note(1, 0)`, of one that does not
// converge.
std::vector<FaultFn> iteration_faults(const char* op, const TensorView& a);
// WITH_VECTORS(text): the text, or nothing. number_of(x): a real value as the result holds it, in
// the matrix's dtype beside vectors.
std::string with_vectors(bool on);
// EPSILON; LEAST: lengths whose squares cannot be told from 0, where the largest element is about
// 1; TINY: elements that are as good as 0 there.
const char* precision_of(Dtype d);

// `by`: the power of two that makes the largest element one of [1, 2). Notes what is not finite.
inline constexpr const char* kScale = R"(
  Real high = 0, bad = 0;
  for (uint i = row; i < m; i += ROWS)
    for (uint j = column; j < n; j += COLUMNS) {
      const Number x = ELEMENT(i, j);
      high = fmax(high, extent_of(x));
      bad = fmax(bad, isfinite(real_of(x)) && isfinite(imaginary_of(x)) ? Real(0) : Real(1));
    }
  high = lane_high(high);
  bad = lane_high(bad);
  if (lane == 0) {
    highest[simd] = high;
    highest[SIMDS + simd] = bad;
  }
  BARRIERS();
  for (uint k = 0; k < SIMDS; ++k) {
    high = fmax(high, highest[k]);
    bad = fmax(bad, highest[SIMDS + k]);
  }
  if (bad > 0) {
    if (thread_id == 0) note(0, 0);
    return;
  }
  const int by = high > 0 ? -ilogb(high) : 0;
)";

}  // namespace lamina::text

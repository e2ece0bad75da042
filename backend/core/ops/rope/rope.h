// Rotary positions as one operation.
#pragma once

#include "graph/array.h"

namespace lamina {

// What turns the features. The rate of pair i is base^(-i / (dims / 2)), or 1 / freqs[i].
struct Rope {
  int64_t dims = 0;          // even; features beyond stay as they are
  bool traditional = false;  // neighbours are a pair, else feature i and i + dims / 2
  double base = 0;           // where there are no freqs
  double scale = 1;          // of positions
  int64_t offset = 0;        // the first position, where there are no offsets
  bool inverse = false;      // the other way round
};

// Whether rope() computes this dtype: float16, bfloat16 and float32, in float32 arithmetic.
bool can_rope(Dtype d);
// x (B, ..., T, D) turned by its positions along T, of x's shape and dtype. `offsets`, if not
// empty, are the first positions, () or (B,); `freqs`, if not empty, (dims / 2,). REQUIRES:
// can_rope(x.dtype()).
Array rope(const Array& x, const Rope& how, const Array& offsets, const Array& freqs);

}  // namespace lamina

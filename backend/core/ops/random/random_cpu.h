// Counter-based random bits: Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw, 2011).
#pragma once

#include "base/tensor_view.h"

namespace lamina::cpu {

// Fills out with random bits. keys: uint32 of shape (..., 2), any strides; out: row-major uint8,
// uint16 or uint32 whose elements are dealt out evenly, in order, to the keys
// (REQUIRES: out.size() is a multiple of the number of keys).
// One key's share is seen as w = ceil(bytes / 4) little-endian words, the last cut off where the
// share ends. Word i < w/2 is the first result, and word i + (w+1)/2 the second, of
// threefry(key, (i, i + (w+1)/2)); when w is odd the word in the middle, w/2, is the first result
// of threefry(key, (w/2, 0)). Splits itself over the pool.
void random_bits(const TensorView& keys, const TensorView& out);

}  // namespace lamina::cpu

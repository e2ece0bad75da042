// Variants of the matrix product: of gathered matrices, of masked blocks, of segments of the summed
// axis, and by the Hadamard matrix.
#pragma once

#include <optional>

#include "graph/array.h"

namespace lamina {

// a[lhs] @ b[rhs] for every pair of indices, which count matrices over all axes but the last two;
// empty: every one in turn. Result: the indices' shape, then (M, N).
Array gather_mm(const Array& a, const Array& b, const Array& lhs, const Array& rhs);

// a @ b of factors whose blocks of `block` x `block` elements are masked, and the result's too. A
// boolean mask keeps or clears a block, any other is multiplied; empty: none. A mask has an element
// a block: (..., ceil(M / block), ceil(K / block)) for a, and so on.
Array block_masked_mm(const Array& a, const Array& b, int64_t block, const Array& mask_out,
                      const Array& mask_lhs, const Array& mask_rhs);

// a (M, K) @ b (K, N) over stretches [begin, end) of K: segments (..., 2) gives (..., M, N).
Array segmented_mm(const Array& a, const Array& b, const Array& segments);

// The last axis, of size m * 2^k with m = 1, 12, 20 or 28, multiplied by the Hadamard matrix of
// that size and by `scale`, 1 / sqrt(size) unless given.
Array hadamard_transform(const Array& x, std::optional<double> scale);

}  // namespace lamina

// What products of gathered matrices share, whatever stands on the right: the numbers that pick
// matrices over all axes but the last two. Private to ops/.
#pragma once

#include "ops/rules.h"

namespace lamina {

struct GatherNumbers {
  Array lhs, rhs;  // of one shape, integers
};

// Empty ones count every matrix in turn. Throws DtypeError and ShapeError naming `op`.
GatherNumbers gather_numbers(const char* op, const Array& a, const Array& b, const Array& lhs,
                             const Array& rhs);
// Of each input that matrices are picked from, one for each product; the numbers, which are the
// last two inputs, whole.
int64_t gathered_elements(const Node& n, size_t k);
// (..., rows, columns) as (matrices, rows, columns).
Array as_matrices(const Array& x);
// Matrices of zeros of `shape` to which values[i] (any two axes at the end) is added at number[i].
Array add_matrices(const Shape& shape, const Array& values, const Array& numbers);
// Under vmap: numbers that pick among the matrices of an array that has, where `batched_matrices`,
// the batch as axis 0 and `matrices` of them in each element of it.
Array batch_numbers(const Array& numbers, bool batched_numbers, int64_t matrices,
                    bool batched_matrices, int64_t batch);

}  // namespace lamina

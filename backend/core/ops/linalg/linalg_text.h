// Linear algebra as kernel text: one threadgroup a matrix, in threadgroup memory where it is small.
#pragma once

#include <algorithm>

#include "graph/array.h"
#include "kernels/text.h"

namespace lamina::text {

// A threadgroup has a processor to itself, LAPACK all of the CPU's: of matrices beyond a side of 32
// there have to be n / PerSide for both to take as long, and beyond Most there are never enough.
// From times on an H200 beside 16 cores (benchmarks/matrices.py).
template <int PerSide, int64_t Most>
bool matrices_pay(const Shape& a) {
  const size_t rank = a.size();
  const int64_t side = std::max(a[rank - 1], a[rank - 2]);
  const int64_t batch = element_count(Shape(a.begin(), a.end() - 2));
  return side <= 32 || (side <= Most && batch * PerSide >= side);
}
inline constexpr TextPaysFn elimination_pays = matrices_pay<8, 1024>;
inline constexpr TextPaysFn reflections_pay = matrices_pay<16, 1024>;
inline constexpr TextPaysFn eigenvalues_pay = matrices_pay<8, 512>;
inline constexpr TextPaysFn singular_values_pay = matrices_pay<4, 256>;

TextProgram cholesky(const TextCall& call, const TextTraits& traits);
TextProgram solve_triangular(const TextCall& call, const TextTraits& traits);
TextProgram tri_inv(const TextCall& call, const TextTraits& traits);
TextProgram lu_factor(const TextCall& call, const TextTraits& traits);
TextProgram solve(const TextCall& call, const TextTraits& traits);
TextProgram inv(const TextCall& call, const TextTraits& traits);
TextProgram qr(const TextCall& call, const TextTraits& traits);
TextProgram svd(const TextCall& call, const TextTraits& traits);
TextProgram svdvals(const TextCall& call, const TextTraits& traits);
TextProgram eigh(const TextCall& call, const TextTraits& traits);
TextProgram eigvalsh(const TextCall& call, const TextTraits& traits);
TextProgram eig(const TextCall& call, const TextTraits& traits);
TextProgram eigvals(const TextCall& call, const TextTraits& traits);

}  // namespace lamina::text

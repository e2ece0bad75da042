// Linear algebra over the last two axes; the axes before them are a batch. float32, float64 or
// complex64. Shapes and dtypes are checked here; what only the numbers show (a singular matrix)
// is a LinAlgError of the evaluation.
#pragma once

#include <array>
#include <utility>

#include "base/error.h"
#include "graph/array.h"

namespace lamina {

// Python: LinAlgError, a ValueError.
class LinAlgError : public ValueError {
  using ValueError::ValueError;
};

// U (..., M, M), S (..., K) descending, V^H (..., N, N), K = min(M, N). Not full: U (..., M, K) and
// V^H (..., K, N).
std::array<Array, 3> svd(const Array& a, bool full);
Array svdvals(const Array& a);
// Of a Hermitian matrix, read from one triangle: eigenvalues ascending, eigenvectors in columns.
std::pair<Array, Array> eigh(const Array& a, bool upper);
Array eigvalsh(const Array& a, bool upper);
// Of a positive semidefinite matrix the one whose square it is; NaN of one that is not.
Array matrix_sqrt(const Array& a);
// complex64, whatever the dtype of a.
std::pair<Array, Array> eig(const Array& a);
Array eigvals(const Array& a);
// Lower L with L L^H = a, or upper U with U^H U = a.
Array cholesky(const Array& a, bool upper);
// The inverse of the matrix whose Cholesky factor this is.
Array cholesky_inv(const Array& factor, bool upper);
// LU (..., M, N), the row exchanged with row i (..., K), and P (..., M) with a = L[P] U.
struct LuParts {
  Array factors, pivots, rows;
};
LuParts lu_factor(const Array& a);
Array inv(const Array& a);
Array tri_inv(const Array& a, bool upper);
// b is a vector (N,) or matrices (..., N, K); the batches broadcast.
Array solve(const Array& a, const Array& b);
Array solve_triangular(const Array& a, const Array& b, bool upper);
Array pinv(const Array& a);
Array det(const Array& a);
// Sign, or the unit complex number, and the logarithm of the absolute value.
std::pair<Array, Array> slogdet(const Array& a);

}  // namespace lamina

// What the rows of linear algebra share: checks, the parts of a result, batches of matrices in
// LAPACK's column-major order. Private to ops/linalg/.
#pragma once

#include <functional>
#include <string>

#include "base/thread_pool.h"
#include "devices/cpu/lapack.h"
#include "devices/cpu/scratch.h"
#include "graph/params.h"
#include "ops/linalg/linalg.h"
#include "ops/rules.h"

namespace lamina::linear {

// --- building ------------------------------------------------------------------------------------
// Throws ShapeError below rank 2 and DtypeError for other dtypes than the three.
void check_matrix(const char* op, const Array& a);
void check_square(const char* op, const Array& a);
// A system of equations a x = b: same dtype, same batch, b as matrices.
struct System {
  Array a, b;
  bool vector;  // b was one vector
  Array finish(const Array& x) const { return vector ? squeeze(x, {x.ndim() - 1}) : x; }
};
// Throws ShapeError and DtypeError where they do not fit.
System system_of(const char* op, const Array& a, const Array& b);
// The real dtype of a dtype's absolute values.
Dtype real_dtype(Dtype d);
Shape batch_of(const Array& a);  // without the last two axes

// A factorisation is one node, so that its derivatives and batching are those of any other row: its
// parts lie side by side, flattened, along the last axis of one result.
inline constexpr int64_t kVector = -1;  // in place of columns
struct Part {
  int64_t rows, columns = kVector;
  int64_t size() const { return columns == kVector ? rows : rows * columns; }
};
using Parts = std::vector<Part>;
Arrays take_apart(const Array& packed, const Parts& parts);
Array put_together(const Arrays& arrays, const Parts& parts);
Array make_packed(const Primitive& row, Params params, const Array& a, const Parts& parts,
                  Dtype dtype);

// --- algebra of the derivative rules -------------------------------------------------------------
Array adjoint(const Array& a);               // conjugate transpose
Array symmetric(const Array& a);             // (a + a^H) / 2
Array lower(const Array& a, int64_t k = 0);  // tril
Array upper(const Array& a, int64_t k = 0);  // triu
Array on_diagonal(const Array& v);           // (..., N) -> (..., N, N)
Array main_diagonal(const Array& a);         // (..., N, N) -> (..., N)
Array identity_like(const Array& a);         // eye of a's last axis
Array columns(const Array& v);               // v as factors of a matrix's columns
Array rows(const Array& v);                  // v as factors of a matrix's rows
// 1 / v, and 0 where v is 0: there the derivative does not exist, and a zero cotangent stays zero.
Array reciprocal_or_zero(const Array& v);
// 1 / (v_j - v_i), 0 where they are equal.
Array inverse_gaps(const Array& v);
Array block(const Array& a, int64_t row, int64_t row_end, int64_t column, int64_t column_end);

// --- running -------------------------------------------------------------------------------------
// 32-bit size of a matrix. Throws ValueError for one beyond LAPACK's integers.
int lapack_size(const char* op, int64_t n);

// One matrix of a batch: where it starts and how it is laid out.
template <class T>
struct Matrix {
  T* data;
  int64_t rows, columns, row_stride, column_stride;
};
template <class T>
Matrix<T> matrix_of(const TensorView& v, int64_t index) {
  size_t rank = v.shape.size();
  int64_t offset = 0;
  for (size_t d = rank - 2; d-- > 0; index /= v.shape[d])
    offset += index % v.shape[d] * v.strides[d];
  return {v.as<T>() + offset, v.shape[rank - 2], v.shape[rank - 1], v.strides[rank - 2],
          v.strides[rank - 1]};
}
// Copies by blocks, so that neither side's lines leave the cache before they are used up.
template <class From, class To>
void copy_matrix(const Matrix<From>& from, const Matrix<To>& to) {
  constexpr int64_t kBlock = 32;
  for (int64_t i = 0; i < from.rows; i += kBlock)
    for (int64_t j = 0; j < from.columns; j += kBlock)
      for (int64_t r = i; r < std::min(i + kBlock, from.rows); ++r)
        for (int64_t c = j; c < std::min(j + kBlock, from.columns); ++c)
          to.data[r * to.row_stride + c * to.column_stride] =
              static_cast<To>(from.data[r * from.row_stride + c * from.column_stride]);
}
// Column-major, as LAPACK has it, and row-major, as results are.
template <class T>
Matrix<T> column_major(T* data, int64_t rows, int64_t columns) {
  return {data, rows, columns, 1, rows};
}
template <class T>
Matrix<T> row_major(T* data, int64_t rows, int64_t columns) {
  return {data, rows, columns, columns, 1};
}
template <class From, class To>
void load(const TensorView& in, int64_t index, To* out) {
  Matrix<From> m = matrix_of<From>(in, index);
  copy_matrix(m, column_major(out, m.rows, m.columns));
}
template <class T, class To>
To* store(const T* from, int64_t rows, int64_t columns, To* to) {
  copy_matrix(column_major(from, rows, columns), row_major(to, rows, columns));
  return to + rows * columns;
}

// Which of a batch's matrices failed, for a message: "the matrix", "matrix 3 of the batch".
std::string which(const Shape& shape, int64_t index);
// What only the numbers show: LinAlgError of matrix `index` of these.
[[noreturn]] void not_finite(const char* op, const Shape& shape, int64_t index);
[[noreturn]] void not_converged(const char* op, const Shape& shape, int64_t index);
[[noreturn]] void is_singular(const char* op, const Shape& shape, int64_t index, int64_t at);
[[noreturn]] void not_positive(const Shape& shape, int64_t index, int64_t order);
// Of an element that is NaN or infinite: iterations would not end, or end anywhere.
template <class T>
void check_finite(const char* op, const T* data, int64_t count, const Shape& shape, int64_t index) {
  using Real = cpu::lapack_real<T>;
  const Real* x = reinterpret_cast<const Real*>(data);
  Real sum = 0;
  for (int64_t i = 0; i < count * static_cast<int64_t>(sizeof(T) / sizeof(Real)); ++i)
    sum += x[i] * 0;
  if (sum != 0) not_finite(op, shape, index);
}

// body(index) for every matrix of the batch, split over the pool; one takes `factor` M N min(M, N)
// operations. Where the batch is one large matrix the library is lent as many threads instead.
void each_matrix(const TensorView& in, int64_t factor,
                 const std::function<void(int64_t index)>& body);

// f(T{}) for float32, float64 and complex64.
template <class F>
void by_dtype(Dtype d, F&& f) {
  if (d == Dtype::float32)
    f(float{});
  else if (d == Dtype::float64)
    f(double{});
  else
    f(complex64_t{});
}

// Of the first input a triangle is read, of others all.
inline int64_t reads_triangle(const Node& n, size_t k) {
  const Array& a = n.inputs[k];
  if (k > 0 || a.shape(-1) == 0) return a.size();
  return a.size() / a.shape(-1) * (a.shape(-1) + 1) / 2;
}

// Multiplications and additions of a factorisation, `factor` M N K a matrix.
template <int Factor>
int64_t cubic_flops(const Node& n) {
  const Array& a = n.inputs[0];
  int64_t m = a.shape(-2), c = a.shape(-1);
  return a.size() * std::min(m, c) * Factor;
}

}  // namespace lamina::linear

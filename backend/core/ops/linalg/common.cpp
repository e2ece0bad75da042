#include "ops/linalg/common.h"

#include <limits>

namespace lamina::linear {

void check_matrix(const char* op, const Array& a) {
  if (a.ndim() < 2)
    throw ShapeError(std::string(op) + ": needs 2 axes or more, got " + to_string(a.shape()));
  if (a.dtype() != Dtype::float32 && a.dtype() != Dtype::float64 && !is_complex(a.dtype()))
    throw DtypeError(std::string(op) + ": needs float32, float64 or complex64, got " +
                     name_of(a.dtype()) + "\nCast it: x.astype(mx.float32)");
}

void check_square(const char* op, const Array& a) {
  check_matrix(op, a);
  if (a.shape(-1) != a.shape(-2))
    throw ShapeError(std::string(op) + ": needs square matrices, got " + to_string(a.shape()));
}

System system_of(const char* op, const Array& a, const Array& b) {
  Dtype d = promote(a.dtype(), b.dtype());
  System s{astype(a, d), astype(b, d), b.ndim() == 1};
  check_square(op, s.a);
  if (s.vector) s.b = expand_dims(s.b, {1});
  if (s.b.ndim() < 2 || s.b.shape(-2) != a.shape(-1))
    throw ShapeError(std::string(op) + ": " + to_string(a.shape()) + " matrices need " +
                     std::to_string(a.shape(-1)) + " rows on the right, got " +
                     to_string(b.shape()));
  auto batch = broadcast_shapes(batch_of(s.a), batch_of(s.b));
  if (!batch)
    throw ShapeError(std::string(op) + ": batches do not broadcast: " + to_string(a.shape()) +
                     " and " + to_string(b.shape()));
  for (Array* x : {&s.a, &s.b}) {
    Shape shape = *batch;
    for (int64_t axis : {-2, -1}) shape.push_back(x->shape(axis));
    *x = broadcast_to(*x, shape);
  }
  return s;
}

Dtype real_dtype(Dtype d) { return is_complex(d) ? Dtype::float32 : d; }

Shape batch_of(const Array& a) { return Shape(a.shape().begin(), a.shape().end() - 2); }

Arrays take_apart(const Array& packed, const Parts& parts) {
  Shape cuts;
  int64_t end = 0;
  for (const Part& p : parts) cuts.push_back(end += p.size());
  cuts.pop_back();
  Arrays flat = split(packed, cuts, packed.ndim() - 1);
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].columns == kVector) continue;
    Shape shape(packed.shape().begin(), packed.shape().end() - 1);
    shape.push_back(parts[i].rows);
    shape.push_back(parts[i].columns);
    flat[i] = reshape(flat[i], shape);
  }
  return flat;
}

Array put_together(const Arrays& arrays, const Parts& parts) {
  Arrays flat;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Array& a = arrays[i];
    if (parts[i].columns == kVector) {
      flat.push_back(a);
      continue;
    }
    Shape shape = batch_of(a);
    shape.push_back(parts[i].size());
    flat.push_back(reshape(a, shape));
  }
  return concatenate(flat, flat[0].ndim() - 1);
}

Array make_packed(const Primitive& row, Params params, const Array& a, const Parts& parts,
                  Dtype dtype) {
  Shape shape = batch_of(a);
  int64_t width = 0;
  for (const Part& p : parts) width += p.size();
  shape.push_back(width);
  return make_node(row, params, {a}, shape, dtype);
}

Array adjoint(const Array& a) {
  Array t = swapaxes(a, -1, -2);
  return is_complex(a.dtype()) ? conjugate(t) : t;
}
Array symmetric(const Array& a) { return (a + adjoint(a)) * 0.5; }

namespace {
Array masked(const Array& a, int64_t k, bool below) {
  Array mask = tri(a.shape(-2), a.shape(-1), below ? k : k - 1, Dtype::bool_);
  Array zero = zeros_like(a);
  return below ? select(mask, a, zero) : select(mask, zero, a);
}
}  // namespace

Array lower(const Array& a, int64_t k) { return masked(a, k, true); }
Array upper(const Array& a, int64_t k) { return masked(a, k, false); }
Array identity_like(const Array& a) { return eye(a.shape(-1), a.shape(-1), 0, a.dtype()); }
Array columns(const Array& v) { return expand_dims(v, {v.ndim() - 1}); }
Array rows(const Array& v) { return expand_dims(v, {v.ndim()}); }
Array on_diagonal(const Array& v) {
  return columns(v) * eye(v.shape(-1), v.shape(-1), 0, v.dtype());
}
Array main_diagonal(const Array& a) { return diagonal(a, 0, a.ndim() - 2, a.ndim() - 1); }

Array reciprocal_or_zero(const Array& v) {
  Array none = equal(v, zeros_like(v));
  Array some = select(none, ones_like(v), v);
  return select(none, zeros_like(v), ones_like(v) / some);
}

Array inverse_gaps(const Array& v) { return reciprocal_or_zero(columns(v) - rows(v)); }

Array block(const Array& a, int64_t row, int64_t row_end, int64_t column, int64_t column_end) {
  Shape start(a.shape().size(), 0), stop = a.shape(), step(a.shape().size(), 1);
  size_t r = a.shape().size() - 2;
  start[r] = row;
  stop[r] = row_end;
  start[r + 1] = column;
  stop[r + 1] = column_end;
  return slice(a, start, stop, step);
}

int lapack_size(const char* op, int64_t n) {
  if (n > std::numeric_limits<int>::max())
    throw ValueError(std::string(op) + ": LAPACK's sizes end at 2147483647, got " +
                     std::to_string(n));
  return static_cast<int>(n);
}

std::string which(const Shape& shape, int64_t index) {
  return shape.size() > 2 ? "matrix " + std::to_string(index) + " of the batch " + to_string(shape)
                          : "the matrix " + to_string(shape);
}

void not_finite(const char* op, const Shape& shape, int64_t index) {
  throw LinAlgError(std::string(op) + ": " + which(shape, index) + " has NaN or infinite elements");
}

void not_converged(const char* op, const Shape& shape, int64_t index) {
  throw LinAlgError(std::string(op) + ": the iteration did not converge for " +
                    which(shape, index));
}

void not_positive(const Shape& shape, int64_t index, int64_t order) {
  throw LinAlgError("cholesky: " + which(shape, index) +
                    " is not positive definite: its leading minor of order " +
                    std::to_string(order) + " is not positive");
}

void is_singular(const char* op, const Shape& shape, int64_t index, int64_t at) {
  throw LinAlgError(std::string(op) + ": " + which(shape, index) + " is singular: its pivot " +
                    std::to_string(at) + " is zero" + "\nA least-squares answer: mx.linalg.pinv");
}

void each_matrix(const TensorView& in, int64_t factor,
                 const std::function<void(int64_t index)>& body) {
  // OpenBLAS keeps memory for a fixed number of callers, and one thread of a barrier that waits for
  // a core costs more than a small matrix.
  constexpr int64_t kCallers = 32, kParallelFlops = 200'000'000, kSplitFlops = 200'000;
  Shape batch(in.shape.begin(), in.shape.end() - 2);
  int64_t count = element_count(batch);
  if (count == 0) return;
  const int64_t m = in.shape[batch.size()], n = in.shape[batch.size() + 1];
  const int64_t each = std::max<int64_t>(1, factor * m * n * std::min(m, n));
  if (count == 1) {
    cpu::LapackThreads threads(each >= kParallelFlops ? thread_count() : 1);
    body(0);
    return;
  }
  cpu::lapack_library();  // opened by one thread, so that its threads are set before others call
  int64_t grain = std::max((count + kCallers - 1) / kCallers, kSplitFlops / each);
  parallel_for(count, std::max<int64_t>(1, grain), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

}  // namespace lamina::linear

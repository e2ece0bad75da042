// QR factorisation by Householder reflections (Golub and Van Loan, Matrix Computations, 5.2). The
// result is one buffer, Q behind R, so that the node has a single output; the builder takes it
// apart.
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "ops/rules.h"

namespace lamina {

namespace {

// Factorises one m x n matrix in `a` (row-major, overwritten by R) and accumulates Q (m x k).
void factorise(std::vector<double>& a, std::vector<double>& q, int64_t m, int64_t n) {
  const int64_t k = std::min(m, n);
  auto at = [n](int64_t i, int64_t j) { return static_cast<size_t>(i * n + j); };
  std::vector<std::vector<double>> reflectors;
  std::vector<double> v;
  auto reflect = [&](std::vector<double>& x, int64_t columns, int64_t first, int64_t from) {
    for (int64_t j = from; j < columns; ++j) {
      double dot = 0;
      for (int64_t i = first; i < m; ++i)
        dot += v[static_cast<size_t>(i)] * x[static_cast<size_t>(i * columns + j)];
      for (int64_t i = first; i < m; ++i)
        x[static_cast<size_t>(i * columns + j)] -= 2 * dot * v[static_cast<size_t>(i)];
    }
  };
  for (int64_t c = 0; c < k; ++c) {
    v.assign(static_cast<size_t>(m), 0);
    double norm = 0;
    for (int64_t i = c; i < m; ++i) norm += a[at(i, c)] * a[at(i, c)];
    norm = std::sqrt(norm);
    for (int64_t i = c; i < m; ++i) v[static_cast<size_t>(i)] = a[at(i, c)];
    v[static_cast<size_t>(c)] += std::copysign(norm, a[at(c, c)]);
    double length = 0;
    for (double x : v) length += x * x;
    if (length > 0)
      for (double& x : v) x /= std::sqrt(length);
    reflect(a, n, c, c);
    for (int64_t i = c + 1; i < m; ++i) a[at(i, c)] = 0;
    reflectors.push_back(v);
  }
  q.assign(static_cast<size_t>(m * k), 0);
  for (int64_t i = 0; i < k; ++i) q[static_cast<size_t>(i * k + i)] = 1;
  for (int64_t c = k; c-- > 0;) {
    v = reflectors[static_cast<size_t>(c)];
    reflect(q, k, c, 0);
  }
}

template <class T>
void run(const TensorView& in, const TensorView& out) {
  const size_t rank = in.shape.size();
  const int64_t m = in.shape[rank - 2], n = in.shape[rank - 1], k = std::min(m, n);
  Shape batch(in.shape.begin(), in.shape.end() - 2);
  const int64_t count = element_count(batch), width = m * k + k * n;
  parallel_for(count, 1, [&](int64_t begin, int64_t end, int) {
    std::vector<double> a(static_cast<size_t>(m * n)), q;
    for (int64_t b = begin; b < end; ++b) {
      int64_t rest = b, base = 0;
      for (size_t d = batch.size(); d-- > 0; rest /= batch[d])
        base += rest % batch[d] * in.strides[d];
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j)
          a[static_cast<size_t>(i * n + j)] = static_cast<double>(
              in.as<T>()[base + i * in.strides[rank - 2] + j * in.strides[rank - 1]]);
      factorise(a, q, m, n);
      T* to = out.as<T>() + b * width;
      for (double x : q) *to++ = static_cast<T>(x);
      for (int64_t i = 0; i < k * n; ++i) *to++ = static_cast<T>(a[static_cast<size_t>(i)]);
    }
  });
}

Array packed(const Array& x);

const Primitive& qr_row =
    define({.name = "qr",
            .kind = Kind::call,
            .doc = "Orthonormal columns and an upper triangle whose product is the matrix.",
            .call =
                [](const CallArgs& c) {
                  if (c.in[0].dtype == Dtype::float64)
                    run<double>(c.in[0], c.out[0]);
                  else
                    run<float>(c.in[0], c.out[0]);
                },
            .flops =
                [](const Node& n) {
                  int64_t rows = n.inputs[0].shape(-2), columns = n.inputs[0].shape(-1);
                  return 4 * n.inputs[0].size() / std::max<int64_t>(1, columns) * columns *
                         std::min(rows, columns);
                },
            .vmap = [](const Node&, const Arrays& in, const std::vector<bool>&,
                       int64_t) { return packed(in[0]); },
            .nondifferentiable = "the derivatives of factorisations are not provided"});

Array packed(const Array& x) {
  int64_t m = x.shape(-2), n = x.shape(-1), k = std::min(m, n);
  Shape shape(x.shape().begin(), x.shape().end() - 2);
  shape.push_back(m * k + k * n);
  return make_node(qr_row, {}, {x}, shape, x.dtype());
}

}  // namespace

std::pair<Array, Array> qr(const Array& x) {
  if (x.ndim() < 2) throw ShapeError("qr: needs 2 axes or more, got " + to_string(x.shape()));
  if (x.dtype() != Dtype::float32 && x.dtype() != Dtype::float64)
    throw DtypeError(std::string("qr: needs float32 or float64, got ") + name_of(x.dtype()));
  int64_t m = x.shape(-2), n = x.shape(-1), k = std::min(m, n);
  Arrays parts = split(packed(x), {m * k}, x.ndim() - 2);
  Shape q(x.shape().begin(), x.shape().end() - 2), r = q;
  for (int64_t d : {m, k}) q.push_back(d);
  for (int64_t d : {k, n}) r.push_back(d);
  return {reshape(parts[0], q), reshape(parts[1], r)};
}

}  // namespace lamina

// QR by Householder reflections. Only tall matrices are factorised: of a wide one the columns
// behind the square are R's, Q^H times them.
#include "ops/linalg/common.h"
#include "ops/linalg/lapack_calls.h"
#include "ops/linalg/linalg_text.h"

namespace lamina {

using namespace linear;

namespace {

Parts parts_of(const Array& a) {
  int64_t m = a.shape(-2), n = a.shape(-1);
  return {{m, n}, {n, n}};
}
Array packed(const Array& a);

void run(const CallArgs& c) {
  const TensorView& in = c.in[0];
  const size_t rank = in.shape.size();
  const int m = lapack_size("qr", in.shape[rank - 2]), n = lapack_size("qr", in.shape[rank - 1]);
  const int64_t size = int64_t{m} * n, width = size + int64_t{n} * n;
  by_dtype(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    each_matrix(in, 4, [&](int64_t index) {
      Scratch matrix = scratch_of<T>(size), factors = scratch_of<T>(n);
      T *a = matrix.as<T>(), *q = c.out[0].as<T>() + index * width, *r = q + size;
      load<T>(in, index, a);
      geqrf(m, n, a, factors.as<T>());
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < n; ++j) r[i * n + j] = j < i ? zero : a[i + j * m];
      orgqr(m, n, n, a, factors.as<T>());
      store(a, m, n, q);
    });
  });
}

// dQ = Q W + (1 - Q Q^H) X and dR = (Q^H X - W) R, with X = dA R^-1 and W skew: its lower triangle
// is that of Q^H X, which leaves Q^H X - W upper triangular. Its diagonal is the imaginary part,
// since R's stays real.
Array tangent(const Node& node, const Array& self, const Arrays& t) {
  Parts parts = parts_of(node.inputs[0]);
  Arrays f = take_apart(self, parts);
  const Array &q = f[0], &r = f[1];
  Array x = adjoint(solve_triangular(adjoint(r), adjoint(t[0]), false));
  Array inner = matmul(adjoint(q), x), strict = lower(inner, -1);
  Array skew = strict - adjoint(strict);
  if (is_complex(r.dtype())) {
    Array d = main_diagonal(inner);
    skew = skew + on_diagonal(d - astype(real(d), d.dtype()));
  }
  return put_together({matmul(q, skew - inner) + x, matmul(inner - skew, r)}, parts);
}

// The transpose of the above.
Arrays cotangent(const Node& node, const Array& self, const Array& ct, const std::vector<bool>&) {
  Parts parts = parts_of(node.inputs[0]);
  Arrays f = take_apart(self, parts), g = take_apart(ct, parts);
  const Array &q = f[0], &r = f[1];
  Array gap = matmul(g[1], adjoint(r)) - matmul(adjoint(q), g[0]);  // of Q^H X - W
  Array inner = lower(adjoint(gap), -1) + upper(gap);
  if (is_complex(r.dtype())) {
    Array d = main_diagonal(gap);
    inner = inner - on_diagonal(d - astype(real(d), d.dtype()));
  }
  Array x = g[0] + matmul(q, inner);
  return {adjoint(solve_triangular(r, adjoint(x), true))};
}

const Primitive& qr_row =
    define({.name = "qr",
            .kind = Kind::call,
            .doc = "Orthonormal columns and an upper triangle whose product is the matrix.",
            .call = run,
            .text = text::qr,
            .text_pays = text::reflections_pay,
            .flops = cubic_flops<4>,
            .vjp = cotangent,
            .jvp = tangent,
            .vmap = [](const Node&, const Arrays& in, const std::vector<bool>&, int64_t) {
              return packed(in[0]);
            }});

Array packed(const Array& a) { return make_packed(qr_row, {}, a, parts_of(a), a.dtype()); }

}  // namespace

std::pair<Array, Array> qr(const Array& x) {
  check_matrix("qr", x);
  const int64_t m = x.shape(-2), n = x.shape(-1), k = std::min(m, n);
  Array square = m < n ? block(x, 0, m, 0, k) : x;
  Arrays f = take_apart(packed(square), parts_of(square));
  if (m < n) f[1] = concatenate({f[1], matmul(adjoint(f[0]), block(x, 0, m, k, n))}, x.ndim() - 1);
  return {f[0], f[1]};
}

}  // namespace lamina

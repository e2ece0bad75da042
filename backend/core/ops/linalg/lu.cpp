// The LU factorisation, and systems, inverses and determinants by way of it.
#include "ops/linalg/common.h"
#include "ops/linalg/lapack_calls.h"
#include "ops/linalg/linalg_text.h"

namespace lamina {

using namespace linear;

namespace {

// --- lu_factor: the factors, then pivots and rows as numbers of the same dtype ---

Parts parts_of(const Array& a) {
  int64_t m = a.shape(-2), n = a.shape(-1);
  return {{m, n}, {std::min(m, n)}, {m}};
}
Array lu_packed(const Array& a);

void run_lu(const CallArgs& c) {
  const TensorView& in = c.in[0];
  const size_t rank = in.shape.size();
  const int m = lapack_size("lu", in.shape[rank - 2]), n = lapack_size("lu", in.shape[rank - 1]);
  const int k = std::min(m, n);
  const int64_t size = int64_t{m} * n;
  by_dtype(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    using Real = cpu::lapack_real<T>;
    each_matrix(in, 1, [&](int64_t index) {
      Scratch matrix = scratch_of<T>(size), exchanges = scratch_of<int>(k);
      Scratch order = scratch_of<int>(m);
      int *pivots = exchanges.as<int>(), *at = order.as<int>();
      load<T>(in, index, matrix.as<T>());
      getrf(m, n, matrix.as<T>(), pivots);  // a zero pivot is a fact of U, no failure
      T* out = store(matrix.as<T>(), m, n, c.out[0].as<T>() + index * (size + k + m));
      for (int i = 0; i < m; ++i) at[i] = i;
      for (int i = 0; i < k; ++i) {
        *out++ = static_cast<Real>(pivots[i] - 1);
        std::swap(at[i], at[pivots[i] - 1]);
      }
      // at[i] is the row of the matrix that L U has at i; the result says it the other way round.
      for (int i = 0; i < m; ++i) out[at[i]] = static_cast<Real>(i);
    });
  });
}

// Rows of x in the order that `rows` (numbers of x's dtype) gives.
Array in_order(const Array& x, const Array& order) {
  Array index = broadcast_to(expand_dims(order, {order.ndim()}), x.shape());
  return take_along_axis(x, index, x.ndim() - 2);
}
Array as_index(const Array& numbers) {
  return astype(stop_gradient(is_complex(numbers.dtype()) ? real(numbers) : numbers), Dtype::int32);
}

struct Triangles {
  int64_t m, n, k;
  Array l, u;    // the square parts, k x k
  Array l2, u2;  // rows of L below, columns of U behind; empty where there are none
  Array rows;
};
Triangles triangles_of(const Array& factors, const Array& rows) {
  Triangles t{factors.shape(-2), factors.shape(-1), 0, {}, {}, {}, {}, as_index(rows)};
  t.k = std::min(t.m, t.n);
  Array square = block(factors, 0, t.k, 0, t.k);
  t.l = lower(square, -1) + identity_like(square);
  t.u = upper(square);
  if (t.m > t.k) t.l2 = block(factors, t.k, t.m, 0, t.k);
  if (t.n > t.k) t.u2 = block(factors, 0, t.k, t.k, t.n);
  return t;
}
// x u^-1 and x u^-H
Array right_solve(const Array& u, const Array& x) {
  return adjoint(solve_triangular(adjoint(u), adjoint(x), false));
}
Array right_solve_adjoint(const Array& u, const Array& x) {
  return adjoint(solve_triangular(u, adjoint(x), true));
}

// With dA in the order of L U and X = L^-1 dA U^-1: dL = L strict(X), dU = upper(X) U, for the
// square part; dL2 = (dA2 - L2 dU) U^-1 and dU2 = L^-1 (dA2 - dL U2) beside it.
Array lu_jvp(const Node& node, const Array& self, const Arrays& tangents) {
  Parts parts = parts_of(node.inputs[0]);
  Arrays f = take_apart(self, parts);
  Triangles t = triangles_of(f[0], f[2]);
  Array d = in_order(tangents[0], argsort(t.rows, t.rows.ndim() - 1));
  Array x = right_solve(t.u, solve_triangular(t.l, block(d, 0, t.k, 0, t.k), false));
  Array dl = matmul(t.l, lower(x, -1)), du = matmul(upper(x), t.u), out = dl + du;
  if (t.l2) {
    Array below = right_solve(t.u, block(d, t.k, t.m, 0, t.k) - matmul(t.l2, du));
    out = concatenate({out, below}, out.ndim() - 2);
  }
  if (t.u2) {
    Array behind = solve_triangular(t.l, block(d, 0, t.k, t.k, t.n) - matmul(dl, t.u2), false);
    out = concatenate({out, behind}, out.ndim() - 1);
  }
  return put_together({out, zeros_like(f[1]), zeros_like(f[2])}, parts);
}

Arrays lu_vjp(const Node& node, const Array& self, const Array& ct, const std::vector<bool>&) {
  Parts parts = parts_of(node.inputs[0]);
  Arrays f = take_apart(self, parts);
  Array g = take_apart(ct, parts)[0];
  Triangles t = triangles_of(f[0], f[2]);
  Array square = block(g, 0, t.k, 0, t.k), l_bar = lower(square, -1), u_bar = upper(square);
  Array below, behind;
  if (t.l2) {
    below = right_solve_adjoint(t.u, block(g, t.k, t.m, 0, t.k));
    u_bar = upper(u_bar - matmul(adjoint(t.l2), below));
  }
  if (t.u2) {
    behind = solve_triangular(adjoint(t.l), block(g, 0, t.k, t.k, t.n), true);
    l_bar = lower(l_bar - matmul(behind, adjoint(t.u2)), -1);
  }
  Array x = lower(matmul(adjoint(t.l), l_bar), -1) + upper(matmul(u_bar, adjoint(t.u)));
  Array out = right_solve_adjoint(t.u, solve_triangular(adjoint(t.l), x, true));
  if (below) out = concatenate({out, below}, out.ndim() - 2);
  if (behind) out = concatenate({out, behind}, out.ndim() - 1);
  return {in_order(out, t.rows)};
}

const Primitive& lu_row =
    define({.name = "lu_factor",
            .kind = Kind::call,
            .doc = "L below and U on and above the diagonal, with the exchanges of rows.",
            .call = run_lu,
            .text = text::lu_factor,
            .text_pays = text::elimination_pays,
            .flops = cubic_flops<1>,
            .vjp = lu_vjp,
            .jvp = lu_jvp,
            .vmap = [](const Node&, const Arrays& in, const std::vector<bool>&, int64_t) {
              return lu_packed(in[0]);
            }});

Array lu_packed(const Array& a) { return make_packed(lu_row, {}, a, parts_of(a), a.dtype()); }

// --- solve, inv ---

void run_solve(const CallArgs& c) {
  const TensorView &in = c.in[0], &right = c.in[1];
  const int n = lapack_size("solve", in.shape.back());
  const int k = lapack_size("solve", right.shape.back());
  const int64_t size = int64_t{n} * n, wide = int64_t{n} * k;
  by_dtype(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    each_matrix(in, 1 + 2 * k / std::max(1, n), [&](int64_t index) {
      Scratch matrix = scratch_of<T>(size), vectors = scratch_of<T>(wide);
      Scratch pivots = scratch_of<int>(n);
      load<T>(in, index, matrix.as<T>());
      load<T>(right, index, vectors.as<T>());
      if (int at = getrf(n, n, matrix.as<T>(), pivots.as<int>()))
        is_singular("solve", in.shape, index, at - 1);
      getrs(n, k, matrix.as<T>(), pivots.as<int>(), vectors.as<T>());
      store(vectors.as<T>(), n, k, c.out[0].as<T>() + index * wide);
    });
  });
}

void run_inv(const CallArgs& c) {
  const TensorView& in = c.in[0];
  const int n = lapack_size("inv", in.shape.back());
  const int64_t size = int64_t{n} * n;
  by_dtype(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    each_matrix(in, 2, [&](int64_t index) {
      Scratch matrix = scratch_of<T>(size), pivots = scratch_of<int>(n);
      load<T>(in, index, matrix.as<T>());
      if (int at = getrf(n, n, matrix.as<T>(), pivots.as<int>()))
        is_singular("inv", in.shape, index, at - 1);
      getri(n, matrix.as<T>(), pivots.as<int>());
      store(matrix.as<T>(), n, n, c.out[0].as<T>() + index * size);
    });
  });
}

Array general(const Array& a, const Array& b);

const Primitive& solve_row =
    define({.name = "solve",
            .kind = Kind::call,
            .doc = "The solution of a system of linear equations.",
            .call = run_solve,
            .text = text::solve,
            .text_pays = text::elimination_pays,
            .flops =
                [](const Node& n) {
                  return (n.inputs[0].size() + 2 * n.inputs[1].size()) * n.inputs[0].shape(-1);
                },
            .vjp = [](const Node& n, const Array& x, const Array& ct,
                      const std::vector<bool>& wanted) -> Arrays {
              Array g = general(adjoint(n.inputs[0]), ct);
              return {wanted[0] ? -matmul(g, adjoint(x)) : Array(), g};
            },
            .jvp =
                [](const Node& n, const Array& x, const Arrays& t) {
                  Array right;
                  if (t[0]) right = -matmul(t[0], x);
                  if (t[1]) right = right ? right + t[1] : t[1];
                  return general(n.inputs[0], right);
                },
            .vmap =
                [](const Node&, const Arrays& in, const std::vector<bool>& batched, int64_t batch) {
                  return general(batched_input(in[0], batched[0], batch),
                                 batched_input(in[1], batched[1], batch));
                }});

Array general(const Array& a, const Array& b) {
  return make_node(solve_row, {}, {a, b}, b.shape(), b.dtype());
}

const Primitive& inv_row = define(
    {.name = "inv",
     .kind = Kind::call,
     .doc = "The inverse of a matrix.",
     .call = run_inv,
     .text = text::inv,
     .text_pays = text::elimination_pays,
     .flops = cubic_flops<2>,
     .vjp = [](const Node&, const Array& x, const Array& ct, const std::vector<bool>&) -> Arrays {
       Array xh = adjoint(x);
       return {-matmul(xh, matmul(ct, xh))};
     },
     .jvp = [](const Node&, const Array& x,
               const Arrays& t) { return -matmul(x, matmul(t[0], x)); },
     .vmap = [](const Node&, const Arrays& in, const std::vector<bool>&,
                int64_t) { return inv(in[0]); }});

}  // namespace

LuParts lu_factor(const Array& a) {
  check_matrix("lu", a);
  // Rows are told by numbers of the matrix's dtype, of which float32's are whole up to 2^24.
  if (a.dtype() != Dtype::float64 && a.shape(-2) > 1 << 24)
    throw ValueError("lu: " + std::string(name_of(a.dtype())) +
                     " matrices may have 16777216 rows, got " + to_string(a.shape()) +
                     "\nUse float64");
  Arrays f = take_apart(lu_packed(a), parts_of(a));
  return {f[0], astype(as_index(f[1]), Dtype::uint32), astype(as_index(f[2]), Dtype::uint32)};
}

Array solve(const Array& a, const Array& b) {
  System s = system_of("solve", a, b);
  return s.finish(general(s.a, s.b));
}

Array inv(const Array& a) {
  check_square("inv", a);
  return make_node(inv_row, {}, {a}, a.shape(), a.dtype());
}

}  // namespace lamina

// Cholesky factors, triangular systems and triangular inverses.
#include "ops/linalg/common.h"
#include "ops/linalg/lapack_calls.h"
#include "ops/linalg/linalg_text.h"

namespace lamina {

using namespace linear;

namespace {

bool is_upper(const Node& n) { return n.params.read().integer() != 0; }
bool is_upper(const CallArgs& c) {
  return static_cast<const Params*>(c.params)->read().integer() != 0;
}
Array triangle(const Array& a, bool is_upper) { return is_upper ? upper(a) : lower(a); }

// --- cholesky ---

void run_cholesky(const CallArgs& c) {
  const TensorView& in = c.in[0];
  const int n = lapack_size("cholesky", in.shape.back());
  const int64_t size = int64_t{n} * n;
  by_dtype(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    each_matrix(in, 1, [&](int64_t index) {
      Scratch matrix = scratch_of<T>(size);
      T *a = matrix.as<T>(), *out = c.out[0].as<T>() + index * size;
      load<T>(in, index, a);
      if (int order = potrf(n, a)) not_positive(in.shape, index, order);
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < n; ++j) out[i * n + j] = j > i ? zero : a[i + j * n];
    });
  });
}

Array lower_factor(const Array& a);

// The lower triangle with half of the diagonal.
Array halved(const Array& a) { return lower(a, -1) + on_diagonal(main_diagonal(a) * 0.5); }

// L^-1 x L^-H
Array whitened(const Array& l, const Array& x) {
  return adjoint(solve_triangular(l, adjoint(solve_triangular(l, x, false)), false));
}

// dL = L halved(L^-1 dA L^-H), of the Hermitian part of dA.
const Primitive& cholesky_row = define(
    {.name = "cholesky",
     .kind = Kind::call,
     .doc = "The lower triangle whose product with its adjoint is the positive definite matrix.",
     .call = run_cholesky,
     .text = text::cholesky,
     .text_pays = text::elimination_pays,
     .flops = cubic_flops<1>,
     .reads = reads_triangle,
     .vjp = [](const Node&, const Array& l, const Array& ct, const std::vector<bool>&) -> Arrays {
       Array lh = adjoint(l), inner = halved(matmul(lh, lower(ct)));
       Array left = solve_triangular(lh, inner, true);
       return {symmetric(adjoint(solve_triangular(lh, adjoint(left), true)))};
     },
     .jvp = [](const Node&, const Array& l,
               const Arrays& t) { return matmul(l, halved(whitened(l, symmetric(t[0])))); },
     .vmap = [](const Node&, const Arrays& in, const std::vector<bool>&,
                int64_t) { return lower_factor(in[0]); }});

Array lower_factor(const Array& a) {
  return make_node(cholesky_row, {}, {a}, a.shape(), a.dtype());
}

// --- solve_triangular ---

void run_solve(const CallArgs& c) {
  const TensorView &in = c.in[0], &right = c.in[1];
  const bool upper = is_upper(c);
  const int n = lapack_size("solve_triangular", in.shape.back());
  const int k = lapack_size("solve_triangular", right.shape.back());
  const int64_t size = int64_t{n} * n, wide = int64_t{n} * k;
  by_dtype(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    each_matrix(in, 1 + k / std::max(1, n), [&](int64_t index) {
      Scratch matrix = scratch_of<T>(size), vectors = scratch_of<T>(wide);
      load<T>(in, index, matrix.as<T>());
      load<T>(right, index, vectors.as<T>());
      if (int at = trtrs(upper, false, n, k, matrix.as<T>(), vectors.as<T>()))
        is_singular("solve_triangular", in.shape, index, at - 1);
      store(vectors.as<T>(), n, k, c.out[0].as<T>() + index * wide);
    });
  });
}

Array triangular(const Array& a, const Array& b, bool upper);

const Primitive& solve_row = define(
    {.name = "solve_triangular",
     .kind = Kind::call,
     .doc = "The solution of a system of equations whose matrix is triangular.",
     .fields = {{"upper", FieldKind::boolean}},
     .call = run_solve,
     .text = text::solve_triangular,
     .text_pays = text::elimination_pays,
     .flops = [](const Node& n) { return n.inputs[1].size() * n.inputs[0].shape(-1); },
     .reads = reads_triangle,
     .vjp = [](const Node& n, const Array& x, const Array& ct,
               const std::vector<bool>& wanted) -> Arrays {
       Array g = triangular(adjoint(n.inputs[0]), ct, !is_upper(n));
       Array a = wanted[0] ? -triangle(matmul(g, adjoint(x)), is_upper(n)) : Array();
       return {a, g};
     },
     .jvp =
         [](const Node& n, const Array& x, const Arrays& t) {
           Array right;
           if (t[0]) right = -matmul(triangle(t[0], is_upper(n)), x);
           if (t[1]) right = right ? right + t[1] : t[1];
           return triangular(n.inputs[0], right, is_upper(n));
         },
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>& batched, int64_t batch) {
           return triangular(batched_input(in[0], batched[0], batch),
                             batched_input(in[1], batched[1], batch), is_upper(n));
         }});

Array triangular(const Array& a, const Array& b, bool upper) {
  return make_node(solve_row, Params().add(upper), {a, b}, b.shape(), b.dtype());
}

// --- tri_inv ---

void run_inverse(const CallArgs& c) {
  const TensorView& in = c.in[0];
  const bool upper = is_upper(c);
  const int n = lapack_size("tri_inv", in.shape.back());
  const int64_t size = int64_t{n} * n;
  by_dtype(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    each_matrix(in, 1, [&](int64_t index) {
      Scratch matrix = scratch_of<T>(size);
      T *a = matrix.as<T>(), *out = c.out[0].as<T>() + index * size;
      load<T>(in, index, a);
      if (int at = trtri(upper, n, a)) is_singular("tri_inv", in.shape, index, at - 1);
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < n; ++j)
          out[i * n + j] = (upper ? j < i : j > i) ? zero : a[i + j * n];
    });
  });
}

const Primitive& inverse_row = define(
    {.name = "tri_inv",
     .kind = Kind::call,
     .doc = "The inverse of a triangular matrix.",
     .fields = {{"upper", FieldKind::boolean}},
     .call = run_inverse,
     .text = text::tri_inv,
     .text_pays = text::elimination_pays,
     .flops = cubic_flops<1>,
     .reads = reads_triangle,
     .vjp = [](const Node& n, const Array& x, const Array& ct, const std::vector<bool>&) -> Arrays {
       Array xh = adjoint(x);
       return {-triangle(matmul(xh, matmul(ct, xh)), is_upper(n))};
     },
     .jvp = [](const Node& n, const Array& x,
               const Arrays& t) { return -matmul(x, matmul(triangle(t[0], is_upper(n)), x)); },
     .vmap = [](const Node& n, const Arrays& in, const std::vector<bool>&,
                int64_t) { return tri_inv(in[0], is_upper(n)); }});

}  // namespace

Array cholesky(const Array& a, bool upper) {
  check_square("cholesky", a);
  return upper ? adjoint(lower_factor(adjoint(a))) : lower_factor(a);
}

Array cholesky_inv(const Array& factor, bool upper) {
  check_square("cholesky_inv", factor);
  Array x = tri_inv(factor, upper);
  return upper ? matmul(x, adjoint(x)) : matmul(adjoint(x), x);
}

Array solve_triangular(const Array& a, const Array& b, bool upper) {
  System s = system_of("solve_triangular", a, b);
  return s.finish(triangular(s.a, s.b, upper));
}

Array tri_inv(const Array& a, bool upper) {
  check_square("tri_inv", a);
  return make_node(inverse_row, Params().add(upper), {a}, a.shape(), a.dtype());
}

}  // namespace lamina

// Determinants, from the LU factorisation; their derivatives also where the matrix is singular.
#include "ops/linalg/common.h"

namespace lamina {

using namespace linear;

namespace {

// U's diagonal, its first element turned by the sign of the exchanges: its product is the
// determinant.
Array signed_pivots(const Array& a) {
  LuParts lu = lu_factor(a);
  Array diagonal = main_diagonal(lu.factors);
  const int64_t last = lu.pivots.ndim() - 1;
  Array stays = equal(lu.pivots, iota(a.shape(-1), Dtype::uint32));
  Array one = ones_like(diagonal);
  Array turns = prod(select(stays, one, -one), {last}, true);
  Array first = equal(iota(a.shape(-1), Dtype::uint32), make_scalar_uint(0, Dtype::uint32));
  return diagonal * select(first, turns, one);
}
Array product_of(const Array& v) { return prod(v, {v.ndim() - 1}, false); }

// The product of all elements but each one.
Array products_of_others(const Array& v) {
  const int64_t last = v.ndim() - 1;
  return scan(ScanOp::prod, v, last, false, false) * scan(ScanOp::prod, v, last, true, false);
}

Array matrix_of(const Array& scalars) {
  return expand_dims(scalars, {scalars.ndim(), scalars.ndim() + 1});
}
Array trace_of(const Array& a) { return sum(main_diagonal(a), {a.ndim() - 2}, false); }

Array adjugate(const Array& a);

// With A = U S V^H: V (the products of the other singular values) U^H times det U det V^H.
const Primitive& adjugate_row = define(
    {.name = "adjugate",
     .kind = Kind::composite,
     .doc = "The determinant times the inverse, also where there is none.",
     .decompose =
         [](const Node& n, const Arrays& in) {
           auto [u, s, vh] = svd(in[0], true);
           Array scale = astype(products_of_others(s), n.dtype);
           Array turn = product_of(signed_pivots(u)) * product_of(signed_pivots(vh));
           return matmul(adjoint(vh) * columns(scale), adjoint(u)) * matrix_of(turn);
         },
     .vjp = [](const Node& n, const Array& y, const Array& ct, const std::vector<bool>&) -> Arrays {
       // d adj = tr(adj dA) A^-1 - A^-1 dA adj, of a matrix that has an inverse.
       Array xh = adjoint(inv(n.inputs[0])), yh = adjoint(y);
       Array weight = trace_of(matmul(ct, xh));
       return {yh * matrix_of(weight) - matmul(xh, matmul(ct, yh))};
     },
     .jvp =
         [](const Node& n, const Array& y, const Arrays& t) {
           Array x = inv(n.inputs[0]);
           return x * matrix_of(trace_of(matmul(y, t[0]))) - matmul(x, matmul(t[0], y));
         },
     .vmap = [](const Node&, const Arrays& in, const std::vector<bool>&,
                int64_t) { return adjugate(in[0]); }});

Array adjugate(const Array& a) { return make_node(adjugate_row, {}, {a}, a.shape(), a.dtype()); }

const Primitive& det_row = define(
    {.name = "det",
     .kind = Kind::composite,
     .doc = "The determinant.",
     .decompose = [](const Node&, const Arrays& in) { return product_of(signed_pivots(in[0])); },
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       return {adjoint(adjugate(n.inputs[0])) * matrix_of(ct)};
     },
     .jvp = [](const Node& n, const Array&,
               const Arrays& t) { return trace_of(matmul(adjugate(n.inputs[0]), t[0])); },
     .vmap = [](const Node&, const Arrays& in, const std::vector<bool>&,
                int64_t) { return det(in[0]); }});

// --- slogdet: the sign and the logarithm side by side ---

Array sign_of(const Array& packed) { return take_apart(packed, {{1}, {1}})[0]; }
Array slogdet_packed(const Array& a);

const Primitive& slogdet_row = define(
    {.name = "slogdet",
     .kind = Kind::composite,
     .doc = "The sign of the determinant and the logarithm of its absolute value.",
     .decompose =
         [](const Node& n, const Arrays& in) {
           Array pivots = signed_pivots(in[0]);
           const int64_t last = pivots.ndim() - 1;
           Array size = abs(pivots), none = equal(pivots, zeros_like(pivots));
           Array unit = pivots / astype(select(none, ones_like(size), size), n.dtype);
           Array logs = sum(log(size), {last}, true);
           return concatenate({prod(unit, {last}, true), astype(logs, n.dtype)}, last);
         },
     // With t = tr(A^-1 dA): the logarithm changes by its real part, the sign turns by its
     // imaginary part.
     .vjp = [](const Node& n, const Array& y, const Array& ct, const std::vector<bool>&) -> Arrays {
       Arrays g = take_apart(ct, {{1}, {1}});
       Array weight = astype(real(g[1]), y.dtype());
       if (is_complex(y.dtype())) {
         Array turn = g[0] * conjugate(sign_of(y));
         weight = weight + turn - astype(real(turn), y.dtype());
       }
       return {adjoint(inv(n.inputs[0])) * expand_dims(weight, {weight.ndim()})};
     },
     .jvp =
         [](const Node& n, const Array& y, const Arrays& t) {
           Array trace = trace_of(solve(n.inputs[0], t[0]));
           trace = expand_dims(trace, {trace.ndim()});
           Array size = astype(real(trace), y.dtype());
           return concatenate({sign_of(y) * (trace - size), size}, y.ndim() - 1);
         },
     .vmap = [](const Node&, const Arrays& in, const std::vector<bool>&,
                int64_t) { return slogdet_packed(in[0]); }});

Array slogdet_packed(const Array& a) {
  return make_packed(slogdet_row, {}, a, {{1}, {1}}, a.dtype());
}

// Integers and small floats are computed in float32, the latter given back as they came.
Array widened(const char* op, const Array& a) {
  Dtype d = compute_dtype(at_least_float(a.dtype()));
  Array x = astype(a, d);
  check_square(op, x);
  return x;
}

}  // namespace

Array det(const Array& a) {
  Array x = widened("det", a);
  Array y = make_node(det_row, {}, {x}, batch_of(a), x.dtype());
  return astype(y, at_least_float(a.dtype()));
}

std::pair<Array, Array> slogdet(const Array& a) {
  Array x = widened("slogdet", a), packed = slogdet_packed(x);
  Arrays f = take_apart(packed, {{1}, {1}});
  Dtype kind = at_least_float(a.dtype());
  const int64_t last = packed.ndim() - 1;
  return {astype(squeeze(f[0], {last}), kind),
          astype(squeeze(real(f[1]), {last}), real_dtype(kind))};
}

}  // namespace lamina

// The singular value decomposition, and what is made of it.
#include <limits>

#include "ops/linalg/common.h"
#include "ops/linalg/lapack_calls.h"
#include "ops/linalg/linalg_text.h"

namespace lamina {

using namespace linear;

namespace {

struct Sizes {
  int64_t m, n, k, u, v;  // k singular values, u columns of U, v rows of V^H
  Sizes(const Array& a, bool full)
      : m(a.shape(-2)), n(a.shape(-1)), k(std::min(m, n)), u(full ? m : k), v(full ? n : k) {}
  Parts parts() const { return {{m, u}, {k}, {v, n}}; }
};
bool is_full(const Params& p) { return p.read().integer() != 0; }
Sizes sizes_of(const Node& n) { return {n.inputs[0], is_full(n.params)}; }
Array packed(const Array& a, bool full);

// --- running ---

void run_svd(const CallArgs& c) {
  const bool full = is_full(*static_cast<const Params*>(c.params));
  const TensorView& in = c.in[0];
  const size_t rank = in.shape.size();
  const int m = lapack_size("svd", in.shape[rank - 2]), n = lapack_size("svd", in.shape[rank - 1]);
  const int k = std::min(m, n), left = full ? m : k, right = full ? n : k;
  const int64_t width = int64_t{m} * left + k + int64_t{right} * n;
  by_dtype(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    using Real = cpu::lapack_real<T>;
    each_matrix(in, 20, [&](int64_t index) {
      const int64_t size = int64_t{m} * n;
      Scratch matrix = scratch_of<T>(size), values = scratch_of<Real>(k);
      Scratch u = scratch_of<T>(int64_t{m} * left), vt = scratch_of<T>(int64_t{right} * n);
      load<T>(in, index, matrix.as<T>());
      check_finite("svd", matrix.as<T>(), size, in.shape, index);
      int info = gesdd<T>("svd", full ? 'A' : 'S', m, n, matrix.as<T>(), values.as<Real>(),
                          u.as<T>(), leading(m), vt.as<T>(), leading(right));
      if (info) not_converged("svd", in.shape, index);
      T* out = store(u.as<T>(), m, left, c.out[0].as<T>() + index * width);
      for (int i = 0; i < k; ++i) *out++ = values.as<Real>()[i];
      store(vt.as<T>(), right, n, out);
    });
  });
}

void run_svdvals(const CallArgs& c) {
  const TensorView& in = c.in[0];
  const size_t rank = in.shape.size();
  const int m = lapack_size("svd", in.shape[rank - 2]), n = lapack_size("svd", in.shape[rank - 1]);
  const int64_t size = int64_t{m} * n, k = std::min(m, n);
  by_dtype(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    using Real = cpu::lapack_real<T>;
    each_matrix(in, 4, [&](int64_t index) {
      Scratch matrix = scratch_of<T>(size);
      load<T>(in, index, matrix.as<T>());
      check_finite("svd", matrix.as<T>(), size, in.shape, index);
      T unused{};
      if (gesdd<T>("svd", 'N', m, n, matrix.as<T>(), c.out[0].as<Real>() + index * k, &unused, 1,
                   &unused, 1))
        not_converged("svd", in.shape, index);
    });
  });
}

// --- derivatives ---
//
// With P = U^H dA V, square over the first k: dS is the real diagonal of P; dU = U W + (the part
// of dA V / S outside of U's space), where W = F (P S + S P^H), F_ij = 1 / (s_j^2 - s_i^2), and for
// complex numbers the imaginary diagonal of P / S, a phase that V then does not take. V likewise.
// The columns of a full U behind the first k, U2, keep orthogonal: dU2 = -U1 dU1^H U2.

struct Factors {
  Array u, s, v, u2, v2;  // the first k columns, and the others: empty where there are none
  Array scale;            // S in the dtype of U
  Array gaps, inverse;
};

// From U, S, V^H in the order of the parts.
Factors factors_of(const Arrays& parts, const Sizes& z) {
  Factors f;
  Array v = adjoint(parts[2]);
  f.u = z.u > z.k ? block(parts[0], 0, z.m, 0, z.k) : parts[0];
  f.v = z.v > z.k ? block(v, 0, z.n, 0, z.k) : v;
  if (z.u > z.k) f.u2 = block(parts[0], 0, z.m, z.k, z.u);
  if (z.v > z.k) f.v2 = block(v, 0, z.n, z.k, z.v);
  f.scale = parts[1];
  f.s = real(parts[1]);
  f.gaps = astype(inverse_gaps(square(f.s)), f.u.dtype());
  f.inverse = astype(reciprocal_or_zero(f.s), f.u.dtype());
  return f;
}
// d - real(d), the phases that a complex matrix's vectors may turn by; empty for a real one.
Array phases(const Array& d) {
  return is_complex(d.dtype()) ? d - astype(real(d), d.dtype()) : Array();
}
// (1 - u u^H) x
Array outside(const Array& u, const Array& x) { return x - matmul(u, matmul(adjoint(u), x)); }

Array svd_jvp(const Node& node, const Array& self, const Arrays& t) {
  Sizes z = sizes_of(node);
  Factors f = factors_of(take_apart(self, z.parts()), z);
  Array du = matmul(t[0], f.v), dv = matmul(adjoint(t[0]), f.u), p = matmul(adjoint(f.u), du);
  Array right = p * columns(f.scale), left = rows(f.scale) * p;  // P S, S P
  Array turn_u = f.gaps * (right + adjoint(right)), turn_v = f.gaps * (left + adjoint(left));
  Array d = main_diagonal(p);
  if (Array phase = phases(d)) turn_u = turn_u + on_diagonal(phase * f.inverse);
  du = matmul(f.u, turn_u) + outside(f.u, du) * columns(f.inverse);
  dv = matmul(f.v, turn_v) + outside(f.v, dv) * columns(f.inverse);
  auto whole = [](const Array& x, const Array& dx, const Array& x2) {
    if (!x2) return dx;
    Array dx2 = -matmul(x, matmul(adjoint(dx), x2));
    return concatenate({dx, dx2}, dx.ndim() - 1);
  };
  return put_together(
      {whole(f.u, du, f.u2), astype(real(d), self.dtype()), adjoint(whole(f.v, dv, f.v2))},
      z.parts());
}

Arrays svd_vjp(const Node& node, const Array& self, const Array& ct, const std::vector<bool>&) {
  Sizes z = sizes_of(node);
  Factors f = factors_of(take_apart(self, z.parts()), z);
  Arrays g = take_apart(ct, z.parts());
  auto first = [&z](const Array& x, const Array& x2, const Array& bar) {
    if (!x2) return bar;
    Array head = block(bar, 0, bar.shape(-2), 0, z.k);
    Array tail = block(bar, 0, bar.shape(-2), z.k, bar.shape(-1));
    return head - matmul(x2, matmul(adjoint(tail), x));
  };
  Array u_bar = first(f.u, f.u2, g[0]), v_bar = first(f.v, f.v2, adjoint(g[2]));
  Array ku = matmul(adjoint(f.u), u_bar), kv = matmul(adjoint(f.v), v_bar);
  Array p = f.gaps * (ku - adjoint(ku)) * columns(f.scale) +
            rows(f.scale) * (f.gaps * (kv - adjoint(kv)));
  Array d = astype(real(g[1]), self.dtype());
  if (Array phase = phases(main_diagonal(ku))) d = d + phase * f.inverse;
  p = p + on_diagonal(d);
  Array from_u = outside(f.u, u_bar) * columns(f.inverse);
  Array from_v = outside(f.v, v_bar) * columns(f.inverse);
  return {matmul(matmul(f.u, p) + from_u, adjoint(f.v)) + matmul(f.u, adjoint(from_v))};
}

Factors thin_factors(const Array& a) {
  Sizes z(a, false);
  return factors_of(take_apart(packed(a, false), z.parts()), z);
}

const Primitive& svd_row =
    define({.name = "svd",
            .kind = Kind::call,
            .doc = "Singular values and the orthonormal vectors on either side of them.",
            .fields = {{"full", FieldKind::boolean}},
            .call = run_svd,
            .text = text::svd,
            .text_pays = text::singular_values_pay,
            .flops = cubic_flops<20>,
            .vjp = svd_vjp,
            .jvp = svd_jvp,
            .vmap = [](const Node& n, const Arrays& in, const std::vector<bool>&, int64_t) {
              return packed(in[0], is_full(n.params));
            }});

Array packed(const Array& a, bool full) {
  return make_packed(svd_row, Params().add(full), a, Sizes(a, full).parts(), a.dtype());
}

const Primitive& svdvals_row = define(
    {.name = "svdvals",
     .kind = Kind::call,
     .doc = "Singular values, descending.",
     .call = run_svdvals,
     .text = text::svdvals,
     .text_pays = text::singular_values_pay,
     .flops = cubic_flops<4>,
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       Factors f = thin_factors(n.inputs[0]);
       return {matmul(f.u * columns(astype(ct, f.u.dtype())), adjoint(f.v))};
     },
     .jvp =
         [](const Node& n, const Array&, const Arrays& t) {
           Factors f = thin_factors(n.inputs[0]);
           return real(main_diagonal(matmul(matmul(adjoint(f.u), t[0]), f.v)));
         },
     .vmap = [](const Node&, const Arrays& in, const std::vector<bool>&,
                int64_t) { return svdvals(in[0]); }});

// --- the pseudoinverse ---

double epsilon(Dtype d) {
  return d == Dtype::float64 ? std::numeric_limits<double>::epsilon()
                             : std::numeric_limits<float>::epsilon();
}

const Primitive& pinv_row = define(
    {.name = "pinv",
     .kind = Kind::composite,
     .doc = "The pseudoinverse: singular values below 10 max(M, N) eps of the largest count as 0.",
     .decompose =
         [](const Node& n, const Arrays& in) {
           const Array& a = in[0];
           Factors f = thin_factors(a);
           double relative =
               10.0 * static_cast<double>(std::max(a.shape(-1), a.shape(-2))) * epsilon(a.dtype());
           Array least = max(f.s, {f.s.ndim() - 1}, true) * relative;
           Array kept = select(greater(f.s, least), f.s, zeros_like(f.s));
           Array inverse = astype(reciprocal_or_zero(kept), n.dtype);
           return matmul(f.v * columns(inverse), adjoint(f.u));
         },
     .vjp = [](const Node& n, const Array& x, const Array& ct, const std::vector<bool>&) -> Arrays {
       const Array& a = n.inputs[0];
       Array xh = adjoint(x), g = adjoint(ct);
       Array beyond = g - matmul(a, matmul(x, g)), before = g - matmul(matmul(g, x), a);
       return {matmul(matmul(beyond, x), xh) + matmul(xh, matmul(x, before)) -
               matmul(xh, matmul(ct, xh))};
     },
     .jvp =
         [](const Node& n, const Array& x, const Arrays& t) {
           const Array& a = n.inputs[0];
           Array xh = adjoint(x), d = adjoint(t[0]);
           Array beyond = d - matmul(matmul(d, a), x), before = d - matmul(x, matmul(a, d));
           return matmul(x, matmul(xh, beyond)) + matmul(matmul(before, xh), x) -
                  matmul(x, matmul(t[0], x));
         },
     .vmap = [](const Node&, const Arrays& in, const std::vector<bool>&,
                int64_t) { return pinv(in[0]); }});

Array broadcast_eye(const Array& a, int64_t n) {
  Shape shape = batch_of(a);
  shape.push_back(n);
  shape.push_back(n);
  return broadcast_to(eye(n, n, 0, a.dtype()), shape);
}

}  // namespace

std::array<Array, 3> svd(const Array& a, bool full) {
  check_matrix("svd", a);
  Sizes z(a, full);
  Shape values = batch_of(a);
  values.push_back(z.k);
  Dtype real_one = real_dtype(a.dtype());
  if (z.k == 0)
    return {block(broadcast_eye(a, z.m), 0, z.m, 0, z.u), zeros(values, real_one),
            block(broadcast_eye(a, z.n), 0, z.v, 0, z.n)};
  Arrays f = take_apart(packed(a, full), z.parts());
  return {f[0], is_complex(a.dtype()) ? real(f[1]) : f[1], f[2]};
}

Array svdvals(const Array& a) {
  check_matrix("svdvals", a);
  Shape shape = batch_of(a);
  shape.push_back(std::min(a.shape(-1), a.shape(-2)));
  return make_node(svdvals_row, {}, {a}, shape, real_dtype(a.dtype()));
}

Array pinv(const Array& a) {
  check_matrix("pinv", a);
  Shape shape = a.shape();
  std::swap(shape[shape.size() - 1], shape[shape.size() - 2]);
  if (a.size() == 0) return zeros(shape, a.dtype());
  return make_node(pinv_row, {}, {a}, shape, a.dtype());
}

}  // namespace lamina

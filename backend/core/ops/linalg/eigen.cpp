// Eigenvalues and eigenvectors, of Hermitian and of any square matrices.
#include "ops/linalg/common.h"
#include "ops/linalg/lapack_calls.h"
#include "ops/linalg/linalg_text.h"

namespace lamina {

using namespace linear;

namespace {

Parts parts_of(const Array& a) {
  int64_t n = a.shape(-1);
  return {{n}, {n, n}};
}
Array eigh_packed(const Array& a);
Array eig_packed(const Array& a);
Array eigh_values(const Array& a);
Array eig_values(const Array& a);

// --- running ---

template <bool Vectors>
void run_eigh(const CallArgs& c) {
  constexpr const char* kName = Vectors ? "eigh" : "eigvalsh";
  const TensorView& in = c.in[0];
  const int n = lapack_size(kName, in.shape.back());
  const int64_t size = int64_t{n} * n;
  by_dtype(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    using Real = cpu::lapack_real<T>;
    each_matrix(in, Vectors ? 9 : 2, [&](int64_t index) {
      Scratch matrix = scratch_of<T>(size), values = scratch_of<Real>(n);
      T* a = matrix.as<T>();
      Real* w = values.as<Real>();
      load<T>(in, index, a);
      check_finite(kName, a, size, in.shape, index);
      if (heevd<T>(kName, Vectors ? 'V' : 'N', n, a, w)) not_converged(kName, in.shape, index);
      if constexpr (Vectors) {
        T* out = c.out[0].as<T>() + index * (n + size);
        for (int i = 0; i < n; ++i) *out++ = w[i];
        store(a, n, n, out);
      } else {
        std::copy(w, w + n, c.out[0].as<Real>() + index * n);
      }
    });
  });
}

template <bool Vectors>
void run_eig(const CallArgs& c) {
  constexpr const char* kName = Vectors ? "eig" : "eigvals";
  const TensorView& in = c.in[0];
  const int n = lapack_size(kName, in.shape.back());
  const int64_t size = int64_t{n} * n;
  by_dtype(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    using Complex = std::complex<cpu::lapack_real<T>>;
    each_matrix(in, Vectors ? 25 : 10, [&](int64_t index) {
      Scratch matrix = scratch_of<T>(size), values = scratch_of<Complex>(n);
      Scratch vectors = scratch_of<Complex>(Vectors ? size : 1);
      load<T>(in, index, matrix.as<T>());
      check_finite(kName, matrix.as<T>(), size, in.shape, index);
      if (geev<T>(kName, n, matrix.as<T>(), values.as<Complex>(),
                  Vectors ? vectors.as<Complex>() : nullptr))
        not_converged(kName, in.shape, index);
      complex64_t* out = c.out[0].as<complex64_t>() + index * (n + (Vectors ? size : 0));
      for (int i = 0; i < n; ++i) *out++ = complex64_t(values.as<Complex>()[i]);
      if (Vectors) store(vectors.as<Complex>(), n, n, out);
    });
  });
}

// --- derivatives of the Hermitian ones ---
//
// The matrix is taken to stay Hermitian: a tangent or cotangent counts by its Hermitian part. With
// P = V^H dA V: dw is its diagonal and dV = V (F P), F_ij = 1 / (w_j - w_i).

Array eigh_jvp(const Node& node, const Array& self, const Arrays& t) {
  Arrays f = take_apart(self, parts_of(node.inputs[0]));
  Array w = real(f[0]), v = f[1];
  Array p = matmul(adjoint(v), matmul(symmetric(t[0]), v));
  Array dw = astype(real(main_diagonal(p)), self.dtype());
  return put_together({dw, matmul(v, astype(inverse_gaps(w), v.dtype()) * p)},
                      parts_of(node.inputs[0]));
}

Arrays eigh_vjp(const Node& node, const Array& self, const Array& ct, const std::vector<bool>&) {
  Parts parts = parts_of(node.inputs[0]);
  Arrays f = take_apart(self, parts), g = take_apart(ct, parts);
  Array w = real(f[0]), v = f[1];
  Array p = astype(inverse_gaps(w), v.dtype()) * matmul(adjoint(v), g[1]) +
            on_diagonal(astype(real(g[0]), v.dtype()));
  return {symmetric(matmul(matmul(v, p), adjoint(v)))};
}

Array eigenvectors_of_hermitian(const Array& a) {
  return take_apart(eigh_packed(a), parts_of(a))[1];
}

const Primitive& eigh_row =
    define({.name = "eigh",
            .kind = Kind::call,
            .doc = "Eigenvalues, ascending, and eigenvectors of the Hermitian matrix whose lower "
                   "triangle is given.",
            .call = run_eigh<true>,
            .text = text::eigh,
            .text_pays = text::eigenvalues_pay,
            .flops = cubic_flops<9>,
            .reads = reads_triangle,
            .vjp = eigh_vjp,
            .jvp = eigh_jvp,
            .vmap = [](const Node&, const Arrays& in, const std::vector<bool>&, int64_t) {
              return eigh_packed(in[0]);
            }});

const Primitive& eigvalsh_row = define(
    {.name = "eigvalsh",
     .kind = Kind::call,
     .doc = "Eigenvalues, ascending, of the Hermitian matrix whose lower triangle is given.",
     .call = run_eigh<false>,
     .text = text::eigvalsh,
     .text_pays = text::eigenvalues_pay,
     .flops = cubic_flops<2>,
     .reads = reads_triangle,
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       Array v = eigenvectors_of_hermitian(n.inputs[0]);
       return {symmetric(matmul(v * columns(astype(ct, v.dtype())), adjoint(v)))};
     },
     .jvp =
         [](const Node& n, const Array&, const Arrays& t) {
           Array v = eigenvectors_of_hermitian(n.inputs[0]);
           return real(main_diagonal(matmul(adjoint(v), matmul(symmetric(t[0]), v))));
         },
     .vmap = [](const Node&, const Arrays& in, const std::vector<bool>&,
                int64_t) { return eigh_values(in[0]); }});

// --- derivatives of the general ones ---
//
// With P = V^-1 dA V: dw is its diagonal and dV = V (F P), less the part of each column that would
// change its length.

Array complex_of(const Array& x) { return astype(x, Dtype::complex64); }
// A cotangent of the dtype of the input: its real part where that is real.
Array as_input(const Array& ct, const Array& a) {
  return is_complex(a.dtype()) ? ct : astype(real(ct), a.dtype());
}
// Per column of v: the real part of v_j^H x_j.
Array along(const Array& v, const Array& x) {
  return complex_of(real(sum(conjugate(v) * x, {v.ndim() - 2}, true)));
}

Array eig_jvp(const Node& node, const Array& self, const Arrays& t) {
  Arrays f = take_apart(self, parts_of(node.inputs[0]));
  const Array& v = f[1];
  Array p = solve(v, matmul(complex_of(t[0]), v));
  Array dv = matmul(v, inverse_gaps(f[0]) * p);
  return put_together({main_diagonal(p), dv - v * along(v, dv)}, parts_of(node.inputs[0]));
}

Arrays eig_vjp(const Node& node, const Array& self, const Array& ct, const std::vector<bool>&) {
  Parts parts = parts_of(node.inputs[0]);
  Arrays f = take_apart(self, parts), g = take_apart(ct, parts);
  const Array& v = f[1];
  Array free = g[1] - v * along(v, g[1]), vh = adjoint(v);
  Array p = conjugate(inverse_gaps(f[0])) * matmul(vh, free) + on_diagonal(g[0]);
  return {as_input(solve(vh, matmul(p, vh)), node.inputs[0])};
}

Array eigenvectors_of(const Array& a) { return take_apart(eig_packed(a), parts_of(a))[1]; }

const Primitive& eig_row =
    define({.name = "eig",
            .kind = Kind::call,
            .doc = "Eigenvalues and eigenvectors of length 1, complex.",
            .call = run_eig<true>,
            .text = text::eig,
            .text_pays = text::eigenvalues_pay,
            .flops = cubic_flops<25>,
            .vjp = eig_vjp,
            .jvp = eig_jvp,
            .vmap = [](const Node&, const Arrays& in, const std::vector<bool>&, int64_t) {
              return eig_packed(in[0]);
            }});

const Primitive& eigvals_row = define(
    {.name = "eigvals",
     .kind = Kind::call,
     .doc = "Eigenvalues, complex.",
     .call = run_eig<false>,
     .text = text::eigvals,
     .text_pays = text::eigenvalues_pay,
     .flops = cubic_flops<10>,
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       Array vh = adjoint(eigenvectors_of(n.inputs[0]));
       return {as_input(solve(vh, rows(ct) * vh), n.inputs[0])};
     },
     .jvp =
         [](const Node& n, const Array&, const Arrays& t) {
           Array v = eigenvectors_of(n.inputs[0]);
           return main_diagonal(solve(v, matmul(complex_of(t[0]), v)));
         },
     .vmap = [](const Node&, const Arrays& in, const std::vector<bool>&,
                int64_t) { return eig_values(in[0]); }});

Array eigh_packed(const Array& a) { return make_packed(eigh_row, {}, a, parts_of(a), a.dtype()); }
Array eig_packed(const Array& a) {
  return make_packed(eig_row, {}, a, parts_of(a), Dtype::complex64);
}
Array eigh_values(const Array& a) {
  return make_packed(eigvalsh_row, {}, a, {{a.shape(-1)}}, real_dtype(a.dtype()));
}
Array eig_values(const Array& a) {
  return make_packed(eigvals_row, {}, a, {{a.shape(-1)}}, Dtype::complex64);
}

// --- the root of a positive semidefinite matrix ---

// V (F P) V^H with P = V^H x V and F_ij = 1 / (sqrt(w_i) + sqrt(w_j)): what x, a change of the
// matrix, does to its root. It is its own adjoint.
Array change_of_root(const Array& a, const Array& x) {
  Arrays f = take_apart(eigh_packed(a), parts_of(a));
  Array w = real(f[0]), v = f[1], root = sqrt(maximum(w, zeros_like(w)));
  Array weights = astype(reciprocal_or_zero(columns(root) + rows(root)), v.dtype());
  Array p = matmul(adjoint(v), matmul(symmetric(x), v));
  return matmul(matmul(v, weights * p), adjoint(v));
}

const Primitive& sqrt_row = define(
    {.name = "matrix_sqrt",
     .kind = Kind::composite,
     .doc = "The positive semidefinite matrix whose square is the matrix; NaN where there is none.",
     .decompose =
         [](const Node& n, const Arrays& in) {
           Arrays f = take_apart(eigh_packed(in[0]), parts_of(in[0]));
           Array w = real(f[0]), v = f[1], zero = zeros_like(w);
           // Rounding makes zeros slightly negative.
           const double relative = n.dtype == Dtype::float64 ? 1e-12 : 1e-5;
           Array least = max(abs(w), {w.ndim() - 1}, true) * -relative;
           Array root = select(less(w, least), sqrt(w), sqrt(maximum(w, zero)));
           return matmul(v * columns(astype(root, v.dtype())), adjoint(v));
         },
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       return {change_of_root(n.inputs[0], ct)};
     },
     .jvp = [](const Node& n, const Array&,
               const Arrays& t) { return change_of_root(n.inputs[0], t[0]); },
     .vmap = [](const Node&, const Arrays& in, const std::vector<bool>&,
                int64_t) { return matrix_sqrt(in[0]); }});

}  // namespace

Array matrix_sqrt(const Array& a) {
  check_square("matrix_sqrt", a);
  if (a.size() == 0) return a;
  return make_node(sqrt_row, {}, {a}, a.shape(), a.dtype());
}

std::pair<Array, Array> eigh(const Array& a, bool upper) {
  check_square("eigh", a);
  Arrays f = take_apart(eigh_packed(upper ? adjoint(a) : a), parts_of(a));
  return {is_complex(a.dtype()) ? real(f[0]) : f[0], f[1]};
}
Array eigvalsh(const Array& a, bool upper) {
  check_square("eigvalsh", a);
  return eigh_values(upper ? adjoint(a) : a);
}
std::pair<Array, Array> eig(const Array& a) {
  check_square("eig", a);
  Arrays f = take_apart(eig_packed(a), parts_of(a));
  return {f[0], f[1]};
}
Array eigvals(const Array& a) {
  check_square("eigvals", a);
  return eig_values(a);
}

}  // namespace lamina

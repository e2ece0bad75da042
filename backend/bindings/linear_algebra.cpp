// Factorisations and Fourier transforms; lamina.core.linalg and lamina.core.fft give them their
// public form.
#include "ops/linalg/linalg.h"

#include "convert.h"
#include "module.h"
#include "ops/fft/fft.h"
#include "ops/ops.h"

namespace lamina::python {

namespace {

template <class F>
void define_pair(py::module_& m, const char* name, F f) {
  m.def(name, [f](const Array& a) {
    auto [first, second] = f(a);
    return py::make_tuple(first, second);
  });
}

}  // namespace

void init_linear_algebra(py::module_& m) {
  define_pair(m, "_qr", [](const Array& a) { return qr(a); });
  define_pair(m, "_eig", [](const Array& a) { return eig(a); });
  define_pair(m, "_slogdet", [](const Array& a) { return slogdet(a); });
  m.def("_svd", [](const Array& a, bool full) {
    auto [u, s, vh] = svd(a, full);
    return py::make_tuple(u, s, vh);
  });
  m.def("_eigh", [](const Array& a, bool upper) {
    auto [w, v] = eigh(a, upper);
    return py::make_tuple(w, v);
  });
  m.def("_lu_factor", [](const Array& a) {
    LuParts lu = lu_factor(a);
    return py::make_tuple(lu.factors, lu.pivots, lu.rows);
  });
  for (auto [name, f] : {std::pair{"_svdvals", &svdvals},
                         {"_eigvals", &eigvals},
                         {"_inv", &inv},
                         {"_pinv", &pinv},
                         {"_matrix_sqrt", &matrix_sqrt},
                         {"_det", &det}})
    m.def(name, [f = f](const Array& a) { return f(a); });
  for (auto [name, f] : {std::pair{"_eigvalsh", &eigvalsh},
                         {"_cholesky", &cholesky},
                         {"_cholesky_inv", &cholesky_inv},
                         {"_tri_inv", &tri_inv}})
    m.def(name, [f = f](const Array& a, bool upper) { return f(a, upper); });
  m.def("_solve", [](const Array& a, const Array& b) { return solve(a, b); });
  m.def("_solve_triangular",
        [](const Array& a, const Array& b, bool upper) { return solve_triangular(a, b, upper); });
}

void init_fft(py::module_& m) {
  m.def("_fft", [](const Array& a, int64_t axis, bool inverse, double scale) {
    return fft(a, axis, inverse, scale);
  });
  m.def("_rfft", [](const Array& a, int64_t axis, double scale) { return rfft(a, axis, scale); });
  m.def("_irfft", [](const Array& a, int64_t axis, int64_t n, double scale) {
    return irfft(a, axis, n, scale);
  });
}

}  // namespace lamina::python

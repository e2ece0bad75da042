// Quantized matrices and the variants of the matrix product; argument forms only.
#include "ops/quantized/quantized.h"

#include <pybind11/stl.h>

#include "base/error.h"
#include "convert.h"
#include "module.h"
#include "ops/attention/attention.h"
#include "ops/matmul/variants.h"
#include "ops/rope/rope.h"

namespace lamina::python {

namespace {

using Size = std::optional<int64_t>;

// An array, or None as an empty one.
Array optional_array(const char* op, const char* name, const py::object& o) {
  if (o.is_none()) return Array();
  if (is_array(o.ptr())) return array_of(o.ptr());
  throw py::type_error(std::string(op) + ": " + name + " must be an array or None, got " +
                       std::string(py::repr(o)));
}

void define_formats(py::module_& m) {
  m.def("_quantize", [](const Array& w, Size group, Size bits, const std::string& mode,
                        const py::object& global) {
    Quantized q = quantize(w, quantization("quantize", mode, group, bits),
                           optional_array("quantize", "global_scale", global));
    py::list out;
    for (const Array& a : {q.words, q.scales, q.biases})
      if (a) out.append(a);
    return py::tuple(out);
  });
  m.def("_dequantize",
        [](const Array& w, const Array& scales, const py::object& biases, Size group, Size bits,
           const std::string& mode, const py::object& global, const py::object& dtype) {
          const char* op = "dequantize";
          return dequantize({w, scales, optional_array(op, "biases", biases)},
                            quantization(op, mode, group, bits),
                            optional_array(op, "global_scale", global), optional_dtype(dtype));
        });
  m.def("_to_fp8", [](const Array& x) { return to_fp8(x); });
  m.def("_from_fp8",
        [](const Array& x, const py::object& dtype) { return from_fp8(x, dtype_from(dtype)); });
}

void define_quantized_products(py::module_& m) {
  m.def("_quantized_matmul",
        [](const Array& x, const Array& w, const Array& scales, const py::object& biases,
           bool transpose, Size group, Size bits, const std::string& mode) {
          const char* op = "quantized_matmul";
          return quantized_matmul(x, {w, scales, optional_array(op, "biases", biases)}, transpose,
                                  quantization(op, mode, group, bits));
        });
  m.def("_gather_qmm", [](const Array& x, const Array& w, const Array& scales,
                          const py::object& biases, const py::object& lhs, const py::object& rhs,
                          bool transpose, Size group, Size bits, const std::string& mode,
                          const py::object& global) {
    const char* op = "gather_qmm";
    return gather_qmm(
        x, {w, scales, optional_array(op, "biases", biases)},
        optional_array(op, "lhs_indices", lhs), optional_array(op, "rhs_indices", rhs), transpose,
        quantization(op, mode, group, bits), optional_array(op, "global_scale", global));
  });
  m.def(
      "_qqmm", [](const Array& x, const Array& w, const py::object& scales, Size group, Size bits,
                  const std::string& mode, const py::object& global_x, const py::object& global_w) {
        const char* op = "qqmm";
        return qqmm(x, w, optional_array(op, "scales", scales), quantization(op, mode, group, bits),
                    optional_array(op, "global_scale_x", global_x),
                    optional_array(op, "global_scale_w", global_w));
      });
  m.def("_gather_qqmm", [](const Array& x, const Array& w, const py::object& scales,
                           const py::object& lhs, const py::object& rhs, Size group, Size bits,
                           const std::string& mode, const py::object& global_x,
                           const py::object& global_w) {
    const char* op = "gather_qqmm";
    return gather_qqmm(x, w, optional_array(op, "scales", scales),
                       optional_array(op, "lhs_indices", lhs),
                       optional_array(op, "rhs_indices", rhs), quantization(op, mode, group, bits),
                       optional_array(op, "global_scale_x", global_x),
                       optional_array(op, "global_scale_w", global_w));
  });
}

void define_products(py::module_& m) {
  m.def("_fuses_attention",
        [](const Array& q, const Array& k, const Array& v, bool wherever_it_can) {
          return wherever_it_can ? can_fuse_attention(q, k, v) : fuses_attention(q, k, v);
        });
  m.def("_attention", [](const Array& q, const Array& k, const Array& v, double scale, bool causal,
                         const py::object& mask, const py::object& sinks) {
    const char* op = "scaled_dot_product_attention";
    return attention(q, k, v, scale, causal, optional_array(op, "mask", mask),
                     optional_array(op, "sinks", sinks));
  });
  m.def("_rope", [](const Array& a, int64_t dims, bool traditional, std::optional<double> base,
                    double scale, int64_t offset, const py::object& offsets,
                    const py::object& freqs) {
    return rope(a, {dims, traditional, base.value_or(0), scale, offset},
                optional_array("rope", "offset", offsets), optional_array("rope", "freqs", freqs));
  });
  m.def("_gather_mm",
        [](const Array& a, const Array& b, const py::object& lhs, const py::object& rhs) {
          const char* op = "gather_mm";
          return gather_mm(a, b, optional_array(op, "lhs_indices", lhs),
                           optional_array(op, "rhs_indices", rhs));
        });
  m.def("_block_masked_mm", [](const Array& a, const Array& b, int64_t block, const py::object& out,
                               const py::object& lhs, const py::object& rhs) {
    const char* op = "block_masked_mm";
    return block_masked_mm(a, b, block, optional_array(op, "mask_out", out),
                           optional_array(op, "mask_lhs", lhs),
                           optional_array(op, "mask_rhs", rhs));
  });
  m.def("_segmented_mm", [](const Array& a, const Array& b, const Array& segments) {
    return segmented_mm(a, b, segments);
  });
  m.def("_hadamard_transform",
        [](const Array& a, std::optional<double> scale) { return hadamard_transform(a, scale); });
}

}  // namespace

void init_quantized(py::module_& m) {
  define_formats(m);
  define_quantized_products(m);
  define_products(m);
}

}  // namespace lamina::python

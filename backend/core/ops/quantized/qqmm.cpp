// Products of two quantized factors: each is rounded to the format, unless it is quantized already,
// and multiplied with sums in float32.
#include "base/error.h"
#include "ops/matmul/variants.h"
#include "ops/quantized/coded_rules.h"
#include "ops/rules.h"

namespace lamina {
namespace {

Array rounded(const Array& x, const Quantization& q, const Array& global_scale);

Quantization read(const Node& n) {
  Params::Reader r = n.params.read();
  return read_quantization(r);
}

const Primitive& rounded_row = define(
    {.name = "round_to_format",
     .kind = Kind::composite,
     .doc = "Elements rounded to a quantized format; derivatives pass as if they were not.",
     .fields = kQuantizationFields,
     .decompose =
         [](const Node& n, const Arrays& in) {
           const Quantization q = read(n);
           const Array global = in.size() > 1 ? in[1] : Array();
           return dequantize(quantize(in[0], q, global), q, global, n.dtype);
         },
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       Arrays out(n.inputs.size());
       out[0] = ct;
       return out;
     },
     .jvp = [](const Node& n, const Array&,
               const Arrays& t) { return t[0] ? t[0] : zeros(n.shape, n.dtype); },
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>& batched, int64_t batch) {
           if (in.size() > 1 && batched[1])
             throw TraceError(
                 "vmap: a global scale is one for the whole batch\n"
                 "Use in_axes=None for it");
           return rounded(batched_input(in[0], batched[0], batch), read(n),
                          in.size() > 1 ? in[1] : Array());
         }});

Array rounded(const Array& x, const Quantization& q, const Array& global_scale) {
  Arrays in{x};
  if (global_scale) in.push_back(global_scale);
  return make_node(rounded_row, params_of(q), in, x.shape(), x.dtype());
}

// x in float32, rounded.
Array rounded_factor(const char* op, const char* name, const Array& x, const Quantization& q,
                     const Array& global_scale) {
  check_floating(op, name, x.dtype());
  check_global_scale(op, global_scale, q);
  if (x.ndim() < 2)
    throw ShapeError(std::string(op) + ": " + name + " needs 2 axes or more, got " +
                     to_string(x.shape()));
  if (x.shape(-1) % q.group != 0)
    throw ShapeError(std::string(op) + ": the last axis of " + name + " " + to_string(x.shape()) +
                     " is not a multiple of group_size=" + std::to_string(q.group));
  return rounded(astype(x, Dtype::float32), q, global_scale);
}

void check_mode(const char* op, const Quantization& q) {
  if (q.affine())
    throw ValueError(std::string(op) +
                     ": mode 'affine' does not round x\n"
                     "Use mode='nvfp4' or 'mxfp8', or quantized_matmul");
}

Array scaled_back(const Array& y, const Array& global_scale, Dtype d) {
  return astype(global_scale ? y * global_unit(global_scale) : y, d);
}

}  // namespace

Array qqmm(const Array& x, const Array& w, const Array& scales, const Quantization& q,
           const Array& global_scale_x, const Array& global_scale_w) {
  check_mode("qqmm", q);
  if (w.ndim() != 2) throw ShapeError("qqmm: w must have 2 axes, got " + to_string(w.shape()));
  if (x.ndim() == 1)
    return squeeze(qqmm(expand_dims(x, {0}), w, scales, q, global_scale_x, global_scale_w), {0});
  Array left = rounded_factor("qqmm", "x", x, q, global_scale_x);
  if (!scales) {
    Array right = rounded_factor("qqmm", "w", w, q, global_scale_w);
    if (left.shape(-1) != right.shape(-1))
      throw ShapeError("qqmm: inner sizes differ: x " + to_string(x.shape()) + " and w " +
                       to_string(w.shape()));
    return astype(matmul(left, swapaxes(right, -1, -2)), x.dtype());
  }
  const Quantized codes = checked("qqmm", {w, scales, Array()}, q);
  check_global_scale("qqmm", global_scale_w, q);
  return scaled_back(quantized_matmul(left, codes, true, q), global_scale_w, x.dtype());
}

Array gather_qqmm(const Array& x, const Array& w, const Array& scales, const Array& lhs,
                  const Array& rhs, const Quantization& q, const Array& global_scale_x,
                  const Array& global_scale_w) {
  check_mode("gather_qqmm", q);
  Array left = rounded_factor("gather_qqmm", "x", x, q, global_scale_x);
  if (!scales) {
    Array right = rounded_factor("gather_qqmm", "w", w, q, global_scale_w);
    return astype(gather_mm(left, swapaxes(right, -1, -2), lhs, rhs), x.dtype());
  }
  const Quantized codes = checked("gather_qqmm", {w, scales, Array()}, q);
  check_global_scale("gather_qqmm", global_scale_w, q);
  Array y = gather_qmm(left, codes, lhs, rhs, true, q, Array());
  return scaled_back(y, global_scale_w, x.dtype());
}

}  // namespace lamina

#include "base/error.h"
#include "ops/quantized/coded_rules.h"
#include "ops/quantized/coded_text.h"
#include "ops/rules.h"

namespace lamina {
namespace {

Array node_of(const Quantized& w, const Quantization& q, Dtype dtype);

Arrays derivatives(const Node& n, const Array& ct, const std::vector<bool>& wanted) {
  Arrays out(n.inputs.size());
  if (n.inputs.size() < 3) return out;
  Params::Reader r = n.params.read();
  const Quantization q = read_quantization(r);
  Array per = in_groups(astype(ct, Dtype::float32), q);
  std::tie(out[1], out[2]) = group_sums(per, n.inputs[0], q, wanted[1], wanted[2]);
  return out;
}

const Primitive& dequantize_row = define(
    {.name = "dequantize",
     .kind = Kind::call,
     .doc = "The elements of a quantized matrix.",
     .fields = kQuantizationFields,
     .call =
         [](const CallArgs& c) {
           Params::Reader r = static_cast<const Params*>(c.params)->read();
           cpu::decode(coded_matrices(c.in, read_quantization(r)), c.out[0]);
         },
     .text = text::dequantize,
     .flops = [](const Node& n) { return 2 * element_count(n.shape); },
     .vjp = [](const Node& n, const Array&, const Array& ct,
               const std::vector<bool>& wanted) { return derivatives(n, ct, wanted); },
     .jvp =
         [](const Node& n, const Array&, const Arrays& t) {
           Params::Reader r = n.params.read();
           const Quantization q = read_quantization(r);
           if (n.inputs.size() < 3) return zeros(n.shape, n.dtype);
           return node_of({n.inputs[0], tangent_or_zero(t, n, 1), tangent_or_zero(t, n, 2)}, q,
                          n.dtype);
         },
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>& batched, int64_t batch) {
           Params::Reader r = n.params.read();
           const Quantization q = read_quantization(r);
           Arrays x;
           for (size_t i = 0; i < in.size(); ++i)
             x.push_back(batched_input(in[i], batched[i], batch));
           return node_of({x[0], x[1], x.size() > 2 ? x[2] : Array()}, q, n.dtype);
         }});

Array node_of(const Quantized& w, const Quantization& q, Dtype dtype) {
  Shape shape = w.words.shape();
  shape.back() = columns_of(w.words, q);
  return make_node(dequantize_row, params_of(q), inputs_of(w), shape, dtype);
}

}  // namespace

Array code_numbers(const Array& words, const Quantization& q) {
  Shape per = words.shape();
  per.back() = columns_of(words, q) / q.group;
  // The number one: a byte's whole exponent in mxfp4 and mxfp8, e4m3 in nvfp4.
  Array one = q.affine() ? ones(per, Dtype::float32)
                         : full(per, q.mode == QuantMode::nvfp4 ? 0x38 : 127, Dtype::uint8);
  Array none = q.affine() ? zeros(per, Dtype::float32) : Array();
  return in_groups(node_of({words, one, none}, q, Dtype::float32), q);
}

Array dequantize(const Quantized& given, const Quantization& q, const Array& global_scale,
                 std::optional<Dtype> dtype) {
  const Quantized w = checked("dequantize", given, q);
  check_global_scale("dequantize", global_scale, q);
  const Dtype d = dtype.value_or(q.affine() ? w.scales.dtype() : Dtype::bfloat16);
  check_floating("dequantize", "the result", d);
  if (global_scale) {
    Array scales = from_fp8(w.scales, Dtype::float32) * global_unit(global_scale);
    return astype(out_of_groups(code_numbers(w.words, q) * expand_dims(scales, {scales.ndim()})),
                  d);
  }
  if (q.affine() && w.scales.dtype() == Dtype::float64) {
    auto wide = [](const Array& x) { return expand_dims(x, {x.ndim()}); };
    Array numbers = astype(code_numbers(w.words, q), Dtype::float64);
    return astype(out_of_groups(numbers * wide(w.scales) + wide(w.biases)), d);
  }
  Array out = node_of(w, q, d == Dtype::float64 ? Dtype::float32 : d);
  return astype(out, d);
}

}  // namespace lamina

#include "ops/quantized/coded_rules.h"

#include "ops/ops.h"

namespace lamina {

Params params_of(const Quantization& q) {
  return Params().add(static_cast<int64_t>(q.mode)).add(q.group).add(q.bits);
}

Quantization read_quantization(Params::Reader& r) {
  const auto mode = static_cast<QuantMode>(r.integer());
  const int64_t group = r.integer();
  return {mode, group, r.integer()};
}

Arrays inputs_of(const Quantized& w) {
  Arrays in{w.words, w.scales};
  if (w.biases) in.push_back(w.biases);
  return in;
}

cpu::CodedMatrices coded_matrices(std::span<const TensorView> in, const Quantization& q) {
  return {in[0], in[1], q.affine() ? in[2] : TensorView{}, code_of(q), q.bits, q.group};
}

Array in_groups(const Array& x, const Quantization& q) {
  Shape shape = x.shape();
  shape.back() /= q.group;
  shape.push_back(q.group);
  return reshape(x, shape);
}

Array out_of_groups(const Array& x) {
  Shape shape(x.shape().begin(), x.shape().end() - 1);
  shape.back() *= x.shape(-1);
  return reshape(x, shape);
}

std::pair<Array, Array> group_sums(const Array& elements, const Array& words, const Quantization& q,
                                   bool scales, bool biases) {
  const Axes last{elements.ndim() - 1};
  return {scales ? sum(elements * code_numbers(words, q), last, false) : Array(),
          biases ? sum(elements, last, false) : Array()};
}

Array tangent_or_zero(const Arrays& tangents, const Node& n, size_t input) {
  return tangents[input] ? tangents[input] : zeros_like(n.inputs[input]);
}

}  // namespace lamina

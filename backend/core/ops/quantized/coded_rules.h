// What the rows over matrices of codes share: their parameters, their inputs, their derivatives.
// Private to quantized/.
#pragma once

#include <span>
#include <utility>

#include "graph/primitive.h"
#include "ops/quantized/coded_cpu.h"
#include "ops/quantized/formats.h"

namespace lamina {

// Parameters begin with the format; inputs end with words, scales and, if affine, biases, unless
// the row says otherwise.
inline const std::vector<Field> kQuantizationFields = {
    {"mode", FieldKind::integer}, {"group_size", FieldKind::integer}, {"bits", FieldKind::integer}};
Params params_of(const Quantization& q);
Quantization read_quantization(Params::Reader& r);
Arrays inputs_of(const Quantized& w);
// The views of words, scales and biases, in this order.
cpu::CodedMatrices coded_matrices(std::span<const TensorView> in, const Quantization& q);

// (..., n) as (..., groups, group) and back.
Array in_groups(const Array& x, const Quantization& q);
Array out_of_groups(const Array& x);
// What the codes stand for without scales and biases, in groups, float32.
Array code_numbers(const Array& words, const Quantization& q);
// Cotangents of scales and biases from that of the elements, in groups; those not wanted are empty.
std::pair<Array, Array> group_sums(const Array& elements, const Array& words, const Quantization& q,
                                   bool scales, bool biases);
Array tangent_or_zero(const Arrays& tangents, const Node& n, size_t input);

}  // namespace lamina

// What the quantization modes have, and the checks their operations share. Private to quantized/.
#pragma once

#include "ops/quantized/coded_loops.h"
#include "ops/quantized/quantized.h"

namespace lamina {

// nvfp4's scales are stored relative to global_scale / this: the largest scale by the largest code.
inline constexpr double kGlobalRange = 448.0 * 6.0;

// The code of a mode, for the loops.
cpu::Code code_of(const Quantization& q);

// Checks that a matrix of words, its scales and biases fit each other and the mode, and brings
// biases to the scales' dtype. Errors name `op`.
Quantized checked(const char* op, const Quantized& w, const Quantization& q);
// Elements of a row of words.
int64_t columns_of(const Array& words, const Quantization& q);
// Throws unless it is empty, or float32 with one element and the mode nvfp4.
void check_global_scale(const char* op, const Array& global_scale, const Quantization& q);
// What numbers under nvfp4's scales are multiplied with.
Array global_unit(const Array& global_scale);
// Throws DtypeError unless the dtype is real and floating. `what`: "w", "the result".
void check_floating(const char* op, const char* what, Dtype d);

}  // namespace lamina

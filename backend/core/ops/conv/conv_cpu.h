// Convolution on the CPU, channels last, with both gradients.
//
// Shapes: input [N, spatial..., Cin], weight [Cout, kernel..., Cin / groups], output
// [N, spatial..., Cout]; 1 to 3 spatial axes. Output position o sees input position
// o * stride + tap * kernel_dilation - pad_lo of the input whose elements lie input_dilation apart.
// Nothing is mirrored unless `flip` is set.
#pragma once

#include "base/tensor_view.h"

namespace lamina::cpu {

struct ConvParams {
  Shape strides, pad_lo, pad_hi, kernel_dilation, input_dilation;  // one entry a spatial axis
  int groups = 1;
  bool flip = false;  // mirror the kernel: a convolution in the strict sense
};

// All three: views may have any strides, `out` is row-major and overlaps no input; dtypes are equal
// and one of float32, float64, float16, bfloat16 (DtypeError), 16-bit ones summed in float32 and
// rounded once. Work is split over the pool. Results depend on nothing but the inputs, the number
// of threads and the machine.
void conv_general(const TensorView& input, const TensorView& weight, const TensorView& out,
                  const ConvParams& params);
// Gradient by input: out has the input's shape; params are those of the forward call.
void conv_backward_input(const TensorView& cotangent, const TensorView& weight,
                         const TensorView& out, const ConvParams& params);
// Gradient by weight: out has the weight's shape; params are those of the forward call.
void conv_backward_weight(const TensorView& input, const TensorView& cotangent,
                          const TensorView& out, const ConvParams& params);

}  // namespace lamina::cpu

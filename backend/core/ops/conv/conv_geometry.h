// Sizes of one convolution, brought to three spatial axes.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "ops/conv/conv_cpu.h"

namespace lamina::cpu {

using Extent = std::array<int64_t, 3>;

struct ConvGeometry {
  int64_t batch = 0, in_channels = 0, out_channels = 0, groups = 1;
  int spatial = 2;  // axes the caller has; leading ones of the arrays below are of size 1
  Extent in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1};
  Extent stride{1, 1, 1}, pad_lo{0, 0, 0}, pad_hi{0, 0, 0};
  Extent kernel_dilation{1, 1, 1}, input_dilation{1, 1, 1};
  bool flip = false;

  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  int64_t in_positions() const { return in[0] * in[1] * in[2]; }
  int64_t out_positions() const { return out[0] * out[1] * out[2]; }
  int64_t group_in() const { return in_channels / groups; }
  int64_t group_out() const { return out_channels / groups; }
  int64_t in_size() const { return batch * in_positions() * in_channels; }
  int64_t out_size() const { return batch * out_positions() * out_channels; }
  int64_t weight_size() const { return out_channels * taps() * group_in(); }
  int64_t flops() const { return 2 * out_size() * taps() * group_in(); }
  // A product of the channels at each position.
  bool pointwise() const;
  std::string text() const;  // "conv: (2, 8, 8, 3) by (16, 3, 3, 3)" for error messages
};

// `input`, `weight` and `output` are the shapes of the forward convolution. Throws InternalError
// where they do not fit each other.
ConvGeometry conv_geometry(const Shape& input, const Shape& weight, const Shape& output,
                           const ConvParams& params);

// Convolution by matrix products over gathered patches; any geometry. Arrays are row-major, of type
// T (float or double).
template <class T>
void conv_forward_gemm(const ConvGeometry& g, const T* input, const T* weight, T* out);
template <class T>
void conv_input_gemm(const ConvGeometry& g, const T* cotangent, const T* weight, T* out);
template <class T>
void conv_weight_gemm(const ConvGeometry& g, const T* input, const T* cotangent, T* out);

}  // namespace lamina::cpu

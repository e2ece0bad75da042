// What a rope node holds, for those who compute it. Private to rope/.
#pragma once

#include <span>

#include "base/tensor_view.h"
#include "graph/params.h"
#include "kernels/text.h"
#include "ops/rope/rope.h"

namespace lamina {

struct RopeCall {
  Rope how;
  TensorView x, out;                              // (B, H, T, D)
  int offsets = -1, freqs = -1, out_operand = 1;  // operands; -1: none
  TensorView offsets_view, freqs_view;            // (B,) int32, (dims / 2,) float32

  RopeCall(const Params& params, std::span<const TensorView> in,
           std::span<const TensorView> results);
  int64_t batch() const { return x.shape[0]; }
  int64_t heads() const { return x.shape[1]; }
  int64_t length() const { return x.shape[2]; }
  int64_t width() const { return x.shape[3]; }
  int64_t half() const { return how.dims / 2; }
  // The rate of pair i is exp(i * this).
  float log_rate() const;
};

namespace cpu {
void rope(const RopeCall& call);
}
namespace text {
TextProgram rope(const TextCall& call, const TextTraits& traits);
}

}  // namespace lamina

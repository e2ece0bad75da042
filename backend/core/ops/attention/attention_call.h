// What an attention node holds, for those who compute it. Private to attention/.
#pragma once

#include <span>

#include "base/tensor_view.h"
#include "kernels/text.h"

namespace lamina {

inline constexpr int64_t kWidestHead = 256;

struct AttentionCall {
  double scale;
  bool causal;
  TensorView q, k, v;
  int mask = -1, sinks = -1;  // operands; -1: none
  int out_operand;
  TensorView mask_view, sinks_view, out;

  AttentionCall(const void* params, std::span<const TensorView> in,
                std::span<const TensorView> results);
  int64_t batch() const { return q.shape[0]; }
  int64_t heads() const { return q.shape[1]; }
  int64_t groups() const { return k.shape[1]; }
  int64_t queries() const { return q.shape[2]; }
  int64_t keys() const { return k.shape[2]; }
};

namespace cpu {
void attention(const AttentionCall& call);
}
namespace text {
TextProgram attention(const TextCall& call, const TextTraits& traits);
}

}  // namespace lamina

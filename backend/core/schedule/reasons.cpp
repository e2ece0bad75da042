// Every reason an edge goes through memory, with the sentence the viewer shows.
#include "schedule/fuse.h"

namespace lamina::schedule {

const std::vector<ReasonText>& reason_texts() {
  static const std::vector<ReasonText> texts = {
      {"", "Fused: the value stays in registers or on chip."},
      {"leaf_input", "The producer is data that was already in memory."},
      {"kept_for_user", "The program still holds the producer, so its value has to be in memory."},
      {"several_consumers",
       "Kernels that cannot become one all read the producer; storing it once is cheaper than "
       "computing it again."},
      {"shape_barrier", "Producer and consumer run over different index spaces."},
      {"reduction_barrier",
       "The consumer needs the finished reduction, which this kernel cannot hold on chip."},
      {"opaque_call",
       "The producer is a library or structured kernel, which writes its result to memory."},
      {"input_of_call",
       "The consumer is a library or structured kernel, which reads its inputs from memory."},
      {"device_boundary", "Producer and consumer run on different devices."},
      {"argument_limit", "The fused kernel would have more arguments than the device allows."},
      {"row_too_long", "The reduced row is too long to stay on chip between its passes."},
      {"layout_not_expressible",
       "The view between them cannot be written as strides over the producer's inputs."},
      {"recompute_too_dear",
       "The consumer repeats the producer's elements; computing them again costs more than storing "
       "them."},
      {"cycle", "Fusing them would make two kernels wait for each other."},
      {"index_width", "The fused index range exceeds what the kernel can count."},
      {"register_pressure", "The fused kernel would be too long to keep its values on chip."},
  };
  return texts;
}

}  // namespace lamina::schedule

#include "ops/copy/view_text.h"

#include "kernels/copy_text.h"

namespace lamina::text {

TextProgram bitcast(const TextCall& call, const TextTraits& traits) {
  const TensorView& in = call.in[0];
  TextProgram program;
  if (in.size() == 0) return program;
  // Moved as whole numbers of the source's width, which change no bit.
  constexpr Dtype kWords[] = {Dtype::uint8, Dtype::uint16, Dtype::uint32, Dtype::uint64};
  int log2 = 0;
  while ((int64_t{1} << log2) < itemsize(in.dtype)) ++log2;
  program.launches.push_back(copy_launch(in.shape, {0, kWords[log2], in.strides},
                                         {1, kWords[log2], row_major_strides(in.shape)}, traits));
  return program;
}

}  // namespace lamina::text

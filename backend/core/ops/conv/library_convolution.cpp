#include "ops/conv/library_convolution.h"

#include <algorithm>
#include <limits>

#include "graph/params.h"

namespace lamina {

namespace {
LibraryConvolution::Steps steps_of(const TensorView& v) {
  LibraryConvolution::Steps steps{v.strides.front(), 0, 0, 0, v.strides.back()};
  std::copy_backward(v.strides.begin() + 1, v.strides.end() - 1, steps.end() - 1);
  return steps;
}
}  // namespace

std::shared_ptr<const LibraryWork> library_convolution(const TextCall& call,
                                                       LibraryConvolution::Kind kind) {
  using Kind = LibraryConvolution::Kind;
  const TensorView &first = call.in[0], &second = call.in[1], &result = call.out[0];
  const TensorView& input = kind == Kind::input_gradient ? result : first;
  const TensorView& weight = kind == Kind::weight_gradient ? result : second;
  const TensorView& output = kind == Kind::forward          ? result
                             : kind == Kind::input_gradient ? first
                                                            : second;
  Params::Reader r = static_cast<const Params*>(call.params)->read();
  const Shape stride = r.ints(), low = r.ints(), high = r.ints(), dilation = r.ints();
  const Shape apart = r.ints();
  const size_t spatial = stride.size(), skipped = 3 - spatial;
  LibraryConvolution c;
  c.kind = kind;
  c.dtype = result.dtype;
  c.spatial = static_cast<int>(spatial);
  c.batch = input.shape[0];
  c.channels = input.shape[spatial + 1];
  c.filters = weight.shape[0];
  c.groups = r.integer();
  c.flip = r.integer() != 0;
  for (size_t d = 0; d < spatial; ++d) {
    c.in[skipped + d] = input.shape[d + 1];
    c.out[skipped + d] = output.shape[d + 1];
    c.kernel[skipped + d] = weight.shape[d + 1];
    c.stride[skipped + d] = stride[d];
    c.pad[skipped + d] = low[d];
    c.dilation[skipped + d] = dilation[d];
    c.apart[skipped + d] = apart[d];
  }
  c.in_steps = steps_of(input);
  c.kernel_steps = steps_of(weight);
  c.out_steps = steps_of(output);
  LibraryWork work{c};
  work.texts_only = low != high ||
                    std::any_of(apart.begin(), apart.end(), [](int64_t d) { return d != 1; }) ||
                    std::any_of(low.begin(), low.end(), [](int64_t p) { return p < 0; });
  for (const TensorView* v : {&first, &second, &result})
    work.texts_only |= !v->contiguous() || v->size() > std::numeric_limits<int32_t>::max();
  return std::make_shared<LibraryWork>(std::move(work));
}

}  // namespace lamina

#include "kernels/copy_text.h"

namespace lamina {

TextKernel copy_launch(const Shape& shape, const CopyEnd& from, const CopyEnd& to,
                       const TextTraits& traits) {
  Kernel k;
  k.domain = shape;
  k.args.push_back({from.dtype, false, from.strides, 0});
  k.args.push_back({to.dtype, true, to.strides, 0});
  const uint32_t all = (1u << shape.size()) - 1;
  int32_t value = 0;
  k.instrs.push_back({.code = Code::load, .dtype = compute_dtype(from.dtype), .mask = all});
  if (compute_dtype(from.dtype) != compute_dtype(to.dtype)) {
    k.instrs.push_back({.code = Code::cast,
                        .dtype = compute_dtype(to.dtype),
                        .src = {value, -1, -1},
                        .mask = all});
    ++value;
  }
  k.instrs.push_back({.code = Code::store,
                      .dtype = compute_dtype(to.dtype),
                      .index = 1,
                      .src = {value, -1, -1},
                      .mask = all});
  TextKernel launch = std::move(write_text(k, traits).launches[0]);
  for (TextKernel::Bind& b : launch.buffers) b.operand = b.operand == 0 ? from.operand : to.operand;
  return launch;
}

}  // namespace lamina

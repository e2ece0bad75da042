#include "kernels/places.h"

namespace lamina {

std::string Places::linear(const std::string& prefix, const Strides& strides, int64_t offset,
                           uint32_t axes, const std::function<std::string(size_t)>& axis,
                           bool with_offset) {
  std::vector<std::string> terms;
  if (with_offset && offset != 0) terms.push_back(unit_.field(prefix + "offset", offset, wide_));
  for (size_t d = 0; d < strides.size(); ++d) {
    if (!(axes >> d & 1) || strides[d] == 0) continue;
    if (strides[d] == 1) {
      terms.push_back(axis(d));
    } else {
      terms.push_back(axis(d) + " * " +
                      unit_.field(prefix + "stride" + std::to_string(d), strides[d], wide_));
    }
  }
  return joined_sum(terms);
}

std::string Places::index(int arg, uint32_t axes, const std::function<std::string(size_t)>& axis,
                          bool with_offset) {
  // Arguments of one layout share its fields.
  size_t first = 0;
  const KernelArg& a = kernel_.args[static_cast<size_t>(arg)];
  while (kernel_.args[first].strides != a.strides || kernel_.args[first].offset != a.offset)
    ++first;
  return linear("a" + std::to_string(first) + "_", a.strides, a.offset, axes, axis, with_offset);
}

std::string Places::iota(int k, uint32_t axes, const std::function<std::string(size_t)>& axis,
                         bool with_offset) {
  const IotaMap& m = kernel_.iotas[static_cast<size_t>(k)];
  return linear("index" + std::to_string(k) + "_", m.strides, m.offset, axes, axis, with_offset);
}

std::string Places::split(const std::string& from, const std::vector<size_t>& axes,
                          const std::string& indent, int64_t pack) {
  auto name = [](size_t d) { return "i" + std::to_string(d); };
  if (axes.empty()) return "";
  if (axes.size() == 1)
    return indent + "const " + index_type() + " " + name(axes[0]) + " = " + index_type() + "(" +
           from + ");\n";
  std::string rest = "rest" + std::to_string(axes[0]);
  std::string out = indent + count_type() + " " + rest + " = " + from + ";\n";
  for (size_t k = axes.size(); k-- > 1;) {
    std::string suffix = std::to_string(axes[k]);
    int64_t size = kernel_.domain[axes[k]];
    if (axes[k] + 1 == kernel_.domain.size()) size /= pack;
    out += indent + "const " + index_type() + " " + name(axes[k]) + " = " +
           (wide_ ? "next_index_wide(" : "next_index(") + rest + ", " +
           unit_.divisor(suffix, size, wide_) + ");\n";
  }
  return out + indent + "const " + index_type() + " " + name(axes[0]) + " = " + index_type() + "(" +
         rest + ");\n";
}

std::string buffer_name(const Kernel& kernel, int arg) {
  int before = 0;
  for (int i = 0; i < arg; ++i)
    before +=
        kernel.args[static_cast<size_t>(i)].output == kernel.args[static_cast<size_t>(arg)].output;
  return (kernel.args[static_cast<size_t>(arg)].output ? "out" : "in") + std::to_string(before);
}

}  // namespace lamina

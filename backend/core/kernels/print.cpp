#include <string>

#include "kernels/formulas.h"
#include "kernels/kernel.h"

namespace lamina {
namespace {

constexpr const char* kReduceNames[] = {"sum", "prod", "min",    "max",
                                        "all", "any",  "argmin", "argmax"};

// "3*i0 + i1 + 5": the element an index map reads.
std::string index_text(const Strides& strides, int64_t offset) {
  std::string out;
  for (size_t axis = 0; axis < strides.size(); ++axis) {
    int64_t s = strides[axis];
    if (s == 0) continue;
    if (!out.empty()) out += s < 0 ? " - " : " + ";
    if (out.empty() && s < 0) out += "-";
    int64_t size = s < 0 ? -s : s;
    if (size != 1) out += std::to_string(size) + "*";
    out += "i" + std::to_string(axis);
  }
  if (out.empty()) return std::to_string(offset);
  if (offset) out += (offset < 0 ? " - " : " + ") + std::to_string(offset < 0 ? -offset : offset);
  return out;
}

// Axes a value varies along: "full", "scalar" or e.g. "i0 i2".
std::string mask_text(uint32_t mask, size_t rank) {
  if (mask == 0) return "scalar";
  if (mask == (uint64_t{1} << rank) - 1) return "full";
  std::string out;
  for (size_t axis = 0; axis < rank; ++axis)
    if (mask >> axis & 1) out += (out.empty() ? "i" : " i") + std::to_string(axis);
  return out;
}

std::string sources(const Instr& in) {
  std::string out;
  for (int32_t s : in.src)
    if (s >= 0) out += (out.empty() ? "v" : ", v") + std::to_string(s);
  return out;
}

std::string arg_text(const Kernel& kernel, const Instr& in) {
  const KernelArg& arg = kernel.args[in.index];
  return "a" + std::to_string(in.index) + ": " + name_of(arg.dtype) + "[" +
         index_text(arg.strides, arg.offset) + "]";
}

std::string right_side(const Kernel& kernel, const Instr& in) {
  switch (in.code) {
    case Code::load:
      return "load " + arg_text(kernel, in);
    case Code::scalar:
      return "scalar s" + std::to_string(in.index) + ": " + name_of(kernel.scalars[in.index]);
    case Code::iota: {
      const IotaMap& map = kernel.iotas[in.index];
      return "index(" + index_text(map.strides, map.offset) + ")";
    }
    case Code::op:
      return std::string(formulas()[in.op].info.name) + "(" + sources(in) + ")";
    case Code::cast:
      return std::string("cast ") + name_of(in.dtype) + "(" + sources(in) + ")";
    case Code::reduce: {
      std::string axes;
      for (size_t axis = 0; axis < kernel.domain.size(); ++axis)
        if (kernel.reduced >> axis & 1) axes += (axes.empty() ? "i" : " i") + std::to_string(axis);
      return std::string(kReduceNames[in.op]) + "(" + sources(in) + " over " +
             (axes.empty() ? "nothing" : axes) + ")";
    }
    default:
      return "";
  }
}

}  // namespace

std::string to_text(const Kernel& kernel) {
  constexpr const char* kKinds[] = {"map", "reduce", "row"};
  std::string out = std::string(kKinds[static_cast<int>(kernel.kind)]) + " over " +
                    to_string(kernel.domain) + "\n";
  for (size_t i = 0; i < kernel.instrs.size(); ++i) {
    const Instr& in = kernel.instrs[i];
    if (in.code == Code::store) {
      out += "store " + arg_text(kernel, in) + " = v" + std::to_string(in.src[0]) + "\n";
      continue;
    }
    out += "v" + std::to_string(i) + ": " + name_of(in.dtype) + "[" +
           mask_text(in.mask, kernel.domain.size()) + "] = " + right_side(kernel, in) + "\n";
  }
  return out;
}

}  // namespace lamina

#include "kernels/accumulators.h"

#include "kernels/spell.h"

namespace lamina {

std::vector<Accumulator> accumulators(const Kernel& kernel, const std::vector<int>& reduces) {
  std::vector<Accumulator> out;
  for (int r : reduces) {
    const Instr& in = kernel.instrs[static_cast<size_t>(r)];
    const Instr& source = kernel.instrs[static_cast<size_t>(in.src[0])];
    out.push_back({r, in.src[1], static_cast<ReduceOp>(in.op), compute_dtype(source.dtype),
                   value_name(kernel, r)});
  }
  return out;
}

std::string declare(const Accumulator& a, const std::string& suffix, const std::string& indent) {
  std::string out = indent + text_type(a.dtype) + " " + a.v + suffix + " = " +
                    spell_identity(a.op, a.dtype) + ";\n";
  if (a.arg()) out += indent + "uint " + a.v + "_at" + suffix + " = ~0u;\n";
  return out;
}

std::string take(const Accumulator& a, const std::string& suffix, const std::string& value,
                 const std::string& position, const std::string& indent) {
  std::string v = a.v + suffix, at = a.v + "_at" + suffix;
  if (!a.arg()) {
    std::string sum = spell_combine(a.op, {v, a.dtype}, {value, a.dtype}).text;
    return indent + v + " = " + sum + ";\n";
  }
  std::string test = a.op == ReduceOp::argmax ? "takes_max" : "takes_min";
  if (a.dtype == Dtype::complex64) test += "_complex";
  return indent + "if (" + test + "(" + value + ", " + position + ", " + v + ", " + at + ")) " + v +
         " = " + value + ", " + at + " = " + position + ";\n";
}

bool takes_later(const Accumulator& a) {
  return a.arg() && a.position < 0 && a.dtype != Dtype::complex64;
}

std::string take_later(const Accumulator& a, const std::string& suffix, const std::string& value,
                       const std::string& position, const std::string& indent) {
  std::string v = a.v + suffix, at = a.v + "_at" + suffix;
  std::string test = a.op == ReduceOp::argmax ? "takes_max_later" : "takes_min_later";
  return indent + "if (" + test + "(" + value + ", " + v + ")) " + v + " = " + value + ", " + at +
         " = " + position + ";\n";
}

std::string take_first(const Accumulator& a, const std::string& suffix, const std::string& position,
                       const std::string& indent) {
  std::string at = a.v + "_at" + suffix;
  return indent + "if (" + at + " == ~0u) " + at + " = " + position + ";\n";
}

std::string over_lanes(const Accumulator& a, const std::string& suffix, int lanes,
                       const std::string& indent) {
  if (lanes <= 1) return "";
  std::string v = a.v + suffix, at = a.v + "_at" + suffix;
  std::string out = indent + "for (uint m = " + std::to_string(lanes / 2) + "; m > 0; m /= 2) {\n";
  out += indent + "  const " + text_type(a.dtype) + " other = lane_xor(" + v + ", m);\n";
  if (a.arg()) out += indent + "  const uint other_at = lane_xor(" + at + ", m);\n";
  return out + take(a, suffix, "other", "other_at", indent + "  ") + indent + "}\n";
}

}  // namespace lamina

#include "kernels/unit.h"

#include <algorithm>
#include <cstring>

namespace lamina {

std::string Unit::add_field(const std::string& name, const std::string& type, const void* value,
                            size_t bytes, size_t alignment) {
  std::string line = "  " + type + " " + name + ";\n";
  if (fields_.find(" " + name + ";\n") != std::string::npos) return "p." + name;
  fields_ += line;
  auto& block = kernel_.block;
  while (block.size() % alignment) block.push_back(0);
  auto* from = static_cast<const unsigned char*>(value);
  block.insert(block.end(), from, from + bytes);
  return "p." + name;
}

std::string Unit::field(const std::string& name, int64_t value, bool wide) {
  if (wide) return add_field(name, "long", &value, 8, 8);
  auto narrow = static_cast<int32_t>(value);
  return add_field(name, "int", &narrow, 4, 4);
}

std::string Unit::word(const std::string& name, uint32_t value) {
  return add_field(name, "uint", &value, 4, 4);
}

std::string Unit::scalar(int k, Dtype d, int count) {
  kernel_.scalar_at.resize(static_cast<size_t>(count), -1);
  const unsigned char zeros[8] = {};
  auto size = static_cast<size_t>(itemsize(d));
  std::string name = "s" + std::to_string(k);
  bool is_new = kernel_.scalar_at[static_cast<size_t>(k)] < 0;
  std::string text = add_field(name, text_type(d), zeros, size, size);
  if (is_new)
    kernel_.scalar_at[static_cast<size_t>(k)] = static_cast<int>(kernel_.block.size() - size);
  return text;
}

void Unit::declare(const std::string& text) {
  if (declarations_.find(text) == std::string::npos) declarations_ += text;
}

std::string Unit::pack(const std::string& type, int64_t itemsize, int n) {
  std::string name = type + "_x" + std::to_string(n);
  int64_t alignment = std::min<int64_t>(itemsize * n, 16);
  declare("struct alignas(" + std::to_string(alignment) + ") " + name + " {\n  " + type + " v[" +
          std::to_string(n) + "];\n};\n");
  return name;
}

std::string Unit::divisor(const std::string& suffix, int64_t n, bool wide) {
  if (wide) return "ulong(" + field("n" + suffix, n, true) + ")";
  int shift = 0;
  while ((int64_t{1} << shift) < n) ++shift;
  // floor(2^32 (2^shift - n) / n) + 1: with it (i + high(i * m)) >> shift is i / n below 2^31.
  uint64_t m =
      (((uint64_t{1} << shift) - static_cast<uint64_t>(n)) << 32) / static_cast<uint64_t>(n) + 1;
  std::string out = word("n" + suffix, static_cast<uint32_t>(n)) + ", ";
  out += word("m" + suffix, static_cast<uint32_t>(m)) + ", ";
  return out + word("k" + suffix, static_cast<uint32_t>(shift));
}

void Unit::buffer(const std::string& name, const std::string& type, int operand, bool written,
                  int64_t alignment, int64_t most) {
  parameters_.push_back("device " + std::string(written ? "" : "const ") + type + "* " + name);
  kernel_.buffers.push_back({operand, written, static_cast<int>(alignment), most});
}

void Unit::faults() {
  if (faults_) return;
  faults_ = true;
  buffer("faults", "atomic_uint", kFaultWords, true, 4);
  declare(R"(// What is noted first stays.
inline void note_fault(device atomic_uint* faults, uint k, ulong noted) {
  uint seen = 0;
  while (!exchange_if(faults, seen, k + 1))
    if (seen != 0) return;
  atomic_raise(faults + 2, uint(noted));
  atomic_raise(faults + 3, uint(noted >> 32));
}
)");
}

TextKernel Unit::finish(const std::string& body, std::array<int64_t, 3> groups, int threads) {
  const bool msl = traits_.dialect == Dialect::msl;
  if (kernel_.block.empty()) field("unused", 0);
  // A structure ends at a multiple of its widest field: all of it is read by whoever copies it.
  while (kernel_.block.size() % 8) kernel_.block.push_back(0);
  std::string head =
      msl ? "kernel void "
          : "extern \"C\" __global__ void __launch_bounds__(" + std::to_string(threads) + ") ";
  head += kernel_.name + "(";
  std::string separator = ",\n" + std::string(msl ? 12 + kernel_.name.size() + 1 : 4, ' ');
  if (!msl) head += "\n    ";
  for (size_t i = 0; i < parameters_.size(); ++i) {
    head += parameters_[i];
    if (msl) head += " [[buffer(" + std::to_string(i) + ")]]";
    head += separator;
  }
  if (msl) {
    head += "constant Block& p [[buffer(" + std::to_string(parameters_.size()) + ")]]";
    const std::string all = body;
    auto built_in = [&](const char* word, const char* type, const char* attribute) {
      if (all.find(word) != std::string::npos)
        head += separator + type + " " + word + " [[" + attribute + "]]";
    };
    built_in("group_id", "uint3", "threadgroup_position_in_grid");
    built_in("thread_id", "uint", "thread_index_in_threadgroup");
    built_in("lane", "uint", "thread_index_in_simdgroup");
    built_in("simd", "uint", "simdgroup_index_in_threadgroup");
  } else {
    head += "const Block p";
  }
  // On CUDA its blocks may stand ready while earlier kernels still run.
  const std::string opening = msl ? "" : "  AFTER_EARLIER_KERNELS();\n";
  kernel_.source = assemble("struct Block {\n" + fields_ + "};\n\n" + declarations_ + "\n" + head +
                                ") {\n" + opening + body + "}\n",
                            traits_.dialect);
  kernel_.groups = groups;
  kernel_.threads = {threads, 1, 1};
  return std::move(kernel_);
}

std::string joined_sum(const std::vector<std::string>& terms) {
  std::string out;
  for (const std::string& t : terms) {
    if (t.empty()) continue;
    out += (out.empty() ? "" : " + ") + t;
  }
  return out.empty() ? "0" : out;
}

}  // namespace lamina

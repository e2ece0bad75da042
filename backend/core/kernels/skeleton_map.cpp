// Elementwise kernels. A thread takes packs of neighbouring elements along the innermost axis, wide
// enough for one full-width load of the narrowest argument; arguments that do not lie so are read
// element by element.
#include "kernels/elements.h"
#include "kernels/skeletons.h"
#include "kernels/spell.h"

namespace lamina {
namespace {

constexpr int kThreads = 256;
// Below it, one element a thread: more threads help more than wide loads. Above the second, two
// packs a thread.
constexpr int64_t kPackPoints = 1 << 16;
constexpr int64_t kRoundsPoints = 1 << 22;

class MapWriter : Elements {
 public:
  MapWriter(const Kernel& kernel, const TextTraits& traits)
      : Elements(kernel, traits, entry_name(kernel)), stage_(kernel, "element", stores()) {
    bool flat = kernel.domain.size() <= 1;
    if (points_ >= kPackPoints) choose_packs(flat ? 16 : kernel.domain[inner()]);
    if (flat && pack_ > 1 && points_ >= kRoundsPoints) rounds_ = 2;
  }

  TextKernel write() {
    buffers([](int a) { return a; });
    unit_.declare(header_comment(k_));
    unit_.declare(stage_.text());
    return k_.domain.size() <= 1 ? flat() : strided();
  }

 private:
  // One element at the axis variables.
  std::string single(const AxisNames& axis, const std::string& indent) {
    std::string out;
    auto element = [&](int a) { return element_at(a, axis); };
    for (int s : stage_.results()) out += indent + out_type(s) + " " + y_name(s) + ";\n";
    out += indent +
           stage_.call([&](int i) { return input(i, element, axis); },
                       [&](int s) { return y_name(s); }) +
           "\n";
    for (int s : stage_.results())
      out += indent + element(instr(s).index) + " = " + y_name(s) + ";\n";
    return out;
  }

  std::string pack_of(int store) { return pack_type(instr(store).index); }
  // The call for every element of a pack; `round` is "[j]" or nothing.
  std::string calls(const std::string& round, const AxisNames& axis, const std::string& indent) {
    AxisNames at_q = within_pack(axis);
    auto element = [&](int a) {
      return packed(a) ? x_name(a) + round + ".v[q]" : element_at(a, at_q);
    };
    return loop_q(indent) +
           stage_.call([&](int i) { return input(i, element, at_q); },
                       [&](int s) { return y_name(s) + round + ".v[q]"; }) +
           "\n";
  }

  // ---- One axis, or none

  TextKernel flat() {
    auto axis = [](size_t) { return std::string("i"); };
    const std::string index = places_.index_type();
    if (k_.domain.empty())
      return unit_.finish("  if (thread_id != 0) return;\n" + single(axis, "  "), {1, 1, 1}, 32);
    std::string n = unit_.field("n", points_, places_.wide());
    if (pack_ == 1) {
      std::string body = "  const " + index + " i = " + index + "(" + places_.group() + " * " +
                         std::to_string(kThreads) + " + thread_id);\n  if (i >= " + n +
                         ") return;\n" + single(axis, "  ");
      return unit_.finish(body, {(points_ + kThreads - 1) / kThreads, 1, 1}, kThreads);
    }
    const int64_t tile = int64_t{kThreads} * pack_ * rounds_;
    std::string body =
        "  const " + index + " tile = " + index + "(" + places_.group() + " * " +
        std::to_string(tile) + ");\n  if (tile + " + std::to_string(tile) + " <= " + n +
        ") {\n    const " + index + " i = tile + " + index + "(thread_id) * " +
        std::to_string(pack_) + ";\n" + (rounds_ == 1 ? one_pack(axis, "    ") : two_packs()) +
        "  } else {\n    for (" + index + " i = tile + " + index + "(thread_id); i < " + n +
        "; i += " + std::to_string(kThreads) + ") {\n" + single(axis, "      ") + "    }\n  }\n";
    return unit_.finish(body, {(points_ + tile - 1) / tile, 1, 1}, kThreads);
  }

  std::string one_pack(const AxisNames& axis, const std::string& indent) {
    std::string out;
    for (int a : packed_loads(stage_))
      out += indent + "const " + pack_type(a) + " " + x_name(a) + " = " + pack_at(a, false, axis) +
             ";\n";
    for (int s : stage_.results()) out += indent + pack_of(s) + " " + y_name(s) + ";\n";
    out += calls("", axis, indent);
    for (int s : stage_.results()) out += store_pack(s, y_name(s), axis, indent);
    return out;
  }

  // All loads of a thread come before its stores, so that they are under way together.
  std::string two_packs() {
    const std::string rounds = "    UNROLL\n    for (int j = 0; j < 2; ++j) ";
    auto axis = [&](size_t) { return "(i + j * " + std::to_string(kThreads * pack_) + ")"; };
    std::string out;
    for (int a : packed_loads(stage_)) {
      out += "    " + pack_type(a) + " " + x_name(a) + "[2];\n" + rounds + x_name(a) +
             "[j] = " + pack_at(a, false, axis) + ";\n";
    }
    for (int s : stage_.results()) out += "    " + pack_of(s) + " " + y_name(s) + "[2];\n";
    out += rounds + "{\n" + calls("[j]", axis, "      ") + "    }\n" + rounds + "{\n";
    for (int s : stage_.results()) out += store_pack(s, y_name(s) + "[j]", axis, "      ");
    return out + "    }\n";
  }

  // ---- Several axes

  TextKernel strided() {
    const int64_t items = points_ / pack_;
    const size_t last = inner();
    std::vector<size_t> axes(k_.domain.size());
    for (size_t d = 0; d < axes.size(); ++d) axes[d] = d;
    auto axis = [&](size_t d) {
      return d == last && pack_ > 1 ? std::string("i") : "i" + std::to_string(d);
    };
    std::string count = places_.count_type();
    std::string body = "  const " + count + " item = " + places_.group() + " * " +
                       std::to_string(kThreads) + " + thread_id;\n  if (item >= " + count + "(" +
                       unit_.field("items", items, places_.wide()) + ")) return;\n" +
                       places_.split("item", axes, "  ", pack_);
    if (pack_ > 1) {
      body += std::string("  const ") + places_.index_type() + " i = i" + std::to_string(last) +
              " * " + std::to_string(pack_) + ";\n" + one_pack(axis, "  ");
    } else {
      body += single(axis, "  ");
    }
    return unit_.finish(body, {(items + kThreads - 1) / kThreads, 1, 1}, kThreads);
  }

  Stage stage_;
  int rounds_ = 1;
};

}  // namespace

TextProgram write_map(const Kernel& kernel, const TextTraits& traits) {
  TextProgram program;
  if (element_count(kernel.domain) == 0) return program;
  if (int axis = transposed_axis(kernel, traits); axis >= 0)
    return write_transposed_map(kernel, traits, axis);
  program.launches.push_back(MapWriter(kernel, traits).write());
  return program;
}

}  // namespace lamina

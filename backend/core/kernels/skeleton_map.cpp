// Elementwise kernels. A thread takes packs of neighbouring elements along the innermost axis, wide
// enough for one full-width load of the narrowest argument; arguments that do not lie so are read
// element by element.
#include <algorithm>

#include "kernels/places.h"
#include "kernels/skeletons.h"
#include "kernels/spell.h"

namespace lamina {
namespace {

constexpr int kThreads = 256;

class MapWriter {
 public:
  MapWriter(const Kernel& kernel, const TextTraits& traits)
      : k_(kernel),
        unit_(traits, entry_name(kernel)),
        places_(kernel, unit_, !fits_int(kernel)),
        stage_(kernel, "element", stores(kernel)),
        points_(element_count(kernel.domain)) {
    pack_ = choose_pack(traits);
    packed_.resize(k_.args.size());
    for (size_t a = 0; a < k_.args.size(); ++a)
      packed_[a] = pack_ > 1 && can_pack(k_.args[a], pack_);
    rounds_ = k_.domain.size() <= 1 && pack_ > 1 && points_ >= (int64_t{1} << 22) ? 2 : 1;
  }

  TextKernel write() {
    declare_buffers(k_, unit_, [&](int a) {
      int64_t size = itemsize(k_.args[static_cast<size_t>(a)].dtype);
      return packed_[static_cast<size_t>(a)] ? std::min<int64_t>(16, size * pack_) : size;
    });
    unit_.declare(header_comment(k_));
    unit_.declare(stage_.text());
    return k_.domain.size() <= 1 ? flat() : strided();
  }

 private:
  static std::vector<int> stores(const Kernel& k) {
    std::vector<int> out;
    for (size_t i = 0; i < k.instrs.size(); ++i)
      if (k.instrs[i].code == Code::store) out.push_back(static_cast<int>(i));
    return out;
  }
  const Instr& instr(int i) const { return k_.instrs[static_cast<size_t>(i)]; }
  const KernelArg& arg(int a) const { return k_.args[static_cast<size_t>(a)]; }
  size_t inner() const { return k_.domain.size() - 1; }

  bool can_pack(const KernelArg& a, int64_t n) const {
    if (k_.domain.empty() || a.strides[inner()] != 1 || a.offset % n) return false;
    for (size_t d = 0; d < inner(); ++d)
      if (a.strides[d] % n) return false;
    return true;
  }

  int choose_pack(const TextTraits& traits) const {
    if (k_.domain.empty() || points_ < (1 << 16)) return 1;
    int64_t least = 16, most = 1;
    for (const KernelArg& a : k_.args) {
      least = std::min(least, itemsize(a.dtype));
      most = std::max(most, itemsize(a.dtype));
    }
    for (int64_t n = std::min<int64_t>(traits.vector_bytes / least, 16); n > 1; n /= 2) {
      if (n * most > 2 * traits.vector_bytes) continue;
      if (k_.domain.size() > 1 && k_.domain[inner()] % n) continue;
      bool any = std::any_of(k_.args.begin(), k_.args.end(), [&](const KernelArg& a) {
        return can_pack(a, n) && (a.output || n * itemsize(a.dtype) <= 2 * traits.vector_bytes);
      });
      if (any) return static_cast<int>(n);
    }
    return 1;
  }

  // ---- Text of one element

  // The expression of a stage's input; `element` gives an argument's element, `axis` an axis.
  std::string input(int i, const std::function<std::string(int)>& element,
                    const std::function<std::string(size_t)>& axis) {
    const Instr& in = instr(i);
    if (in.code == Code::load) return spell_load(element(in.index), arg(in.index).dtype);
    if (in.code == Code::scalar) {
      Dtype d = k_.scalars[in.index];
      return spell_load(unit_.scalar(in.index, d, static_cast<int>(k_.scalars.size())), d);
    }
    std::string value = places_.iota(in.index, ~0u, axis);
    Dtype from = places_.wide() ? Dtype::int64 : Dtype::int32;
    return spell_cast({value, from}, in.dtype).text;
  }
  std::string out_type(int store) const { return text_type(arg(instr(store).index).dtype); }
  std::string y_name(int store) const { return "y" + std::to_string(instr(store).index); }
  std::string x_name(int a) const { return "x" + std::to_string(a); }

  // One element at the axis variables.
  std::string single(const std::function<std::string(size_t)>& axis, const std::string& indent) {
    std::string out;
    auto element = [&](int a) {
      return buffer_name(k_, a) + "[" + places_.index(a, ~0u, axis) + "]";
    };
    for (int s : stage_.results()) out += indent + out_type(s) + " " + y_name(s) + ";\n";
    out += indent +
           stage_.call([&](int i) { return input(i, element, axis); },
                       [&](int s) { return y_name(s); }) +
           "\n";
    for (int s : stage_.results())
      out += indent + element(instr(s).index) + " = " + y_name(s) + ";\n";
    return out;
  }

  // A pack of elements: `axis` gives the variables of its first; `round` is "[j]" or nothing.
  std::string pack_type(int a) {
    return unit_.pack(text_type(arg(a).dtype), itemsize(arg(a).dtype), pack_);
  }
  std::string pack_at(int a, bool written, const std::function<std::string(size_t)>& axis) {
    std::string index = places_.index(a, ~0u, axis), name = buffer_name(k_, a);
    std::string at = index == "0" ? name : name + " + " + index;
    return std::string("*(device ") + (written ? "" : "const ") + pack_type(a) + "*)(" + at + ")";
  }
  std::vector<int> loaded() const {
    std::vector<int> out;
    for (int i : stage_.inputs())
      if (instr(i).code == Code::load && packed_[instr(i).index]) out.push_back(instr(i).index);
    return out;
  }
  // The call for element q of a pack.
  std::string packed_call(const std::string& round, const std::function<std::string(size_t)>& axis,
                          const std::string& indent) {
    auto at_q = [&](size_t d) { return d == inner() ? "(" + axis(d) + " + int(q))" : axis(d); };
    auto element = [&](int a) {
      if (packed_[static_cast<size_t>(a)]) return x_name(a) + round + ".v[q]";
      return buffer_name(k_, a) + "[" + places_.index(a, ~0u, at_q) + "]";
    };
    return indent + "UNROLL\n" + indent + "for (uint q = 0; q < " + std::to_string(pack_) +
           "; ++q)\n" + indent + "  " +
           stage_.call([&](int i) { return input(i, element, at_q); },
                       [&](int s) { return y_name(s) + round + ".v[q]"; }) +
           "\n";
  }
  std::string packed_store(int s, const std::string& round,
                           const std::function<std::string(size_t)>& axis,
                           const std::string& indent) {
    int a = instr(s).index;
    if (packed_[static_cast<size_t>(a)])
      return indent + pack_at(a, true, axis) + " = " + y_name(s) + round + ";\n";
    auto at_q = [&](size_t d) { return d == inner() ? "(" + axis(d) + " + int(q))" : axis(d); };
    return indent + "for (uint q = 0; q < " + std::to_string(pack_) + "; ++q) " +
           buffer_name(k_, a) + "[" + places_.index(a, ~0u, at_q) + "] = " + y_name(s) + round +
           ".v[q];\n";
  }

  // ---- One axis, or none

  TextKernel flat() {
    auto axis = [&](size_t) { return std::string("i"); };
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
    std::string body = "  const " + index + " tile = " + index + "(" + places_.group() + " * " +
                       std::to_string(tile) + ");\n  if (tile + " + std::to_string(tile) +
                       " <= " + n + ") {\n" + full_tile() + "  } else {\n    for (" + index +
                       " i = tile + " + index + "(thread_id); i < " + n +
                       "; i += " + std::to_string(kThreads) + ") {\n" + single(axis, "      ") +
                       "    }\n  }\n";
    return unit_.finish(body, {(points_ + tile - 1) / tile, 1, 1}, kThreads);
  }

  // All loads of a thread come before its stores, so that they are under way together.
  std::string full_tile() {
    const std::string index = places_.index_type();
    std::string packs = "(thread_id) * " + std::to_string(pack_);
    if (rounds_ == 1) {
      auto axis = [&](size_t) { return std::string("i"); };
      std::string out = "    const " + index + " i = tile + " + index + packs + ";\n";
      for (int a : loaded())
        out +=
            "    const " + pack_type(a) + " " + x_name(a) + " = " + pack_at(a, false, axis) + ";\n";
      for (int s : stage_.results()) out += "    " + pack_of(s) + " " + y_name(s) + ";\n";
      out += packed_call("", axis, "    ");
      for (int s : stage_.results()) out += packed_store(s, "", axis, "    ");
      return out;
    }
    std::string count = "[" + std::to_string(rounds_) + "]";
    std::string rounds =
        "    UNROLL\n    for (int j = 0; j < " + std::to_string(rounds_) + "; ++j)";
    auto axis = [&](size_t) { return "(i + j * " + std::to_string(kThreads * pack_) + ")"; };
    std::string out = "    const " + index + " i = tile + " + index + packs + ";\n";
    for (int a : loaded()) {
      out += "    " + pack_type(a) + " " + x_name(a) + count + ";\n" + rounds + "\n      " +
             x_name(a) + "[j] = " + pack_at(a, false, axis) + ";\n";
    }
    for (int s : stage_.results()) out += "    " + pack_of(s) + " " + y_name(s) + count + ";\n";
    out += rounds + " {\n" + packed_call("[j]", axis, "      ") + "    }\n";
    out += rounds + " {\n";
    for (int s : stage_.results()) out += packed_store(s, "[j]", axis, "      ");
    return out + "    }\n";
  }
  std::string pack_of(int store) { return pack_type(instr(store).index); }

  // ---- Several axes

  TextKernel strided() {
    const int64_t items = points_ / pack_;
    const size_t last = inner();
    std::vector<size_t> axes(k_.domain.size());
    for (size_t d = 0; d < axes.size(); ++d) axes[d] = d;
    Kernel counted = k_;
    counted.domain[last] /= pack_;
    Places counts(counted, unit_, places_.wide());
    auto axis = [&](size_t d) {
      return d == last && pack_ > 1 ? std::string("i") : "i" + std::to_string(d);
    };
    std::string count = places_.count_type();
    std::string body = "  const " + count + " item = " + places_.group() + " * " +
                       std::to_string(kThreads) +
                       " + thread_id;\n  if (item >= " + std::string(count) + "(" +
                       unit_.field("items", items, places_.wide()) + ")) return;\n" +
                       counts.split("item", axes, "  ");
    if (pack_ == 1) {
      body += single(axis, "  ");
    } else {
      body += std::string("  const ") + places_.index_type() + " i = i" + std::to_string(last) +
              " * " + std::to_string(pack_) + ";\n";
      for (int a : loaded())
        body +=
            "  const " + pack_type(a) + " " + x_name(a) + " = " + pack_at(a, false, axis) + ";\n";
      for (int s : stage_.results()) body += "  " + pack_of(s) + " " + y_name(s) + ";\n";
      body += packed_call("", axis, "  ");
      for (int s : stage_.results()) body += packed_store(s, "", axis, "  ");
    }
    return unit_.finish(body, {(items + kThreads - 1) / kThreads, 1, 1}, kThreads);
  }

  const Kernel& k_;
  Unit unit_;
  Places places_;
  Stage stage_;
  int64_t points_;
  int pack_ = 1, rounds_ = 1;
  std::vector<bool> packed_;
};

}  // namespace

TextProgram write_map(const Kernel& kernel, const TextTraits& traits) {
  if (element_count(kernel.domain) == 0) return {};
  TextProgram program;
  program.launches.push_back(MapWriter(kernel, traits).write());
  return program;
}

}  // namespace lamina

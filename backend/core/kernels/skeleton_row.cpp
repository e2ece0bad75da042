// Row kernels: reductions along the innermost axes whose results meet the row again, as in softmax
// and norms. The threads of a row hold its loaded elements in registers from the first reduction to
// the last store, so that memory is read once; what is computed between is computed anew.
#include <algorithm>

#include "base/error.h"
#include "kernels/accumulators.h"
#include "kernels/elements.h"
#include "kernels/skeletons.h"
#include "kernels/spell.h"

namespace lamina {
namespace {

// Packs a thread holds before a row gets more threads. With twice as many the last of the rows,
// which cannot fill the device, take twice as long.
constexpr int64_t kPacks = 4;
constexpr int kShortRowThreads = 128;

int64_t power_above(int64_t n) {
  int64_t p = 1;
  while (p < n) p *= 2;
  return p;
}

class RowWriter : Elements {
 public:
  RowWriter(const Kernel& kernel, const TextTraits& traits)
      : Elements(kernel, traits, entry_name(kernel)) {
    for (size_t d = 0; d < kernel.domain.size(); ++d) {
      bool reduced = kernel.reduced >> d & 1;
      (reduced ? over_ : kept_).push_back(d);
      (reduced ? length_ : rows_) *= kernel.domain[d];
    }
    packed_.assign(kernel.args.size(), false);
    if (!over_.empty() && length_ >= 32) choose_packs(kernel.domain[inner()]);
    level_reduces();
    choose_shape(traits);
  }

  int64_t rows() const { return rows_; }

  TextKernel write() {
    buffers([](int a) { return a; });
    unit_.declare(header_comment(k_));
    std::string body = shape_text();
    for (size_t level = 0; level < levels_.size(); ++level) body += reduction(level);
    body += results();
    const int64_t groups = (rows_ + rows_per_group() - 1) / rows_per_group();
    return unit_.finish(body, {groups, 1, 1}, static_cast<int>(threads_ * rows_per_group()));
  }

 private:
  // Reductions by how many others they wait for.
  void level_reduces() {
    std::vector<int> level(k_.instrs.size(), 0);
    std::vector<std::vector<int>> at;
    for (size_t i = 0; i < k_.instrs.size(); ++i) {
      for (int32_t s : k_.instrs[i].src)
        if (s >= 0) level[i] = std::max(level[i], level[static_cast<size_t>(s)]);
      if (k_.instrs[i].code != Code::reduce) continue;
      if (at.size() <= static_cast<size_t>(level[i])) at.resize(static_cast<size_t>(level[i]) + 1);
      at[static_cast<size_t>(level[i])].push_back(static_cast<int>(i));
      ++level[i];
    }
    for (const auto& reduces : at) levels_.push_back(accumulators(k_, reduces));
  }

  void choose_shape(const TextTraits& traits) {
    items_ = std::max<int64_t>(1, length_ / pack_);
    if (items_ <= 32 * kPacks) {
      threads_ = static_cast<int>(std::min<int64_t>(32, power_above(items_)));
    } else {
      threads_ = static_cast<int>(std::min<int64_t>(
          traits.max_threads, std::max<int64_t>(64, power_above(items_) / kPacks)));
    }
    held_ = static_cast<int>(power_above((items_ + threads_ - 1) / threads_));
  }
  int64_t rows_per_group() const { return threads_ <= 32 ? kShortRowThreads / threads_ : 1; }

  std::string shape_text() {
    const std::string count = places_.count_type(), per = std::to_string(rows_per_group());
    std::string out;
    if (rows_per_group() == 1) {
      out = "  const uint member = thread_id;\n  const " + count + " row = " + places_.group() +
            ";\n";
      items_end_ = unit_.word("items", static_cast<uint32_t>(length_ ? items_ : 0));
    } else {
      const std::string n = std::to_string(threads_);
      out = "  const uint member = thread_id % " + n + ";\n  const " + count +
            " row = " + places_.group() + " * " + per + " + thread_id / " + n + ";\n";
      out += "  const uint items = row < " + count + "(" +
             unit_.field("rows", rows_, places_.wide()) + ") ? " +
             unit_.word("items", static_cast<uint32_t>(length_ ? items_ : 0)) + " : 0;\n";
      items_end_ = "items";
    }
    if (!kept_.empty()) out += places_.split("row", kept_, "  ", 1);
    return out;
  }

  // "for every item of this thread": the text runs at the item's axis variables.
  std::string each_item(const std::string& text) {
    const std::string n = std::to_string(threads_);
    std::string out = "  UNROLL\n  for (int j = 0; j < " + std::to_string(held_) +
                      "; ++j) {\n    const uint item = j * " + n + " + member;\n    if (item < " +
                      items_end_ + ") {\n";
    if (!over_.empty()) out += places_.split("item", over_, "      ", pack_);
    if (pack_ > 1)
      out += std::string("      const ") + places_.index_type() + " first = i" +
             std::to_string(inner()) + " * " + std::to_string(pack_) + ";\n";
    return out + text + "    }\n  }\n";
  }
  AxisNames axes() const {
    return [this](size_t d) {
      return pack_ > 1 && d == inner() ? std::string("first") : "i" + std::to_string(d);
    };
  }
  bool along_row(int a) const {
    for (size_t d : over_)
      if (arg(a).strides[d] != 0) return true;
    return false;
  }

  // Loads of the row that this stage is the first to need.
  std::string fresh_loads(const Stage& stage, std::string& declarations) {
    std::string out;
    const std::string n = "[" + std::to_string(held_) + "]";
    for (int i : stage.inputs()) {
      if (instr(i).code != Code::load) continue;
      int a = instr(i).index;
      if (!along_row(a) || std::find(held_args_.begin(), held_args_.end(), a) != held_args_.end())
        continue;
      held_args_.push_back(a);
      std::string type = pack_ > 1
                             ? unit_.pack(text_type(arg(a).dtype), itemsize(arg(a).dtype), pack_)
                             : text_type(arg(a).dtype);
      declarations += "  " + type + " " + x_name(a) + n + ";\n";
      if (pack_ == 1) {
        out += "      " + x_name(a) + "[j] = " + element_at(a, axes()) + ";\n";
      } else if (packed(a)) {
        out += "      " + x_name(a) + "[j] = " + pack_at(a, false, axes()) + ";\n";
      } else {
        out += loop_q("      ") + x_name(a) + "[j].v[q] = " + element_at(a, within_pack(axes())) +
               ";\n";
      }
    }
    return out;
  }

  // The expression of a stage's input at an item of the row.
  std::string row_input(int i) {
    if (instr(i).code == Code::reduce) return result_name(i);
    auto element = [&](int a) {
      if (!along_row(a)) return element_at(a, axes());
      return x_name(a) + (pack_ > 1 ? "[j].v[q]" : "[j]");
    };
    return input(i, element, within_pack(axes()));
  }
  std::string result_name(int i) const {
    for (const auto& level : levels_)
      for (const Accumulator& a : level)
        if (a.instr == i) return result_of(a, "");
    throw InternalError("row kernel: a reduction has no accumulator");
  }

  std::string reduction(size_t level) {
    const auto& accs = levels_[level];
    std::vector<int> wanted;
    for (const Accumulator& a : accs) wanted.push_back(instr(a.instr).src[0]);
    Stage stage(k_, "stage" + std::to_string(level), wanted);
    unit_.declare(stage.text());
    std::string out, text = fresh_loads(stage, out);
    for (const Accumulator& a : accs) out += declare(a, "", "  ");
    const std::string indent = pack_ > 1 ? "        " : "      ";
    if (pack_ > 1) text += loop_q("      ") + "{\n";
    for (size_t r = 0; r < accs.size(); ++r)
      text += indent + text_type(accs[r].dtype) + " r" + std::to_string(r) + ";\n";
    int next = 0;
    text += indent +
            stage.call([&](int i) { return row_input(i); },
                       [&](int) { return "r" + std::to_string(next++); }) +
            "\n";
    std::string position =
        pack_ > 1 ? "uint(item * " + std::to_string(pack_) + " + q)" : "uint(item)";
    for (size_t r = 0; r < accs.size(); ++r)
      text += take(accs[r], "", "r" + std::to_string(r), position, indent);
    if (pack_ > 1) text += "      }\n";
    return out + each_item(text) + together(accs);
  }

  // Every thread of the row gets every result.
  std::string together(const std::vector<Accumulator>& accs) {
    std::string out;
    for (const Accumulator& a : accs) out += over_lanes(a, "", std::min(threads_, 32), "  ");
    if (threads_ <= 32) return out;
    const int simds = threads_ / 32;
    const std::string n = std::to_string(simds);
    for (const Accumulator& a : accs) {
      out += std::string("  SHARED(") + text_type(a.dtype) + ", shared_" + a.v + ", " + n + ");\n";
      if (a.arg()) out += "  SHARED(uint, shared_" + a.v + "_at, " + n + ");\n";
    }
    out += "  if (lane == 0) {\n";
    for (const Accumulator& a : accs) {
      out += "    shared_" + a.v + "[simd] = " + a.v + ";\n";
      if (a.arg()) out += "    shared_" + a.v + "_at[simd] = " + a.v + "_at;\n";
    }
    out += "  }\n  BARRIER();\n";
    for (const Accumulator& a : accs) {
      out += "  " + a.v + " = shared_" + a.v + "[lane % " + n + "];\n";
      if (a.arg()) out += "  " + a.v + "_at = shared_" + a.v + "_at[lane % " + n + "];\n";
      out += over_lanes(a, "", simds, "  ");
    }
    return out;
  }

  std::string results() {
    std::string out;
    std::vector<int> full = stores_along(k_.reduced, true);
    if (!full.empty()) {
      Stage stage(k_, "result", full);
      unit_.declare(stage.text());
      std::string text = fresh_loads(stage, out);
      for (int s : full)
        text += "      " + (pack_ > 1 ? pack_type(instr(s).index) : out_type(s)) + " " + y_name(s) +
                ";\n";
      const std::string q = pack_ > 1 ? ".v[q]" : "";
      text +=
          (pack_ > 1 ? loop_q("      ") : "      ") +
          stage.call([&](int i) { return row_input(i); }, [&](int s) { return y_name(s) + q; }) +
          "\n";
      for (int s : full)
        text += pack_ > 1 ? store_pack(s, y_name(s), axes(), "      ")
                          : "      " + store_one(s, element_at(instr(s).index, axes()), y_name(s),
                                                 ~0u, axes());
      out += each_item(text);
    }
    std::vector<int> short_stores = stores_along(k_.reduced, false);
    if (short_stores.empty()) return out;
    Stage stage(k_, "row_result", short_stores);
    unit_.declare(stage.text());
    auto names = [](size_t d) { return "i" + std::to_string(d); };
    auto element = [&](int a) { return element_at(a, names); };
    if (may_lie_on_input(short_stores)) out += "  DEVICE_BARRIER();\n";
    out += "  if (member == 0" +
           (rows_per_group() == 1 ? std::string()
                                  : " && row < " + std::string(places_.count_type()) + "(" +
                                        unit_.field("rows", rows_, places_.wide()) + ")") +
           ") {\n";
    for (int s : short_stores) out += "    " + out_type(s) + " " + y_name(s) + ";\n";
    out += "    " +
           stage.call(
               [&](int i) {
                 return instr(i).code == Code::reduce ? result_name(i) : input(i, element, names);
               },
               [&](int s) { return y_name(s); }) +
           "\n";
    for (int s : short_stores)
      out += "    " + store_one(s, element(instr(s).index), y_name(s), ~k_.reduced, names);
    return out + "  }\n";
  }

  // A result of one element a row may have been given the memory of an input that lies the same
  // way, which other threads of the row still read.
  bool may_lie_on_input(const std::vector<int>& short_stores) const {
    for (int s : short_stores)
      for (const KernelArg& a : k_.args)
        if (!a.output && a.strides == arg(instr(s).index).strides) return true;
    return false;
  }

  std::vector<size_t> kept_, over_;
  int64_t rows_ = 1, length_ = 1, items_ = 1;
  int threads_ = 32;  // of a row
  int held_ = 1;      // packs a thread holds
  std::string items_end_;
  std::vector<std::vector<Accumulator>> levels_;
  std::vector<int> held_args_;
};

}  // namespace

TextProgram write_row(const Kernel& kernel, const TextTraits& traits) {
  TextProgram program;
  RowWriter writer(kernel, traits);
  if (writer.rows() > 0) program.launches.push_back(writer.write());
  return program;
}

}  // namespace lamina

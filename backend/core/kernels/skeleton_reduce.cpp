// Reductions. If the innermost axis is reduced, the threads of a row stand side by side along it
// ("rows"); if it is kept, threads stand side by side along the kept ones and several of them share
// a column's work ("columns"). Where there are too few results to fill the device the reduced range
// is cut into parts whose accumulators go through memory: to the last threadgroup of the launch to
// come so far, or, where a device has no turns, to a second launch.
#include <algorithm>

#include "kernels/accumulators.h"
#include "kernels/elements.h"
#include "kernels/skeletons.h"
#include "kernels/spell.h"

namespace lamina {
namespace {

constexpr int kThreads = 256;  // that are a threadgroup, where results are not cut into parts
// Packs of one reduced range that a thread should see before another part pays.
constexpr int64_t kLeastPacks = 2;
// Steps of a thread whose float sum is one block.
constexpr int64_t kBlockSteps = 16;
// As many as are at work at the same time.
constexpr int64_t kThreadsPerCore = 2048;
// Of a thread's accumulators there: 32 registers are what each of so many threads has.
constexpr int64_t kColumnBytes = 16;
// Steps whose loads are in flight together (UNROLL_BY_4); what is left over goes one by one.
constexpr int64_t kUnrolled = 4;
// Fewer do not pay for the launch that puts them together.
constexpr int64_t kLeastParts = 4;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t power_above(int64_t n) {
  int64_t p = 1;
  while (p < n) p *= 2;
  return p;
}

class ReduceWriter : Elements {
 public:
  // `operand` maps arguments to operands of the launch.
  ReduceWriter(const Kernel& kernel, const TextTraits& traits, std::string name,
               std::function<int(int)> operand)
      : Elements(kernel, traits, std::move(name)), operand_(std::move(operand)) {
    for (size_t i = 0; i < kernel.instrs.size(); ++i)
      if (kernel.instrs[i].code == Code::reduce) reduces_.push_back(static_cast<int>(i));
    accs_ = accumulators(kernel, reduces_);
    for (size_t d = 0; d < kernel.domain.size(); ++d) {
      bool reduced = kernel.reduced >> d & 1;
      (reduced ? over_ : kept_).push_back(d);
      (reduced ? length_ : rows_) *= kernel.domain[d];
    }
    along_ = !kernel.domain.empty() && (kernel.reduced >> inner() & 1);
    packed_.assign(kernel.args.size(), false);
    if (points_ >= (1 << 14)) choose_packs(kernel.domain[inner()], most_packed(traits));
    last_turns_ = traits.last_turns;
    choose_shape(traits, kThreads);
    const int wide = along_ ? traits.wide_threads : traits.wide_threads / 2;
    if (parts_ > 1 && wide > kThreads) {
      choose_shape(traits, wide);
      if (parts_ == 1) choose_shape(traits, kThreads);
    }
    most_turns_ = int64_t{traits.cores} * kThreadsPerCore / group_ / kLeastParts;
  }

  int64_t rows() const { return rows_; }
  int64_t parts() const { return parts_; }

  // Whether parts meet within the launch.
  bool turns() const { return parts_ > 1 && last_turns_; }

  TextKernel write(bool may_split) {
    if (!may_split) parts_ = 1;
    std::vector<int> wanted = sources();
    for (int s : stores_along(k_.reduced, true)) wanted.push_back(s);
    Stage point(k_, "element", wanted);
    Stage last(k_, "result", stores_along(k_.reduced, false));
    buffers(operand_);
    if (parts_ > 1) declare_temporaries();
    unit_.declare(header_comment(k_));
    unit_.declare(point.text());
    const bool finishes = parts_ == 1 || turns();
    if (finishes) unit_.declare(last.text());
    std::string body = shape_text();
    for (const Accumulator& a : accs_) body += declare_columns(a);
    body += loop(point);
    body += share_all() + combine();
    if (parts_ > 1) body += write_parts();
    if (turns()) body += take_turn() + read_parts() + combine();
    if (finishes) body += finish_rows(last);
    const int64_t groups = ceil_div(lines(), lines_per_group());
    return unit_.finish(body, {groups, parts_, 1}, group_);
  }

 private:
  // ---- Shape: who does what

  // Accumulators of columns meet in threadgroup memory; in large threadgroups a thread has room for
  // few.
  int64_t most_packed(const TextTraits& traits) const {
    int64_t bytes = 0;
    for (const Accumulator& a : accs_) bytes += itemsize(a.dtype) + (a.arg() ? 4 : 0);
    if (along_ || bytes == 0) return 16;
    if (traits.wide_threads > kThreads) return std::max<int64_t>(1, kColumnBytes / bytes);
    return traits.threadgroup_bytes / (bytes * kThreads);
  }

  // What stands side by side across the reduced range: rows, or packs of columns.
  int64_t lines() const { return along_ ? rows_ : rows_ / pack_; }
  int64_t steps() const { return along_ ? length_ / pack_ : length_; }
  int64_t lines_per_group() const { return group_ / threads_; }

  void choose_shape(const TextTraits& traits, int group) {
    group_ = group;
    const int64_t wanted = int64_t{traits.cores} * kThreadsPerCore / group;
    if (along_) {
      bool short_rows = steps() <= 512 && lines() * 32 >= wanted * group / 4;
      threads_ = static_cast<int>(
          short_rows ? std::min<int64_t>(32, power_above(std::max<int64_t>(steps(), 1))) : group);
    } else {
      threads_ = static_cast<int>(
          std::min<int64_t>(group / 32, power_above(std::max<int64_t>(steps(), 1))));
    }
    int64_t groups = ceil_div(std::max<int64_t>(lines(), 1), lines_per_group());
    int64_t most = steps() / (threads_ * kLeastPacks);
    parts_ = std::clamp<int64_t>(wanted / groups, 1,
                                 std::max<int64_t>(1, std::min<int64_t>(most, 1024)));
    // Parts go through buffers of their own; the constant block is one more.
    const size_t slots = k_.args.size() + 2 * accs_.size() + 1;
    chunk_ = ceil_div(std::max<int64_t>(steps(), 1), parts_);
    if (parts_ > 1) {
      const int64_t whole = threads_ * kUnrolled;
      chunk_ = ceil_div(chunk_, whole) * whole;
      parts_ = ceil_div(steps(), chunk_);
    }
    if (parts_ < kLeastParts || slots > static_cast<size_t>(traits.max_buffers)) parts_ = 1;
  }

  std::string shape_text() {
    const std::string count = places_.count_type(), n = std::to_string(threads_);
    const std::string per = std::to_string(lines_per_group());
    std::string out;
    // Along: neighbours share a row. Across: neighbours have neighbouring columns.
    std::string member = along_ ? "thread_id % " + n : "thread_id / " + per;
    std::string slot = along_ ? "thread_id / " + n : "thread_id % " + per;
    out += "  const uint member = " + member + ", slot = " + slot + ";\n";
    out += "  const " + count + " line = " + places_.group() + " * " + per + " + slot;\n";
    out += "  const bool inside = line < " + count + "(" +
           unit_.field("lines", lines(), places_.wide()) + ");\n";
    if (!kept_.empty()) out += places_.split("line", kept_, "  ", along_ ? 1 : pack_);
    if (!along_ && pack_ > 1) out += pack_start(inner());
    return out;
  }
  std::string pack_start(size_t d, const std::string& indent = "  ") {
    return indent + "const " + places_.index_type() + " first = i" + std::to_string(d) + " * " +
           std::to_string(pack_) + ";\n";
  }
  std::string axis(size_t d) const {
    return d == inner() && pack_ > 1 ? std::string("first") : "i" + std::to_string(d);
  }

  // ---- The range

  std::vector<int> sources() const {
    std::vector<int> out;
    for (const Accumulator& a : accs_) {
      out.push_back(instr(a.instr).src[0]);
      if (a.position >= 0) out.push_back(a.position);
    }
    return out;
  }

  std::string loop(const Stage& point) {
    const std::string count = places_.count_type(), n = std::to_string(threads_);
    std::string begin = "member", end = unit_.field("steps", steps(), places_.wide());
    std::string out;
    if (parts_ > 1) {
      std::string chunk = unit_.field("chunk", chunk_, places_.wide());
      out += "  const " + count + " begin = " + places_.group("y") + " * " + count + "(" + chunk +
             ");\n";
      out += "  const " + count + " stop = min(begin + " + count + "(" + chunk + "), " + count +
             "(" + end + "));\n";
      begin = "begin + member";
      end = "stop";
    } else {
      end = count + "(" + end + ")";
    }
    const bool writes = !stores_along(k_.reduced, true).empty();
    const std::string unroll = writes ? "" : "  UNROLL_BY_4\n";
    end = "(inside ? " + end + " : 0)";
    std::string steps;
    if (!over_.empty()) steps += places_.split("step", over_, "    ", along_ ? pack_ : 1);
    if (along_ && pack_ > 1) steps += pack_start(inner(), "    ");
    steps += item(point) + "  }\n";
    auto each = [&](const std::string& from, const std::string& to) {
      return unroll + "  for (" + count + " step = " + from + "; step < " + to + "; step += " + n +
             ") {\n" + steps;
    };
    if (!blocked()) return out + each(begin, end) + first_positions(begin, end);
    const std::string block = std::to_string(threads_ * kBlockSteps);
    out += "  for (" + count + " block = " + begin + "; block < " + end + "; block += " + block +
           ") {\n";
    for (const Accumulator& a : accs_)
      if (in_blocks(a)) out += declare_columns(near(a));
    out += "  const " + count + " block_end = min(block + " + block + ", " + count + end + ");\n" +
           each("block", "block_end");
    for (const Accumulator& a : accs_) {
      if (!in_blocks(a)) continue;
      std::string q = columns() ? "[q]" : "";
      out += (columns() ? loop_q("  ") + "\n" : "") + take(a, q, near(a).v + q, "", "    ");
    }
    return out + "  }\n" + first_positions(begin, end);
  }
  std::string first_positions(const std::string& begin, const std::string& end) {
    std::string out;
    for (const Accumulator& a : accs_)
      if (takes_later(a))
        out += (columns() ? loop_q("    ") + "\n" : "") +
               take_first(a, columns() ? "[q]" : "", counted("(" + begin + ")", "0"), "    ");
    return out.empty() ? out : "  if (" + begin + " < " + end + ") {\n" + out + "  }\n";
  }

  // A float sum is made of short blocks' sums, so that rounding errors do not grow with its length.
  bool columns() const { return !along_ && pack_ > 1; }
  bool in_blocks(const Accumulator& a) const {
    return a.op == ReduceOp::sum && is_inexact(a.dtype);
  }
  bool blocked() const {
    return steps() > threads_ * kBlockSteps &&
           std::any_of(accs_.begin(), accs_.end(), [&](auto& a) { return in_blocks(a); });
  }
  Accumulator near(Accumulator a) const {
    a.v = "near_" + a.v;
    return a;
  }

  // One step: a pack is loaded, its elements are computed and taken in.
  std::string item(const Stage& point) {
    AxisNames names = [this](size_t d) { return axis(d); };
    AxisNames at_q = within_pack(names);
    std::string out;
    for (int a : packed_loads(point))
      out +=
          "    const " + pack_type(a) + " " + x_name(a) + " = " + pack_at(a, false, names) + ";\n";
    std::vector<int> full = stores_along(k_.reduced, true);
    for (int s : full)
      out +=
          "    " + (pack_ > 1 ? pack_type(instr(s).index) : out_type(s)) + " " + y_name(s) + ";\n";
    const std::string q = pack_ > 1 ? ".v[q]" : "";
    auto element = [&](int a) { return packed(a) ? x_name(a) + ".v[q]" : element_at(a, at_q); };
    std::string indent = pack_ > 1 ? "      " : "    ";
    if (pack_ > 1) out += loop_q("    ") + "{\n";
    int next = 0;
    std::vector<int> order = point.results();
    size_t values = order.size() - full.size();
    for (size_t r = 0; r < values; ++r)
      out += indent + value_type(instr(order[r]).dtype) + " r" + std::to_string(r) + ";\n";
    out += indent +
           point.call([&](int i) { return input(i, element, at_q); },
                      [&](int w) -> std::string {
                        if (instr(w).code == Code::store) return y_name(w) + q;
                        return "r" + std::to_string(next++);
                      }) +
           "\n";
    next = 0;
    for (const Accumulator& a : accs_) {
      std::string value = "r" + std::to_string(next++);
      std::string position = a.position >= 0 ? "r" + std::to_string(next++) : counted("step", "q");
      out += (takes_later(a) ? take_later : take)(blocked() && in_blocks(a) ? near(a) : a,
                                                  columns() ? "[q]" : "", value, position, indent);
    }
    if (pack_ > 1) out += "    }\n";
    for (int s : full) {
      out += pack_ > 1
                 ? store_pack(s, y_name(s), names, "    ")
                 : "    " + store_one(s, element_at(instr(s).index, names), y_name(s), ~0u, names);
    }
    return out;
  }
  std::string counted(const std::string& step, const std::string& q) const {
    if (along_ && pack_ > 1)
      return "uint(" + step + " * " + std::to_string(pack_) + " + " + q + ")";
    return "uint(" + step + ")";
  }

  // ---- Threads of one result together

  std::string declare_columns(const Accumulator& a) {
    if (!columns()) return declare(a, "", "  ");
    std::string n = "[" + std::to_string(pack_) + "]";
    std::string out = std::string("  ") + text_type(a.dtype) + " " + a.v + n + ";\n";
    if (a.arg()) out += "  uint " + a.v + "_at" + n + ";\n";
    return out + reset(a);
  }
  std::string reset(const Accumulator& a) {
    const std::string q = columns() ? "[q]" : "", each = columns() ? loop_q("  ") : "  ";
    std::string out = each + a.v + q + " = " + spell_identity(a.op, a.dtype) + ";\n";
    return a.arg() ? out + each + a.v + "_at" + q + " = ~0u;\n" : out;
  }

  std::string share(const Accumulator& a, int64_t n) {
    std::string out = std::string("  SHARED(") + text_type(a.dtype) + ", shared_" + a.v + ", " +
                      std::to_string(n) + ");\n";
    if (a.arg()) out += "  SHARED(uint, shared_" + a.v + "_at, " + std::to_string(n) + ");\n";
    return out;
  }
  std::string put(const Accumulator& a, const std::string& at, const std::string& suffix,
                  const std::string& indent) {
    std::string out = indent + "shared_" + a.v + "[" + at + "] = " + a.v + suffix + ";\n";
    if (a.arg())
      out += indent + "shared_" + a.v + "_at[" + at + "] = " + a.v + "_at" + suffix + ";\n";
    return out;
  }
  std::string take_shared(const Accumulator& a, const std::string& at, const std::string& suffix,
                          const std::string& indent) {
    return take(a, suffix, "shared_" + a.v + "[" + at + "]", "shared_" + a.v + "_at[" + at + "]",
                indent);
  }

  std::string share_all() {
    const bool alone = along_ ? threads_ <= 32 : threads_ == 1;
    if (alone) return "";
    std::string out;
    for (const Accumulator& a : accs_)
      out += share(a, along_ ? group_ / 32 : lines_per_group() * pack_ * threads_);
    return out;
  }
  std::string combine() { return along_ ? combine_rows() : combine_columns(); }

  std::string combine_rows() {
    std::string out;
    for (const Accumulator& a : accs_) out += over_lanes(a, "", std::min(threads_, 32), "  ");
    if (threads_ <= 32) return out;
    out += "  if (lane == 0) {\n";
    for (const Accumulator& a : accs_) out += put(a, "simd", "", "    ");
    out += "  }\n  BARRIER();\n  if (simd == 0) {\n";
    const std::string at = "lane % " + std::to_string(group_ / 32);
    for (const Accumulator& a : accs_) {
      out += "    " + a.v + " = shared_" + a.v + "[" + at + "];\n";
      if (a.arg()) out += "    " + a.v + "_at = shared_" + a.v + "_at[" + at + "];\n";
      out += over_lanes(a, "", group_ / 32, "    ");
    }
    return out + "  }\n";
  }

  std::string combine_columns() {
    if (threads_ == 1) return "";
    const std::string width = std::to_string(lines_per_group() * pack_);
    std::string out, suffix = pack_ > 1 ? "[q]" : "";
    // Neighbours lie in neighbouring banks.
    std::string at =
        pack_ > 1 ? "q * " + std::to_string(lines_per_group()) + " + slot" : std::string("slot");
    auto each = [&](const std::string& text, const std::string& indent) {
      return pack_ > 1 ? loop_q(indent) + "{\n" + text + indent + "}\n" : text;
    };
    std::string puts, takes;
    for (const Accumulator& a : accs_) {
      puts += put(a, "member * " + width + " + " + at, suffix, "    ");
      takes += take_shared(a, "k * " + width + " + " + at, suffix, "        ");
    }
    out += each(puts, "  ") + "  BARRIER();\n  if (member == 0) {\n    for (uint k = 1; k < " +
           std::to_string(threads_) + "; ++k) {\n" + each(takes, "      ") + "    }\n  }\n";
    return out;
  }

  // ---- Results

  std::string finish_rows(const Stage& last) {
    std::string out = "  if (inside && member == 0) {\n", indent = "    ", suffix;
    bool columns = !along_ && pack_ > 1;
    AxisNames names = [this, columns](size_t d) {
      return columns && d == inner() ? "(first + q)" : "i" + std::to_string(d);
    };
    if (columns) {
      out += loop_q("    ") + "{\n";
      indent = "      ";
      suffix = "[q]";
    }
    for (int s : last.results()) out += indent + out_type(s) + " " + y_name(s) + ";\n";
    auto element = [&](int a) { return element_at(a, names); };
    auto value = [&](int i) {
      if (instr(i).code != Code::reduce) return input(i, element, names);
      for (const Accumulator& a : accs_)
        if (a.instr == i) return result_of(a, suffix);
      return std::string();
    };
    if (!last.results().empty())
      out += indent + last.call(value, [&](int s) { return y_name(s); }) + "\n";
    for (int s : last.results())
      out += indent + store_one(s, element(instr(s).index), y_name(s), ~k_.reduced, names);
    return out + (columns ? "    }\n" : "") + "  }\n";
  }

  void declare_temporaries() {
    int k = 0;
    for (const Accumulator& a : accs_) {
      unit_.buffer("part_" + a.v, text_type(a.dtype), -1 - k++, true, itemsize(a.dtype));
      if (a.arg()) unit_.buffer("part_" + a.v + "_at", "uint", -1 - k++, true, 4);
    }
  }
  std::string write_parts() {
    const std::string count = places_.count_type();
    std::string rows = count + "(" + unit_.field("rows", rows_, places_.wide()) + ")";
    std::string out = "  if (inside && member == 0) {\n    const " + count +
                      " row = " + places_.group("y") + " * " + rows + " + line";
    bool columns = !along_ && pack_ > 1;
    out += columns ? " * " + std::to_string(pack_) + ";\n" + loop_q("    ") + "{\n" : ";\n";
    std::string at = columns ? "[row + q]" : "[row]", suffix = columns ? "[q]" : "";
    for (const Accumulator& a : accs_) {
      out += "    part_" + a.v + at + " = " + a.v + suffix + ";\n";
      if (a.arg()) out += "    part_" + a.v + "_at" + at + " = " + a.v + "_at" + suffix + ";\n";
    }
    return out + (columns ? "    }\n" : "") + "  }\n";
  }

  // All but the last threadgroup with these results end here.
  std::string take_turn() {
    unit_.declare("__device__ uint turns[" + std::to_string(most_turns_) + "];\n");
    const std::string parts = "uint(" + unit_.field("parts", parts_) + ")";
    return "  SHARED(uint, last, 1);\n  BARRIER();\n  if (thread_id == 0) last[0] = "
           "takes_last_turn(turns, group_id.x, " +
           parts + ");\n  BARRIER();\n  if (last[0] == 0) return;\n";
  }
  std::string read_parts() {
    const std::string count = places_.count_type(), q = columns() ? "[q]" : "";
    const std::string parts = "uint(" + unit_.field("parts", parts_) + ")";
    const std::string rows = count + "(" + unit_.field("rows", rows_, places_.wide()) + ")";
    std::string out;
    for (const Accumulator& a : accs_) out += reset(a);
    out += "  UNROLL_BY_4\n  for (uint k = inside ? member : " + parts + "; k < " + parts +
           "; k += " + std::to_string(threads_) + ") {\n    const " + count + " row = k * " + rows +
           " + line" + (columns() ? " * " + std::to_string(pack_) : "") + ";\n";
    const std::string at = columns() ? "[row + q]" : "[row]";
    for (const Accumulator& a : accs_)
      out += (columns() ? loop_q("    ") + "{\n" : "") +
             take(a, q, "part_" + a.v + at, "part_" + a.v + "_at" + at, "      ") +
             (columns() ? "    }\n" : "");
    return out + "  }\n";
  }

  std::function<int(int)> operand_;
  std::vector<int> reduces_;
  std::vector<Accumulator> accs_;
  std::vector<size_t> kept_, over_;
  int64_t rows_ = 1, length_ = 1, parts_ = 1, chunk_ = 1;  // a part is `chunk` steps
  bool along_ = false;                                     // the innermost axis is reduced
  int group_ = kThreads;                                   // threads of a threadgroup
  int threads_ = 1;  // that share one result (or pack of them)
  bool last_turns_ = false;
  int64_t most_turns_ = 0;  // groups that have parts are no more than this
};

// ---- The second launch

// A kernel that reads the parts' accumulators, combines them, and does what follows the reductions.
// `operands` receives the operand of each of its arguments.
Kernel of_parts(const Kernel& k, int64_t parts, std::vector<int>& operands) {
  Kernel out;
  out.kind = KernelKind::reduce;
  out.domain.push_back(parts);
  out.reduced = 1;
  Strides rows(k.domain.size());
  int64_t count = 1;
  for (size_t d = k.domain.size(); d-- > 0;)
    if (!(k.reduced >> d & 1)) rows[d] = count, count *= k.domain[d];
  std::vector<size_t> kept;
  for (size_t d = 0; d < k.domain.size(); ++d)
    if (!(k.reduced >> d & 1)) kept.push_back(d), out.domain.push_back(k.domain[d]);
  auto moved = [&](const Strides& s, int64_t first) {
    Strides m;
    m.push_back(first);
    for (size_t d : kept) m.push_back(s[d]);
    return m;
  };
  int temporary = 0;
  auto add_part = [&](Dtype d) {
    out.args.push_back({d, false, moved(rows, count), 0});
    operands.push_back(-1 - temporary++);
    out.instrs.push_back({.code = Code::load,
                          .dtype = d,
                          .index = static_cast<uint16_t>(out.args.size() - 1),
                          .mask = (2u << kept.size()) - 1});
    return static_cast<int32_t>(out.instrs.size() - 1);
  };
  std::vector<int32_t> value_of(k.instrs.size(), -1);
  std::vector<int> reduces;
  for (size_t i = 0; i < k.instrs.size(); ++i)
    if (k.instrs[i].code == Code::reduce) reduces.push_back(static_cast<int>(i));
  for (const Accumulator& a : accumulators(k, reduces)) {
    Instr reduce = k.instrs[static_cast<size_t>(a.instr)];
    reduce.src[0] = add_part(a.dtype);
    if (a.arg()) reduce.src[1] = add_part(Dtype::uint32);
    out.instrs.push_back(reduce);
    value_of[static_cast<size_t>(a.instr)] = static_cast<int32_t>(out.instrs.size() - 1);
  }
  // What follows: everything that results need besides the reductions.
  std::function<int32_t(int32_t)> copy = [&](int32_t i) -> int32_t {
    int32_t& known = value_of[static_cast<size_t>(i)];
    if (known >= 0) return known;
    Instr in = k.instrs[static_cast<size_t>(i)];
    for (int32_t& s : in.src)
      if (s >= 0) s = copy(s);
    if (in.code == Code::load || in.code == Code::store) {
      KernelArg a = k.args[in.index];
      a.strides = moved(a.strides, 0);
      operands.push_back(in.index);
      in.index = static_cast<uint16_t>(out.args.size());
      out.args.push_back(a);
    } else if (in.code == Code::iota) {
      IotaMap m = k.iotas[in.index];
      m.strides = moved(m.strides, 0);
      in.index = static_cast<uint16_t>(out.iotas.size());
      out.iotas.push_back(m);
    }
    out.instrs.push_back(in);
    known = static_cast<int32_t>(out.instrs.size() - 1);
    return known;
  };
  out.scalars = k.scalars;
  for (size_t i = 0; i < k.instrs.size(); ++i) {
    const Instr& in = k.instrs[i];
    if (in.code != Code::store) continue;
    const Strides& s = k.args[in.index].strides;
    bool full = false;
    for (size_t d = 0; d < s.size(); ++d) full |= (k.reduced >> d & 1) && s[d] != 0;
    if (!full) copy(static_cast<int32_t>(i));
  }
  return out;
}

}  // namespace

TextProgram write_reduce(const Kernel& kernel, const TextTraits& traits) {
  TextProgram program;
  ReduceWriter first(kernel, traits, entry_name(kernel), [](int a) { return a; });
  if (first.rows() == 0) return program;
  const int64_t parts = first.parts(), rows = first.rows();
  program.launches.push_back(first.write(true));
  if (parts == 1) return program;
  std::vector<int> operands, reduces;
  for (size_t i = 0; i < kernel.instrs.size(); ++i)
    if (kernel.instrs[i].code == Code::reduce) reduces.push_back(static_cast<int>(i));
  for (const Accumulator& a : accumulators(kernel, reduces)) {
    program.temporaries.push_back(parts * rows * itemsize(a.dtype));
    if (a.arg()) program.temporaries.push_back(parts * rows * 4);
  }
  if (first.turns()) return program;
  const Kernel simple = simplified(of_parts(kernel, parts, operands));
  ReduceWriter last(simple, traits, entry_name(kernel) + "_parts",
                    [&](int a) { return operands[static_cast<size_t>(a)]; });
  program.launches.push_back(last.write(false));
  return program;
}

}  // namespace lamina

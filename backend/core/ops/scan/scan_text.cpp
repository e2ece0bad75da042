#include "ops/scan/scan_text.h"

#include <algorithm>
#include <optional>

#include "graph/params.h"
#include "kernels/epilogue_text.h"
#include "kernels/formulas.h"
#include "kernels/spell.h"
#include "kernels/walk.h"
#include "ops/ops.h"

namespace lamina::text {
namespace {

constexpr int64_t kThreads = 256, kEach = 8, kChunk = kThreads * kEach;

enum class Pass { whole, totals, chunks };

// A row is scanned chunk by chunk by one threadgroup; a long one in three launches: the chunks'
// totals, the totals' scan, the chunks again. Where the axis is not contiguous and there are many
// rows, a thread walks a row by itself, next to its neighbours. What an elementwise group computes
// of an element, before it is taken in and when it is stored, is part of the text.
class ScanWriter {
 public:
  ScanWriter(const TextCall& call, const TextTraits& traits, ScanOp op)
      : in_(call.in[0]), out_(call.out[0]), fused_(call.epilogue), traits_(traits), op_(op) {
    Params::Reader r = static_cast<const Params*>(call.params)->read();
    axis_ = r.integer();
    reverse_ = r.integer() != 0;
    inclusive_ = r.integer() != 0;
    length_ = in_.shape[static_cast<size_t>(axis_)];
    rows_ = out_.size() / std::max<int64_t>(length_, 1);
    chunks_ = (length_ + kChunk - 1) / kChunk;
    wide_ = needs_long(traits, {&in_, &out_});
    sum_ = compute_dtype(out_.dtype);
    type_ = text_type(sum_);
    count_ = wide_ ? "ulong" : "uint";
    index_ = wide_ ? "long" : "int";
  }

  TextProgram write() {
    TextProgram program;
    if (out_.size() == 0) return program;
    const bool apart = out_.strides[static_cast<size_t>(axis_)] != 1 && length_ > 1;
    if ((apart && rows_ >= 512) || length_ <= 32) {
      program.launches.push_back(by_thread());
    } else if (chunks_ <= 4) {
      program.launches.push_back(by_group("scan", Pass::whole));
    } else {
      program.temporaries = {rows_ * chunks_ * itemsize(sum_)};
      program.launches.push_back(by_group("scan_totals", Pass::totals));
      program.launches.push_back(of_totals());
      program.launches.push_back(by_group("scan_chunks", Pass::chunks));
    }
    return program;
  }

 private:
  std::string join(const std::string& a, const std::string& b) const {
    Word x{a, sum_}, y{b, sum_};
    switch (op_) {
      case ScanOp::sum:
        return spell_combine(ReduceOp::sum, x, y).text;
      case ScanOp::prod:
        return spell_combine(ReduceOp::prod, x, y).text;
      case ScanOp::max:
        return spell_combine(ReduceOp::max, x, y).text;
      case ScanOp::min:
        return spell_combine(ReduceOp::min, x, y).text;
      default: {
        Word both[] = {x, y};
        return spell_formula(formula_id("logaddexp"), both).text;
      }
    }
  }
  std::string identity() const {
    if (op_ == ScanOp::logaddexp)
      return is_complex(sum_) ? "COMPLEX(-INFINITY, 0.0f)" : type_ + "(-INFINITY)";
    constexpr ReduceOp kOps[] = {ReduceOp::sum, ReduceOp::prod, ReduceOp::max, ReduceOp::min};
    return spell_identity(kOps[static_cast<int>(op_)], sum_);
  }

  // A launch: its text, and the group that it takes along.
  struct Writer {
    Writer(const ScanWriter& scan, const std::string& name)
        : unit(scan.traits_, scan.fused_ ? name + "_" + epilogue_name(*scan.fused_) : name) {
      if (scan.fused_) group.emplace(*scan.fused_, unit);
    }
    bool fetches() const { return group && group->fetches(); }
    Unit unit;
    std::optional<EpilogueText> group;
  };

  void declare_join(Unit& unit) const {
    unit.declare("inline " + type_ + " join(" + type_ + " a, " + type_ + " b) { return " +
                 join("a", "b") + "; }\n");
  }
  void open(Writer& w, bool writes) const {
    declare_join(w.unit);
    if (!w.fetches()) w.unit.buffer("in", text_type(in_.dtype), 0, false, itemsize(in_.dtype));
    if (w.group)
      w.group->buffers(1, writes);
    else if (writes)
      w.unit.buffer("out", text_type(out_.dtype), 1, true, itemsize(out_.dtype));
    const std::string places = count_ + " row, " + count_ + " at";
    if (w.fetches()) w.group->declare_fetch(places, coordinates(w.unit));
    if (w.group && writes) w.group->declare(sum_, places, coordinates(w.unit));
  }

  // Of the element `at` of a row, both counted from the array's start.
  std::vector<EpilogueText::Coordinate> coordinates(Unit& unit) const {
    int64_t behind = 1;
    for (size_t d = static_cast<size_t>(axis_) + 1; d < out_.shape.size(); ++d)
      behind *= out_.shape[d];
    if (behind == 1) return {{rows_, "row"}, {length_, "at"}};
    const std::string inner = count_ + "(" + unit.field("behind", behind, wide_) + ")";
    return {{rows_ / behind, "row / " + inner}, {length_, "at"}, {behind, "row % " + inner}};
  }

  // Lines that place a row; then step `at` of the scan is `source[..]` and `result[..]`, where no
  // group computes them.
  std::string row_lines(Writer& w, const std::string& row, bool writes) const {
    const bool reads = !w.fetches();
    writes = writes && !w.group;
    if (!reads && !writes) return "";
    Shape shape;
    for (size_t d = 0; d < out_.shape.size(); ++d)
      if (static_cast<int64_t>(d) != axis_) shape.push_back(out_.shape[d]);
    std::vector<Strides> strides;
    if (reads) strides.push_back(without_axis(in_.strides, axis_));
    if (writes) strides.push_back(without_axis(out_.strides, axis_));
    Walk walk(w.unit, "r", shape, strides, wide_);
    std::string out = walk.split(row, "  ");
    auto begin = [&](const char* name, const TensorView& v, const std::string& at) {
      const int64_t s = v.strides[static_cast<size_t>(axis_)];
      std::vector<std::string> terms{at == "0" ? "" : at};
      if (reverse_)
        terms.push_back(w.unit.field(std::string(name) + "_last", s * (length_ - 1), wide_));
      return joined_sum(terms);
    };
    if (reads)
      out += "  device const " + std::string(text_type(in_.dtype)) + "* source = in + " +
             begin("in", in_, walk.index(0)) + ";\n";
    if (writes)
      out += "  device " + std::string(text_type(out_.dtype)) + "* result = out + " +
             begin("out", out_, walk.index(reads ? 1 : 0)) + ";\n";
    return out;
  }
  std::string element(Unit& unit, const char* name, const TensorView& v,
                      const std::string& at) const {
    const int64_t s = v.strides[static_cast<size_t>(axis_)] * (reverse_ ? -1 : 1);
    return index_ + "(" + at + ") * " + unit.field(std::string(name) + "_step", s, wide_);
  }
  // Where step `at` stands, for the group's functions.
  std::string place(Unit& unit, const std::string& row, const std::string& at) const {
    if (!reverse_) return row + ", " + at;
    return row + ", " + length(unit) + " - 1 - (" + at + ")";
  }
  std::string length(Unit& unit) const {
    return count_ + "(" + unit.field("length", length_, wide_) + ")";
  }
  std::string value(Writer& w, const std::string& row, const std::string& at) const {
    return spell_load(w.fetches() ? w.group->fetch(place(w.unit, row, at))
                                  : "source[" + element(w.unit, "in", in_, at) + "]",
                      in_.dtype);
  }
  std::string assign(Writer& w, const std::string& row, const std::string& at,
                     const std::string& v) const {
    if (w.group) return w.group->call(v, place(w.unit, row, at)) + ";\n";
    return "result[" + element(w.unit, "out", out_, at) +
           "] = " + spell_store({v, sum_}, out_.dtype) + ";\n";
  }

  TextKernel by_thread() const {
    Writer w(*this, "scan_columns");
    open(w, true);
    std::string body = item_lines(w.unit, rows_, wide_) + row_lines(w, "item", true);
    body += "  " + type_ + " sum = " + identity() + ";\n  for (" + count_ + " i = 0; i < " +
            length(w.unit) + "; ++i) {\n";
    const std::string x = value(w, "item", "i"), store = assign(w, "item", "i", "sum");
    if (inclusive_) {
      body += "    sum = join(sum, " + x + ");\n    " + store;
    } else {
      // The element is read before its place is written: they may be one.
      body += "    const " + type_ + " next = join(sum, " + x + ");\n    " + store +
              "    sum = next;\n";
    }
    return w.unit.finish(body + "  }\n", item_groups(rows_), kItemThreads);
  }

  // The sum of everything before this thread's `mine`, over the threadgroup, as `before`, and of
  // all as `total`.
  std::string over_group() const {
    return "    " + type_ + " run = mine;\n    for (uint d = 1; d < 32; d *= 2) {\n      const " +
           type_ +
           " other = lane_up(run, d);\n      if (lane >= d) run = join(other, run);\n    }\n" +
           "    const " + type_ + " left = lane_up(run, 1);\n" +
           "    if (lane == 31) parts[simd] = run;\n    BARRIER();\n    " + type_ +
           " before = " + identity() + ", total = " + identity() +
           ";\n    for (uint k = 0; k < 8; ++k) {\n      if (k == simd) before = total;\n      "
           "total = "
           "join(total, parts[k]);\n    }\n    if (lane > 0) before = join(before, left);\n"
           "    BARRIER();\n";
  }

  TextKernel by_group(const char* name, Pass pass) const {
    Writer w(*this, name);
    Unit& unit = w.unit;
    const bool writes = pass != Pass::totals;
    open(w, writes);
    if (pass != Pass::whole) unit.buffer("totals", type_, -1, pass == Pass::totals, itemsize(sum_));
    std::string chunks = count_ + "(" + unit.field("chunks", chunks_, wide_) + ")";
    std::string group = wide_ ? "ulong(group_id.x)" : "group_id.x";
    std::string body = "  SHARED(" + type_ + ", parts, 8);\n";
    if (pass == Pass::whole) {
      body += "  const " + count_ + " row = " + group + ", begin = 0, end = " + length(unit) +
              ";\n  " + type_ + " carry = " + identity() + ";\n";
    } else {
      body += "  const " + count_ + " row = " + group + " / " + chunks + ", begin = " + group +
              " % " + chunks + " * " + std::to_string(kChunk) + ";\n  const " + count_ +
              " end = min(begin + " + std::to_string(kChunk) + ", " + length(unit) + ");\n  " +
              type_ + " carry = " + (pass == Pass::chunks ? "totals[" + group + "]" : identity()) +
              ";\n";
    }
    body += row_lines(w, "row", writes);
    body += "  for (" + count_ + " chunk = begin; chunk < end; chunk += " + std::to_string(kChunk) +
            ") {\n    const " + count_ + " first = chunk + thread_id * " + std::to_string(kEach) +
            ";\n    " + type_ + " x[" + std::to_string(kEach) + "], mine = " + identity() + ";\n";
    const std::string each =
        "    UNROLL\n    for (uint e = 0; e < " + std::to_string(kEach) + "; ++e) ";
    body += each + "{\n      x[e] = first + e < end ? " + value(w, "row", "first + e") + " : " +
            identity() + ";\n      mine = join(mine, x[e]);\n    }\n" + over_group();
    if (writes) {
      body += "    " + type_ + " sum = join(carry, before);\n" + each + "{\n";
      const std::string store =
          "      if (first + e < end) " + assign(w, "row", "first + e", "sum");
      const std::string step = "      sum = join(sum, x[e]);\n";
      body += inclusive_ ? step + store : store + step;
      body += "    }\n";
    }
    body += "    carry = join(carry, total);\n  }\n";
    if (pass == Pass::totals) body += "  if (thread_id == 0) totals[" + group + "] = carry;\n";
    const int64_t groups = pass == Pass::whole ? rows_ : rows_ * chunks_;
    return unit.finish(body, {groups, 1, 1}, kThreads);
  }

  // The totals of each row's chunks become what comes before each chunk.
  TextKernel of_totals() const {
    Unit unit(traits_, "scan_of_totals");
    declare_join(unit);
    unit.buffer("totals", type_, -1, true, itemsize(sum_));
    const std::string chunks = count_ + "(" + unit.field("chunks", chunks_, wide_) + ")";
    std::string body = "  SHARED(" + type_ + ", parts, 8);\n  device " + type_ +
                       "* row = totals + " + (wide_ ? "ulong(group_id.x)" : "group_id.x") + " * " +
                       chunks + ";\n  " + type_ + " carry = " + identity() + ";\n  for (" + count_ +
                       " chunk = 0; chunk < " + chunks + "; chunk += " + std::to_string(kThreads) +
                       ") {\n    const " + count_ + " at = chunk + thread_id;\n    const " + type_ +
                       " mine = at < " + chunks + " ? row[at] : " + identity() + ";\n" +
                       over_group() + "    if (at < " + chunks +
                       ") row[at] = join(carry, before);\n    carry = join(carry, total);\n  }\n";
    return unit.finish(body, {rows_, 1, 1}, kThreads);
  }

  const TensorView &in_, &out_;
  const TextEpilogue* fused_;  // what comes before and behind each element, or null
  const TextTraits& traits_;
  ScanOp op_;
  int64_t axis_, length_, rows_, chunks_;
  bool reverse_, inclusive_, wide_;
  Dtype sum_;
  std::string type_, count_, index_;
};

}  // namespace

// What moves a few bytes an element is always better for a pass less over them.
bool scan_takes_epilogue(const TextCall& call, const Shape&, const TextTraits&) {
  return call.out[0].size() > 0;
}

TextProgram scan(const TextCall& call, const TextTraits& traits, int kind) {
  check_dtype("scan", call.out[0].dtype, traits);
  return ScanWriter(call, traits, static_cast<ScanOp>(kind)).write();
}

}  // namespace lamina::text

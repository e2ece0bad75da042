#include "ops/scan/scan_text.h"

#include <algorithm>

#include "graph/params.h"
#include "kernels/formulas.h"
#include "kernels/spell.h"
#include "kernels/walk.h"
#include "ops/ops.h"

namespace lamina::text {
namespace {

constexpr int64_t kThreads = 256, kEach = 8, kChunk = kThreads * kEach;

// A row is scanned chunk by chunk by one threadgroup; a long one in three launches: the chunks'
// totals, the totals' scan, the chunks again. Where the axis is not contiguous and there are many
// rows, a thread walks a row by itself, next to its neighbours.
class ScanWriter {
 public:
  ScanWriter(const TextCall& call, const TextTraits& traits, ScanOp op)
      : in_(call.in[0]), out_(call.out[0]), traits_(traits), op_(op) {
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
  enum class Pass { whole, totals, chunks };

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

  void open(Unit& unit) const {
    unit.declare("inline " + type_ + " join(" + type_ + " a, " + type_ + " b) { return " +
                 join("a", "b") + "; }\n");
  }
  void buffers(Unit& unit, bool writes) const {
    unit.buffer("in", text_type(in_.dtype), 0, false, itemsize(in_.dtype));
    if (writes) unit.buffer("out", text_type(out_.dtype), 1, true, itemsize(out_.dtype));
  }
  // Lines that place a row; then step `at` of the scan is `source[..]` and `result[..]`.
  std::string row_lines(Unit& unit, const std::string& row, bool writes) const {
    Shape shape;
    for (size_t d = 0; d < out_.shape.size(); ++d)
      if (static_cast<int64_t>(d) != axis_) shape.push_back(out_.shape[d]);
    Walk walk(unit, "r", shape,
              {without_axis(in_.strides, axis_), without_axis(out_.strides, axis_)}, wide_);
    std::string out = walk.split(row, "  ");
    auto begin = [&](const char* name, const TensorView& v, const std::string& at) {
      const int64_t s = v.strides[static_cast<size_t>(axis_)];
      std::vector<std::string> terms{at == "0" ? "" : at};
      if (reverse_)
        terms.push_back(unit.field(std::string(name) + "_last", s * (length_ - 1), wide_));
      return joined_sum(terms);
    };
    out += "  device const " + std::string(text_type(in_.dtype)) + "* source = in + " +
           begin("in", in_, walk.index(0)) + ";\n";
    if (writes)
      out += "  device " + std::string(text_type(out_.dtype)) + "* result = out + " +
             begin("out", out_, walk.index(1)) + ";\n";
    return out;
  }
  std::string element(Unit& unit, const char* name, const TensorView& v,
                      const std::string& at) const {
    const int64_t s = v.strides[static_cast<size_t>(axis_)] * (reverse_ ? -1 : 1);
    return index_ + "(" + at + ") * " + unit.field(std::string(name) + "_step", s, wide_);
  }
  std::string value(Unit& unit, const std::string& at) const {
    return spell_load("source[" + element(unit, "in", in_, at) + "]", in_.dtype);
  }
  std::string assign(Unit& unit, const std::string& at, const std::string& v) const {
    return "result[" + element(unit, "out", out_, at) +
           "] = " + spell_store({v, sum_}, out_.dtype) + ";\n";
  }

  TextKernel by_thread() const {
    Unit unit(traits_, "scan_columns");
    open(unit);
    buffers(unit, true);
    std::string body = item_lines(unit, rows_, wide_) + row_lines(unit, "item", true);
    body += "  " + type_ + " sum = " + identity() + ";\n  for (" + count_ + " i = 0; i < " +
            count_ + "(" + unit.field("length", length_, wide_) + "); ++i) {\n";
    const std::string step = "    sum = join(sum, " + value(unit, "i") + ");\n";
    if (inclusive_) {
      body += step + "    " + assign(unit, "i", "sum");
    } else {
      // The element is read before its place is written: they may be one.
      body += "    const " + type_ + " next = join(sum, " + value(unit, "i") + ");\n    " +
              assign(unit, "i", "sum") + "    sum = next;\n";
    }
    return unit.finish(body + "  }\n", item_groups(rows_), kItemThreads);
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
    Unit unit(traits_, name);
    open(unit);
    const bool writes = pass != Pass::totals;
    buffers(unit, writes);
    if (pass != Pass::whole) unit.buffer("totals", type_, -1, pass == Pass::totals, itemsize(sum_));
    std::string chunks = count_ + "(" + unit.field("chunks", chunks_, wide_) + ")";
    std::string length = count_ + "(" + unit.field("length", length_, wide_) + ")";
    std::string group = wide_ ? "ulong(group_id.x)" : "group_id.x";
    std::string body = "  SHARED(" + type_ + ", parts, 8);\n";
    if (pass == Pass::whole) {
      body += "  const " + count_ + " row = " + group + ", begin = 0, end = " + length + ";\n  " +
              type_ + " carry = " + identity() + ";\n";
    } else {
      body += "  const " + count_ + " row = " + group + " / " + chunks + ", begin = " + group +
              " % " + chunks + " * " + std::to_string(kChunk) + ";\n  const " + count_ +
              " end = min(begin + " + std::to_string(kChunk) + ", " + length + ");\n  " + type_ +
              " carry = " + (pass == Pass::chunks ? "totals[" + group + "]" : identity()) + ";\n";
    }
    body += row_lines(unit, "row", writes);
    body += "  for (" + count_ + " chunk = begin; chunk < end; chunk += " + std::to_string(kChunk) +
            ") {\n    const " + count_ + " first = chunk + thread_id * " + std::to_string(kEach) +
            ";\n    " + type_ + " x[" + std::to_string(kEach) + "], mine = " + identity() + ";\n";
    const std::string each =
        "    UNROLL\n    for (uint e = 0; e < " + std::to_string(kEach) + "; ++e) ";
    body += each + "{\n      x[e] = first + e < end ? " + value(unit, "first + e") + " : " +
            identity() + ";\n      mine = join(mine, x[e]);\n    }\n" + over_group();
    if (writes) {
      body += "    " + type_ + " sum = join(carry, before);\n" + each + "{\n";
      if (!inclusive_) body += "      if (first + e < end) " + assign(unit, "first + e", "sum");
      body += "      sum = join(sum, x[e]);\n";
      if (inclusive_) body += "      if (first + e < end) " + assign(unit, "first + e", "sum");
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
    open(unit);
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
  const TextTraits& traits_;
  ScanOp op_;
  int64_t axis_, length_, rows_, chunks_;
  bool reverse_, inclusive_, wide_;
  Dtype sum_;
  std::string type_, count_, index_;
};

}  // namespace

TextProgram scan(const TextCall& call, const TextTraits& traits, int kind) {
  check_dtype("scan", call.out[0].dtype, traits);
  return ScanWriter(call, traits, static_cast<ScanOp>(kind)).write();
}

}  // namespace lamina::text

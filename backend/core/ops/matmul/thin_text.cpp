#include "ops/matmul/thin_text.h"

#include <algorithm>

#include "kernels/spell.h"
#include "kernels/walk.h"

namespace lamina::text {
namespace {

constexpr int64_t kThreads = 128, kSimds = kThreads / 32;
constexpr int64_t kRunItems = 16;  // products from which runs of them are looked for
constexpr int64_t kAcross = 8;     // threads side by side along the columns

std::string text(int64_t n) { return std::to_string(n); }

void replace(std::string& s, const std::string& what, const std::string& with) {
  for (size_t at = s.find(what); at != std::string::npos; at = s.find(what, at + with.size()))
    s.replace(at, what.size(), with);
}

Shape leading(const TensorView& v) { return Shape(v.shape.begin(), v.shape.end() - 2); }
Strides leading_strides(const TensorView& v) {
  return Strides(v.strides.begin(), v.strides.end() - 2);
}

// Each SIMD-group has $C columns: its lanes share the depth, and add up at the end.
constexpr const char* kDots = R"(
  const uint col0 = (group_id.x % $across * $simds + simd) * $C;
  float sum[$R][$C];
  UNROLL
  for (uint i = 0; i < $R; ++i)
    UNROLL
    for (uint j = 0; j < $C; ++j) sum[i][j] = 0.0f;
  $open
  for (uint c = lane; $condition c < $chunks; c += 32) {
    Chunk w[$C];
    UNROLL
    for (uint j = 0; j < $C; ++j) w[j] = take($arguments, p, min(col0 + j, $cols - 1), c);
    UNROLL
    for (uint e = 0; e < $E; e += $P) {
      float x[$R][$P];
      UNROLL
      for (uint i = 0; i < $R; ++i) $if {
        $load
      }
      UNROLL
      for (uint q = 0; q < $P; ++q)
        UNROLL
        for (uint j = 0; j < $C; ++j) {
          const float v = value_of(w[j], e + q);
          UNROLL
          for (uint i = 0; i < $R; ++i) $if sum[i][j] = fma(x[i][q], v, sum[i][j]);
        }
    }
  }
  $close
  UNROLL
  for (uint i = 0; i < $R; ++i)
    UNROLL
    for (uint j = 0; j < $C; ++j) {
      for (uint m = 16; m > 0; m /= 2) sum[i][j] += lane_xor(sum[i][j], m);
      const uint row = row0 + i, col = col0 + j;
      if (lane == 0 && row < $rows && col < $cols) $store(sum[i][j]);
    }
)";

// Where products have one row each, a tile is several products; those that follow each other with
// the same right factor read it once.
constexpr const char* kRuns = R"(
  for (uint first = 0, next = 0; first < $R; first = next) {
    const uint right = right_of[first];
    for (next = first + 1; next < $R && right_of[next] == right;) ++next;
    if (right == ~0u) continue;
)";

// Each thread has a chunk of columns and every sixteenth k; the threads' sums meet in threadgroup
// memory, row by row.
constexpr const char* kSums = R"(
  SHARED(float, parts, $threads * $E);
  const uint across = thread_id % 8, down = thread_id / 8, chunk0 = group_id.x % $across * 8;
  const uint number = min(chunk0 + across, $chunks - 1);
  float sum[$R][$E];
  UNROLL
  for (uint i = 0; i < $R; ++i)
    UNROLL
    for (uint e = 0; e < $E; ++e) sum[i][e] = 0.0f;
  for (uint k = down; inside && k < $depth; k += $threads / 8) {
    const Chunk w = take($arguments, p, k, number);
    float x[$R];
    UNROLL
    for (uint i = 0; i < $R; ++i) x[i] = $element;
    UNROLL
    for (uint e = 0; e < $E; ++e) {
      const float v = value_of(w, e);
      UNROLL
      for (uint i = 0; i < $R; ++i) sum[i][e] = fma(x[i], v, sum[i][e]);
    }
  }
  UNROLL
  for (uint i = 0; i < $R; ++i) {
    UNROLL
    for (uint e = 0; e < $E; ++e) parts[thread_id * $E + e] = sum[i][e];
    BARRIER();
    const uint row = row0 + i;
    for (uint at = thread_id; at < 8 * $E; at += $threads) {
      float total = 0.0f;
      for (uint t = 0; t < $threads / 8; ++t) total += parts[t * 8 * $E + at];
      const uint col = chunk0 * $E + at;
      if (row < $rows && col < $cols) $store(total);
    }
    BARRIER();
  }
)";

class ThinWriter {
 public:
  ThinWriter(const ThinProduct& p, const TextTraits& traits)
      : p_(p),
        x_(*p.x),
        out_(*p.out),
        traits_(traits),
        unit_(traits, p.name),
        index_(p.wide ? "long" : "int"),
        rows_(out_.shape[out_.shape.size() - 2]),
        cols_(out_.shape.back()),
        depth_(x_.shape.back()),
        runs_(p.factor.along_depth && rows_ == 1 && p.right.view && p.items >= kRunItems) {
    if (runs_) rows_ = p.items;
  }

  TextKernel write() {
    const bool dots = p_.factor.along_depth;
    const int64_t most = dots ? 8 : std::max<int64_t>(1, 32 / p_.factor.chunk);
    int64_t tile = 1;
    while (tile < rows_ && tile * 2 <= most) tile *= 2;
    const int64_t columns = dots ? kSimds * kColumns : kAcross * p_.factor.chunk;
    const int64_t across = (cols_ + columns - 1) / columns, down = (rows_ + tile - 1) / tile;
    unit_.buffer("x", text_type(x_.dtype), 0, false, itemsize(x_.dtype) * pack(tile));
    p_.factor.declare(unit_);
    std::string body =
        (runs_ ? place_runs(across, tile) : place(across, down, tile)) + (dots ? kDots : kSums);
    if (dots) fill_dots(body, tile);
    finish_sums(body);
    replace(body, "$element", spell_load("x_at[" + x_row() + " + " + x_step("k") + "]", x_.dtype));
    replace(body, "$across", unit_.word("across", static_cast<uint32_t>(across)));
    replace(body, "$arguments", p_.factor.arguments);
    const int64_t chunked = dots ? depth_ : cols_;
    replace(body, "$chunks",
            unit_.word("chunks", static_cast<uint32_t>(chunked / p_.factor.chunk)));
    replace(body, "$rows", unit_.word("rows", static_cast<uint32_t>(rows_)));
    replace(body, "$cols", unit_.word("cols", static_cast<uint32_t>(cols_)));
    replace(body, "$depth", unit_.word("depth", static_cast<uint32_t>(depth_)));
    replace(body, "$threads", text(kThreads));
    replace(body, "$simds", text(kSimds));
    replace(body, "$R", text(tile));
    replace(body, "$C", text(kColumns));
    replace(body, "$E", text(p_.factor.chunk));
    return unit_.finish(body, {across * down * (runs_ ? 1 : p_.items), 1, 1}, kThreads);
  }

 private:
  static constexpr int64_t kColumns = 4;

  // Elements of x that are loaded at once.
  int64_t pack(int64_t tile) const {
    if (!p_.factor.along_depth || x_.strides.back() != 1) return 1;
    int64_t n = std::min<int64_t>(traits_.vector_bytes / itemsize(x_.dtype), tile > 2 ? 4 : 8);
    n = std::min(n, p_.factor.chunk);
    for (size_t d = 0; d + 1 < x_.strides.size(); ++d)
      while (x_.shape[d] > 1 && n > 1 && x_.strides[d] % n) n /= 2;
    return std::max<int64_t>(n, 1);
  }
  std::string x_row() const { return "x_row[i]"; }
  std::string x_step(const std::string& k) {
    const int64_t s = x_.strides.back();
    const std::string at = index_ + "(" + k + ")";
    return s == 1 ? at : at + " * " + unit_.field("x_step", s, p_.wide);
  }

  // Which product and which rows the threadgroup has.
  std::string place(int64_t across, int64_t down, int64_t tile) {
    const std::string d = unit_.word("down", static_cast<uint32_t>(down));
    std::string out = "  const uint rest = group_id.x / " +
                      unit_.word("across", static_cast<uint32_t>(across)) + ", z = rest / " + d +
                      ", row0 = rest % " + d + " * " + text(tile) + ";\n  bool inside = true;\n";
    const int64_t left = element_count(leading(x_));
    out += number_lines(unit_, p_.left, "left", left, "z", p_.wide, "  ");
    out += number_lines(unit_, p_.right, "right", p_.factor.matrices, "z", p_.wide, "  ");
    Walk walk(unit_, "x", leading(x_), {leading_strides(x_)}, p_.wide);
    out += walk.split("left", "  ") + "  device const " + std::string(text_type(x_.dtype)) +
           "* x_at = x + " + walk.index(0) + ";\n" + p_.factor.place(unit_, "right", "  ");
    return out + "  " + index_ + " x_row[" + text(tile) + "];\n  UNROLL\n  for (uint i = 0; i < " +
           text(tile) + "; ++i)\n    x_row[i] = " + index_ + "(min(row0 + i, $rows - 1)) * " +
           unit_.field("x_stride", x_.strides[x_.strides.size() - 2], p_.wide) + ";\n";
  }

  // The same for products of one row each, of which the rows of the tile are several.
  std::string place_runs(int64_t across, int64_t tile) {
    const std::string r = text(tile), row = unit_.word("across", static_cast<uint32_t>(across));
    std::string out = "  const uint row0 = group_id.x / " + row + " * " + r + ", z = 0;\n";
    const std::string left =
        number_lines(unit_, p_.left, "left", element_count(leading(x_)), "item", p_.wide, "    ");
    const std::string right =
        number_lines(unit_, p_.right, "right", p_.factor.matrices, "item", p_.wide, "    ");
    const std::string item = "    const uint item = min(row0 + i, $rows - 1);\n";
    const std::string open = "    bool inside = true;\n";
    out += "  SHARED(uint, right_of, " + r + ");\n  if (thread_id < " + r +
           ") {\n    const uint i = thread_id;\n" + item + open + left + right +
           "    right_of[i] = inside ? right : ~0u;\n  }\n  BARRIER();\n";
    Walk walk(unit_, "x", leading(x_), {leading_strides(x_)}, p_.wide);
    return out + "  device const " + text_type(x_.dtype) + "* x_at = x;\n  " + index_ + " x_row[" +
           r + "];\n  UNROLL\n  for (uint i = 0; i < " + r + "; ++i) {\n" + item + open + left +
           walk.split("left", "    ") + "    x_row[i] = " + walk.index(0) + ";\n  }\n";
  }

  void fill_dots(std::string& body, int64_t tile) {
    replace(body, "$open", runs_ ? kRuns + p_.factor.place(unit_, "right", "    ") : "");
    replace(body, "$close", runs_ ? "}" : "");
    replace(body, "$condition", runs_ ? "" : "inside && ");
    replace(body, "$if ", runs_ ? "if (i >= first && i < next) " : "");
    fill_loads(body, tile);
  }

  void fill_loads(std::string& body, int64_t tile) {
    const int64_t n = pack(tile);
    const std::string type = text_type(x_.dtype);
    const std::string at = x_row() + " + " + x_step("c * $E + e");
    std::string load;
    if (n > 1) {
      const std::string packed = unit_.pack(type, itemsize(x_.dtype), static_cast<int>(n));
      load = "const " + packed + " all = *(device const " + packed + "*)(x_at + " + at +
             ");\n        UNROLL\n        for (uint q = 0; q < $P; ++q) x[i][q] = " +
             spell_load("all.v[q]", x_.dtype) + ";";
    } else {
      load = "x[i][0] = " + spell_load("x_at[" + at + "]", x_.dtype) + ";";
    }
    replace(body, "$load", load);
    replace(body, "$P", text(n));
  }

  void finish_sums(std::string& body) {
    unit_.buffer("out", text_type(out_.dtype), p_.out_operand, true, itemsize(out_.dtype));
    const std::string row = "(" + index_ + "(z) * " + index_ + "($rows) + " + index_ + "(row)) * " +
                            index_ + "($cols) + " + index_ + "(col)";
    for (const char* x : {"sum[i][j]", "total"})
      replace(body, std::string("$store(") + x + ")",
              "out[" + row + "] = " + spell_store({x, Dtype::float32}, out_.dtype));
  }

  const ThinProduct& p_;
  const TensorView &x_, &out_;
  const TextTraits& traits_;
  Unit unit_;
  std::string index_;
  int64_t rows_, cols_, depth_;
  bool runs_;  // rows_ counts products of one row each
};

}  // namespace

TextProgram write_thin(const ThinProduct& product, const TextTraits& traits) {
  TextProgram program;
  if (product.out->size() > 0) program.launches.push_back(ThinWriter(product, traits).write());
  return program;
}

ThinRight dense_right(const TensorView& b, int operand, bool wide, const TextTraits& traits) {
  const size_t rank = b.shape.size();
  const int64_t depth = b.shape[rank - 2], cols = b.shape[rank - 1], size = itemsize(b.dtype);
  ThinRight out;
  out.along_depth = b.strides[rank - 2] == 1 || b.strides[rank - 1] != 1;
  out.matrices = element_count(leading(b));
  const size_t inner = out.along_depth ? rank - 2 : rank - 1,
               outer = out.along_depth ? rank - 1 : rank - 2;
  int64_t n = b.strides[inner] == 1 ? traits.vector_bytes / size : 1;
  while (n > 1 && (out.along_depth ? depth : cols) % n) n /= 2;
  for (size_t d = 0; d < rank; ++d)
    while (d != inner && n > 1 && b.shape[d] > 1 && b.strides[d] % n) n /= 2;
  n = std::max<int64_t>(n, 1);
  out.chunk = n;
  out.arguments = "b_at";
  const std::string type = text_type(b.dtype), index = wide ? "long" : "int";
  const int64_t row = b.strides[outer], step = b.strides[inner];
  const Dtype dtype = b.dtype;
  out.declare = [=](Unit& unit) {
    unit.buffer("b", type, operand, false, size * n);
    const std::string element = n > 1 ? unit.pack(type, size, static_cast<int>(n)) : type;
    std::string at = index + "(row) * " + unit.field("b_row", row, wide) + " + " + index +
                     "(number)" + (n > 1 ? " * " + text(n) : "");
    if (step != 1) at += " * " + unit.field("b_step", step, wide);
    unit.declare("struct Chunk {\n  " + element + " all;\n};\n");
    unit.declare("inline Chunk take(device const " + type +
                 "* b, constant Block& p, uint row, uint number) {\n  Chunk out;\n  out.all = *(" +
                 "device const " + element + "*)(b + " + at + ");\n  return out;\n}\n");
    unit.declare("inline float value_of(thread const Chunk& c, uint e) { return " +
                 spell_load(n > 1 ? "c.all.v[e]" : "c.all", dtype) + "; }\n");
  };
  const Shape lead = leading(b);
  const Strides strides = leading_strides(b);
  out.place = [=](Unit& unit, const std::string& number, const std::string& indent) {
    Walk walk(unit, "b", lead, {strides}, wide);
    return walk.split(number, indent) + indent + "device const " + type + "* b_at = b + " +
           walk.index(0) + ";\n";
  };
  return out;
}

std::string number_lines(Unit& unit, const Numbers& numbers, const std::string& name,
                         int64_t matrices, const std::string& item, bool wide,
                         const std::string& indent, bool declare) {
  if (!numbers.view) return indent + "const uint " + name + " = " + item + ";\n";
  const TensorView& v = *numbers.view;
  const std::string buffer = name + "_numbers";
  if (declare) unit.buffer(buffer, text_type(v.dtype), numbers.operand, false, itemsize(v.dtype));
  Walk walk(unit, name + "_", v.shape, {v.strides}, wide);
  const std::string n = name + "_number", count = unit.field(name + "_count", matrices, true);
  // In 64 bits, so that no number wraps into range.
  return walk.split(item, indent) + indent + "long " + n + " = long(" + buffer + "[" +
         walk.index(0) + "]);\n" + indent + "if (" + n + " < 0) " + n + " += " + count + ";\n" +
         indent + "if (" + n + " < 0 || " + n + " >= " + count + ") inside = false;\n" + indent +
         "const uint " + name + " = inside ? uint(" + n + ") : 0u;\n";
}

}  // namespace lamina::text

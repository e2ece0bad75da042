#include "ops/sort/sort_text.h"

#include <algorithm>

#include "graph/params.h"
#include "kernels/spell.h"
#include "kernels/walk.h"

namespace lamina::text {
namespace {

constexpr int64_t kBlock = 1024;
constexpr int kBlockThreads = 256;

// The unsigned number whose order is the dtype's, NaN last and -0 equal to 0: 32 bits, or 64.
bool wide_key(Dtype d) { return itemsize(d) == 8; }
const char* key_type(Dtype d) { return wide_key(d) ? "ulong" : "uint"; }

// Complex numbers go by real part, then by imaginary part; those with a NaN go last: in the
// imaginary part, in the real part, in both. Keys of floats leave the highest words free for them.
constexpr const char* kComplexKeys = R"(
inline uint part_key(float x) {
  const uint u = bits_as_uint(x == 0.0f ? 0.0f : x);
  return u & 0x80000000u ? ~u : u | 0x80000000u;
}
inline float part_of(uint k) {
  return bits_as_float(k & 0x80000000u ? k ^ 0x80000000u : ~k);
}
inline ulong encode(float2 z) {
  const uint nan = (z.x != z.x ? 2u : 0u) + (z.y != z.y ? 1u : 0u);
  if (nan == 0) return ulong(part_key(z.x)) << 32 | ulong(part_key(z.y));
  const uint rest = nan == 1 ? part_key(z.x) : (nan == 2 ? part_key(z.y) : 0u);
  return ulong(0xffffff00u + nan) << 32 | ulong(rest);
}
inline float2 decode(ulong k) {
  const uint high = uint(k >> 32), low = uint(k);
  if (high < 0xffffff00u) return COMPLEX(part_of(high), part_of(low));
  const uint nan = high - 0xffffff00u;
  return COMPLEX(nan == 1 ? part_of(low) : NAN, nan == 2 ? part_of(low) : NAN);
}
)";

// encode and decode for the dtype, as functions of values in compute_dtype.
std::string key_functions(Dtype dtype) {
  if (is_complex(dtype)) return kComplexKeys;
  const Dtype d = compute_dtype(dtype);
  const std::string type = text_type(d), key = key_type(d);
  const std::string one = key + "(1)", top = "(" + one + " << " + (wide_key(d) ? "63" : "31") + ")";
  std::string out = "// Keys have the order of the numbers they stand for, NaN last.\n";
  if (is_floating(d)) {
    const std::string bits = wide_key(d) ? "bits_as_ulong" : "bits_as_uint";
    const std::string back = wide_key(d) ? "bits_as_double" : "bits_as_float";
    out += "inline " + key + " encode(" + type + " x) {\n  if (x != x) return ~" + key +
           "(0);\n  const " + key + " u = " + bits + "(x == " + type + "(0) ? " + type +
           "(0) : x);\n  return u & " + top + " ? ~u : u | " + top + ";\n}\n";
    return out + "inline " + type + " decode(" + key + " k) {\n  if (k == ~" + key +
           "(0)) return NAN;\n  return " + back + "(k & " + top + " ? k ^ " + top + " : ~k);\n}\n";
  }
  const std::string flip = is_signed(d) ? " ^ " + top : "";
  std::string signed_wide = wide_key(d) ? "long" : "int";
  std::string number = is_signed(d) ? key + "(" + signed_wide + "(x))" : key + "(x)";
  out += "inline " + key + " encode(" + type + " x) { return " + number + flip + "; }\n";
  std::string value = d == Dtype::bool_ ? "k != 0" : type + "(k" + flip + ")";
  return out + "inline " + type + " decode(" + key + " k) { return " + value + "; }\n";
}

// Sorts keys, and positions with them, in threadgroup memory: a bitonic network over `n`, a power
// of two. Equal keys keep the order of their positions.
std::string network(int64_t n, const std::string& key, bool positions) {
  std::string swap = "        const " + key + " a = keys[i], b = keys[j];\n";
  if (positions) {
    swap += "        const uint at_a = places[i], at_b = places[j];\n";
    swap += "        const bool after = a > b || (a == b && at_a > at_b);\n";
  } else {
    swap += "        const bool after = a > b;\n";
  }
  swap += "        if (after == up && (a != b" + std::string(positions ? " || at_a != at_b" : "") +
          ")) {\n          keys[i] = b;\n          keys[j] = a;\n";
  if (positions) swap += "          places[i] = at_b;\n          places[j] = at_a;\n";
  swap += "        }\n";
  return "  for (uint size = 2; size <= " + std::to_string(n) +
         "; size *= 2)\n    for (uint d = size / 2; d > 0; d /= 2) {\n      BARRIER();\n"
         "      for (uint k = thread_id; k < " +
         std::to_string(n / 2) + "; k += " + std::to_string(kBlockThreads) +
         ") {\n        const uint i = k / d * d * 2 + k % d, j = i + d;\n"
         "        const bool up = (i & size) == 0;\n" +
         swap + "      }\n    }\n  BARRIER();\n";
}

class SortWriter {
 public:
  SortWriter(const TextCall& call, const TextTraits& traits, bool positions)
      : in_(call.in[0]), out_(call.out[0]), traits_(traits), positions_(positions) {
    axis_ = static_cast<const Params*>(call.params)->read().integer();
    length_ = in_.shape[static_cast<size_t>(axis_)];
    rows_ = in_.size() / std::max<int64_t>(length_, 1);
    key_ = key_type(in_.dtype);
    key_bytes_ = wide_key(in_.dtype) ? 8 : 4;
    wide_ = needs_long(traits, {&in_, &out_}, 2 * in_.size());
    count_ = wide_ ? "ulong" : "uint";
    index_ = wide_ ? "long" : "int";
    blocks_ = (length_ + kBlock - 1) / kBlock;
  }

  TextProgram write() {
    TextProgram program;
    if (in_.size() == 0) return program;
    program.launches.push_back(sort_blocks());
    if (blocks_ == 1) return program;
    // Two buffers of keys, and of positions, between which the merges go back and forth.
    program.temporaries = {in_.size() * key_bytes_, in_.size() * key_bytes_};
    if (positions_) program.temporaries.insert(program.temporaries.end(), 2, in_.size() * 4);
    int from = 0;
    for (int64_t run = kBlock; run < length_; run *= 2, from = 1 - from)
      program.launches.push_back(merge(run, from, run * 2 >= length_));
    return program;
  }

 private:
  void row_walk(Unit& unit, const std::string& row, std::string& lines, std::string& in_at,
                std::string& out_at) const {
    Shape shape;
    for (size_t d = 0; d < in_.shape.size(); ++d)
      if (static_cast<int64_t>(d) != axis_) shape.push_back(in_.shape[d]);
    Walk walk(unit, "r", shape,
              {without_axis(in_.strides, axis_), without_axis(out_.strides, axis_)}, wide_);
    lines = walk.split(row, "  ");
    in_at = walk.index(0);
    out_at = walk.index(1);
  }
  std::string step(Unit& unit, const char* name, const TensorView& v, const std::string& row,
                   const std::string& at) const {
    const int64_t s = v.strides[static_cast<size_t>(axis_)];
    return joined_sum(
        {row == "0" ? "" : row, index_ + "(" + at + ") * " + unit.field(name, s, wide_)});
  }
  std::string result(Unit& unit, const std::string& row, const std::string& at,
                     const std::string& key, const std::string& place) const {
    std::string value =
        positions_ ? place
                   : spell_store({"decode(" + key + ")", compute_dtype(in_.dtype)}, out_.dtype);
    return "out[" + step(unit, "out_step", out_, row, at) + "] = " + value + ";\n";
  }
  void temporaries(Unit& unit, int which, const char* suffix, bool written) const {
    unit.buffer(std::string("keys_") + suffix, key_, -1 - which, written, key_bytes_);
    if (positions_) unit.buffer(std::string("places_") + suffix, "uint", -3 - which, written, 4);
  }

  TextKernel sort_blocks() const {
    Unit unit(traits_, positions_ ? "argsort" : "sort");
    const bool whole = blocks_ == 1;
    int64_t n = kBlock;
    while (whole && n / 2 >= length_ && n > 2) n /= 2;
    unit.declare(key_functions(in_.dtype));
    unit.buffer("in", text_type(in_.dtype), 0, false, itemsize(in_.dtype));
    if (whole)
      unit.buffer("out", text_type(out_.dtype), 1, true, itemsize(out_.dtype));
    else
      temporaries(unit, 0, "out", true);
    const std::string blocks = count_ + "(" + unit.field("blocks", blocks_, wide_) + ")";
    const std::string length = count_ + "(" + unit.field("length", length_, wide_) + ")";
    std::string lines, in_at, out_at;
    row_walk(unit, "row", lines, in_at, out_at);
    const std::string size = std::to_string(n);
    std::string body = "  SHARED(" + key_ + ", keys, " + size + ");\n";
    if (positions_) body += "  SHARED(uint, places, " + size + ");\n";
    body += "  const " + count_ + " group = group_id.x;\n  const " + count_ + " row = group / " +
            blocks + ", first = group % " + blocks + " * " + size + ";\n" + lines;
    // What is past the end has the highest key and the highest place.
    body += "  for (uint i = thread_id; i < " + size + "; i += " + std::to_string(kBlockThreads) +
            ") {\n    const " + count_ + " at = first + i;\n    keys[i] = at < " + length +
            " ? encode(" +
            spell_load("in[" + step(unit, "in_step", in_, in_at, "at") + "]", in_.dtype) + ") : ~" +
            key_ + "(0);\n";
    if (positions_) body += "    places[i] = at < " + length + " ? uint(at) : ~0u;\n";
    body += "  }\n" + network(n, key_, positions_);
    body += "  for (uint i = thread_id; i < " + size + "; i += " + std::to_string(kBlockThreads) +
            ") {\n    const " + count_ + " at = first + i;\n    if (at >= " + length +
            ") continue;\n";
    if (whole) {
      body += "    " + result(unit, out_at, "at", "keys[i]", "places[i]");
    } else {
      body += "    keys_out[row * " + length + " + at] = keys[i];\n";
      if (positions_) body += "    places_out[row * " + length + " + at] = places[i];\n";
    }
    return unit.finish(body + "  }\n", {rows_ * blocks_, 1, 1}, kBlockThreads);
  }

  // Runs of `run` sorted keys become runs of twice that: every key counts how many of the other run
  // go before it.
  TextKernel merge(int64_t run, int from, bool last) const {
    Unit unit(traits_, positions_ ? "argsort_merge" : "sort_merge");
    unit.declare(key_functions(in_.dtype));
    temporaries(unit, from, "in", false);
    if (last)
      unit.buffer("out", text_type(out_.dtype), 1, true, itemsize(out_.dtype));
    else
      temporaries(unit, 1 - from, "out", true);
    const std::string length = count_ + "(" + unit.field("length", length_, wide_) + ")";
    const std::string r = count_ + "(" + unit.field("run", run, wide_) + ")";
    std::string lines, in_at, out_at;
    row_walk(unit, "row", lines, in_at, out_at);
    std::string body = item_lines(unit, in_.size(), wide_);
    body += "  const " + count_ + " row = item / " + length + ", at = item % " + length +
            ";\n  const " + count_ + " pair = at / (" + r + " * 2) * (" + r +
            " * 2), middle = min(pair + " + r + ", " + length + ");\n";
    body += "  const bool second = at >= middle;\n  const " + count_ +
            " begin = second ? pair : middle, end = second ? middle : min(pair + " + r + " * 2, " +
            length + ");\n";
    body += "  const " + key_ + " key = keys_in[item];\n  " + count_ +
            " low = begin, high = end;\n"
            "  while (low < high) {\n    const " +
            count_ + " half_way = low + (high - low) / 2;\n    const " + key_ +
            " other = keys_in[row * " + length +
            " + half_way];\n"
            "    if (other < key || (second && other == key)) low = half_way + 1;\n"
            "    else high = half_way;\n  }\n";
    body += "  const " + count_ + " place = at - (second ? middle - pair : 0) + (low - begin);\n";
    if (last) {
      body += lines + "  " + result(unit, out_at, "place", "key", "places_in[item]");
    } else {
      body += "  keys_out[row * " + length + " + place] = key;\n";
      if (positions_) body += "  places_out[row * " + length + " + place] = places_in[item];\n";
    }
    return unit.finish(body, item_groups(in_.size()), kItemThreads);
  }

  const TensorView &in_, &out_;
  const TextTraits& traits_;
  bool positions_, wide_;
  int64_t axis_, length_, rows_, blocks_, key_bytes_;
  std::string key_, count_, index_;
};

TextProgram of_dtype(const TextCall& call, const TextTraits& traits, bool positions) {
  const Dtype d = call.in[0].dtype;
  check_dtype(positions ? "argsort" : "sort", d, traits);
  return SortWriter(call, traits, positions).write();
}

}  // namespace

TextProgram sort(const TextCall& call, const TextTraits& traits) {
  return of_dtype(call, traits, false);
}
TextProgram argsort(const TextCall& call, const TextTraits& traits) {
  return of_dtype(call, traits, true);
}

TextProgram searchsorted(const TextCall& call, const TextTraits& traits) {
  const TensorView &sorted = call.in[0], &values = call.in[1], &out = call.out[0];
  check_dtype("searchsorted", values.dtype, traits);
  TextProgram program;
  if (out.size() == 0) return program;
  const bool right = static_cast<const Params*>(call.params)->read().integer() != 0;
  const bool wide = needs_long(traits, {&sorted, &values, &out});
  const std::string key = key_type(values.dtype), index = wide ? "long" : "int";
  Unit unit(traits, "searchsorted");
  unit.declare(key_functions(values.dtype));
  unit.buffer("sorted", text_type(sorted.dtype), 0, false, itemsize(sorted.dtype));
  unit.buffer("values", text_type(values.dtype), 1, false, itemsize(values.dtype));
  unit.buffer("out", text_type(out.dtype), 2, true, itemsize(out.dtype));
  Walk walk(unit, "i", values.shape, {values.strides}, wide);
  std::string body = item_lines(unit, out.size(), wide) + walk.split("item", "  ");
  body += "  const " + key + " key = encode(" +
          spell_load("values[" + walk.index(0) + "]", values.dtype) + ");\n  " + index +
          " low = 0, high = " + unit.field("length", sorted.shape[0], wide) + ";\n";
  body += "  while (low < high) {\n    const " + index +
          " half_way = low + (high - low) / 2;\n    const " + key + " there = encode(" +
          spell_load("sorted[half_way * " + unit.field("step", sorted.strides[0], wide) + "]",
                     sorted.dtype) +
          ");\n    if (there " + (right ? "<=" : "<") +
          " key) low = half_way + 1;\n    else high = half_way;\n  }\n";
  body += std::string("  out[item] = ") + text_type(out.dtype) + "(low);\n";
  program.launches.push_back(unit.finish(body, item_groups(out.size()), kItemThreads));
  return program;
}

}  // namespace lamina::text

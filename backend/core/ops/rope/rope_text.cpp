// Rotary positions as kernel text: a thread has one pair of a few heads, whose angle they share.
#include <algorithm>
#include <bit>

#include "kernels/spell.h"
#include "kernels/walk.h"
#include "ops/rope/rope_call.h"

namespace lamina::text {
namespace {

// Heads of a thread where there are threads enough.
constexpr int64_t kHeads = 4;

std::string float_word(Unit& unit, const std::string& name, float value) {
  return "bits_as_float(" + unit.word(name, std::bit_cast<uint32_t>(value)) + ")";
}

std::string angle_lines(Unit& unit, const RopeCall& c, const std::string& index) {
  std::string out = "  const float start = ";
  if (c.offsets >= 0)
    out += "float(offsets[b * " + index + "(" +
           unit.field("offset_stride", c.offsets_view.strides[0]) + ")]);\n";
  else
    out += float_word(unit, "start", static_cast<float>(c.how.offset)) + ";\n";
  out += "  const float place = (float(t) + start) * " +
         float_word(unit, "scale", static_cast<float>(c.how.scale)) + ";\n";
  if (c.freqs >= 0)
    out += "  const float rate = 1.0f / freqs[c * " + index + "(" +
           unit.field("freq_stride", c.freqs_view.strides[0]) + ")];\n";
  else
    out += "  const float rate = precise::exp(float(c) * " +
           float_word(unit, "log_rate", c.log_rate()) + ");\n";
  return out + "  const float cosine = precise::cos(place * rate);\n  const float sine = " +
         (c.how.inverse ? "-" : "") + "precise::sin(place * rate);\n";
}

}  // namespace

TextProgram rope(const TextCall& call, const TextTraits& traits) {
  const RopeCall c(*static_cast<const Params*>(call.params), call.in, call.out);
  TextProgram program;
  if (c.out.size() == 0) return program;
  const Dtype d = c.out.dtype;
  const int64_t columns = c.width() - c.half();
  const int64_t alone = c.batch() * c.length() * columns;
  const int64_t each = alone * c.heads() < int64_t{traits.cores} * 2048 ? 1 : kHeads;
  const int64_t parts = (c.heads() + each - 1) / each, items = alone * parts;
  const bool wide = needs_long(traits, {&c.x, &c.out}, items);
  const std::string index = wide ? "long" : "int", count = wide ? "ulong" : "uint";
  Unit unit(traits, "rope");
  const std::string type = text_type(d);
  unit.buffer("x", type, 0, false, itemsize(d));
  if (c.offsets >= 0) unit.buffer("offsets", "int", c.offsets, false, 4);
  if (c.freqs >= 0) unit.buffer("freqs", "float", c.freqs, false, 4);
  unit.buffer("out", type, c.out_operand, true, itemsize(d));
  std::string body = item_lines(unit, items, wide) + "  " + count + " rest = item;\n";
  auto split = [&](const std::string& name, int64_t size) {
    body += "  const " + index + " " + name + " = " + (wide ? "next_index_wide(" : "next_index(") +
            "rest, " + unit.divisor("_" + name, size, wide) + ");\n";
  };
  split("c", columns);
  split("t", c.length());
  split("part", parts);
  const std::string half = unit.field("half_dims", c.half(), wide);
  const std::string heads = unit.field("heads", c.heads(), wide);
  const std::string number = unit.field("each", each, wide);
  body += "  const " + index + " b = " + index + "(rest), first = part * " + number +
          ";\n  const " + index + " end = min(first + " + number + ", " + heads + ");\n";
  auto stride = [&](size_t axis) {
    return unit.field("x_stride" + std::to_string(axis), c.x.strides[axis], wide);
  };
  body += "  device const " + type + "* from = x + b * " + stride(0) + " + t * " + stride(2) +
          ";\n  device " + type + "* to = out + (b * " + heads + " * " +
          unit.field("length", c.length(), wide) + " + t) * " +
          unit.field("width", c.width(), wide) + ";\n  const " + index +
          " head = " + unit.field("head_size", c.length() * c.width(), wide) + ";\n";
  const std::string each_head = "  for (" + index + " h = first; h < end; ++h) {\n";
  const std::string of_x = "from[h * " + stride(1) + " + ";
  if (columns > c.half())
    body += "  if (c >= " + half + ") {\n  " + each_head + "      to[h * head + c + " + half +
            "] = " + of_x + "(c + " + half + ") * " + stride(3) + "];\n    }\n    return;\n  }\n";
  body += angle_lines(unit, c, index);
  body += "  const " + index + " one = c" + (c.how.traditional ? " * 2" : "") +
          ", two = " + (c.how.traditional ? "one + 1" : "c + " + half) + ";\n" + each_head;
  auto value = [&](const char* name) {
    return "    const float " + std::string(name) +
           "_x = " + spell_load(of_x + name + " * " + stride(3) + "]", d) + ";\n";
  };
  body += value("one") + value("two");
  auto store = [&](const char* name, const std::string& text) {
    return "    to[h * head + " + std::string(name) +
           "] = " + spell_store({text, Dtype::float32}, d) + ";\n";
  };
  body += store("one", "(one_x * cosine - two_x * sine)") +
          store("two", "(one_x * sine + two_x * cosine)") + "  }\n";
  program.launches.push_back(unit.finish(body, item_groups(items), kItemThreads));
  return program;
}

}  // namespace lamina::text

#include "ops/random/random_text.h"

#include "kernels/walk.h"

namespace lamina::text {
namespace {

constexpr const char* kThreefry = R"(
// Threefry-2x32 with 20 rounds: (x, y) encrypted by the key.
inline uint rotated(uint x, uint by) { return (x << by) | (x >> (32 - by)); }
inline void threefry(uint a, uint b, thread uint& x, thread uint& y) {
  const uint schedule[3] = {a, b, a ^ b ^ 0x1BD11BDAu};
  const uint turns[8] = {13, 15, 26, 6, 17, 29, 16, 24};
  x += a;
  y += b;
  UNROLL
  for (uint group = 0; group < 5; ++group) {
    UNROLL
    for (uint r = 0; r < 4; ++r) {
      x += y;
      y = rotated(y, turns[group % 2 * 4 + r]) ^ x;
    }
    x += schedule[(group + 1) % 3];
    y += schedule[(group + 2) % 3] + group + 1;
  }
}
)";

}  // namespace

TextProgram random_bits(const TextCall& call, const TextTraits& traits) {
  const TensorView &keys = call.in[0], &out = call.out[0];
  TextProgram program;
  if (out.size() == 0) return program;
  // Every key fills its share: counter c gives word c and word c + half (rounded up).
  const int64_t shares = keys.size() / 2, width = itemsize(out.dtype);
  const int64_t bytes = out.size() / shares * width;
  const int64_t words = (bytes + 3) / 4, half = words / 2, counters = half + words % 2;
  const bool wide = needs_long(traits, {&keys, &out}, shares * counters);
  const std::string count = wide ? "ulong" : "uint", index = wide ? "long" : "int";
  Unit unit(traits, "random_bits");
  unit.buffer("keys", "uint", 0, false, 4);
  const std::string type = word_type(width);
  unit.buffer("out", type, 1, true, width);
  unit.declare(kThreefry);
  const auto rank = keys.shape.size();
  Walk walk(unit, "k", Shape(keys.shape.begin(), keys.shape.end() - 1),
            {without_axis(keys.strides, static_cast<int64_t>(rank) - 1)}, wide);
  const std::string per = std::to_string(4 / width);
  // The elements of one word, as far as the share reaches.
  unit.declare("inline void put(device " + type + "* share, " + count + " word, uint value, " +
               count + " length) {\n  UNROLL\n  for (uint e = 0; e < " + per +
               "; ++e) {\n    const " + count + " at = word * " + per +
               " + e;\n    if (at < length) share[at] = " + type + "(value >> (e * " +
               std::to_string(8 * width) + "));\n  }\n}\n");
  std::string body = item_lines(unit, shares * counters, wide);
  body += "  " + count + " key = item;\n  const " + count + " counter = " + count + "(" +
          (wide ? "next_index_wide(key, " : "next_index(key, ") +
          unit.divisor("_counters", counters, wide) + "));\n" + walk.split("key", "  ");
  const std::string at = walk.index(0);
  const std::string step = unit.field("step", keys.strides[rank - 1], wide);
  const std::string h = count + "(" + unit.field("pairs", half, wide) + ")";
  const std::string second = count + "(" + unit.field("second", counters, wide) + ")";
  const std::string length = count + "(" + unit.field("length", out.size() / shares, wide) + ")";
  body +=
      "  uint x = uint(counter), y = counter < " + h + " ? uint(counter + " + second + ") : 0u;\n";
  body += "  threefry(keys[" + at + "], keys[" + joined_sum({at == "0" ? "" : at, step}) +
          "], x, y);\n";
  body += "  device " + type + "* share = out + key * " + length + ";\n";
  body += "  put(share, counter, x, " + length + ");\n";
  body += "  if (counter < " + h + ") put(share, counter + " + second + ", y, " + length + ");\n";
  program.launches.push_back(unit.finish(body, item_groups(shares * counters), kItemThreads));
  return program;
}

}  // namespace lamina::text

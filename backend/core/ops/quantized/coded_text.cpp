#include "ops/quantized/coded_text.h"

#include <algorithm>

#include "graph/params.h"
#include "kernels/spell.h"
#include "kernels/walk.h"
#include "ops/quantized/coded_rules.h"

namespace lamina::text {
namespace {

// Sign, four bits of exponent, three of fraction, no infinity.
constexpr const char* kE4M3 = R"(
inline float e4m3_value(uint code) {
  const uint size = code & 0x7fu;
  const float large = bits_as_float((size << 20) + (120u << 23)), small = float(size) * 0.001953125f;
  const float magnitude = size == 0x7fu ? NAN : (size < 8u ? small : large);
  return code < 0x80u ? magnitude : -magnitude;
}
)";
// Sign, two bits of exponent, one of fraction: 0, 0.5, 1, 1.5, 2, 3, 4, 6.
constexpr const char* kE2M1 = R"(
inline float e2m1_value(uint code) {
  const uint size = code & 7u;
  const float magnitude = size < 2u ? float(size) * 0.5f : bits_as_float((size << 22) + (126u << 23));
  return bits_as_float(bits_as_uint(magnitude) | ((code & 8u) << 28));
}
)";
// A whole power of two; the lowest is no normal number.
constexpr const char* kE8M0 = R"(
inline float e8m0_value(uint code) { return bits_as_float(code == 0u ? 0x400000u : code << 23); }
)";

std::string text(int64_t n) { return std::to_string(n); }

Shape leading(const TensorView& v) { return Shape(v.shape.begin(), v.shape.end() - 2); }
Strides leading_strides(const TensorView& v) {
  return Strides(v.strides.begin(), v.strides.end() - 2);
}

constexpr const char* kNames[] = {"words", "scales", "biases"};

}  // namespace

CodedChunks::CodedChunks(std::span<const TensorView> in, int operand, const Quantization& q,
                         int64_t least, const TextTraits& traits, bool wide)
    : in_(in.subspan(0, q.affine() ? 3 : 2)),
      operand_(operand),
      q_(q),
      traits_(traits),
      wide_(wide),
      codes_(32 % q.bits == 0 ? std::max(least, 32 / q.bits) : 32),
      words_(codes_ * q.bits / 32) {
  const TensorView& words = in_[0];
  pack_ = (words_ == 2 || words_ == 4) && words_ * 4 <= traits.vector_bytes &&
          words.strides.back() == 1;
  for (size_t d = 0; d + 1 < words.strides.size(); ++d)
    pack_ = pack_ && words.strides[d] % words_ == 0;
}

int64_t CodedChunks::matrices() const { return element_count(leading(in_[0])); }

std::string CodedChunks::arguments() const {
  return std::string("words_at, scales_at") + (q_.affine() ? ", biases_at" : "");
}

void CodedChunks::declare(Unit& unit) const {
  std::string parameters, lines;
  const std::string index = wide_ ? "long" : "int";
  for (size_t i = 0; i < in_.size(); ++i) {
    const std::string type = text_type(in_[i].dtype), name = kNames[i];
    unit.buffer(name, type, operand_ + static_cast<int>(i), false,
                i == 0 && pack_ ? words_ * 4 : itemsize(in_[i].dtype));
    parameters += "device const " + type + "* " + name + ", ";
  }
  unit.declare("struct Chunk {\n  uint words[" + text(words_) + "];\n  float scale" +
               (q_.affine() ? ", bias" : "") + ";\n};\n");
  auto row = [&](size_t i) {
    const int64_t s = in_[i].strides[in_[i].strides.size() - 2];
    return index + "(row) * " + unit.field(std::string(kNames[i]) + "_row", s, wide_);
  };
  auto step = [&](size_t i, const std::string& at) {
    const int64_t s = in_[i].strides.back();
    return s == 1 ? at : "(" + at + ") * " + unit.field(std::string(kNames[i]) + "_step", s, wide_);
  };
  lines += "  const " + index + " word = " + index + "(number) * " + text(words_) +
           ", group = " + index + "(number / " + text(q_.group / codes_) + ");\n  Chunk out;\n";
  if (pack_) {
    const std::string pack = unit.pack("uint", 4, static_cast<int>(words_));
    lines += "  const " + pack + " all = *(device const " + pack + "*)(words + " + row(0) +
             " + word);\n  UNROLL\n  for (uint i = 0; i < " + text(words_) +
             "; ++i) out.words[i] = all.v[i];\n";
  } else {
    lines += "  UNROLL\n  for (uint i = 0; i < " + text(words_) + "; ++i) out.words[i] = words[" +
             row(0) + " + " + step(0, "word + " + index + "(i)") + "];\n";
  }
  const std::string scale = "scales[" + row(1) + " + " + step(1, "group") + "]";
  if (q_.affine()) {
    lines += "  out.scale = float(" + scale + ");\n  out.bias = float(biases[" + row(2) + " + " +
             step(2, "group") + "]);\n";
  } else {
    const bool nvidia = q_.mode == QuantMode::nvfp4;
    if (nvidia || q_.bits == 8) unit.declare(kE4M3);
    if (!nvidia) unit.declare(kE8M0);
    if (q_.bits == 4) unit.declare(kE2M1);
    lines += std::string("  out.scale = ") + (nvidia ? "e4m3" : "e8m0") + "_value(uint(" + scale +
             "));\n";
  }
  unit.declare("inline Chunk take(" + parameters + "constant Block& p, uint row, uint number) {\n" +
               lines + "  return out;\n}\n");
  const std::string bits = text(q_.bits);
  std::string value =
      "  const uint bit = e * " + bits + ";\n  uint code = c.words[bit / 32] >> " + "(bit % 32);\n";
  if (32 % q_.bits)
    value +=
        "  if (bit % 32 + " + bits + " > 32) code |= c.words[bit / 32 + 1] << (32 - bit % 32);\n";
  if (q_.bits < 32) value += "  code &= " + text((1 << q_.bits) - 1) + "u;\n";
  // 2^23 + code is exact, and cheaper than a conversion.
  value += q_.affine()
               ? "  return (bits_as_float(0x4b000000u | code) - 8388608.0f) * c.scale + c.bias;\n"
               : std::string("  return ") + (q_.bits == 8 ? "e4m3" : "e2m1") +
                     "_value(code) * c.scale;\n";
  unit.declare("inline float value_of(thread const Chunk& c, uint e) {\n" + value + "}\n");
}

std::string CodedChunks::place(Unit& unit, const std::string& number,
                               const std::string& indent) const {
  std::vector<Strides> strides;
  for (const TensorView& v : in_) strides.push_back(leading_strides(v));
  Walk walk(unit, "w", leading(in_[0]), strides, wide_);
  std::string out = walk.split(number, indent);
  for (size_t i = 0; i < in_.size(); ++i)
    out += indent + "device const " + text_type(in_[i].dtype) + "* " + kNames[i] +
           "_at = " + kNames[i] + " + " + walk.index(i) + ";\n";
  return out;
}

TextProgram dequantize(const TextCall& call, const TextTraits& traits) {
  Params::Reader r = static_cast<const Params*>(call.params)->read();
  const Quantization q = read_quantization(r);
  const TensorView& out = call.out[0];
  TextProgram program;
  if (out.size() == 0) return program;
  bool wide = needs_long(traits, {&out});
  for (const TensorView& v : call.in) wide |= needs_long(traits, {&v});
  Unit unit(traits, "dequantize");
  CodedChunks chunks(call.in, 0, q, 1, traits, wide);
  chunks.declare(unit);
  const int64_t size = itemsize(out.dtype), codes = chunks.codes();
  const int64_t n = std::min<int64_t>(codes, std::max<int64_t>(1, traits.vector_bytes / size));
  const std::string type = text_type(out.dtype), count = wide ? "ulong" : "uint";
  unit.buffer("out", type, static_cast<int>(call.in.size()), true, n * size);
  const int64_t items = out.size() / codes, per_row = chunks.columns() / codes;
  auto next = [&](const char* name, int64_t along) {
    return std::string("  const uint ") + name + " = uint(" +
           (wide ? "next_index_wide(rest, " : "next_index(rest, ") +
           unit.divisor(std::string("_") + name, along, wide) + "));\n";
  };
  std::string body = item_lines(unit, items, wide) + "  " + count + " rest = item;\n" +
                     next("number", per_row) + next("row", chunks.rows()) +
                     chunks.place(unit, "rest", "  ");
  body += "  const Chunk c = take(" + chunks.arguments() + ", p, row, number);\n";
  const std::string value = spell_store({"value_of(c, e + q)", Dtype::float32}, out.dtype);
  const std::string pack = n > 1 ? unit.pack(type, size, static_cast<int>(n)) : type;
  body += "  UNROLL\n  for (uint e = 0; e < " + text(codes) + "; e += " + text(n) + ") {\n";
  if (n > 1) {
    body += "    " + pack + " y;\n    UNROLL\n    for (uint q = 0; q < " + text(n) +
            "; ++q) y.v[q] = " + value + ";\n    *(device " + pack + "*)(out + item * " +
            text(codes) + " + e) = y;\n";
  } else {
    body += "    const uint q = 0;\n    out[item * " + text(codes) + " + e] = " + value + ";\n";
  }
  program.launches.push_back(unit.finish(body + "  }\n", item_groups(items), kItemThreads));
  return program;
}

}  // namespace lamina::text

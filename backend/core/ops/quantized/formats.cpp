#include "ops/quantized/formats.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "ops/ops.h"

namespace lamina {
namespace {

struct ModeRow {
  const char* name;
  QuantMode mode;
  std::vector<int64_t> groups, bits;
  int64_t usual_group, usual_bits;
};

const std::vector<ModeRow>& modes() {
  static const std::vector<ModeRow> rows{
      {"affine", QuantMode::affine, {32, 64, 128}, {1, 2, 3, 4, 5, 6, 8}, 64, 4},
      {"mxfp4", QuantMode::mxfp4, {32}, {4}, 32, 4},
      {"mxfp8", QuantMode::mxfp8, {32}, {8}, 32, 8},
      {"nvfp4", QuantMode::nvfp4, {16}, {4}, 16, 4}};
  return rows;
}

const char* name_of(QuantMode mode) { return modes()[static_cast<size_t>(mode)].name; }

int64_t pick(const char* op, const char* what, const ModeRow& row, std::optional<int64_t> given,
             const std::vector<int64_t>& allowed, int64_t usual) {
  const int64_t v = given.value_or(usual);
  if (std::find(allowed.begin(), allowed.end(), v) != allowed.end()) return v;
  std::string list;
  for (size_t i = 0; i < allowed.size(); ++i)
    list += (i == 0 ? "" : i + 1 == allowed.size() ? " or " : ", ") + std::to_string(allowed[i]);
  throw ValueError(std::string(op) + ": mode '" + row.name + "' has no " + what + " " +
                   std::to_string(v) + "\nUse " + what + "=" + list);
}

std::string described(const Quantization& q) {
  return "group_size=" + std::to_string(q.group) + ", bits=" + std::to_string(q.bits);
}

bool same_leading(const Array& a, const Array& b, int64_t axes) {
  return std::equal(a.shape().begin(), a.shape().begin() + axes, b.shape().begin());
}

void check_biases(const std::string& op, const Quantized& w, const Quantization& q) {
  if (!q.affine()) {
    if (w.biases)
      throw ValueError(op + ": mode '" + name_of(q.mode) + "' has no biases\nLeave them out");
    if (w.scales.dtype() != Dtype::uint8)
      throw DtypeError(op + ": scales of mode '" + name_of(q.mode) + "' are uint8, got " +
                       lamina::name_of(w.scales.dtype()) + "\nPass what quantize gave");
    return;
  }
  if (!w.biases)
    throw ValueError(op +
                     ": mode 'affine' needs biases\nPass what quantize gave, or name the mode");
  if (!is_floating(w.scales.dtype()) || !is_floating(w.biases.dtype()))
    throw DtypeError(op + ": scales and biases must be floating, got " +
                     lamina::name_of(w.scales.dtype()) + " and " +
                     lamina::name_of(w.biases.dtype()));
  if (!(w.scales.shape() == w.biases.shape()))
    throw ShapeError(op + ": scales " + to_string(w.scales.shape()) + " and biases " +
                     to_string(w.biases.shape()) + " differ in shape");
}

}  // namespace

Quantization quantization(const char* op, const std::string& mode, std::optional<int64_t> group,
                          std::optional<int64_t> bits) {
  for (const ModeRow& row : modes()) {
    if (row.name != mode) continue;
    return {row.mode, pick(op, "group_size", row, group, row.groups, row.usual_group),
            pick(op, "bits", row, bits, row.bits, row.usual_bits)};
  }
  throw ValueError(std::string(op) + ": there is no mode '" + mode +
                   "'\nUse mode='affine', 'mxfp4', 'mxfp8' or 'nvfp4'");
}

cpu::Code code_of(const Quantization& q) {
  if (!q.affine()) return q.bits == 8 ? cpu::Code::e4m3 : cpu::Code::e2m1;
  return q.bits == 8 ? cpu::Code::bits8 : static_cast<cpu::Code>(q.bits - 1);
}

int64_t columns_of(const Array& words, const Quantization& q) {
  return words.shape(-1) * 32 / q.bits;
}

Quantized checked(const char* op_name, const Quantized& w, const Quantization& q) {
  const std::string op = op_name;
  if (w.words.dtype() != Dtype::uint32)
    throw DtypeError(op + ": w must be uint32 words, got " + lamina::name_of(w.words.dtype()) +
                     "\nPass what quantize gave");
  if (w.words.ndim() < 2)
    throw ShapeError(op + ": w needs 2 axes or more, got " + to_string(w.words.shape()));
  check_biases(op, w, q);
  const int64_t rank = w.words.ndim();
  const bool fits = w.scales.ndim() == rank && same_leading(w.words, w.scales, rank - 1) &&
                    w.words.shape(-1) * 32 == w.scales.shape(-1) * q.group * q.bits;
  if (!fits)
    throw ShapeError(op + ": w " + to_string(w.words.shape()) + " and scales " +
                     to_string(w.scales.shape()) + " do not fit " + described(q) +
                     "\nPass the group_size, bits and mode that quantize was given");
  if (!w.biases) return w;
  const Dtype d = promote(w.scales.dtype(), w.biases.dtype());
  return {w.words, astype(w.scales, d), astype(w.biases, d)};
}

void check_global_scale(const char* op, const Array& global_scale, const Quantization& q) {
  if (!global_scale) return;
  if (q.mode != QuantMode::nvfp4)
    throw ValueError(std::string(op) + ": only mode 'nvfp4' has a global scale, got mode '" +
                     name_of(q.mode) + "'");
  if (global_scale.size() != 1)
    throw ShapeError(std::string(op) + ": the global scale must have one element, got " +
                     to_string(global_scale.shape()));
  if (global_scale.dtype() != Dtype::float32)
    throw DtypeError(std::string(op) + ": the global scale must be float32, got " +
                     lamina::name_of(global_scale.dtype()));
}

Array global_unit(const Array& global_scale) { return reshape(global_scale, {}) / kGlobalRange; }

void check_floating(const char* op, const char* what, Dtype d) {
  if (!is_floating(d))
    throw DtypeError(std::string(op) + ": " + what + " must be floating, got " +
                     lamina::name_of(d));
}

}  // namespace lamina

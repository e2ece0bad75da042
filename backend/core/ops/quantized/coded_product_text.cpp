// Products with matrices of codes as kernel text: few rows decode in registers, many decode the
// matrix once and go through tiles.
#include <algorithm>

#include "graph/params.h"
#include "kernels/programs.h"
#include "kernels/walk.h"
#include "ops/matmul/matmul_text.h"
#include "ops/matmul/thin_text.h"
#include "ops/quantized/coded_rules.h"
#include "ops/quantized/coded_text.h"

namespace lamina::text {
namespace {

// Rows up to which a matrix whose codes lie along the columns is not decoded as a whole: such a
// product reads it again for every few rows.
constexpr int64_t kRowsAlongColumns = 8;

struct Product {
  Quantization q;
  bool transpose;
  std::span<const TensorView> codes;
  const TensorView &x, &out;
  int out_operand;
  Numbers left, right;

  int64_t rows() const { return out.shape[out.shape.size() - 2]; }
};

Product product_of(const TextCall& call, bool gathered) {
  Params::Reader r = static_cast<const Params*>(call.params)->read();
  const Quantization q = read_quantization(r);
  const bool transpose = r.integer() != 0;
  const size_t count = q.affine() ? 3 : 2;
  Product p{q,          transpose,   call.in.subspan(1, count),
            call.in[0], call.out[0], static_cast<int>(call.in.size()),
            Numbers{},  Numbers{}};
  if (gathered) {
    const int at = static_cast<int>(count) + 1;
    p.left = {&call.in[count + 1], at};
    p.right = {&call.in[count + 2], at + 1};
  }
  return p;
}

// Codes that a thread takes at once: 16 bytes, less where the depth would leave lanes without work.
int64_t chunk_along_depth(const Quantization& q, int64_t depth) {
  int64_t codes = std::min<int64_t>({128 / q.bits, 32, q.group});
  while (codes > 8 && depth / codes < 32) codes /= 2;
  return codes;
}

TextProgram thin(const Product& p, const TextTraits& traits, const char* name, bool wide) {
  const int64_t codes = p.transpose ? chunk_along_depth(p.q, p.x.shape.back()) : 1;
  const CodedChunks chunks(p.codes, 1, p.q, codes, traits, wide);
  ThinRight right;
  right.chunk = chunks.codes();
  right.along_depth = p.transpose;
  right.matrices = chunks.matrices();
  right.declare = [&](Unit& unit) { chunks.declare(unit); };
  right.place = [&](Unit& unit, const std::string& number, const std::string& indent) {
    return chunks.place(unit, number, indent);
  };
  right.arguments = chunks.arguments();
  const int64_t items = p.out.size() / (p.rows() * p.out.shape.back());
  return write_thin({name, &p.x, &p.out, p.out_operand, items, p.left, p.right, right, wide},
                    traits);
}

// A view whose repeated matrices are left out.
TensorView once(TensorView v) {
  for (size_t d = 0; d + 2 < v.shape.size(); ++d)
    if (v.strides[d] == 0) v.shape[d] = 1;
  return v;
}

TextProgram decoded(const Product& p, const TextTraits& traits) {
  std::vector<TensorView> codes;
  for (const TensorView& v : p.codes) codes.push_back(p.left.view ? v : once(v));
  TensorView dense{nullptr, p.x.dtype, codes[0].shape, {}};
  // Views of one matrix may be repeated along different axes.
  for (const TensorView& v : codes)
    for (size_t d = 0; d + 2 < v.shape.size(); ++d)
      dense.shape[d] = std::max(dense.shape[d], v.shape[d]);
  for (TensorView& v : codes)
    for (size_t d = 0; d + 2 < v.shape.size(); ++d) v.shape[d] = dense.shape[d];
  dense.shape.back() = codes[1].shape.back() * p.q.group;
  dense.strides = row_major_strides(dense.shape);
  TextProgram program;
  const int matrix = add_temporary(program, dense.size() * itemsize(dense.dtype));
  const Params params = params_of(p.q);
  std::vector<int> operands;
  for (size_t i = 0; i < codes.size(); ++i) operands.push_back(static_cast<int>(i) + 1);
  operands.push_back(matrix);
  append(program, dequantize({&params, codes, {&dense, 1}}, traits), operands);
  for (size_t d = 0; d + 2 < dense.shape.size(); ++d)
    if (!p.left.view && dense.shape[d] == 1) {
      dense.shape[d] = p.codes[0].shape[d];
      dense.strides[d] = 0;
    }
  if (p.transpose) {
    const size_t rank = dense.shape.size();
    std::swap(dense.shape[rank - 2], dense.shape[rank - 1]);
    std::swap(dense.strides[rank - 2], dense.strides[rank - 1]);
  }
  if (!p.left.view) {
    const TensorView in[] = {p.x, dense};
    append(program, matmul({nullptr, in, {&p.out, 1}}, traits),
           std::vector<int>{0, matrix, p.out_operand});
  } else {
    const TensorView in[] = {p.x, dense, *p.left.view, *p.right.view};
    append(program, gather_mm({nullptr, in, {&p.out, 1}}, traits),
           std::vector<int>{0, matrix, p.left.operand, p.right.operand, p.out_operand});
  }
  return program;
}

TextProgram write(const TextCall& call, const TextTraits& traits, const char* name, bool gathered) {
  const Product p = product_of(call, gathered);
  if (p.out.size() == 0) return {};
  bool wide = needs_long(traits, {&p.out});
  for (const TensorView& v : call.in) wide |= needs_long(traits, {&v});
  const int64_t most = p.transpose ? kThinRows : kRowsAlongColumns;
  return p.rows() <= most ? thin(p, traits, name, wide) : decoded(p, traits);
}

}  // namespace

TextProgram quantized_matmul(const TextCall& call, const TextTraits& traits) {
  return write(call, traits, "quantized_matmul", false);
}
TextProgram gather_qmm(const TextCall& call, const TextTraits& traits) {
  return write(call, traits, "gather_qmm", true);
}

}  // namespace lamina::text

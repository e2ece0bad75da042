#include "ops/matmul/matmul_text.h"

#include "kernels/epilogue_text.h"
#include "kernels/formulas.h"
#include "kernels/gemm_text.h"
#include "kernels/spell.h"
#include "kernels/walk.h"
#include "ops/matmul/library_product.h"

namespace lamina::text {
namespace {

// A product with one row or one column, as the fused group multiply + sum, and the epilogue in that
// group. The axis along which the matrix is contiguous goes last.
TextProgram vector_product(const TextCall& call, const TextTraits& traits) {
  const TensorView &a = call.in[0], &b = call.in[1], &out = call.out[0];
  const size_t rank = out.shape.size();
  const int64_t m = out.shape[rank - 2], n = out.shape[rank - 1], k = a.shape[rank - 1];
  const bool row = m == 1;
  const TensorView& matrix = row ? b : a;
  const bool depth_last =
      (row ? b.strides[rank - 2] : a.strides[rank - 1]) == 1 || (row ? n : m) == 1;
  Kernel kernel;
  kernel.kind = KernelKind::reduce;
  Strides sa, sb, so;
  for (size_t d = 0; d + 2 < rank; ++d) {
    kernel.domain.push_back(out.shape[d]);
    sa.push_back(a.strides[d]);
    sb.push_back(b.strides[d]);
    so.push_back(out.strides[d]);
  }
  auto kept = [&] {
    kernel.domain.push_back(row ? n : m);
    sa.push_back(row ? 0 : a.strides[rank - 2]);
    sb.push_back(row ? b.strides[rank - 1] : 0);
    so.push_back(row ? out.strides[rank - 1] : out.strides[rank - 2]);
  };
  auto depth = [&] {
    kernel.reduced = 1u << kernel.domain.size();
    kernel.domain.push_back(k);
    sa.push_back(a.strides[rank - 1]);
    sb.push_back(b.strides[rank - 2]);
    so.push_back(0);
  };
  if (depth_last) {
    kept();
    depth();
  } else {
    depth();
    kept();
  }
  const Dtype d = compute_dtype(matrix.dtype);
  const uint32_t all = (1u << kernel.domain.size()) - 1, results = all & ~kernel.reduced;
  kernel.args = {{a.dtype, false, sa, 0}, {b.dtype, false, sb, 0}, {out.dtype, true, so, 0}};
  kernel.instrs = {
      {.code = Code::load, .dtype = d, .mask = all},
      {.code = Code::load, .dtype = d, .index = 1, .mask = all},
      {.code = Code::op, .dtype = d, .op = formula_id("multiply"), .src = {0, 1, -1}, .mask = all},
      {.code = Code::reduce,
       .dtype = d,
       .op = static_cast<uint16_t>(ReduceOp::sum),
       .src = {2, -1, -1},
       .mask = results},
      {.code = Code::store, .dtype = d, .index = 2, .src = {3, -1, -1}, .mask = results}};
  if (!call.epilogue) return write_text(kernel, traits);
  // The result's axes are those of the sum but for the depth, and the one of size 1 that it lacks.
  std::vector<int> axes = *matched_axes(call.epilogue->kernel.domain, out.shape);
  const int depth_axis = depth_last ? static_cast<int>(rank) - 1 : static_cast<int>(rank) - 2;
  const int kept_axis = depth_last ? depth_axis - 1 : depth_axis + 1;
  for (int& axis : axes)
    if (axis >= static_cast<int>(rank) - 2) axis = kept_axis;
  return write_text(with_epilogue(kernel, *call.epilogue, axes), traits);
}

// Sums of nothing.
TextProgram zeros(const TensorView& a, const TensorView& out, const TextTraits& traits) {
  Kernel kernel;
  kernel.kind = KernelKind::reduce;
  kernel.domain = out.shape;
  Strides so = out.strides, sa(out.shape.size() + 1);
  kernel.reduced = 1u << out.shape.size();
  kernel.domain.push_back(0);
  so.push_back(0);
  const Dtype d = compute_dtype(out.dtype);
  const uint32_t results = kernel.reduced - 1;
  kernel.args = {{a.dtype, false, sa, 0}, {out.dtype, true, so, 0}};
  kernel.instrs = {
      {.code = Code::load, .dtype = d},
      {.code = Code::reduce,
       .dtype = d,
       .op = static_cast<uint16_t>(ReduceOp::sum),
       .src = {0, -1, -1}},
      {.code = Code::store, .dtype = d, .index = 1, .src = {1, -1, -1}, .mask = results}};
  TextProgram program = write_text(kernel, traits);
  for (TextKernel& launch : program.launches)
    for (TextKernel::Bind& b : launch.buffers) b.operand = b.operand == 1 ? 2 : b.operand;
  return program;
}

}  // namespace

TextProgram matmul(const TextCall& call, const TextTraits& traits) {
  const TensorView &a = call.in[0], &b = call.in[1], &out = call.out[0];
  check_dtype("matmul", out.dtype, traits);
  if (out.size() == 0) return {};
  const size_t rank = out.shape.size();
  const int64_t m = out.shape[rank - 2], n = out.shape[rank - 1], k = a.shape[rank - 1];
  if (k == 0) return zeros(a, out, traits);
  if (m == 1 || n == 1) return vector_product(call, traits);
  GemmText g;
  g.name = "matmul";
  g.a_dtype = g.b_dtype = g.out_dtype = out.dtype;
  g.rows = m;
  g.cols = n;
  g.depth = k;
  g.batch = out.size() / (m * n);
  g.out_size = out.size();
  g.epilogue = call.epilogue;
  g.wide = needs_long(traits, {&a, &b, &out});
  g.a_along_depth = a.strides[rank - 1] == 1 || a.strides[rank - 2] != 1;
  g.b_along_depth = b.strides[rank - 2] == 1 && b.strides[rank - 1] != 1;
  const std::string index = g.wide ? "long" : "int";
  const Shape batch(out.shape.begin(), out.shape.end() - 2);
  auto of = [&, index](const TensorView& v, const char* name, const char* i, const char* j) {
    return [&, index, name, i, j](Unit& unit) {
      const std::string prefix = name;
      Strides lead(v.strides.begin(), v.strides.end() - 2);
      Walk walk(unit, prefix + "z", batch, {lead}, g.wide);
      auto term = [&](const char* at, int64_t stride, const std::string& field) {
        std::string position = index + "(" + at + ")";
        return stride == 1 ? position
                           : position + " * " + unit.field(prefix + "_" + field, stride, g.wide);
      };
      std::string at = joined_sum({walk.index(0) == "0" ? "" : walk.index(0),
                                   term(i, v.strides[rank - 2], "stride_" + std::string(i)),
                                   term(j, v.strides[rank - 1], "stride_" + std::string(j))});
      return std::pair(walk.split("z", "  "), at);
    };
  };
  auto value = [](const std::string& element, Dtype d) {
    return "  return " + spell_load(element, d) + ";\n";
  };
  auto a_of = of(a, "a", "row", "k"), b_of = of(b, "b", "k", "col"),
       o_of = of(out, "o", "row", "col");
  g.a_at = [&](Unit& unit) {
    auto [lines, at] = a_of(unit);
    return lines + value("a[" + at + "]", a.dtype);
  };
  g.b_at = [&](Unit& unit) {
    auto [lines, at] = b_of(unit);
    return lines + value("b[" + at + "]", b.dtype);
  };
  g.out_at = [&](Unit& unit) {
    auto [lines, at] = o_of(unit);
    return lines + "  return " + at + ";\n";
  };
  TextProgram program = write_gemm(g, traits);
  // A library knows nothing of the epilogue.
  if (call.epilogue) return program;
  const auto product = library_product(a, b, out);
  program.library = std::make_shared<LibraryWork>(
      product ? LibraryWork{*product} : LibraryWork{TextProduct{out.dtype, a, b, out}, true});
  return program;
}

bool matmul_takes_epilogue(const TextCall& call, const Shape& domain, const TextTraits& traits) {
  const Shape& shape = call.out[0].shape;
  const int64_t depth = call.in[0].shape.back(), results = call.out[0].size();
  if (results == 0 || depth == 0) return false;
  // A product with a vector has the axes of its sum, and no library has it.
  if (shape.back() == 1 || shape[shape.size() - 2] == 1)
    return matched_axes(domain, shape).has_value();
  return results <= traits.epilogue_work / depth;
}

}  // namespace lamina::text

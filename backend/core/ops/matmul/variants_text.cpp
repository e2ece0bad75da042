// Products of gathered matrices and of segments of the summed axis as kernel text.
#include "kernels/gemm_text.h"
#include "kernels/library.h"
#include "kernels/spell.h"
#include "kernels/walk.h"
#include "ops/matmul/matmul_text.h"
#include "ops/matmul/thin_text.h"

namespace lamina::text {
namespace {

Shape leading(const TensorView& v) { return Shape(v.shape.begin(), v.shape.end() - 2); }
Strides leading_strides(const TensorView& v) {
  return Strides(v.strides.begin(), v.strides.end() - 2);
}

// "i * p.name_i + j * p.name_j".
std::string place_in(Unit& unit, const TensorView& v, const std::string& name, const char* i,
                     const char* j, bool wide) {
  const std::string index = wide ? "long" : "int";
  const size_t rank = v.shape.size();
  auto term = [&](const char* at, int64_t stride) {
    const std::string place = index + "(" + at + ")";
    return stride == 1 ? place : place + " * " + unit.field(name + "_" + at, stride, wide);
  };
  return joined_sum({term(i, v.strides[rank - 2]), term(j, v.strides[rank - 1])});
}

bool along(const TensorView& v, bool last) {
  const size_t rank = v.shape.size();
  const int64_t this_one = v.strides[last ? rank - 1 : rank - 2],
                other = v.strides[last ? rank - 2 : rank - 1];
  return last ? this_one == 1 || other != 1 : this_one == 1 && other != 1;
}

GemmText tiles_of(const char* name, const TensorView& a, const TensorView& b, const TensorView& out,
                  bool wide) {
  GemmText g;
  g.name = name;
  g.a_dtype = g.b_dtype = g.out_dtype = out.dtype;
  g.rows = out.shape[out.shape.size() - 2];
  g.cols = out.shape.back();
  g.depth = a.shape.back();
  g.batch = out.size() / (g.rows * g.cols);
  g.out_size = out.size();
  g.wide = wide;
  g.a_along_depth = along(a, true);
  g.b_along_depth = along(b, false);
  const std::string index = wide ? "long" : "int";
  const int64_t rows = g.rows, cols = g.cols;
  g.out_at = [=](Unit& unit) {
    return "  return (" + index + "(z) * " + unit.field("out_rows", rows, wide) + " + " + index +
           "(row)) * " + unit.field("out_cols", cols, wide) + " + " + index + "(col);\n";
  };
  return g;
}

}  // namespace

TextProgram gather_mm(const TextCall& call, const TextTraits& traits) {
  const TensorView &a = call.in[0], &b = call.in[1], &out = call.out[0];
  check_dtype("gather_mm", out.dtype, traits);
  if (out.size() == 0) return {};
  bool wide = needs_long(traits, {&out});
  for (const TensorView& v : call.in) wide |= needs_long(traits, {&v});
  const int64_t rows = out.shape[out.shape.size() - 2];
  const Numbers left{&call.in[2], 2}, right{&call.in[3], 3};
  if (rows <= kThinRows && compute_dtype(out.dtype) == Dtype::float32) {
    const ThinRight factor = dense_right(b, 1, wide, traits);
    if (factor.along_depth || rows <= 8)
      return write_thin({"gather_mm", &a, &out, 4, out.size() / (rows * out.shape.back()), left,
                         right, factor, wide},
                        traits);
  }
  GemmText g = tiles_of("gather_mm", a, b, out, wide);
  g.out_operand = 4;
  g.more = {{"left_numbers", call.in[2].dtype, 2}, {"right_numbers", call.in[3].dtype, 3}};
  auto element = [&](const TensorView& v, const char* name, const Numbers& numbers, const char* i,
                     const char* j) {
    return [&v, &numbers, name, i, j, wide](Unit& unit) {
      const std::string side = numbers.operand == 2 ? "left" : "right";
      Walk walk(unit, name, leading(v), {leading_strides(v)}, wide);
      std::string lines =
          "  bool inside = true;\n" +
          number_lines(unit, numbers, side, element_count(leading(v)), "z", wide, "  ", false) +
          walk.split(side, "  ");
      const std::string at = joined_sum({walk.index(0), place_in(unit, v, name, i, j, wide)});
      return lines + "  return inside ? " +
             spell_load(std::string(name) + "[" + at + "]", v.dtype) + " : " +
             spell_identity(ReduceOp::sum, compute_dtype(v.dtype)) + ";\n";
    };
  };
  g.a_at = element(a, "a", left, "row", "k");
  g.b_at = element(b, "b", right, "k", "col");
  TextProgram program = write_gemm(g, traits);
  program.library = std::make_shared<LibraryWork>(LibraryWork{
      TextProduct{out.dtype, a, b, out, call.in[2], call.in[3]}, true, 0, 0, {0, 1, 4}, {2, 3}});
  return program;
}

TextProgram segmented_mm(const TextCall& call, const TextTraits& traits) {
  const TensorView &a = call.in[0], &b = call.in[1], &segments = call.in[2], &out = call.out[0];
  check_dtype("segmented_mm", out.dtype, traits);
  if (out.size() == 0) return {};
  const bool wide = needs_long(traits, {&a, &b, &segments, &out});
  GemmText g = tiles_of("segmented_mm", a, b, out, wide);
  g.out_operand = 3;
  g.may_split = false;
  g.more = {{"segments", segments.dtype, 2}};
  auto element = [&](const TensorView& v, const char* name, const char* i, const char* j) {
    return [&v, name, i, j, wide](Unit& unit) {
      return "  return " +
             spell_load(std::string(name) + "[" + place_in(unit, v, name, i, j, wide) + "]",
                        v.dtype) +
             ";\n";
    };
  };
  g.a_at = element(a, "a", "row", "k");
  g.b_at = element(b, "b", "k", "col");
  g.depth_at = [&](Unit& unit) {
    const size_t last = segments.shape.size() - 1;
    Walk walk(unit, "s", Shape(segments.shape.begin(), segments.shape.end() - 1),
              {without_axis(segments.strides, static_cast<int64_t>(last))}, wide);
    const std::string at = walk.index(0), depth = unit.field("depth_end", g.depth, true);
    auto end = [&](const std::string& name, const std::string& place) {
      // A segment that reaches outside is cut.
      return "  const uint " + name + " = uint(min(max(long(segments[" + place + "]), long(0)), " +
             depth + "));\n";
    };
    return walk.split("z", "  ") + end("begin", at) +
           end("end", joined_sum({at == "0" ? "" : at,
                                  unit.field("segment_step", segments.strides[last], wide)}));
  };
  TextProgram program = write_gemm(g, traits);
  program.library = std::make_shared<LibraryWork>(
      LibraryWork{TextProduct{out.dtype, a, b, out, {}, {}, segments}, true, 0, 0, {0, 1, 3}, {2}});
  return program;
}

}  // namespace lamina::text

#include "ops/conv/conv_text.h"

#include "graph/params.h"
#include "kernels/gemm_text.h"
#include "kernels/spell.h"
#include "kernels/walk.h"
#include "ops/conv/library_convolution.h"

namespace lamina::text {
namespace {

// Sizes and strides of one convolution, and the lines of text that walk it. `z` is the group.
class Convolution {
 public:
  Convolution(const TextCall& call, const TextTraits& traits, const TensorView& input,
              const TensorView& weight, const TensorView& output)
      : input_(input), weight_(weight), output_(output) {
    Params::Reader r = static_cast<const Params*>(call.params)->read();
    stride_ = r.ints();
    pad_ = r.ints();
    r.ints();
    kernel_dilation_ = r.ints();
    input_dilation_ = r.ints();
    groups = r.integer();
    flip_ = r.integer() != 0;
    wide = needs_long(traits, {&input, &weight, &output});
  }

  size_t spatial() const { return stride_.size(); }
  int64_t batch() const { return input_.shape[0]; }
  int64_t group_in() const { return weight_.shape.back(); }
  int64_t group_out() const { return weight_.shape[0] / groups; }
  int64_t taps() const { return product(weight_); }
  int64_t in_positions() const { return product(input_); }
  int64_t out_positions() const { return product(output_); }
  bool mirrored() const { return flip_; }
  const char* index() const { return wide ? "long" : "int"; }

  int64_t groups;
  bool wide;

  // Splits `from` into the spatial axes of a view, innermost first, as <prefix>0 ..; what is left
  // outside is <prefix>_rest.
  std::string spatial_lines(Unit& unit, const std::string& prefix, const std::string& from,
                            const TensorView& v) const {
    std::string out = "  uint " + prefix + "_rest = " + from + ";\n";
    for (size_t d = spatial(); d-- > 0;)
      out += "  const int " + prefix + std::to_string(d) + " = next_index(" + prefix + "_rest, " +
             unit.divisor("_" + prefix + std::to_string(d), v.shape[d + 1], false) + ");\n";
    return out;
  }
  // Splits one index off the inside of `from`.
  std::string inner_line(Unit& unit, const std::string& name, const std::string& from,
                         const std::string& rest, int64_t size) const {
    return "  uint " + rest + " = " + from + ";\n  const int " + name + " = next_index(" + rest +
           ", " + unit.divisor("_" + name, size, false) + ");\n";
  }
  // The element of a view at image, <prefix>0.., channel, all given as expressions.
  std::string at(Unit& unit, const char* view, const TensorView& v, const std::string& first,
                 const std::string& prefix, const std::string& last) const {
    std::vector<std::string> terms;
    auto term = [&](const std::string& i, size_t axis) {
      int64_t s = v.strides[axis];
      std::string position = std::string(index()) + "(" + i + ")";
      if (s == 0 || v.shape[axis] == 1) return;
      terms.push_back(
          s == 1 ? position
                 : position + " * " +
                       unit.field(std::string(view) + "_stride" + std::to_string(axis), s, wide));
    };
    term(first, 0);
    for (size_t d = 0; d < spatial(); ++d) term(prefix + std::to_string(d), d + 1);
    term(last, spatial() + 1);
    return joined_sum(terms);
  }
  // The input position that output position o<d> sees through tap t<d>, as i<d>; `inside`.
  std::string seen_lines(Unit& unit) const {
    std::string out = "  bool inside = true;\n";
    for (size_t d = 0; d < spatial(); ++d) {
      const std::string n = std::to_string(d);
      std::string p = "o" + n + " * " + unit.field("step" + n, stride_[d]) + " + t" + n + " * " +
                      unit.field("dilation" + n, kernel_dilation_[d]) + " - " +
                      unit.field("pad" + n, pad_[d]);
      out += divided(unit, "i" + n, p, "apart" + n, input_dilation_[d], input_.shape[d + 1]);
    }
    return out;
  }
  // The output position o<d> that sees input position i<d> through tap t<d>.
  std::string seeing_lines(Unit& unit) const {
    std::string out = "  bool inside = true;\n";
    for (size_t d = 0; d < spatial(); ++d) {
      const std::string n = std::to_string(d);
      std::string p = "i" + n + " * " + unit.field("apart" + n, input_dilation_[d]) + " + " +
                      unit.field("pad" + n, pad_[d]) + " - t" + n + " * " +
                      unit.field("dilation" + n, kernel_dilation_[d]);
      out += divided(unit, "o" + n, p, "step" + n, stride_[d], output_.shape[d + 1]);
    }
    return out;
  }
  // The element of the weight under tap t<d>, mirrored if the convolution is.
  std::string weight_at(Unit& unit, const std::string& out_channel, const std::string& channel,
                        std::string& lines) const {
    for (size_t d = 0; d < spatial(); ++d) {
      const std::string n = std::to_string(d);
      std::string tap = "t" + n;
      if (flip_) tap = unit.field("last_tap" + n, weight_.shape[d + 1] - 1) + " - t" + n;
      lines += "  const int w" + n + " = " + tap + ";\n";
    }
    return at(unit, "weight", weight_, out_channel, "w", channel);
  }

 private:
  int64_t product(const TensorView& v) const {
    int64_t n = 1;
    for (size_t d = 0; d < spatial(); ++d) n *= v.shape[d + 1];
    return n;
  }
  // "name = p / by" where that is whole and in [0, size).
  std::string divided(Unit& unit, const std::string& name, const std::string& p,
                      const std::string& field, int64_t by, int64_t size) const {
    const std::string limit = unit.field("size_" + name, size);
    if (by == 1)
      return "  const int " + name + " = " + p + ";\n  inside = inside && " + name + " >= 0 && " +
             name + " < " + limit + ";\n";
    const std::string b = unit.field(field, by);
    return "  const int wide_" + name + " = " + p + ", " + name + " = wide_" + name + " / " + b +
           ";\n  inside = inside && wide_" + name + " >= 0 && " + name + " * " + b + " == wide_" +
           name + " && " + name + " < " + limit + ";\n";
  }

  const TensorView &input_, &weight_, &output_;
  Shape stride_, pad_, kernel_dilation_, input_dilation_;
  bool flip_;
};

// What an element's function gives: the element, or zero outside of the image.
std::string guarded(const std::string& element, Dtype d) {
  return "  if (!inside) return 0;\n  return " + spell_load(element, d) + ";\n";
}
std::string channel_of_group(Unit& unit, const std::string& channel, int64_t per_group,
                             const char* field, int64_t groups) {
  return groups == 1 ? channel : "z * " + unit.field(field, per_group) + " + " + channel;
}

GemmText product(const char* name, const Convolution& c, const TextCall& call) {
  GemmText g;
  g.name = name;
  g.a_dtype = call.in[0].dtype;
  g.b_dtype = call.in[1].dtype;
  g.out_dtype = call.out[0].dtype;
  g.batch = c.groups;
  g.wide = c.wide;
  g.out_size = call.out[0].size();
  g.epilogue = call.epilogue;
  return g;
}

TextProgram or_library(TextProgram program, const TextCall& call, LibraryConvolution::Kind kind) {
  // A library knows nothing of the epilogue.
  if (!call.epilogue) program.library = library_convolution(call, kind);
  return program;
}

}  // namespace

// rows: positions of the output; depth: taps and channels; columns: channels of the output.
TextProgram convolution(const TextCall& call, const TextTraits& traits) {
  const TensorView &input = call.in[0], &weight = call.in[1], &out = call.out[0];
  check_dtype("conv", out.dtype, traits);
  if (out.size() == 0) return {};
  Convolution c(call, traits, input, weight, out);
  GemmText g = product("convolution", c, call);
  g.rows = c.batch() * c.out_positions();
  g.cols = c.group_out();
  g.depth = c.taps() * c.group_in();
  g.batch_in_columns = true;
  g.b_along_depth = true;
  g.a_at = [&](Unit& unit) {
    std::string lines = c.spatial_lines(unit, "o", "row", out) +
                        c.inner_line(unit, "channel", "k", "tap", c.group_in()) +
                        c.spatial_lines(unit, "t", "tap", weight) + c.seen_lines(unit);
    std::string channel = channel_of_group(unit, "channel", c.group_in(), "group_in", c.groups);
    return lines +
           guarded("a[" + c.at(unit, "input", input, "o_rest", "i", channel) + "]", input.dtype);
  };
  g.b_at = [&](Unit& unit) {
    std::string lines = c.inner_line(unit, "channel", "k", "tap", c.group_in()) +
                        c.spatial_lines(unit, "t", "tap", weight);
    std::string filter = channel_of_group(unit, "col", c.group_out(), "group_out", c.groups);
    std::string at = c.weight_at(unit, filter, "channel", lines);
    return lines + "  return " + spell_load("b[" + at + "]", weight.dtype) + ";\n";
  };
  g.out_at = [&](Unit& unit) {
    std::string lines = c.spatial_lines(unit, "o", "row", out);
    std::string channel = channel_of_group(unit, "col", c.group_out(), "group_out", c.groups);
    return lines + "  return " + c.at(unit, "out", out, "o_rest", "o", channel) + ";\n";
  };
  return or_library(write_gemm(g, traits), call, LibraryConvolution::Kind::forward);
}

// rows: positions of the input; depth: taps and channels of the output; columns: channels of the
// input.
TextProgram convolution_input_gradient(const TextCall& call, const TextTraits& traits) {
  const TensorView &ct = call.in[0], &weight = call.in[1], &out = call.out[0];
  check_dtype("conv", out.dtype, traits);
  if (out.size() == 0) return {};
  Convolution c(call, traits, out, weight, ct);
  GemmText g = product("convolution_input_gradient", c, call);
  g.rows = c.batch() * c.in_positions();
  g.cols = c.group_in();
  g.depth = c.taps() * c.group_out();
  g.batch_in_columns = true;
  g.a_at = [&](Unit& unit) {
    std::string lines = c.spatial_lines(unit, "i", "row", out) +
                        c.inner_line(unit, "filter", "k", "tap", c.group_out()) +
                        c.spatial_lines(unit, "t", "tap", weight) + c.seeing_lines(unit);
    std::string filter = channel_of_group(unit, "filter", c.group_out(), "group_out", c.groups);
    return lines + guarded("a[" + c.at(unit, "out", ct, "i_rest", "o", filter) + "]", ct.dtype);
  };
  g.b_at = [&](Unit& unit) {
    std::string lines = c.inner_line(unit, "filter", "k", "tap", c.group_out()) +
                        c.spatial_lines(unit, "t", "tap", weight);
    std::string filter = channel_of_group(unit, "filter", c.group_out(), "group_out", c.groups);
    std::string at = c.weight_at(unit, filter, "col", lines);
    return lines + "  return " + spell_load("b[" + at + "]", weight.dtype) + ";\n";
  };
  g.out_at = [&](Unit& unit) {
    std::string lines = c.spatial_lines(unit, "i", "row", out);
    std::string channel = channel_of_group(unit, "col", c.group_in(), "group_in", c.groups);
    return lines + "  return " + c.at(unit, "input", out, "i_rest", "i", channel) + ";\n";
  };
  return or_library(write_gemm(g, traits), call, LibraryConvolution::Kind::input_gradient);
}

// rows: channels of the output; depth: its positions; columns: taps and channels of the input.
TextProgram convolution_weight_gradient(const TextCall& call, const TextTraits& traits) {
  const TensorView &input = call.in[0], &ct = call.in[1], &out = call.out[0];
  check_dtype("conv", out.dtype, traits);
  if (out.size() == 0) return {};
  Convolution c(call, traits, input, out, ct);
  GemmText g = product("convolution_weight_gradient", c, call);
  // `a` is the cotangent, the second operand.
  g.a_operand = 1;
  g.b_operand = 0;
  std::swap(g.a_dtype, g.b_dtype);
  g.rows = c.group_out();
  g.cols = c.taps() * c.group_in();
  g.depth = c.batch() * c.out_positions();
  g.a_along_depth = false;
  g.a_at = [&](Unit& unit) {
    std::string lines = c.spatial_lines(unit, "o", "k", ct);
    std::string filter = channel_of_group(unit, "row", c.group_out(), "group_out", c.groups);
    return lines + "  return " +
           spell_load("a[" + c.at(unit, "out", ct, "o_rest", "o", filter) + "]", ct.dtype) + ";\n";
  };
  g.b_at = [&](Unit& unit) {
    std::string lines = c.spatial_lines(unit, "o", "k", ct) +
                        c.inner_line(unit, "channel", "col", "tap", c.group_in()) +
                        c.spatial_lines(unit, "t", "tap", out) + c.seen_lines(unit);
    std::string channel = channel_of_group(unit, "channel", c.group_in(), "group_in", c.groups);
    return lines +
           guarded("b[" + c.at(unit, "input", input, "o_rest", "i", channel) + "]", input.dtype);
  };
  g.out_at = [&](Unit& unit) {
    std::string lines = c.inner_line(unit, "channel", "col", "tap", c.group_in()) +
                        c.spatial_lines(unit, "t", "tap", out);
    std::string filter = channel_of_group(unit, "row", c.group_out(), "group_out", c.groups);
    std::string at = c.weight_at(unit, filter, "channel", lines);
    return lines + "  return " + at + ";\n";
  };
  return or_library(write_gemm(g, traits), call, LibraryConvolution::Kind::weight_gradient);
}

namespace {
bool small_enough(const TensorView& out, int64_t depth, const TextTraits& traits) {
  return out.size() > 0 && depth > 0 && out.size() <= traits.epilogue_work / depth;
}
}  // namespace

// A result is a sum over taps and the channels of a group; those of a gradient are about as many.
bool convolution_takes_epilogue(const TextCall& call, const Shape&, const TextTraits& traits) {
  const TensorView& weight = call.in[1];
  return weight.size() > 0 && small_enough(call.out[0], weight.size() / weight.shape[0], traits);
}

bool weight_gradient_takes_epilogue(const TextCall& call, const Shape&, const TextTraits& traits) {
  const TensorView &ct = call.in[1], &out = call.out[0];
  return ct.size() > 0 && small_enough(out, ct.size() / ct.shape.back(), traits) &&
         !Convolution(call, traits, call.in[0], out, ct).mirrored();
}

}  // namespace lamina::text

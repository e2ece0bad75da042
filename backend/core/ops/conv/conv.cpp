#include "base/error.h"
#include "ops/conv/conv_cpu.h"
#include "ops/conv/conv_text.h"
#include "ops/rules.h"

namespace lamina {

namespace {

const std::vector<Field> kFields = {
    {"stride", FieldKind::ints},         {"pad_low", FieldKind::ints},
    {"pad_high", FieldKind::ints},       {"kernel_dilation", FieldKind::ints},
    {"input_dilation", FieldKind::ints}, {"groups", FieldKind::integer},
    {"flip", FieldKind::boolean}};

Params to_params(const ConvOptions& o) {
  return Params()
      .add_ints(o.stride)
      .add_ints(o.pad_low)
      .add_ints(o.pad_high)
      .add_ints(o.kernel_dilation)
      .add_ints(o.input_dilation)
      .add(o.groups)
      .add(o.flip);
}

ConvOptions from_params(const Params& p) {
  Params::Reader r = p.read();
  ConvOptions o;
  o.stride = r.ints();
  o.pad_low = r.ints();
  o.pad_high = r.ints();
  o.kernel_dilation = r.ints();
  o.input_dilation = r.ints();
  o.groups = r.integer();
  o.flip = r.integer() != 0;
  return o;
}

cpu::ConvParams device_params(const CallArgs& c) {
  ConvOptions o = from_params(*static_cast<const Params*>(c.params));
  return {o.stride,
          o.pad_low,
          o.pad_high,
          o.kernel_dilation,
          o.input_dilation,
          static_cast<int>(o.groups),
          o.flip};
}

// Multiply-adds of a convolution between an output and a weight, times two.
int64_t conv_flops(const Shape& output, const Shape& weight) {
  return 2 * element_count(output) * (element_count(weight) / std::max<int64_t>(1, weight[0]));
}

Array conv_input_gradient(const Array& ct, const Array& weight, const Shape& shape,
                          const Params& p);
Array conv_weight_gradient(const Array& input, const Array& ct, const Shape& shape,
                           const Params& p);
Array conv_of(const Array& input, const Array& weight, const Params& p) {
  return conv_general(input, weight, from_params(p));
}

// All three operations are linear in each input; their derivatives are each other.
using Pair = Array (*)(const Node& n, const Array& x, const Array& w);
template <Pair Apply>
Array bilinear_jvp(const Node& n, const Array&, const Arrays& t) {
  Array out;
  if (t[0]) out = Apply(n, t[0], n.inputs[1]);
  if (t[1]) {
    Array second = Apply(n, n.inputs[0], t[1]);
    out = out ? out + second : second;
  }
  return out;
}

// One slice of the batch at a time: right for every mix of batched inputs.
template <Pair Apply>
Array sliced_vmap(const Node& n, const Arrays& in, const std::vector<bool>& batched,
                  int64_t batch) {
  Arrays out;
  for (int64_t i = 0; i < batch; ++i) {
    Arrays one;
    for (size_t k = 0; k < 2; ++k)
      one.push_back(
          batched[k]
              ? squeeze(split(in[k], i == 0 ? Shape{1} : Shape{i, i + 1}, 0)[i == 0 ? 0 : 1], {0})
              : in[k]);
    out.push_back(Apply(n, one[0], one[1]));
  }
  return batch ? stack(out, 0) : zeros(with_batch(0, n.shape), n.dtype);
}

Array apply_forward(const Node& n, const Array& x, const Array& w) {
  return conv_of(x, w, n.params);
}
Array apply_input(const Node& n, const Array& ct, const Array& w) {
  return conv_input_gradient(ct, w, n.shape, n.params);
}
Array apply_weight(const Node& n, const Array& x, const Array& ct) {
  return conv_weight_gradient(x, ct, n.shape, n.params);
}

Array forward_vmap(const Node& n, const Arrays& in, const std::vector<bool>& batched,
                   int64_t batch) {
  if (batched[1]) return sliced_vmap<apply_forward>(n, in, batched, batch);
  Array flat = conv_of(flatten(in[0], 0, 1), in[1], n.params);
  return reshape(flat, with_batch(batch, n.shape));
}

const Primitive& forward_row = define(
    {.name = "convolution",
     .kind = Kind::call,
     .doc = "Convolution, channels last.",
     .fields = kFields,
     .call =
         [](const CallArgs& c) { cpu::conv_general(c.in[0], c.in[1], c.out[0], device_params(c)); },
     .text = text::convolution,
     .takes_epilogue = text::convolution_takes_epilogue,
     .flops = [](const Node& n) { return conv_flops(n.shape, n.inputs[1].shape()); },
     .splits_batch = 1,
     .vjp = [](const Node& n, const Array&, const Array& ct,
               const std::vector<bool>& wanted) -> Arrays {
       Arrays out(2);
       if (wanted[0]) out[0] = conv_input_gradient(ct, n.inputs[1], n.inputs[0].shape(), n.params);
       if (wanted[1]) out[1] = conv_weight_gradient(n.inputs[0], ct, n.inputs[1].shape(), n.params);
       return out;
     },
     .jvp = bilinear_jvp<apply_forward>,
     .vmap = forward_vmap});

const Primitive& input_row = define(
    {.name = "convolution_input_gradient",
     .kind = Kind::call,
     .doc = "Cotangent of a convolution's input.",
     .fields = kFields,
     .call =
         [](const CallArgs& c) {
           cpu::conv_backward_input(c.in[0], c.in[1], c.out[0], device_params(c));
         },
     .text = text::convolution_input_gradient,
     .takes_epilogue = text::convolution_takes_epilogue,
     .flops = [](const Node& n) { return conv_flops(n.inputs[0].shape(), n.inputs[1].shape()); },
     .splits_batch = 1,
     .vjp = [](const Node& n, const Array&, const Array& ct,
               const std::vector<bool>& wanted) -> Arrays {
       Arrays out(2);
       if (wanted[0]) out[0] = conv_of(ct, n.inputs[1], n.params);
       if (wanted[1]) out[1] = conv_weight_gradient(ct, n.inputs[0], n.inputs[1].shape(), n.params);
       return out;
     },
     .jvp = bilinear_jvp<apply_input>,
     .vmap = sliced_vmap<apply_input>});

const Primitive& weight_row =
    define({.name = "convolution_weight_gradient",
            .kind = Kind::call,
            .doc = "Cotangent of a convolution's weight.",
            .fields = kFields,
            .call =
                [](const CallArgs& c) {
                  cpu::conv_backward_weight(c.in[0], c.in[1], c.out[0], device_params(c));
                },
            .text = text::convolution_weight_gradient,
            .takes_epilogue = text::weight_gradient_takes_epilogue,
            .flops = [](const Node& n) { return conv_flops(n.inputs[1].shape(), n.shape); },
            .vjp = [](const Node& n, const Array&, const Array& ct,
                      const std::vector<bool>& wanted) -> Arrays {
              Arrays out(2);
              if (wanted[0])
                out[0] = conv_input_gradient(n.inputs[1], ct, n.inputs[0].shape(), n.params);
              if (wanted[1]) out[1] = conv_of(n.inputs[0], ct, n.params);
              return out;
            },
            .jvp = bilinear_jvp<apply_weight>,
            .vmap = sliced_vmap<apply_weight>});

Array conv_input_gradient(const Array& ct, const Array& weight, const Shape& shape,
                          const Params& p) {
  return make_node(input_row, p, {ct, weight}, shape, ct.dtype());
}
Array conv_weight_gradient(const Array& input, const Array& ct, const Shape& shape,
                           const Params& p) {
  return make_node(weight_row, p, {input, ct}, shape, ct.dtype());
}

void check(const Array& input, const Array& weight, const ConvOptions& o) {
  int64_t spatial = input.ndim() - 2;
  std::string shapes =
      "input " + to_string(input.shape()) + ", weight " + to_string(weight.shape());
  if (spatial < 1 || spatial > 3 || weight.ndim() != input.ndim())
    throw ShapeError("conv: input and weight must both have 3, 4 or 5 axes: " + shapes);
  for (const Shape* s : {&o.stride, &o.pad_low, &o.pad_high, &o.kernel_dilation, &o.input_dilation})
    if (static_cast<int64_t>(s->size()) != spatial)
      throw ValueError("conv: needs " + std::to_string(spatial) + " values per option, got " +
                       to_string(*s));
  if (o.groups < 1 || input.shape(-1) % o.groups || weight.shape(0) % o.groups)
    throw ShapeError("conv: groups=" + std::to_string(o.groups) +
                     " does not divide the channels: " + shapes);
  if (input.shape(-1) / o.groups != weight.shape(-1))
    throw ShapeError("conv: input has " + std::to_string(input.shape(-1)) +
                     " channels, weight expects " + std::to_string(weight.shape(-1) * o.groups) +
                     ": " + shapes);
  for (int64_t i = 0; i < spatial; ++i) {
    size_t k = static_cast<size_t>(i);
    if (o.stride[k] < 1 || o.kernel_dilation[k] < 1 || o.input_dilation[k] < 1)
      throw ValueError("conv: stride and dilation must be 1 or more: stride " +
                       to_string(o.stride) + ", dilation " + to_string(o.kernel_dilation));
  }
}

}  // namespace

Array conv_general(const Array& input, const Array& weight, ConvOptions o) {
  check(input, weight, o);
  Dtype d = promote(input.dtype(), weight.dtype());
  if (!is_floating(d))
    throw DtypeError(std::string("conv: needs a floating dtype, got ") + name_of(input.dtype()) +
                     " and " + name_of(weight.dtype()));
  Shape shape{input.shape(0)};
  for (size_t k = 0; k + 2 < input.shape().size(); ++k) {
    int64_t size = std::max<int64_t>(0, (input.shape()[k + 1] - 1) * o.input_dilation[k] + 1) +
                   o.pad_low[k] + o.pad_high[k];
    int64_t reach = (weight.shape()[k + 1] - 1) * o.kernel_dilation[k] + 1;
    if (size < reach)
      throw ShapeError("conv: the kernel reaches " + std::to_string(reach) +
                       " but the padded input has " + std::to_string(size) + " along axis " +
                       std::to_string(k + 1) + ": input " + to_string(input.shape()) + ", weight " +
                       to_string(weight.shape()));
    shape.push_back((size - reach) / o.stride[k] + 1);
  }
  shape.push_back(weight.shape(0));
  return make_node(forward_row, to_params(o), {astype(input, d), astype(weight, d)}, shape, d);
}

}  // namespace lamina

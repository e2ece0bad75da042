#include <cmath>

#include "base/error.h"
#include "ops/rules.h"
#include "ops/scan/scan_cpu.h"
#include "ops/scan/scan_text.h"

namespace lamina {

namespace {

struct ScanParams {
  int64_t axis;
  bool reverse, inclusive;
  explicit ScanParams(const Params& p) {
    Params::Reader r = p.read();
    axis = r.integer();
    reverse = r.integer() != 0;
    inclusive = r.integer() != 0;
  }
};

template <ScanOp Op>
void run(const CallArgs& c) {
  ScanParams p(*static_cast<const Params*>(c.params));
  cpu::scan(c.in[0], c.out[0], p.axis, static_cast<cpu::ScanKind>(Op), p.reverse, p.inclusive);
}
int64_t one_each(const Node& n) { return element_count(n.shape); }

template <ScanOp Op>
Array scan_vmap(const Node& n, const Arrays& in, const std::vector<bool>&, int64_t) {
  ScanParams p(n.params);
  return scan(Op, in[0], p.axis + 1, p.reverse, p.inclusive);
}

Array back(const Node& n, const Array& ct) {
  ScanParams p(n.params);
  return scan(ScanOp::sum, ct, p.axis, !p.reverse, p.inclusive);
}
Array forth(const Node& n, const Array& t) {
  ScanParams p(n.params);
  return scan(ScanOp::sum, t, p.axis, p.reverse, p.inclusive);
}

// For every output the one input it equals: the first that reached the running extreme.
Array attained(const Node& n) {
  ScanParams p(n.params);
  const Array& x = n.inputs[0];
  Shape along(x.shape().size(), 1);
  along[static_cast<size_t>(p.axis)] = x.shape(p.axis);
  Array position = broadcast_to(reshape(iota(x.shape(p.axis), Dtype::int32), along), x.shape());
  Array previous =
      scan(n.primitive->name == "cummax" ? ScanOp::max : ScanOp::min, x, p.axis, p.reverse, false);
  Array fresh = n.primitive->name == "cummax" ? greater(x, previous) : less(x, previous);
  Array sentinel = make_scalar_int(p.reverse ? x.shape(p.axis) - 1 : 0, Dtype::int32);
  Array seed = select(fresh, position, sentinel);
  return scan(p.reverse ? ScanOp::min : ScanOp::max, seed, p.axis, p.reverse, true);
}

// Elements moved one place along the axis, zero where none comes from.
Array shifted(const Array& x, int64_t axis, bool forward) {
  int64_t size = x.shape(axis);
  if (size == 0) return x;
  Array parts = forward ? split(x, {size - 1}, axis)[0] : split(x, {1}, axis)[1];
  return pad(parts, {axis}, {forward ? 1 : 0}, {forward ? 0 : 1}, make_scalar(0, x.dtype()));
}

// An exclusive scan is the inclusive one, shifted.
Arrays extreme_vjp(const Node& n, const Array&, const Array& ct, const std::vector<bool>&) {
  ScanParams p(n.params);
  Array c = p.inclusive ? ct : shifted(ct, p.axis, p.reverse);
  return {put_along_axis(zeros_like(ct), attained(n), c, p.axis, ScatterMode::add)};
}
Array extreme_jvp(const Node& n, const Array&, const Arrays& t) {
  ScanParams p(n.params);
  Array out = take_along_axis(t[0], attained(n), p.axis);
  return p.inclusive ? out : shifted(out, p.axis, !p.reverse);
}

// Whether output j of the scan depends on input i.
Array reached(const ScanParams& p, const Array& i, const Array& j) {
  if (p.reverse) return p.inclusive ? greater_equal(i, j) : greater(i, j);
  return p.inclusive ? less_equal(i, j) : less(i, j);
}

// The cotangents and tangents that a matrix of weights [..., input, output] gives.
Array weighted_back(const Array& weights, const Array& ct, int64_t axis) {
  Array row = expand_dims(moveaxis(ct, axis, -1), {ct.ndim() - 1});
  return moveaxis(sum(adjoint_factor(weights) * row, {weights.ndim() - 1}, false), -1, axis);
}
Array weighted_forth(const Array& weights, const Array& t, int64_t axis) {
  Array column = expand_dims(moveaxis(t, axis, -1), {t.ndim()});
  return moveaxis(sum(weights * column, {weights.ndim() - 2}, false), -1, axis);
}

// d y_i / d x_j of a running product, as a matrix along the axis: the product of the others.
// Quadratic, but exact where elements are zero.
Array product_weights(const Node& n) {
  ScanParams p(n.params);
  const Array& x = n.inputs[0];
  int64_t size = x.shape(p.axis);
  Array last = moveaxis(x, p.axis, -1);
  Shape wide = last.shape();
  wide.insert(wide.end() - 1, size);
  Array repeated = broadcast_to(expand_dims(last, {last.ndim() - 1}), wide);
  Array i = reshape(iota(size, Dtype::int32), {size, 1}), j = iota(size, Dtype::int32);
  Array others = select(equal(i, j), ones_like(repeated), repeated);
  Array products =
      scan(ScanOp::prod, others, others.ndim() - 1, p.reverse, p.inclusive);  // [..., j, i]
  return select(reached(p, i, j), products, zeros_like(products));
}

// d y_i / d x_j of a running logsumexp: e^(x_j - y_i), as a matrix along the axis. Quadratic work
// but, fused into the sum over it, no memory; a running sum would overflow where y grows.
Array exponential_weights(const Node& n, const Array& y) {
  ScanParams p(n.params);
  int64_t size = y.shape(p.axis);
  Array xs = expand_dims(moveaxis(n.inputs[0], p.axis, -1), {y.ndim()});
  Array ys = expand_dims(moveaxis(y, p.axis, -1), {y.ndim() - 1});
  Array i = reshape(iota(size, Dtype::int32), {size, 1}), j = iota(size, Dtype::int32);
  Array low = make_scalar(-INFINITY, y.dtype());
  Array some = logical_and(reached(p, i, j), not_equal(ys, low));
  return exp(select(some, xs - ys, low));
}

template <ScanOp op>
TextProgram text_of(const TextCall& call, const TextTraits& traits) {
  return text::scan(call, traits, static_cast<int>(op));
}

const std::vector<Field> kFields = {{"axis", FieldKind::integer},
                                    {"reverse", FieldKind::boolean},
                                    {"inclusive", FieldKind::boolean}};

const Primitive* const rows[5] = {
    &define({.name = "cumsum",
             .kind = Kind::call,
             .doc = "Running sum along an axis.",
             .fields = kFields,
             .call = run<ScanOp::sum>,
             .text = text_of<ScanOp::sum>,
             .takes_epilogue = text::scan_takes_epilogue,
             .takes_prologue = true,
             .flops = one_each,
             .vjp = [](const Node& n, const Array&, const Array& ct,
                       const std::vector<bool>&) -> Arrays { return {back(n, ct)}; },
             .jvp = [](const Node& n, const Array&, const Arrays& t) { return forth(n, t[0]); },
             .vmap = scan_vmap<ScanOp::sum>}),
    &define({.name = "cumprod",
             .kind = Kind::call,
             .doc = "Running product along an axis.",
             .fields = kFields,
             .call = run<ScanOp::prod>,
             .text = text_of<ScanOp::prod>,
             .takes_epilogue = text::scan_takes_epilogue,
             .takes_prologue = true,
             .flops = one_each,
             .vjp = [](const Node& n, const Array&, const Array& ct,
                       const std::vector<bool>&) -> Arrays {
               return {weighted_back(product_weights(n), ct, ScanParams(n.params).axis)};
             },
             .jvp =
                 [](const Node& n, const Array&, const Arrays& t) {
                   return weighted_forth(product_weights(n), t[0], ScanParams(n.params).axis);
                 },
             .vmap = scan_vmap<ScanOp::prod>}),
    &define({.name = "cummax",
             .kind = Kind::call,
             .doc = "Running maximum along an axis.",
             .fields = kFields,
             .call = run<ScanOp::max>,
             .text = text_of<ScanOp::max>,
             .takes_epilogue = text::scan_takes_epilogue,
             .takes_prologue = true,
             .flops = one_each,
             .vjp = extreme_vjp,
             .jvp = extreme_jvp,
             .vmap = scan_vmap<ScanOp::max>}),
    &define({.name = "cummin",
             .kind = Kind::call,
             .doc = "Running minimum along an axis.",
             .fields = kFields,
             .call = run<ScanOp::min>,
             .text = text_of<ScanOp::min>,
             .takes_epilogue = text::scan_takes_epilogue,
             .takes_prologue = true,
             .flops = one_each,
             .vjp = extreme_vjp,
             .jvp = extreme_jvp,
             .vmap = scan_vmap<ScanOp::min>}),
    &define({.name = "logcumsumexp",
             .kind = Kind::call,
             .doc = "Running log of the sum of exponentials.",
             .fields = kFields,
             .call = run<ScanOp::logaddexp>,
             .text = text_of<ScanOp::logaddexp>,
             .takes_epilogue = text::scan_takes_epilogue,
             .takes_prologue = true,
             .flops = one_each,
             .vjp = [](const Node& n, const Array& y, const Array& ct,
                       const std::vector<bool>&) -> Arrays {
               return {weighted_back(exponential_weights(n, y), ct, ScanParams(n.params).axis)};
             },
             .jvp =
                 [](const Node& n, const Array& y, const Arrays& t) {
                   return weighted_forth(exponential_weights(n, y), t[0],
                                         ScanParams(n.params).axis);
                 },
             .vmap = scan_vmap<ScanOp::logaddexp>}),
};

}  // namespace

Array scan(ScanOp op, const Array& x, int64_t axis, bool reverse, bool inclusive) {
  const Primitive& row = *rows[static_cast<int>(op)];
  int64_t a = normalize_axis(row.name.c_str(), axis, x.ndim());
  Array source = op == ScanOp::logaddexp ? astype(x, at_least_float(x.dtype())) : x;
  if (op == ScanOp::sum && x.dtype() == Dtype::bool_) source = astype(x, Dtype::int32);
  return make_node(row, Params().add(a).add(reverse).add(inclusive), {source}, x.shape(),
                   source.dtype());
}

}  // namespace lamina

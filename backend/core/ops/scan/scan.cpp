#include "base/error.h"
#include "ops/rules.h"
#include "ops/scan/scan_cpu.h"

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
  if (!p.inclusive) throw TraceError("vjp: " + n.primitive->name + " has a derivative only with inclusive=True");
  const Array& x = n.inputs[0];
  Shape along(x.shape().size(), 1);
  along[static_cast<size_t>(p.axis)] = x.shape(p.axis);
  Array position = broadcast_to(reshape(iota(x.shape(p.axis), Dtype::int32), along), x.shape());
  Array previous = scan(n.primitive->name == "cummax" ? ScanOp::max : ScanOp::min, x, p.axis, p.reverse, false);
  Array fresh = n.primitive->name == "cummax" ? greater(x, previous) : less(x, previous);
  Array sentinel = make_scalar_int(p.reverse ? x.shape(p.axis) - 1 : 0, Dtype::int32);
  Array seed = select(fresh, position, sentinel);
  return scan(p.reverse ? ScanOp::min : ScanOp::max, seed, p.axis, p.reverse, true);
}

template <ScanOp Op>
Arrays extreme_vjp(const Node& n, const Array&, const Array& ct, const std::vector<bool>&) {
  return {put_along_axis(zeros_like(ct), attained(n), ct, ScanParams(n.params).axis, ScatterMode::add)};
}
template <ScanOp Op>
Array extreme_jvp(const Node& n, const Array&, const Arrays& t) {
  return take_along_axis(t[0], attained(n), ScanParams(n.params).axis);
}

// d y_i / d x_j of a running product, as a matrix along the axis: the product of the others. Quadratic,
// but exact where elements are zero.
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
  Array products = scan(ScanOp::prod, others, others.ndim() - 1, p.reverse, p.inclusive);  // [..., j, i]
  Array reach = p.reverse ? (p.inclusive ? greater_equal(i, j) : greater(i, j))
                          : (p.inclusive ? less_equal(i, j) : less(i, j));
  return select(reach, products, zeros_like(products));
}

const std::vector<Field> kFields = {
    {"axis", FieldKind::integer}, {"reverse", FieldKind::boolean}, {"inclusive", FieldKind::boolean}};

const Primitive* const rows[5] = {
    &define({.name = "cumsum", .kind = Kind::call, .doc = "Running sum along an axis.", .fields = kFields,
             .call = run<ScanOp::sum>, .flops = one_each,
             .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
               return {back(n, ct)};
             },
             .jvp = [](const Node& n, const Array&, const Arrays& t) { return forth(n, t[0]); },
             .vmap = scan_vmap<ScanOp::sum>}),
    &define({.name = "cumprod", .kind = Kind::call, .doc = "Running product along an axis.", .fields = kFields,
             .call = run<ScanOp::prod>, .flops = one_each,
             .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
               int64_t axis = ScanParams(n.params).axis;
               Array last = expand_dims(moveaxis(ct, axis, -1), {ct.ndim() - 1});
               Array w = product_weights(n);
               return {moveaxis(sum(w * last, {w.ndim() - 1}, false), -1, axis)};
             },
             .jvp = [](const Node& n, const Array&, const Arrays& t) {
               int64_t axis = ScanParams(n.params).axis;
               Array last = expand_dims(moveaxis(t[0], axis, -1), {t[0].ndim()});
               Array w = product_weights(n);
               return moveaxis(sum(w * last, {w.ndim() - 2}, false), -1, axis);
             },
             .vmap = scan_vmap<ScanOp::prod>}),
    &define({.name = "cummax", .kind = Kind::call, .doc = "Running maximum along an axis.", .fields = kFields,
             .call = run<ScanOp::max>, .flops = one_each, .vjp = extreme_vjp<ScanOp::max>,
             .jvp = extreme_jvp<ScanOp::max>, .vmap = scan_vmap<ScanOp::max>}),
    &define({.name = "cummin", .kind = Kind::call, .doc = "Running minimum along an axis.", .fields = kFields,
             .call = run<ScanOp::min>, .flops = one_each, .vjp = extreme_vjp<ScanOp::min>,
             .jvp = extreme_jvp<ScanOp::min>, .vmap = scan_vmap<ScanOp::min>}),
    &define({.name = "logcumsumexp", .kind = Kind::call, .doc = "Running log of the sum of exponentials.",
             .fields = kFields, .call = run<ScanOp::logaddexp>, .flops = one_each,
             // y_i = log sum_j e^(x_j): the weight of x_j in y_i is e^(x_j - y_i), summed stably as
             // e^(x_j + log sum_i ct_i e^(-y_i)) for each sign of ct.
             .vjp = [](const Node& n, const Array& y, const Array& ct, const std::vector<bool>&) -> Arrays {
               ScanParams p(n.params);
               auto part = [&](const Array& positive) {
                 Array s = scan(ScanOp::logaddexp, log(positive) - y, p.axis, !p.reverse, p.inclusive);
                 return exp(s + n.inputs[0]);
               };
               Array none = zeros_like(ct);
               return {part(maximum(ct, none)) - part(maximum(negative(ct), none))};
             },
             .jvp = [](const Node& n, const Array& y, const Arrays& t) {
               ScanParams p(n.params);
               auto part = [&](const Array& positive) {
                 Array s = scan(ScanOp::logaddexp, log(positive) + n.inputs[0], p.axis, p.reverse, p.inclusive);
                 return exp(s - y);
               };
               Array none = zeros_like(t[0]);
               return part(maximum(t[0], none)) - part(maximum(negative(t[0]), none));
             },
             .vmap = scan_vmap<ScanOp::logaddexp>}),
};

}  // namespace

Array scan(ScanOp op, const Array& x, int64_t axis, bool reverse, bool inclusive) {
  const Primitive& row = *rows[static_cast<int>(op)];
  int64_t a = normalize_axis(row.name.c_str(), axis, x.ndim());
  Array source = op == ScanOp::logaddexp ? astype(x, at_least_float(x.dtype())) : x;
  if (op == ScanOp::sum && x.dtype() == Dtype::bool_) source = astype(x, Dtype::int32);
  if (is_complex(x.dtype()) && op != ScanOp::sum && op != ScanOp::prod)
    throw DtypeError(row.name + ": complex64 is not supported");
  return make_node(row, Params().add(a).add(reverse).add(inclusive), {source}, x.shape(), source.dtype());
}

}  // namespace lamina

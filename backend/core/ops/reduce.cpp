// Reductions. A reduce node keeps its axes with size 1; dropping them is a reshape, so that
// broadcasting a result back against its source needs nothing but size-1 axes.
#include <algorithm>

#include "base/error.h"
#include "ops/rules.h"

namespace lamina {

namespace {

bool is_arg(ReduceOp op) { return op == ReduceOp::argmin || op == ReduceOp::argmax; }

Axes shifted(const Node& n) {
  Axes axes;
  for (int64_t a : n.params.read().ints()) axes.push_back(a + 1);
  return axes;
}

Array reduce_vmap(const Node& n, const Arrays& in, const std::vector<bool>&, int64_t) {
  return reduce(n.primitive->reduce_op, in[0], shifted(n), true);
}

Array jvp_by_vjp_weights(const Node& n, const Array& weights, const Array& tangent) {
  return sum(weights * tangent, n.params.read().ints(), true);
}

// Which elements attain the extreme, as weights that sum to one along the reduced axes.
Array extreme_weights(const Node& n, const Array& self) {
  Array hit = astype(equal(n.inputs[0], self), n.dtype);
  return hit / sum(hit, n.params.read().ints(), true);
}

// Product of the other elements along the axes: exact also where elements are zero.
Array product_of_others(const Node& n) {
  const Array& x = n.inputs[0];
  Axes axes = n.params.read().ints(), order;
  for (int64_t i = 0; i < x.ndim(); ++i)
    if (std::find(axes.begin(), axes.end(), i) == axes.end()) order.push_back(i);
  int64_t kept = static_cast<int64_t>(order.size());
  for (int64_t a : axes) order.push_back(a);
  Array moved = transpose(x, order);
  Shape flat(moved.shape().begin(), moved.shape().begin() + kept);
  int64_t others = 1;
  for (int64_t a : axes) others *= x.shape(a);
  flat.push_back(others);
  Array rows = reshape(moved, flat);
  Array before = scan(ScanOp::prod, rows, kept, false, false);
  Array after = scan(ScanOp::prod, rows, kept, true, false);
  Axes inverse(order.size());
  for (size_t i = 0; i < order.size(); ++i)
    inverse[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
  return transpose(reshape(before * after, moved.shape()), inverse);
}

const std::vector<Field> kAxes = {{"axes", FieldKind::ints}};

const Primitive* const rows[8] = {
    &define({.name = "sum",
             .kind = Kind::reduce,
             .doc = "Sum over axes.",
             .fields = kAxes,
             .reduce_op = ReduceOp::sum,
             .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&)
                 -> Arrays { return {broadcast_to(ct, n.inputs[0].shape())}; },
             .jvp = [](const Node& n, const Array&,
                       const Arrays& t) { return sum(t[0], n.params.read().ints(), true); },
             .vmap = reduce_vmap}),
    &define(
        {.name = "prod",
         .kind = Kind::reduce,
         .doc = "Product over axes.",
         .fields = kAxes,
         .reduce_op = ReduceOp::prod,
         .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&)
             -> Arrays { return {ct * adjoint_factor(product_of_others(n))}; },
         .jvp = [](const Node& n, const Array&,
                   const Arrays& t) { return jvp_by_vjp_weights(n, product_of_others(n), t[0]); },
         .vmap = reduce_vmap}),
    &define(
        {.name = "min",
         .kind = Kind::reduce,
         .doc = "Smallest element over axes.",
         .fields = kAxes,
         .reduce_op = ReduceOp::min,
         .vjp = [](const Node& n, const Array& y, const Array& ct,
                   const std::vector<bool>&) -> Arrays { return {ct * extreme_weights(n, y)}; },
         .jvp = [](const Node& n, const Array& y,
                   const Arrays& t) { return jvp_by_vjp_weights(n, extreme_weights(n, y), t[0]); },
         .vmap = reduce_vmap}),
    &define(
        {.name = "max",
         .kind = Kind::reduce,
         .doc = "Largest element over axes.",
         .fields = kAxes,
         .reduce_op = ReduceOp::max,
         .vjp = [](const Node& n, const Array& y, const Array& ct,
                   const std::vector<bool>&) -> Arrays { return {ct * extreme_weights(n, y)}; },
         .jvp = [](const Node& n, const Array& y,
                   const Arrays& t) { return jvp_by_vjp_weights(n, extreme_weights(n, y), t[0]); },
         .vmap = reduce_vmap}),
    &define({.name = "all",
             .kind = Kind::reduce,
             .doc = "Whether every element is true.",
             .fields = kAxes,
             .reduce_op = ReduceOp::all,
             .vmap = reduce_vmap,
             .nondifferentiable = "its result is boolean"}),
    &define({.name = "any",
             .kind = Kind::reduce,
             .doc = "Whether some element is true.",
             .fields = kAxes,
             .reduce_op = ReduceOp::any,
             .vmap = reduce_vmap,
             .nondifferentiable = "its result is boolean"}),
    &define({.name = "argmin",
             .kind = Kind::reduce,
             .doc = "Index of the smallest element.",
             .fields = kAxes,
             .reduce_op = ReduceOp::argmin,
             .vmap = reduce_vmap,
             .nondifferentiable = "its result is an index"}),
    &define({.name = "argmax",
             .kind = Kind::reduce,
             .doc = "Index of the largest element.",
             .fields = kAxes,
             .reduce_op = ReduceOp::argmax,
             .vmap = reduce_vmap,
             .nondifferentiable = "its result is an index"}),
};

Dtype accumulated(ReduceOp op, Dtype d) {
  if (op != ReduceOp::sum && op != ReduceOp::prod) return d;
  if (d == Dtype::bool_) return Dtype::int32;
  if (is_integer(d) && itemsize(d) < 4) return is_unsigned(d) ? Dtype::uint32 : Dtype::int32;
  return d;
}

}  // namespace

Array reduce(ReduceOp op, const Array& x, const Axes& axes, bool keepdims) {
  const Primitive& row = *rows[static_cast<int>(op)];
  Axes over = normalize_axes(row.name.c_str(), axes, x.ndim());
  Shape kept = x.shape(), dropped;
  int64_t count = 1;
  for (int64_t a : over) {
    count *= x.shape(a);
    kept[static_cast<size_t>(a)] = 1;
  }
  bool needs_one = op == ReduceOp::min || op == ReduceOp::max || is_arg(op);
  if (count == 0 && needs_one && element_count(kept) > 0)
    throw ValueError(row.name + ": no elements to choose from: axes " + to_string(over) + " of " +
                     to_string(x.shape()) + " are empty");
  for (int64_t i = 0; i < x.ndim(); ++i)
    if (std::find(over.begin(), over.end(), i) == over.end()) dropped.push_back(x.shape(i));
  bool logical = op == ReduceOp::all || op == ReduceOp::any;
  Dtype d = logical ? Dtype::bool_ : accumulated(op, x.dtype());
  Array source = astype(x, d);
  // One element stays itself; arg reductions of it are index 0. Of none there is nothing to read.
  const bool fills = count == 0 && !needs_one && element_count(kept) > 0;
  const double unit = op == ReduceOp::prod || op == ReduceOp::all ? 1 : 0;
  Array out = fills                       ? full(kept, unit, d)
              : count == 1 && !is_arg(op) ? reshape(source, kept)
                                          : make_node(row, Params().add_ints(over), {source}, kept,
                                                      is_arg(op) ? Dtype::uint32 : d);
  return keepdims ? out : reshape(out, dropped);
}

Array sum(const Array& x, const Axes& a, bool k) { return reduce(ReduceOp::sum, x, a, k); }
Array prod(const Array& x, const Axes& a, bool k) { return reduce(ReduceOp::prod, x, a, k); }
Array min(const Array& x, const Axes& a, bool k) { return reduce(ReduceOp::min, x, a, k); }
Array max(const Array& x, const Axes& a, bool k) { return reduce(ReduceOp::max, x, a, k); }
Array all(const Array& x, const Axes& a, bool k) { return reduce(ReduceOp::all, x, a, k); }
Array any(const Array& x, const Axes& a, bool k) { return reduce(ReduceOp::any, x, a, k); }

static double reduced_count(const char* op, const Array& x, const Axes& axes) {
  double n = 1;
  for (int64_t a : normalize_axes(op, axes, x.ndim())) n *= static_cast<double>(x.shape(a));
  return n;
}

Array mean(const Array& x, const Axes& axes, bool keepdims) {
  Array f = astype(x, at_least_float(x.dtype()));
  double n = reduced_count("mean", x, axes);
  return sum(f, axes, keepdims) * (1.0 / n);
}

Array var(const Array& x, const Axes& axes, bool keepdims, int64_t ddof) {
  Array f = astype(x, at_least_float(x.dtype()));
  double n = reduced_count("var", x, axes);
  Array centred = f - mean(f, axes, true);
  Array squares = is_complex(f.dtype()) ? square(abs(centred)) : square(centred);
  return sum(squares, axes, keepdims) * (1.0 / std::max(0.0, n - static_cast<double>(ddof)));
}

}  // namespace lamina

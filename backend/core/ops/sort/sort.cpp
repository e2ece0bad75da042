#include "base/error.h"
#include "ops/rules.h"
#include "ops/sort/sort_cpu.h"
#include "ops/sort/sort_text.h"

namespace lamina {

namespace {

const Params& params_of(const CallArgs& c) { return *static_cast<const Params*>(c.params); }

int64_t log2_above(int64_t n) {
  int64_t bits = 1;
  while (n > int64_t{1} << bits) ++bits;
  return bits;
}
int64_t comparisons(const Node& n) {
  int64_t axis = n.params.read().integer();
  return element_count(n.shape) * log2_above(n.inputs[0].shape(axis));
}

// Which input element each output element is: derivatives follow it.
Array order_of(const Node& n) {
  Params::Reader r = n.params.read();
  int64_t axis = r.integer();
  Array x = stop_gradient(n.inputs[0]);
  return n.primitive->name == "sort" ? argsort(x, axis) : argpartition(x, r.integer(), axis);
}
Arrays ordered_vjp(const Node& n, const Array&, const Array& ct, const std::vector<bool>&) {
  return {
      put_along_axis(zeros_like(ct), order_of(n), ct, n.params.read().integer(), ScatterMode::add)};
}
Array ordered_jvp(const Node& n, const Array&, const Arrays& t) {
  return take_along_axis(t[0], order_of(n), n.params.read().integer());
}

const std::vector<Field> kSort = {{"axis", FieldKind::integer}};
const std::vector<Field> kPartition = {{"axis", FieldKind::integer}, {"kth", FieldKind::integer}};

const Primitive& sort_row = define(
    {.name = "sort",
     .kind = Kind::call,
     .doc = "Ascending along an axis, NaN last.",
     .fields = kSort,
     .call = [](const CallArgs& c) { cpu::sort(c.in[0], c.out[0], params_of(c).read().integer()); },
     .text = text::sort,
     .flops = comparisons,
     .vjp = ordered_vjp,
     .jvp = ordered_jvp,
     .vmap = [](const Node& n, const Arrays& in, const std::vector<bool>&,
                int64_t) { return sort(in[0], n.params.read().integer() + 1); }});
const Primitive& argsort_row = define(
    {.name = "argsort",
     .kind = Kind::call,
     .doc = "Indices that sort along an axis; stable.",
     .fields = kSort,
     .call =
         [](const CallArgs& c) { cpu::argsort(c.in[0], c.out[0], params_of(c).read().integer()); },
     .text = text::argsort,
     .flops = comparisons,
     .vmap = [](const Node& n, const Arrays& in, const std::vector<bool>&,
                int64_t) { return argsort(in[0], n.params.read().integer() + 1); },
     .nondifferentiable = "its result is an index"});
const Primitive& partition_row =
    define({.name = "partition",
            .kind = Kind::call,
            .doc = "Smaller elements before the k-th, larger after it.",
            .fields = kPartition,
            .call =
                [](const CallArgs& c) {
                  Params::Reader r = params_of(c).read();
                  int64_t axis = r.integer();
                  cpu::partition(c.in[0], c.out[0], r.integer(), axis);
                },
            .text = text::sort,
            .flops = comparisons,
            .vjp = ordered_vjp,
            .jvp = ordered_jvp,
            .vmap =
                [](const Node& n, const Arrays& in, const std::vector<bool>&, int64_t) {
                  Params::Reader r = n.params.read();
                  int64_t axis = r.integer();
                  return partition(in[0], r.integer(), axis + 1);
                }});
const Primitive& argpartition_row =
    define({.name = "argpartition",
            .kind = Kind::call,
            .doc = "Indices that partition around the k-th element.",
            .fields = kPartition,
            .call =
                [](const CallArgs& c) {
                  Params::Reader r = params_of(c).read();
                  int64_t axis = r.integer();
                  cpu::argpartition(c.in[0], c.out[0], r.integer(), axis);
                },
            .text = text::argsort,
            .flops = comparisons,
            .vmap =
                [](const Node& n, const Arrays& in, const std::vector<bool>&, int64_t) {
                  Params::Reader r = n.params.read();
                  int64_t axis = r.integer();
                  return argpartition(in[0], r.integer(), axis + 1);
                },
            .nondifferentiable = "its result is an index"});
const Primitive& search_row = define(
    {.name = "searchsorted",
     .kind = Kind::call,
     .doc = "Where values would stand in a sorted array.",
     .fields = {{"right", FieldKind::boolean}},
     .call =
         [](const CallArgs& c) {
           cpu::searchsorted(c.in[0], c.in[1], params_of(c).read().integer() != 0, c.out[0]);
         },
     .text = text::searchsorted,
     .flops = [](const Node& n) { return element_count(n.shape) * log2_above(n.inputs[0].size()); },
     .reads =
         [](const Node& n, size_t k) {
           const int64_t size = n.inputs[k].size();
           return k == 0 ? element_count(n.shape) * (log2_above(size) + 1) : size;
         },
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>& batched, int64_t batch) {
           const bool right = n.params.read().integer() != 0;
           if (!batched[0]) return searchsorted(in[0], in[1], right);
           // One search a sequence.
           Arrays found;
           for (int64_t i = 0; i < batch; ++i) {
             Array at = make_scalar_int(i, Dtype::int32);
             found.push_back(
                 searchsorted(take(in[0], at, 0), batched[1] ? take(in[1], at, 0) : in[1], right));
           }
           return found.empty() ? zeros(with_batch(0, n.shape), n.dtype) : stack(found, 0);
         },
     .nondifferentiable = "its result is an index"});

int64_t checked_kth(const char* op, int64_t kth, int64_t size) {
  int64_t k = kth < 0 ? kth + size : kth;
  if (k < 0 || k >= size)
    throw ValueError(std::string(op) + ": kth " + std::to_string(kth) +
                     " is out of bounds for an axis of size " + std::to_string(size));
  return k;
}
}  // namespace

Array sort(const Array& x, int64_t axis) {
  return make_node(sort_row, Params().add(normalize_axis("sort", axis, x.ndim())), {x}, x.shape(),
                   x.dtype());
}
Array argsort(const Array& x, int64_t axis) {
  return make_node(argsort_row, Params().add(normalize_axis("argsort", axis, x.ndim())), {x},
                   x.shape(), Dtype::uint32);
}
Array partition(const Array& x, int64_t kth, int64_t axis) {
  int64_t a = normalize_axis("partition", axis, x.ndim());
  return make_node(partition_row, Params().add(a).add(checked_kth("partition", kth, x.shape(a))),
                   {x}, x.shape(), x.dtype());
}
Array argpartition(const Array& x, int64_t kth, int64_t axis) {
  int64_t a = normalize_axis("argpartition", axis, x.ndim());
  return make_node(argpartition_row,
                   Params().add(a).add(checked_kth("argpartition", kth, x.shape(a))), {x},
                   x.shape(), Dtype::uint32);
}
Array searchsorted(const Array& sorted, const Array& values, bool right) {
  if (sorted.ndim() != 1)
    throw ShapeError("searchsorted: the sorted sequence must have one axis, got " +
                     to_string(sorted.shape()));
  Dtype d = promote(sorted.dtype(), values.dtype());
  return make_node(search_row, Params().add(right), {astype(sorted, d), astype(values, d)},
                   values.shape(), Dtype::uint32);
}

}  // namespace lamina

#include <tuple>

#include "base/error.h"
#include "ops/copy/copy_cpu.h"
#include "ops/index/index_cpu.h"
#include "ops/index/index_text.h"
#include "ops/index/join_rules.h"
#include "ops/rules.h"

namespace lamina {

namespace {

const Params& params_of(const CallArgs& c) { return *static_cast<const Params*>(c.params); }
int64_t moved(const Node& n) { return element_count(n.shape); }
// Of what is picked from, an element for each that is picked; the indices whole.
int64_t picked(const Node& n, size_t k) { return k == 0 ? moved(n) : n.inputs[k].size(); }

cpu::ScatterMode device_mode(int64_t mode) { return static_cast<cpu::ScatterMode>(mode); }

Shape joined(const Shape& a, const Shape& b) {
  Shape out = a;
  for (int64_t d : b) out.push_back(d);
  return out;
}

// Index arrays broadcast to their common shape, of the given rank after the batch axis if batched.
Arrays common_indices(const char* op, const Arrays& indices) {
  Shape shape;
  for (const Array& i : indices) {
    if (!is_integer(i.dtype()))
      throw DtypeError(std::string(op) + ": indices must be integers, got " + name_of(i.dtype()));
    auto both = broadcast_shapes(shape, i.shape());
    if (!both)
      throw ShapeError(std::string(op) + ": index shapes do not broadcast: " + to_string(shape) +
                       " and " + to_string(i.shape()));
    shape = *both;
  }
  Arrays out;
  for (const Array& i : indices) out.push_back(broadcast_to(i, shape));
  return out;
}

struct Batched {
  Array x;
  Arrays indices;
  Axes axes;
};

// With the batch as axis 0 of the source, an extra index array counts along it.
Batched batch_indices(const Array& x, const Arrays& in, const std::vector<bool>& batched,
                      size_t first, const Axes& axes, int64_t batch) {
  Batched out{x, {}, {0}};
  int64_t rank = 0;
  for (size_t i = first; i < in.size(); ++i)
    rank = std::max(rank, in[i].ndim() - (batched[i] ? 1 : 0));
  Shape count(static_cast<size_t>(rank + 1), 1);
  count[0] = batch;
  out.indices.push_back(reshape(iota(batch, Dtype::int32), count));
  for (size_t i = first; i < in.size(); ++i)
    out.indices.push_back(batched[i] ? align_rank(in[i], rank) : in[i]);
  for (int64_t a : axes) out.axes.push_back(a + 1);
  return out;
}

const Primitive& gather_row = define(
    {.name = "gather",
     .kind = Kind::call,
     .doc = "Slices picked by index arrays.",
     .fields = {{"axes", FieldKind::ints}, {"slice_sizes", FieldKind::ints}},
     .call =
         [](const CallArgs& c) {
           Params::Reader r = params_of(c).read();
           Axes axes = r.ints();
           Shape sizes = r.ints();
           cpu::gather("take", c.in[0], c.in.subspan(1), axes, sizes, c.out[0]);
         },
     .text = text::gather,
     .flops = moved,
     .reads = picked,
     .vjp = [](const Node& n, const Array&, const Array& ct,
               const std::vector<bool>& wanted) -> Arrays {
       Arrays out(n.inputs.size());
       Arrays indices(n.inputs.begin() + 1, n.inputs.end());
       if (wanted[0])
         out[0] = scatter(zeros(n.inputs[0].shape(), ct.dtype()), indices, ct,
                          n.params.read().ints(), ScatterMode::add);
       return out;
     },
     .jvp =
         [](const Node& n, const Array&, const Arrays& t) {
           if (!t[0]) return zeros(n.shape, n.dtype);
           Params::Reader r = n.params.read();
           Axes axes = r.ints();
           return gather(t[0], Arrays(n.inputs.begin() + 1, n.inputs.end()), axes, r.ints());
         },
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>& batched, int64_t batch) {
           Params::Reader r = n.params.read();
           Axes axes = r.ints();
           Shape sizes = r.ints();
           if (!batched[0]) {
             Arrays indices;
             int64_t rank = n.inputs.size() > 1 ? n.inputs[1].ndim() : 0;
             for (size_t i = 1; i < in.size(); ++i)
               indices.push_back(batched[i] ? align_rank(in[i], rank) : in[i]);
             return gather(in[0], indices, axes, sizes);
           }
           Batched b = batch_indices(in[0], in, batched, 1, axes, batch);
           Array out = gather(b.x, b.indices, b.axes, joined({1}, sizes));
           return squeeze(out, {out.ndim() - static_cast<int64_t>(sizes.size()) - 1});
         }});

Array scatter_node(const Array& x, const Arrays& indices, const Array& updates, const Axes& axes,
                   ScatterMode mode);

ScatterMode scatter_mode(const Node& n) {
  Params::Reader r = n.params.read();
  r.ints();
  return static_cast<ScatterMode>(r.integer());
}
ScatterMode along_mode(const Node& n) {
  Params::Reader r = n.params.read();
  r.integer();
  return static_cast<ScatterMode>(r.integer());
}

// The slices a scatter's updates address.
Array scatter_pick(const Node& n, const Array& x) {
  Arrays indices(n.inputs.begin() + 2, n.inputs.end());
  const Shape& updates = n.inputs[1].shape();
  size_t lead = indices.empty() ? 0 : indices[0].shape().size();
  Shape sizes(updates.begin() + static_cast<int64_t>(lead), updates.end());
  return gather(x, indices, n.params.read().ints(), sizes);
}
Addressing scatter_addressing(const Node& n) {
  auto join = [&n](const Array& x, const Array& u, ScatterMode mode) {
    return scatter_node(x, Arrays(n.inputs.begin() + 2, n.inputs.end()), u, n.params.read().ints(),
                        mode);
  };
  return {[&n](const Array& x) { return scatter_pick(n, x); }, join};
}
Addressing along_addressing(const Node& n) {
  int64_t axis = n.params.read().integer();
  auto pick = [&n, axis](const Array& x) { return take_along_axis(x, n.inputs[1], axis); };
  auto join = [&n, axis](const Array& x, const Array& u, ScatterMode mode) {
    return put_along_axis(x, n.inputs[1], u, axis, mode);
  };
  return {pick, join};
}

// Cotangents of the array and the updates, for any mode.
std::pair<Array, Array> joined_vjp(const Addressing& a, const Array& x, const Array& u,
                                   const Array& y, const Array& ct, ScatterMode mode, bool want_x,
                                   bool want_u) {
  Array dx, du;
  if (mode <= ScatterMode::add) {
    if (want_x) dx = mode == ScatterMode::add ? ct : a.join(ct, zeros_like(u), ScatterMode::set);
    if (want_u) du = a.pick(ct);
    return {dx, du};
  }
  JoinWeights w = join_weights(a, x, u, y, mode);
  if (want_x) dx = ct * w.at_source;
  if (want_u) du = a.pick(ct) * w.at_updates;
  return {dx, du};
}

Array joined_jvp(const Addressing& a, const Array& x, const Array& u, const Array& y,
                 const Array& tx, const Array& tu, ScatterMode mode) {
  Array dx = tx ? tx : zeros_like(x), du = tu ? tu : zeros_like(u);
  if (mode <= ScatterMode::add) return a.join(dx, du, mode);
  JoinWeights w = join_weights(a, x, u, y, mode);
  return a.join(dx * w.at_source, du * w.at_updates, ScatterMode::add);
}

const Primitive& scatter_row = define(
    {.name = "scatter",
     .kind = Kind::call,
     .doc = "A copy with slices at index arrays replaced or joined.",
     .fields = {{"axes", FieldKind::ints}, {"mode", FieldKind::integer}},
     .call =
         [](const CallArgs& c) {
           Params::Reader r = params_of(c).read();
           Axes axes = r.ints();
           cpu::copy(c.in[0], c.out[0]);
           cpu::scatter("scatter", c.out[0], c.in.subspan(2), c.in[1], axes,
                        device_mode(r.integer()));
         },
     .text = text::scatter,
     .flops = [](const Node& n) { return n.inputs[1].size(); },
     .vjp = [](const Node& n, const Array& y, const Array& ct,
               const std::vector<bool>& wanted) -> Arrays {
       Arrays out(n.inputs.size());
       std::tie(out[0], out[1]) = joined_vjp(scatter_addressing(n), n.inputs[0], n.inputs[1], y, ct,
                                             scatter_mode(n), wanted[0], wanted[1]);
       return out;
     },
     .jvp =
         [](const Node& n, const Array& y, const Arrays& t) {
           return joined_jvp(scatter_addressing(n), n.inputs[0], n.inputs[1], y, t[0], t[1],
                             scatter_mode(n));
         },
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>& batched, int64_t batch) {
           Params::Reader r = n.params.read();
           Axes axes = r.ints();
           auto mode = static_cast<ScatterMode>(r.integer());
           Batched b =
               batch_indices(batched_input(in[0], batched[0], batch), in, batched, 2, axes, batch);
           Array updates = batched_input(in[1], batched[1], batch);
           size_t lead = n.inputs.size() > 2 ? n.inputs[2].shape().size() : 0;
           return scatter(b.x, b.indices, expand_dims(updates, {static_cast<int64_t>(lead) + 1}),
                          b.axes, mode);
         }});

Array scatter_node(const Array& x, const Arrays& indices, const Array& updates, const Axes& axes,
                   ScatterMode mode) {
  Arrays in{x, updates};
  in.insert(in.end(), indices.begin(), indices.end());
  return make_node(scatter_row, Params().add_ints(axes).add(static_cast<int64_t>(mode)),
                   std::move(in), x.shape(), x.dtype());
}

// --- along an axis ---

Array along_vmap(const Node& n, const Arrays& in, const std::vector<bool>& batched, int64_t batch) {
  Arrays x;
  for (size_t i = 0; i < in.size(); ++i) x.push_back(batched_input(in[i], batched[i], batch));
  Params::Reader r = n.params.read();
  int64_t axis = r.integer() + 1;
  if (in.size() == 2) return take_along_axis(x[0], x[1], axis);
  return put_along_axis(x[0], x[1], x[2], axis, static_cast<ScatterMode>(r.integer()));
}

const Primitive& take_along_row =
    define({.name = "take_along_axis",
            .kind = Kind::call,
            .doc = "Elements picked by an index array of the same rank.",
            .fields = {{"axis", FieldKind::integer}},
            .call =
                [](const CallArgs& c) {
                  cpu::take_along_axis("take_along_axis", c.in[0], c.in[1],
                                       params_of(c).read().integer(), c.out[0]);
                },
            .text = text::take_along_axis,
            .flops = moved,
            .reads = picked,
            .vjp = [](const Node& n, const Array&, const Array& ct,
                      const std::vector<bool>& wanted) -> Arrays {
              Arrays out(2);
              if (wanted[0])
                out[0] = put_along_axis(zeros(n.inputs[0].shape(), ct.dtype()), n.inputs[1], ct,
                                        n.params.read().integer(), ScatterMode::add);
              return out;
            },
            .jvp =
                [](const Node& n, const Array&, const Arrays& t) {
                  return t[0] ? take_along_axis(t[0], n.inputs[1], n.params.read().integer())
                              : zeros(n.shape, n.dtype);
                },
            .vmap = along_vmap});

const Primitive& put_along_row =
    define({.name = "put_along_axis",
            .kind = Kind::call,
            .doc = "A copy with elements at an index array of the same rank replaced or joined.",
            .fields = {{"axis", FieldKind::integer}, {"mode", FieldKind::integer}},
            .call =
                [](const CallArgs& c) {
                  Params::Reader r = params_of(c).read();
                  int64_t axis = r.integer();
                  cpu::copy(c.in[0], c.out[0]);
                  cpu::scatter_along_axis("put_along_axis", c.out[0], c.in[1], c.in[2], axis,
                                          device_mode(r.integer()));
                },
            .text = text::put_along_axis,
            .flops = [](const Node& n) { return n.inputs[1].size(); },
            .vjp = [](const Node& n, const Array& y, const Array& ct,
                      const std::vector<bool>& wanted) -> Arrays {
              Arrays out(3);
              std::tie(out[0], out[2]) = joined_vjp(along_addressing(n), n.inputs[0], n.inputs[2],
                                                    y, ct, along_mode(n), wanted[0], wanted[2]);
              return out;
            },
            .jvp =
                [](const Node& n, const Array& y, const Arrays& t) {
                  return joined_jvp(along_addressing(n), n.inputs[0], n.inputs[2], y, t[0], t[2],
                                    along_mode(n));
                },
            .vmap = along_vmap});

// The shape of indices once they broadcast against x beside the axis.
Shape along_shape(const char* op, const Array& x, const Array& indices, int64_t axis) {
  if (!is_integer(indices.dtype()))
    throw DtypeError(std::string(op) + ": indices must be integers, got " +
                     name_of(indices.dtype()));
  if (indices.ndim() != x.ndim())
    throw ShapeError(std::string(op) + ": indices " + to_string(indices.shape()) +
                     " must have as many axes as " + to_string(x.shape()));
  Shape beside = x.shape();
  beside[static_cast<size_t>(axis)] = 1;
  auto shape = broadcast_shapes(beside, indices.shape());
  if (!shape)
    throw ShapeError(std::string(op) + ": indices " + to_string(indices.shape()) +
                     " do not broadcast against " + to_string(x.shape()) + " beside axis " +
                     std::to_string(axis));
  return *shape;
}

}  // namespace

Array gather(const Array& x, const Arrays& indices, const Axes& axes, const Shape& slice_sizes) {
  Arrays in = common_indices("gather", indices);
  Shape shape = in.empty() ? Shape{} : in[0].shape();
  if (axes.size() != indices.size())
    throw ValueError("gather: " + std::to_string(indices.size()) + " index arrays but " +
                     std::to_string(axes.size()) + " axes");
  normalize_axes("gather", axes, x.ndim());
  for (size_t i = 0; i < slice_sizes.size(); ++i)
    if (slice_sizes[i] < 0 || slice_sizes[i] > x.shape()[i])
      throw ShapeError("gather: slice sizes " + to_string(slice_sizes) + " do not fit " +
                       to_string(x.shape()));
  in.insert(in.begin(), x);
  return make_node(gather_row, Params().add_ints(axes).add_ints(slice_sizes), std::move(in),
                   joined(shape, slice_sizes), x.dtype());
}

Array scatter(const Array& x, const Arrays& indices, const Array& updates, const Axes& axes,
              ScatterMode mode) {
  Arrays in = common_indices("scatter", indices);
  normalize_axes("scatter", axes, x.ndim());
  Array u = astype(updates, x.dtype());
  size_t lead = in.empty() ? 0 : in[0].shape().size();
  if (u.shape().size() != lead + x.shape().size())
    throw ShapeError("scatter: updates " + to_string(u.shape()) +
                     " must have the axes of the indices " +
                     to_string(in.empty() ? Shape{} : in[0].shape()) + " and of the array " +
                     to_string(x.shape()));
  if (!in.empty()) {
    Shape shape = in[0].shape();
    for (size_t i = lead; i < u.shape().size(); ++i) shape.push_back(u.shape()[i]);
    u = broadcast_to(u, shape);
  }
  return scatter_node(x, in, u, axes, mode);
}

Array take(const Array& x, const Array& indices, int64_t axis) {
  int64_t a = normalize_axis("take", axis, x.ndim());
  if (x.shape(a) == 0 && indices.size() > 0)
    throw IndexError("take: axis " + std::to_string(axis) + " of " + to_string(x.shape()) +
                     " is empty");
  Shape sizes = x.shape();
  if (x.shape(a) == 0) {  // nothing is taken from nothing
    Shape none(sizes.begin(), sizes.begin() + a);
    for (int64_t d : indices.shape()) none.push_back(d);
    for (int64_t i = a + 1; i < x.ndim(); ++i) none.push_back(x.shape(i));
    return zeros(none, x.dtype());
  }
  sizes[static_cast<size_t>(a)] = 1;
  Array out = gather(x, {indices}, {a}, sizes);
  // indices.shape + sizes: bring the index axes to where the taken axis was.
  int64_t lead = indices.ndim();
  out = squeeze(out, {lead + a});
  Axes order;
  for (int64_t i = 0; i < a; ++i) order.push_back(lead + i);
  for (int64_t i = 0; i < lead; ++i) order.push_back(i);
  for (int64_t i = lead + a; i < out.ndim(); ++i) order.push_back(i);
  return transpose(out, order);
}

Array take_along_axis(const Array& x, const Array& indices, int64_t axis) {
  int64_t a = normalize_axis("take_along_axis", axis, x.ndim());
  Shape shape = along_shape("take_along_axis", x, indices, a);
  Shape source = shape;
  source[static_cast<size_t>(a)] = x.shape(a);
  return make_node(take_along_row, Params().add(a),
                   {broadcast_to(x, source), broadcast_to(indices, shape)}, shape, x.dtype());
}

Array put_along_axis(const Array& x, const Array& indices, const Array& values, int64_t axis,
                     ScatterMode mode) {
  int64_t a = normalize_axis("put_along_axis", axis, x.ndim());
  Shape shape = along_shape("put_along_axis", x, indices, a);
  return make_node(
      put_along_row, Params().add(a).add(static_cast<int64_t>(mode)),
      {x, broadcast_to(indices, shape), broadcast_to(astype(values, x.dtype()), shape)}, x.shape(),
      x.dtype());
}

}  // namespace lamina

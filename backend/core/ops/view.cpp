// Views: the same elements under another layout. None copies; the scheduler folds them into the
// index maps of whatever reads them.
#include <algorithm>
#include <numeric>

#include "base/axis_error.h"
#include "ops/copy/copy_cpu.h"
#include "ops/copy/view_text.h"
#include "ops/rules.h"

namespace lamina {

int64_t normalize_axis(const char* op, int64_t axis, int64_t ndim) {
  int64_t a = axis < 0 ? axis + ndim : axis;
  if (a < 0 || a >= ndim)
    throw AxisError(std::string(op) + ": axis " + std::to_string(axis) +
                    " is out of bounds for an array with " + std::to_string(ndim) + " axes");
  return a;
}

Axes normalize_axes(const char* op, const Axes& axes, int64_t ndim) {
  Axes out;
  for (int64_t a : axes) out.push_back(normalize_axis(op, a, ndim));
  std::sort(out.begin(), out.end());
  for (size_t i = 1; i < out.size(); ++i)
    if (out[i] == out[i - 1])
      throw ValueError(std::string(op) + ": axes " + to_string(axes) + " name an axis twice");
  return out;
}

Axes all_axes(const Array& x) {
  Axes out(static_cast<size_t>(x.ndim()));
  std::iota(out.begin(), out.end(), int64_t{0});
  return out;
}

Array unbroadcast(const Array& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  size_t extra = x.shape().size() - shape.size();
  Axes axes;
  for (size_t i = 0; i < x.shape().size(); ++i)
    if (i < extra || (shape[i - extra] == 1 && x.shape()[i] != 1))
      axes.push_back(static_cast<int64_t>(i));
  return reshape(axes.empty() ? x : sum(x, axes, true), shape);
}

Shape with_batch(int64_t batch, const Shape& shape) {
  Shape out{batch};
  for (int64_t d : shape) out.push_back(d);
  return out;
}

Array batched_input(const Array& x, bool batched, int64_t batch) {
  return batched ? x : broadcast_to(x, with_batch(batch, x.shape()));
}

Array align_rank(const Array& x, int64_t rank) {
  int64_t missing = rank + 1 - x.ndim();
  if (missing <= 0) return x;
  Shape shape{x.shape(0)};
  for (int64_t i = 0; i < missing; ++i) shape.push_back(1);
  for (size_t i = 1; i < x.shape().size(); ++i) shape.push_back(x.shape()[i]);
  return reshape(x, shape);
}

namespace {

Array same_view_of(const Node& n, const Array& x, Dtype dtype) {
  return make_node(*n.primitive, n.params, {x}, n.shape, dtype);
}
Array view_jvp(const Node& n, const Array&, const Arrays& t) {
  return same_view_of(n, t[0], t[0].dtype());
}

}  // namespace

// --- transpose ---------------------------------------------------------------------------------

static const Primitive& transpose_row = define(
    {.name = "transpose",
     .kind = Kind::view,
     .doc = "Axes in another order.",
     .fields = {{"axes", FieldKind::ints}},
     .layout = [](const Node& n, const Layout& in) -> std::optional<Layout> {
       Shape axes = n.params.read().ints();
       Layout out{n.shape, Strides(axes.size()), in.offset};
       for (size_t i = 0; i < axes.size(); ++i)
         out.strides[i] = in.strides[static_cast<size_t>(axes[i])];
       return out;
     },
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       Shape axes = n.params.read().ints();
       Axes inverse(axes.size());
       for (size_t i = 0; i < axes.size(); ++i)
         inverse[static_cast<size_t>(axes[i])] = static_cast<int64_t>(i);
       return {transpose(ct, inverse)};
     },
     .jvp = view_jvp,
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>&, int64_t) {
           Axes axes{0};
           for (int64_t a : n.params.read().ints()) axes.push_back(a + 1);
           return transpose(in[0], axes);
         }});

Array transpose(const Array& x, const Axes& axes) {
  if (static_cast<int64_t>(axes.size()) != x.ndim())
    throw ValueError("transpose: " + std::to_string(axes.size()) + " axes for an array of shape " +
                     to_string(x.shape()));
  normalize_axes("transpose", axes, x.ndim());
  Axes order;
  Shape shape;
  bool identity = true;
  for (size_t i = 0; i < axes.size(); ++i) {
    order.push_back(normalize_axis("transpose", axes[i], x.ndim()));
    shape.push_back(x.shape(order.back()));
    identity &= order.back() == static_cast<int64_t>(i);
  }
  if (identity) return x;
  return make_node(transpose_row, Params().add_ints(order), {x}, shape, x.dtype());
}

Array transpose(const Array& x) {
  Axes axes = all_axes(x);
  std::reverse(axes.begin(), axes.end());
  return transpose(x, axes);
}

Array swapaxes(const Array& x, int64_t a, int64_t b) {
  Axes axes = all_axes(x);
  std::swap(axes[static_cast<size_t>(normalize_axis("swapaxes", a, x.ndim()))],
            axes[static_cast<size_t>(normalize_axis("swapaxes", b, x.ndim()))]);
  return transpose(x, axes);
}

Array moveaxis(const Array& x, int64_t source, int64_t destination) {
  int64_t from = normalize_axis("moveaxis", source, x.ndim());
  int64_t to = normalize_axis("moveaxis", destination, x.ndim());
  Axes axes = all_axes(x);
  axes.erase(axes.begin() + from);
  axes.insert(axes.begin() + to, from);
  return transpose(x, axes);
}

// --- reshape -----------------------------------------------------------------------------------

static const Primitive& reshape_row = define(
    {.name = "reshape",
     .kind = Kind::view,
     .doc = "The same elements in row-major order under another shape.",
     .layout = [](const Node& n, const Layout& in) { return reshape_layout(in, n.shape); },
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       return {reshape(ct, n.inputs[0].shape())};
     },
     .jvp = view_jvp,
     .vmap = [](const Node& n, const Arrays& in, const std::vector<bool>&,
                int64_t batch) { return reshape(in[0], with_batch(batch, n.shape)); }});

Array reshape(const Array& x, Shape shape) {
  const Shape asked = shape;
  int64_t unknown = -1, known = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == -1 && unknown < 0)
      unknown = static_cast<int64_t>(i);
    else if (shape[i] < 0)
      throw ShapeError("reshape: bad shape " + to_string(asked));
    else
      known *= shape[i];
  }
  if (unknown >= 0) {
    if (known == 0 || x.size() % known != 0)
      throw ShapeError("reshape: cannot infer -1 in " + to_string(asked) + " from " +
                       std::to_string(x.size()) + " elements of shape " + to_string(x.shape()));
    shape[static_cast<size_t>(unknown)] = x.size() / known;
  }
  if (shape == x.shape()) return x;
  if (element_count(shape) != x.size())
    throw ShapeError("reshape: sizes differ: " + to_string(x.shape()) + " has " +
                     std::to_string(x.size()) + " elements, " + to_string(asked) + " needs " +
                     std::to_string(element_count(shape)));
  return make_node(reshape_row, {}, {x}, std::move(shape), x.dtype());
}

Array flatten(const Array& x, int64_t start_axis, int64_t end_axis) {
  if (x.ndim() == 0) return reshape(x, {1});
  int64_t a = std::max<int64_t>(0, start_axis < 0 ? start_axis + x.ndim() : start_axis);
  int64_t b = std::min<int64_t>(x.ndim() - 1, end_axis < 0 ? end_axis + x.ndim() : end_axis);
  if (b < a || a >= x.ndim() || b < 0)
    throw ValueError("flatten: start_axis " + std::to_string(start_axis) + " and end_axis " +
                     std::to_string(end_axis) + " do not select axes of " + to_string(x.shape()));
  Shape shape(x.shape().begin(), x.shape().begin() + a);
  int64_t merged = 1;
  for (int64_t i = a; i <= b; ++i) merged *= x.shape(i);
  shape.push_back(merged);
  for (int64_t i = b + 1; i < x.ndim(); ++i) shape.push_back(x.shape(i));
  return reshape(x, shape);
}

Array unflatten(const Array& x, int64_t axis, const Shape& sizes) {
  int64_t a = normalize_axis("unflatten", axis, x.ndim());
  if (sizes.empty()) throw ValueError("unflatten: shape must have at least one size");
  Shape inner = sizes;
  int64_t known = 1, unknown = -1;
  for (size_t i = 0; i < inner.size(); ++i) {
    if (inner[i] == -1)
      unknown = static_cast<int64_t>(i);
    else
      known *= inner[i];
  }
  if (unknown >= 0 && known > 0) inner[static_cast<size_t>(unknown)] = x.shape(a) / known;
  if (element_count(inner) != x.shape(a))
    throw ShapeError("unflatten: axis " + std::to_string(axis) + " of size " +
                     std::to_string(x.shape(a)) + " does not split into " + to_string(sizes));
  Shape shape(x.shape().begin(), x.shape().begin() + a);
  for (int64_t d : inner) shape.push_back(d);
  for (int64_t i = a + 1; i < x.ndim(); ++i) shape.push_back(x.shape(i));
  return reshape(x, shape);
}

Array squeeze(const Array& x, const Axes& axes) {
  Axes gone = normalize_axes("squeeze", axes, x.ndim());
  Shape shape;
  for (int64_t i = 0; i < x.ndim(); ++i) {
    bool drop = std::find(gone.begin(), gone.end(), i) != gone.end();
    if (drop && x.shape(i) != 1)
      throw ShapeError("squeeze: axis " + std::to_string(i) + " of " + to_string(x.shape()) +
                       " has size " + std::to_string(x.shape(i)) + ", not 1");
    if (!drop) shape.push_back(x.shape(i));
  }
  return reshape(x, shape);
}

Array expand_dims(const Array& x, const Axes& axes) {
  int64_t rank = x.ndim() + static_cast<int64_t>(axes.size());
  Axes at = normalize_axes("expand_dims", axes, rank);
  Shape shape;
  int64_t next = 0;
  for (int64_t i = 0; i < rank; ++i)
    shape.push_back(std::find(at.begin(), at.end(), i) != at.end() ? 1 : x.shape(next++));
  return reshape(x, shape);
}

// --- broadcast ---------------------------------------------------------------------------------

static const Primitive& broadcast_row = define(
    {.name = "broadcast_to",
     .kind = Kind::view,
     .doc = "Elements repeated along new and size-1 axes.",
     .layout = [](const Node& n, const Layout& in) -> std::optional<Layout> {
       return broadcast_layout(in, n.shape);
     },
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       return {unbroadcast(ct, n.inputs[0].shape())};
     },
     .jvp = view_jvp,
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>&, int64_t batch) {
           return broadcast_to(align_rank(in[0], static_cast<int64_t>(n.shape.size())),
                               with_batch(batch, n.shape));
         }});

Array broadcast_to(const Array& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  for (int64_t size : shape)
    if (size < 0) throw ShapeError("broadcast_to: negative size in shape " + to_string(shape));
  auto both = broadcast_shapes(x.shape(), shape);
  if (!both || !(*both == shape))
    throw ShapeError("broadcast_to: " + to_string(x.shape()) + " does not broadcast to " +
                     to_string(shape));
  return make_node(broadcast_row, {}, {x}, shape, x.dtype());
}

// --- slice -------------------------------------------------------------------------------------

static int64_t slice_length(int64_t start, int64_t stop, int64_t step) {
  int64_t n = step > 0 ? (stop - start + step - 1) / step : (start - stop - step - 1) / -step;
  return std::max<int64_t>(n, 0);
}

static Params slice_params(const Shape& start, const Shape& stop, const Shape& step) {
  return Params().add_ints(start).add_ints(stop).add_ints(step);
}

static void batch_slice(const Node& n, int64_t batch, Shape& start, Shape& stop, Shape& step) {
  Params::Reader r = n.params.read();
  start = with_batch(0, r.ints());
  stop = with_batch(batch, r.ints());
  step = with_batch(1, r.ints());
}

static const std::vector<Field> kSliceFields = {
    {"start", FieldKind::ints}, {"stop", FieldKind::ints}, {"step", FieldKind::ints}};

static const Primitive& slice_row = define(
    {.name = "slice",
     .kind = Kind::view,
     .doc = "Every step-th element between start and stop, per axis.",
     .fields = kSliceFields,
     .layout = [](const Node& n, const Layout& in) -> std::optional<Layout> {
       Params::Reader r = n.params.read();
       Shape start = r.ints();
       r.ints();
       Shape step = r.ints();
       Layout out{n.shape, Strides(start.size()), in.offset};
       for (size_t i = 0; i < start.size(); ++i) {
         if (n.shape[i] > 0) out.offset += start[i] * in.strides[i];
         out.strides[i] = in.strides[i] * step[i];
       }
       return out;
     },
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       Params::Reader r = n.params.read();
       Shape start = r.ints(), stop = r.ints(), step = r.ints();
       return {slice_update(zeros(n.inputs[0].shape(), ct.dtype()), ct, start, stop, step)};
     },
     .jvp = view_jvp,
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>&, int64_t batch) {
           Shape start, stop, step;
           batch_slice(n, batch, start, stop, step);
           return slice(in[0], start, stop, step);
         }});

static Shape sliced_shape(const Shape& start, const Shape& stop, const Shape& step) {
  Shape shape;
  for (size_t i = 0; i < start.size(); ++i)
    shape.push_back(slice_length(start[i], stop[i], step[i]));
  return shape;
}

Array slice(const Array& x, const Shape& start, const Shape& stop, const Shape& step) {
  Shape shape = sliced_shape(start, stop, step);
  bool whole = shape == x.shape();
  for (size_t i = 0; i < start.size(); ++i) whole &= start[i] == 0 && step[i] == 1;
  if (whole) return x;
  return make_node(slice_row, slice_params(start, stop, step), {x}, shape, x.dtype());
}

Array flip(const Array& x, const Axes& axes) {
  Shape start, stop, step;
  Axes flipped = normalize_axes("flip", axes, x.ndim());
  for (int64_t i = 0; i < x.ndim(); ++i) {
    bool f = std::find(flipped.begin(), flipped.end(), i) != flipped.end();
    start.push_back(f ? x.shape(i) - 1 : 0);
    stop.push_back(f ? -1 : x.shape(i));
    step.push_back(f ? -1 : 1);
  }
  return flipped.empty() ? x : slice(x, start, stop, step);
}

static const Primitive& update_row = define(
    {.name = "slice_update",
     .kind = Kind::update,
     .doc = "A copy with a slice replaced.",
     .fields = kSliceFields,
     .vjp = [](const Node& n, const Array&, const Array& ct,
               const std::vector<bool>& wanted) -> Arrays {
       Params::Reader r = n.params.read();
       Shape start = r.ints(), stop = r.ints(), step = r.ints();
       Arrays out(2);
       if (wanted[0])
         out[0] = slice_update(ct, zeros(n.inputs[1].shape(), ct.dtype()), start, stop, step);
       if (wanted[1]) out[1] = slice(ct, start, stop, step);
       return out;
     },
     .jvp =
         [](const Node& n, const Array&, const Arrays& t) {
           Params::Reader r = n.params.read();
           Shape start = r.ints(), stop = r.ints(), step = r.ints();
           return slice_update(t[0] ? t[0] : zeros(n.shape, n.dtype),
                               t[1] ? t[1] : zeros(n.inputs[1].shape(), n.dtype), start, stop,
                               step);
         },
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>& batched, int64_t batch) {
           Shape start, stop, step;
           batch_slice(n, batch, start, stop, step);
           return slice_update(batched_input(in[0], batched[0], batch),
                               batched_input(in[1], batched[1], batch), start, stop, step);
         }});

Array slice_update(const Array& x, const Array& update, const Shape& start, const Shape& stop,
                   const Shape& step) {
  Shape shape = sliced_shape(start, stop, step);
  Array u = broadcast_to(astype(update, x.dtype()), shape);
  return make_node(update_row, slice_params(start, stop, step), {x, u}, x.shape(), x.dtype());
}

Array pad(const Array& x, const Axes& axes, const Shape& low, const Shape& high,
          const Array& value) {
  Shape shape = x.shape(), start(shape.size()), stop = shape, step(shape.size(), 1);
  for (size_t i = 0; i < axes.size(); ++i) {
    size_t a = static_cast<size_t>(normalize_axis("pad", axes[i], x.ndim()));
    if (low[i] < 0 || high[i] < 0)
      throw ValueError("pad: widths must not be negative: (" + std::to_string(low[i]) + ", " +
                       std::to_string(high[i]) + ") for axis " + std::to_string(axes[i]));
    start[a] = low[i];
    stop[a] = low[i] + shape[a];
    shape[a] += low[i] + high[i];
  }
  if (shape == x.shape()) return x;
  return slice_update(full(shape, value, x.dtype()), x, start, stop, step);
}

// --- strides, bits -----------------------------------------------------------------------------

static const Primitive& strided_row = define(
    {.name = "as_strided",
     .kind = Kind::view,
     .doc = "The row-major elements read with any strides; overlaps are allowed.",
     .fields = {{"strides", FieldKind::ints}, {"offset", FieldKind::integer}},
     .layout = [](const Node& n, const Layout& in) -> std::optional<Layout> {
       if (!in.contiguous()) return std::nullopt;
       Params::Reader r = n.params.read();
       Strides strides = r.ints();
       return Layout{n.shape, strides, in.offset + r.integer()};
     },
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       Params::Reader r = n.params.read();
       Strides strides = r.ints();
       int64_t offset = r.integer();
       const Array& x = n.inputs[0];
       if (x.size() == 0) return {zeros(x.shape(), ct.dtype())};
       // Each element may be read by many: its cotangent is the sum over all of them.
       Array where = as_strided(iota(x.size(), Dtype::int64), n.shape, strides, offset);
       Array flat = scatter(zeros({x.size()}, ct.dtype()), {reshape(where, {-1})},
                            reshape(ct, {ct.size(), 1}), {0}, ScatterMode::add);
       return {reshape(flat, x.shape())};
     },
     .jvp = view_jvp,
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>&, int64_t batch) {
           Params::Reader r = n.params.read();
           Strides strides = with_batch(n.inputs[0].size(), r.ints());
           return as_strided(in[0], with_batch(batch, n.shape), strides, r.integer());
         }});

Array as_strided(const Array& x, const Shape& shape, const Strides& strides, int64_t offset) {
  if (shape.size() != strides.size())
    throw ShapeError("as_strided: shape " + to_string(shape) + " and strides " +
                     to_string(strides) + " have different lengths");
  int64_t low = offset, high = offset;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < 0) throw ShapeError("as_strided: bad shape " + to_string(shape));
    int64_t reach;
    bool overflow = __builtin_mul_overflow(shape[i] - 1, strides[i], &reach);
    int64_t& end = reach < 0 ? low : high;
    if (overflow || __builtin_add_overflow(end, reach, &end))
      throw ShapeError("as_strided: strides " + to_string(strides) + " reach past 2^63");
  }
  if (element_count(shape) > 0 && (low < 0 || high >= x.size()))
    throw ValueError("as_strided: shape " + to_string(shape) + " with strides " +
                     to_string(strides) + " and offset " + std::to_string(offset) +
                     " reaches elements " + std::to_string(low) + " to " + std::to_string(high) +
                     " of " + std::to_string(x.size()));
  return make_node(strided_row, Params().add_ints(strides).add(offset), {x}, shape, x.dtype());
}

static const Primitive& bitcast_row =
    define({// A call, not a view: kernels load an element in the dtype of the buffer it lies in.
            .name = "view",
            .kind = Kind::call,
            .doc = "The same bytes as another dtype.",
            .call =
                [](const CallArgs& c) {
                  const TensorView& in = c.in[0];
                  cpu::copy(in, {c.out[0].data, in.dtype, in.shape, row_major_strides(in.shape)});
                },
            .text = text::bitcast,
            .flops = [](const Node&) { return int64_t{0}; },
            .vmap = [](const Node& n, const Arrays& in, const std::vector<bool>&,
                       int64_t) { return bitcast(in[0], n.dtype); },
            .nondifferentiable = "it reads bits, not numbers"});

Array bitcast(const Array& x, Dtype dtype) {
  if (x.dtype() == dtype) return x;
  Shape shape = x.shape();
  int64_t from = itemsize(x.dtype()), to = itemsize(dtype);
  if (from != to) {
    if (shape.empty() || shape.back() * from % to != 0)
      throw ShapeError(std::string("view: the last axis of ") + to_string(x.shape()) + " " +
                       name_of(x.dtype()) + " does not divide into " + name_of(dtype));
    shape.back() = shape.back() * from / to;
  }
  return make_node(bitcast_row, {}, {x}, shape, dtype);
}

Array diagonal(const Array& x, int64_t offset, int64_t axis1, int64_t axis2) {
  if (x.ndim() < 2) throw ShapeError("diagonal: needs 2 axes or more, got " + to_string(x.shape()));
  int64_t a = normalize_axis("diagonal", axis1, x.ndim());
  int64_t b = normalize_axis("diagonal", axis2, x.ndim());
  if (a == b) throw ValueError("diagonal: axis1 and axis2 are both " + std::to_string(axis1));
  int64_t row = std::max<int64_t>(0, -offset), col = std::max<int64_t>(0, offset);
  int64_t n = std::max<int64_t>(0, std::min(x.shape(a) - row, x.shape(b) - col));
  Axes rest;
  for (int64_t i = 0; i < x.ndim(); ++i)
    if (i != a && i != b) rest.push_back(i);
  Axes order = rest;
  order.push_back(a);
  order.push_back(b);
  Array moved = transpose(x, order);
  Strides strides = row_major_strides(moved.shape());
  int64_t first = n > 0 ? row * strides[rest.size()] + col : 0;
  Shape shape(moved.shape().begin(), moved.shape().end() - 2);
  Strides out(strides.begin(), strides.end() - 2);
  shape.push_back(n);
  out.push_back(strides[rest.size()] + 1);
  return as_strided(moved, shape, out, first);
}

// --- aliases -----------------------------------------------------------------------------------

static Array alias_vmap(const Node& n, const Arrays& in, const std::vector<bool>&, int64_t batch) {
  return make_node(*n.primitive, n.params, in, with_batch(batch, n.shape), n.dtype);
}

static const Primitive& copy_row =
    define({.name = "copy",
            .kind = Kind::alias,
            .doc = "The same value as a new node.",
            .vjp = [](const Node&, const Array&, const Array& ct,
                      const std::vector<bool>&) -> Arrays { return {ct}; },
            .jvp = [](const Node&, const Array&, const Arrays& t) { return t[0]; },
            .vmap = alias_vmap});
static const Primitive& stop_row =
    define({.name = "stop_gradient",
            .kind = Kind::alias,
            .doc = "The same value, constant to derivatives.",
            .vmap = alias_vmap,
            .nondifferentiable = "it is the mark that stops derivatives"});
static const Primitive& depends_row = define(
    {.name = "depends",
     .kind = Kind::alias,
     .doc = "The first input, evaluated after the others.",
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       Arrays out(n.inputs.size());
       out[0] = ct;
       return out;
     },
     .jvp = [](const Node& n, const Array&,
               const Arrays& t) { return t[0] ? t[0] : zeros(n.shape, n.dtype); },
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>& batched, int64_t batch) {
           Arrays all = in;
           all[0] = batched_input(in[0], batched[0], batch);
           return make_node(*n.primitive, {}, all, with_batch(batch, n.shape), n.dtype);
         }});
static const Primitive& contiguous_row =
    define({.name = "contiguous",
            .kind = Kind::alias,
            .doc = "The same value in row-major memory.",
            .vjp = [](const Node&, const Array&, const Array& ct,
                      const std::vector<bool>&) -> Arrays { return {ct}; },
            .jvp = [](const Node&, const Array&, const Arrays& t) { return t[0]; },
            .vmap = alias_vmap});

Array copy(const Array& x) { return make_node(copy_row, {}, {x}, x.shape(), x.dtype()); }
Array stop_gradient(const Array& x) { return make_node(stop_row, {}, {x}, x.shape(), x.dtype()); }
Array depends(const Array& x, const std::vector<Array>& dependencies) {
  Arrays in{x};
  in.insert(in.end(), dependencies.begin(), dependencies.end());
  return make_node(depends_row, {}, std::move(in), x.shape(), x.dtype());
}
Array contiguous(const Array& x) {
  return make_node(contiguous_row, {}, {x}, x.shape(), x.dtype());
}

}  // namespace lamina

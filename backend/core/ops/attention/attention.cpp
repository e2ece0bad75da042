#include "ops/attention/attention.h"

#include "base/error.h"
#include "devices/device.h"
#include "ops/attention/attention_call.h"
#include "ops/rules.h"

namespace lamina {

namespace {

constexpr int64_t kFewQueries = 32;
constexpr int64_t kManyScores = int64_t{1} << 28;

struct Known {
  double scale;
  bool causal, mask, sinks;
  explicit Known(const Params& p) {
    Params::Reader r = p.read();
    scale = r.real();
    causal = r.integer() != 0;
    mask = r.integer() != 0;
    sinks = r.integer() != 0;
  }
  size_t sinks_at() const { return mask ? 4 : 3; }
};

Array swapped(const Array& x) { return swapaxes(x, -1, -2); }
Array wide(const Array& x) { return astype(x, Dtype::float32); }
Array sum_last(const Array& x) { return sum(x, {x.ndim() - 1}, true); }

// The composed formula, with heads that share their keys side by side: (B, G, H / G, T, ...).
struct Composed {
  Known known;
  Dtype dtype;
  Shape grouped;  // (B, G, H / G)
  Array q, k, v;  // q times scale
  Array weights;  // float32
  Array sink_weights;

  explicit Composed(const Node& n) : Composed(n, n.inputs) {}
  Composed(const Node& n, const Arrays& in) : known(n.params), dtype(n.dtype) {
    const int64_t groups = in[1].shape(1);
    grouped = {in[0].shape(0), groups, in[0].shape(1) / groups};
    q = by_group(in[0]) * known.scale;
    k = expand_dims(in[1], {2});
    v = expand_dims(in[2], {2});
    Array scores = wide(matmul(q, swapped(k)));
    const int64_t rows = scores.shape(-2), keys = scores.shape(-1);
    Array low = make_scalar(-INFINITY, Dtype::float32);
    if (known.causal) {
      Array last =
          expand_dims(iota(rows, Dtype::int64), {1}) + make_scalar_int(keys - rows, Dtype::int64);
      scores = select(less_equal(iota(keys, Dtype::int64), last), scores, low);
    }
    if (known.mask) {
      Array mask = by_group(in[3]);
      scores = mask.dtype() == Dtype::bool_ ? select(mask, scores, low) : scores + wide(mask);
    }
    if (!known.sinks) {
      weights = softmax(scores, {scores.ndim() - 1}, true);
      return;
    }
    const Array& sinks = in[known.sinks_at()];
    Array column = reshape(wide(sinks), with(grouped, {1, 1}));
    column = broadcast_to(column, with(grouped, {rows, 1}));
    Arrays parts = split(softmax(concatenate({column, scores}, 4), {4}, true), {1}, 4);
    sink_weights = parts[0];
    weights = parts[1];
  }

  static Shape with(Shape shape, std::initializer_list<int64_t> more) {
    for (int64_t n : more) shape.push_back(n);
    return shape;
  }
  // (B, H, T, n) as (B, G, H / G, T, n), and back.
  Array by_group(const Array& x) const {
    return reshape(x, with(grouped, {x.shape(-2), x.shape(-1)}));
  }
  Array by_head(const Array& x) const {
    return reshape(x, {grouped[0], grouped[1] * grouped[2], x.shape(-2), x.shape(-1)});
  }
  Array times(const Array& a, const Array& b) const {
    return matmul(astype(a, dtype), astype(b, dtype));
  }
};

Arrays attention_vjp(const Node& n, const Array&, const Array& ct,
                     const std::vector<bool>& wanted) {
  const Composed c(n);
  Arrays out(n.inputs.size());
  Array g = c.by_group(ct);
  auto of_group = [](const Array& x) { return sum(x, {2}, false); };
  if (wanted[2]) out[2] = astype(of_group(c.times(swapped(c.weights), g)), c.dtype);
  bool scores = false;
  for (size_t i = 0; i < wanted.size(); ++i) scores |= wanted[i] && i != 2;
  if (!scores) return out;
  Array by_weights = wide(c.times(g, swapped(c.v)));
  Array mean = sum_last(by_weights * c.weights);
  Array by_scores = c.weights * (by_weights - mean);
  if (wanted[0]) out[0] = c.by_head(c.times(by_scores, c.k)) * c.known.scale;
  if (wanted[1]) out[1] = astype(of_group(c.times(swapped(by_scores), c.q)), c.dtype);
  if (c.known.mask && wanted[3] && is_floating(n.inputs[3].dtype()))
    out[3] = astype(c.by_head(by_scores), n.inputs[3].dtype());
  if (const size_t at = c.known.sinks_at(); c.known.sinks && wanted[at])
    out[at] = astype(reshape(sum(-(c.sink_weights * mean), {3, 4}, false), n.inputs[at].shape()),
                     n.inputs[at].dtype());
  return out;
}

Array attention_jvp(const Node& n, const Array&, const Arrays& t) {
  const Composed c(n);
  Array scores, out;
  auto add = [](Array& to, const Array& x) { to = to ? to + x : x; };
  if (t[0]) add(scores, wide(c.times(c.by_group(t[0]) * c.known.scale, swapped(c.k))));
  if (t[1]) add(scores, wide(c.times(c.q, swapped(expand_dims(t[1], {2})))));
  if (c.known.mask && t[3] && is_floating(n.inputs[3].dtype())) add(scores, wide(c.by_group(t[3])));
  const size_t at = c.known.sinks_at();
  const bool sinks = c.known.sinks && t[at];
  if (scores || sinks) {
    Array weighted = scores ? c.weights * scores : zeros_like(c.weights);
    Array mean = sum_last(weighted);
    if (sinks)
      mean = mean + c.sink_weights * reshape(wide(t[at]), Composed::with(c.grouped, {1, 1}));
    add(out, c.times(weighted - c.weights * mean, c.v));
  }
  if (t[2]) add(out, c.times(c.weights, expand_dims(t[2], {2})));
  return out ? astype(c.by_head(out), n.dtype) : zeros(n.shape, n.dtype);
}

// The batch becomes part of the axis B.
Array attention_vmap(const Node& n, const Arrays& in, const std::vector<bool>& batched,
                     int64_t batch) {
  const Known known(n.params);
  Arrays x;
  for (size_t i = 0; i < in.size(); ++i) {
    Array all = batched_input(in[i], batched[i], batch);
    Shape shape(all.shape().begin() + 1, all.shape().end());
    shape[0] *= batch;
    x.push_back(reshape(all, shape));
  }
  Array y = attention(x[0], x[1], x[2], known.scale, known.causal, known.mask ? x[3] : Array(),
                      known.sinks ? x[known.sinks_at()] : Array());
  return reshape(y, with_batch(batch, n.shape));
}

const Primitive& attention_row = define(
    {.name = "attention",
     .kind = Kind::call,
     .doc = "softmax(scale q k^T + mask) v over heads, in one pass over the keys.",
     .fields = {{"scale", FieldKind::real},
                {"causal", FieldKind::boolean},
                {"mask", FieldKind::boolean},
                {"sinks", FieldKind::boolean}},
     .call =
         [](const CallArgs& c) {
           cpu::attention({c.params, c.in, c.out});
         },
     .text = text::attention,
     .flops =
         [](const Node& n) {
           const Array &q = n.inputs[0], &v = n.inputs[2];
           return 2 * q.shape(0) * q.shape(1) * q.shape(2) * v.shape(2) * (q.shape(3) + v.shape(3));
         },
     .vjp = attention_vjp,
     .jvp = attention_jvp,
     .vmap = attention_vmap});

Array spread(const char* name, const Array& x, const Shape& shape) {
  const std::string op = "scaled_dot_product_attention: ";
  if (broadcast_shapes(x.shape(), shape) != shape)
    throw ShapeError(op + name + " " + to_string(x.shape()) + " does not broadcast to " +
                     to_string(shape));
  return broadcast_to(x, shape);
}

}  // namespace

AttentionCall::AttentionCall(const void* params, std::span<const TensorView> in,
                             std::span<const TensorView> results)
    : q(in[0]), k(in[1]), v(in[2]), out_operand(static_cast<int>(in.size())), out(results[0]) {
  const Known known(*static_cast<const Params*>(params));
  scale = known.scale;
  causal = known.causal;
  if (known.mask) {
    mask = 3;
    mask_view = in[3];
  }
  if (known.sinks) {
    sinks = static_cast<int>(known.sinks_at());
    sinks_view = in[known.sinks_at()];
  }
}

bool can_fuse_attention(const Array& q, const Array& k, const Array& v) {
  const Dtype d = promote(promote(q.dtype(), k.dtype()), v.dtype());
  const bool has_text = device_of(current_device()).text_traits() != nullptr;
  return has_text && is_floating(d) && d != Dtype::float64 && q.shape(-1) <= kWidestHead &&
         v.shape(-1) <= kWidestHead && q.size() > 0 && v.size() > 0;
}

bool fuses_attention(const Array& q, const Array& k, const Array& v) {
  if (!can_fuse_attention(q, k, v)) return false;
  const int64_t scores = q.shape(0) * q.shape(1) * q.shape(2) * k.shape(2);
  return q.shape(2) <= kFewQueries || scores >= kManyScores;
}

Array attention(const Array& q, const Array& k, const Array& v, double scale, bool causal,
                const Array& mask, const Array& sinks) {
  const Dtype d = promote(promote(q.dtype(), k.dtype()), v.dtype());
  if (!is_floating(d) || d == Dtype::float64)
    throw DtypeError(std::string("attention: needs float16, bfloat16 or float32, got ") +
                     name_of(d));
  for (const Array& x : {mask, sinks})
    if (x && is_complex(x.dtype()))
      throw DtypeError("scaled_dot_product_attention: mask and sinks must be real, got complex64");
  auto shapes = [&] {
    return "q " + to_string(q.shape()) + ", k " + to_string(k.shape()) + ", v " +
           to_string(v.shape());
  };
  if (q.ndim() != 4 || k.ndim() != 4 || v.ndim() != 4)
    throw ShapeError("attention: q, k and v need 4 axes, got " + shapes());
  const int64_t groups = k.shape(1);
  if (k.shape(3) != q.shape(3) || v.shape(1) != groups || v.shape(2) != k.shape(2) || groups == 0 ||
      q.shape(1) % groups != 0)
    throw ShapeError("attention: shapes do not fit: " + shapes());
  const int64_t batch = q.shape(0), heads = q.shape(1);
  auto of_batch = [&](const char* name, const Array& x) {
    return spread(name, astype(x, d), {batch, x.shape(1), x.shape(2), x.shape(3)});
  };
  Arrays in{astype(q, d), of_batch("k", k), of_batch("v", v)};
  if (mask) {
    const bool as_is = mask.dtype() == Dtype::bool_ ||
                       (is_floating(mask.dtype()) && mask.dtype() != Dtype::float64);
    in.push_back(spread("mask", as_is ? mask : wide(mask), {batch, heads, q.shape(2), k.shape(2)}));
  }
  if (sinks) in.push_back(spread("sinks", wide(sinks), {batch, heads}));
  Params params = Params().add_real(scale).add(causal).add(bool(mask)).add(bool(sinks));
  return make_node(attention_row, params, in, {batch, heads, q.shape(2), v.shape(3)}, d);
}

}  // namespace lamina

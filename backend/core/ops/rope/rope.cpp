#include "ops/rope/rope.h"

#include <cmath>

#include "base/error.h"
#include "ops/rope/rope_call.h"
#include "ops/rules.h"

namespace lamina {

namespace {

struct Known {
  Rope how;
  bool offsets, freqs;
  explicit Known(const Params& p) {
    Params::Reader r = p.read();
    how.dims = r.integer();
    how.traditional = r.integer() != 0;
    how.base = r.real();
    how.scale = r.real();
    how.offset = r.integer();
    how.inverse = r.integer() != 0;
    offsets = r.integer() != 0;
    freqs = r.integer() != 0;
  }
  size_t freqs_at() const { return offsets ? 2 : 1; }
  Array offsets_of(const Arrays& in) const { return offsets ? in[1] : Array(); }
  Array freqs_of(const Arrays& in) const { return freqs ? in[freqs_at()] : Array(); }
};

Array wide(const Array& x) { return astype(x, Dtype::float32); }

// The features that make pairs, as two arrays (B, H, T, dims / 2) of float32.
struct Pairs {
  Array one, two;
  Pairs(const Array& x, const Rope& how) {
    Array turned = wide(how.dims < x.shape(3) ? split(x, {how.dims}, 3)[0] : x);
    if (!how.traditional) {
      Arrays parts = split(turned, {how.dims / 2}, 3);
      one = parts[0], two = parts[1];
      return;
    }
    Arrays parts =
        split(reshape(turned, {x.shape(0), x.shape(1), x.shape(2), how.dims / 2, 2}), {1}, 4);
    const Shape shape{x.shape(0), x.shape(1), x.shape(2), how.dims / 2};
    one = reshape(parts[0], shape), two = reshape(parts[1], shape);
  }
};

// Back again, as features of n's dtype; those beyond dims are zero.
Array features(const Array& one, const Array& two, const Rope& how, const Node& n) {
  Shape shape = n.shape;
  shape[3] = how.dims;
  Array x = how.traditional ? reshape(stack({one, two}, 4), shape) : concatenate({one, two}, 3);
  x = astype(x, n.dtype);
  if (how.dims == n.shape[3]) return x;
  shape[3] = n.shape[3] - how.dims;
  return concatenate({x, zeros(shape, n.dtype)}, 3);
}

// By how much each angle grows with its frequency: (1 or B, 1, T, dims / 2).
Array by_frequency(const Known& known, const Node& n) {
  Array places = iota(n.shape[2], Dtype::float32);
  if (known.offsets) {
    places = places + reshape(wide(n.inputs[1]), {n.shape[0], 1, 1});
  } else {
    places = places + make_scalar(static_cast<double>(known.how.offset), Dtype::float32);
  }
  places =
      places * make_scalar(known.how.inverse ? -known.how.scale : known.how.scale, Dtype::float32);
  return -(expand_dims(places, {places.ndim()}) / square(n.inputs[known.freqs_at()]));
}

Array rope_again(const Node& n, const Known& known, const Array& x, bool inverse) {
  Rope how = known.how;
  how.inverse = how.inverse != inverse;
  return rope(x, how, known.offsets_of(n.inputs), known.freqs_of(n.inputs));
}

Arrays rope_vjp(const Node& n, const Array& y, const Array& ct, const std::vector<bool>& wanted) {
  const Known known(n.params);
  Arrays out(n.inputs.size());
  if (wanted[0]) out[0] = rope_again(n, known, ct, true);
  if (known.freqs && wanted[known.freqs_at()]) {
    const Pairs g(ct, known.how), v(y, known.how);
    Array angles = g.two * v.one - g.one * v.two;
    out[known.freqs_at()] = sum(angles * by_frequency(known, n), {0, 1, 2}, false);
  }
  return out;
}

Array rope_jvp(const Node& n, const Array& y, const Arrays& t) {
  const Known known(n.params);
  Array out = t[0] ? rope_again(n, known, t[0], false) : Array();
  if (known.freqs && t[known.freqs_at()]) {
    const Pairs v(y, known.how);
    Array angles = by_frequency(known, n) * t[known.freqs_at()];
    Array more = features(-(v.two * angles), v.one * angles, known.how, n);
    out = out ? out + more : more;
  }
  return out ? out : zeros(n.shape, n.dtype);
}

// The batch becomes part of the axis B; where frequencies differ, each example is by itself.
Array rope_vmap(const Node& n, const Arrays& in, const std::vector<bool>& batched, int64_t batch) {
  const Known known(n.params);
  auto all = [&](size_t i) { return batched_input(in[i], batched[i], batch); };
  if (known.freqs && batched[known.freqs_at()]) {
    Arrays rows, made;
    for (size_t i = 0; i < in.size(); ++i) rows.push_back(all(i));
    auto row = [&](const Array& x, int64_t k) {
      Shape start(x.shape().size(), 0), stop = x.shape(), step(x.shape().size(), 1);
      start[0] = k, stop[0] = k + 1;
      return reshape(slice(x, start, stop, step), Shape(x.shape().begin() + 1, x.shape().end()));
    };
    for (int64_t k = 0; k < batch; ++k)
      made.push_back(rope(row(rows[0], k), known.how, known.offsets ? row(rows[1], k) : Array(),
                          row(rows[known.freqs_at()], k)));
    return batch ? stack(made, 0) : zeros(with_batch(batch, n.shape), n.dtype);
  }
  Shape shape = n.shape;
  shape[0] *= batch;
  Array offsets = known.offsets ? reshape(all(1), {shape[0]}) : Array();
  return reshape(rope(reshape(all(0), shape), known.how, offsets, known.freqs_of(in)),
                 with_batch(batch, n.shape));
}

const Primitive& rope_row =
    define({.name = "rope",
            .kind = Kind::call,
            .doc = "Rotary positions: pairs of features turned by angles that grow along an axis.",
            .fields = {{"dims", FieldKind::integer},
                       {"traditional", FieldKind::boolean},
                       {"base", FieldKind::real},
                       {"scale", FieldKind::real},
                       {"offset", FieldKind::integer},
                       {"inverse", FieldKind::boolean},
                       {"offsets", FieldKind::boolean},
                       {"freqs", FieldKind::boolean}},
            .call =
                [](const CallArgs& c) {
                  cpu::rope({*static_cast<const Params*>(c.params), c.in, c.out});
                },
            .text = text::rope,
            .flops = [](const Node& n) { return 3 * element_count(n.shape); },
            .vjp = rope_vjp,
            .jvp = rope_jvp,
            .vmap = rope_vmap});

}  // namespace

RopeCall::RopeCall(const Params& params, std::span<const TensorView> in,
                   std::span<const TensorView> results)
    : x(in[0]), out(results[0]), out_operand(static_cast<int>(in.size())) {
  const Known known(params);
  how = known.how;
  if (known.offsets) {
    offsets = 1;
    offsets_view = in[1];
  }
  if (known.freqs) {
    freqs = static_cast<int>(known.freqs_at());
    freqs_view = in[known.freqs_at()];
  }
}

float RopeCall::log_rate() const {
  return static_cast<float>(-std::log(how.base) / static_cast<double>(half()));
}

bool can_rope(Dtype d) {
  return d == Dtype::float16 || d == Dtype::bfloat16 || d == Dtype::float32;
}

Array rope(const Array& x, const Rope& how, const Array& offsets, const Array& freqs) {
  if (x.ndim() < 3)
    throw ShapeError("rope: needs 3 axes or more, got shape " + to_string(x.shape()));
  if (how.dims < 0 || how.dims % 2 || how.dims > x.shape(-1))
    throw ShapeError("rope: dims must be even and at most " + std::to_string(x.shape(-1)) +
                     ", got " + std::to_string(how.dims));
  if (!freqs && !(how.base > 0))
    throw ValueError("rope: base must be positive, got " + std::to_string(how.base));
  const int64_t batch = x.shape(0);
  int64_t heads = 1;
  for (int64_t d = 1; d + 2 < x.ndim(); ++d) heads *= x.shape(d);
  Arrays in{x.ndim() == 4 ? x : reshape(x, {batch, heads, x.shape(-2), x.shape(-1)})};
  if (offsets) {
    if (offsets.ndim() > 1 ||
        (offsets.ndim() == 1 && offsets.size() != batch && offsets.size() != 1))
      throw ShapeError("rope: offset must be one position or " + std::to_string(batch) +
                       ", got shape " + to_string(offsets.shape()));
    in.push_back(broadcast_to(astype(offsets, Dtype::int32), {batch}));
  }
  if (freqs) {
    if (freqs.shape() != Shape{how.dims / 2})
      throw ShapeError("rope: freqs must have shape (" + std::to_string(how.dims / 2) + ",), got " +
                       to_string(freqs.shape()));
    in.push_back(wide(freqs));
  }
  Params params = Params()
                      .add(how.dims)
                      .add(how.traditional)
                      .add_real(freqs ? 0 : how.base)
                      .add_real(how.scale)
                      .add(offsets ? 0 : how.offset)
                      .add(how.inverse)
                      .add(bool(offsets))
                      .add(bool(freqs));
  Array y = make_node(rope_row, params, in, in[0].shape(), x.dtype());
  return x.ndim() == 4 ? y : reshape(y, x.shape());
}

}  // namespace lamina

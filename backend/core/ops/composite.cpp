// Composites: one node to the user, to derivatives and in the graph view; the scheduler replaces it
// by primitives, which it then fuses into one row kernel.
#include "base/error.h"
#include "ops/rules.h"

namespace lamina {

namespace {

Axes axes_of(const Node& n) { return n.params.read().ints(); }

Axes shift_by_one(const Axes& axes) {
  Axes out;
  for (int64_t a : axes) out.push_back(a + 1);
  return out;
}

Dtype wide(Dtype d) { return compute_dtype(d); }

// --- softmax, logsumexp ---

const Primitive& softmax_row = define(
    {.name = "softmax",
     .kind = Kind::composite,
     .doc = "exp(x - max) / sum(exp(x - max)) over axes.",
     .fields = {{"axes", FieldKind::ints}},
     .decompose =
         [](const Node& n, const Arrays& in) {
           Axes axes = axes_of(n);
           Array x = astype(in[0], wide(n.dtype));
           Array e = is_complex(n.dtype) ? exp(x) : exp(x - max(x, axes, true));
           // One division a row; a sum of exponentials is between 1 and their number.
           Array total = sum(e, axes, true);
           return astype(is_complex(n.dtype) ? e / total : e * reciprocal(total), n.dtype);
         },
     .vjp = [](const Node& n, const Array& y, const Array& ct, const std::vector<bool>&) -> Arrays {
       Array factor = adjoint_factor(y), weighted = ct * factor;
       return {weighted - factor * sum(weighted, axes_of(n), true)};
     },
     .jvp =
         [](const Node& n, const Array& y, const Arrays& t) {
           Array weighted = t[0] * y;
           return weighted - y * sum(weighted, axes_of(n), true);
         },
     .vmap = [](const Node& n, const Arrays& in, const std::vector<bool>&,
                int64_t) { return softmax(in[0], shift_by_one(axes_of(n)), false); }});

const Primitive& logsumexp_row = define(
    {.name = "logsumexp",
     .kind = Kind::composite,
     .doc = "log(sum(exp(x))) over axes, without overflow.",
     .fields = {{"axes", FieldKind::ints}},
     .decompose =
         [](const Node& n, const Arrays& in) {
           Axes axes = axes_of(n);
           Array x = astype(in[0], wide(n.dtype));
           if (is_complex(n.dtype)) return log(sum(exp(x), axes, true));
           Array top = max(x, axes, true);
           // An infinite maximum would give inf - inf; it is the result itself.
           Array shift = select(isfinite(top), top, zeros_like(top));
           return astype(log(sum(exp(x - shift), axes, true)) + shift, n.dtype);
         },
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       return {ct * adjoint_factor(softmax(n.inputs[0], axes_of(n), false))};
     },
     .jvp =
         [](const Node& n, const Array&, const Arrays& t) {
           return sum(softmax(n.inputs[0], axes_of(n), false) * t[0], axes_of(n), true);
         },
     .vmap = [](const Node& n, const Arrays& in, const std::vector<bool>&,
                int64_t) { return logsumexp(in[0], shift_by_one(axes_of(n)), true); }});

// --- norms over the last axis ---

struct Normed {
  Array centred;  // x, or x minus its mean
  Array scale;    // 1 / sqrt(mean square of centred + eps)
};

Normed normalise(const Array& x, double eps, bool centre) {
  Axes last{x.ndim() - 1};
  Array wide_x = astype(x, wide(x.dtype()));
  Array c = centre ? wide_x - mean(wide_x, last, true) : wide_x;
  return {c, rsqrt(mean(square(c), last, true) + eps)};
}

double eps_of(const Node& n) { return n.params.read().real(); }

Array norm_forward(const Node& n, const Arrays& in, bool centre) {
  Normed m = normalise(in[0], eps_of(n), centre);
  Array y = m.centred * m.scale;
  if (in.size() > 1) y = y * astype(in[1], y.dtype());
  if (in.size() > 2) y = y + astype(in[2], y.dtype());
  return astype(y, n.dtype);
}

// With y = centred * scale: the cotangent of x is scale * (g - mean(g) - y * mean(g * y)); without
// centring the mean(g) term is absent. (Ba et al. 2016, section 3, differentiated.)
Arrays norm_vjp(const Node& n, const Array& ct, const std::vector<bool>& wanted, bool centre) {
  Axes last{n.inputs[0].ndim() - 1};
  Normed m = normalise(n.inputs[0], eps_of(n), centre);
  Array y = m.centred * m.scale;
  Array g = astype(ct, y.dtype());
  Arrays out(n.inputs.size());
  if (wanted[0]) {
    Array h = n.inputs.size() > 1 ? g * astype(n.inputs[1], y.dtype()) : g;
    Array inner = h - y * mean(h * y, last, true);
    if (centre) inner = inner - mean(h, last, true);
    out[0] = astype(inner * m.scale, n.inputs[0].dtype());
  }
  if (n.inputs.size() > 1 && wanted[1])
    out[1] = astype(unbroadcast(g * y, n.inputs[1].shape()), n.inputs[1].dtype());
  if (n.inputs.size() > 2 && wanted[2])
    out[2] = astype(unbroadcast(g, n.inputs[2].shape()), n.inputs[2].dtype());
  return out;
}

Array norm_jvp(const Node& n, const Arrays& t, bool centre) {
  Axes last{n.inputs[0].ndim() - 1};
  Normed m = normalise(n.inputs[0], eps_of(n), centre);
  Array y = m.centred * m.scale;
  Array out = zeros(n.shape, y.dtype());
  if (t[0]) {
    Array d = astype(t[0], y.dtype());
    Array inner = d - y * mean(d * y, last, true);
    if (centre) inner = inner - mean(d, last, true);
    inner = inner * m.scale;
    out = n.inputs.size() > 1 ? inner * astype(n.inputs[1], y.dtype()) : inner;
  }
  if (n.inputs.size() > 1 && t[1]) out = out + y * astype(t[1], y.dtype());
  if (n.inputs.size() > 2 && t[2]) out = out + astype(t[2], y.dtype());
  return astype(out, n.dtype);
}

// Batched weights no longer broadcast from the last axis: spell the norm out.
Array norm_vmap(const Node& n, const Arrays& in, const std::vector<bool>& batched, bool centre) {
  Arrays aligned;
  int64_t rank = static_cast<int64_t>(n.shape.size());
  bool weights = false;
  for (size_t i = 0; i < in.size(); ++i) {
    aligned.push_back(batched[i] ? align_rank(in[i], rank) : in[i]);
    weights |= i > 0 && batched[i];
  }
  if (!weights && batched[0])
    return make_node(*n.primitive, n.params, aligned, aligned[0].shape(), n.dtype);
  return norm_forward(n, aligned, centre);
}

const Primitive& rms_norm_row = define(
    {.name = "rms_norm",
     .kind = Kind::composite,
     .doc = "x / sqrt(mean(x^2) + eps) over the last axis, times a weight.",
     .fields = {{"eps", FieldKind::real}},
     .decompose = [](const Node& n, const Arrays& in) { return norm_forward(n, in, false); },
     .vjp = [](const Node& n, const Array&, const Array& ct,
               const std::vector<bool>& wanted) { return norm_vjp(n, ct, wanted, false); },
     .jvp = [](const Node& n, const Array&, const Arrays& t) { return norm_jvp(n, t, false); },
     .vmap = [](const Node& n, const Arrays& in, const std::vector<bool>& b,
                int64_t) { return norm_vmap(n, in, b, false); }});

const Primitive& layer_norm_row = define(
    {.name = "layer_norm",
     .kind = Kind::composite,
     .doc = "(x - mean) / sqrt(variance + eps) over the last axis, times a weight plus a bias.",
     .fields = {{"eps", FieldKind::real}},
     .decompose = [](const Node& n, const Arrays& in) { return norm_forward(n, in, true); },
     .vjp = [](const Node& n, const Array&, const Array& ct,
               const std::vector<bool>& wanted) { return norm_vjp(n, ct, wanted, true); },
     .jvp = [](const Node& n, const Array&, const Arrays& t) { return norm_jvp(n, t, true); },
     .vmap = [](const Node& n, const Arrays& in, const std::vector<bool>& b,
                int64_t) { return norm_vmap(n, in, b, true); }});

void check_last_axis(const char* op, const char* what, const Array& x, const Array& w) {
  if (w && (w.ndim() != 1 || w.shape(0) != x.shape(-1)))
    throw ShapeError(std::string(op) + ": " + what + " must have shape (" +
                     std::to_string(x.shape(-1)) + ",) like the last axis of " +
                     to_string(x.shape()) + ", got " + to_string(w.shape()));
}

Array norm(const Primitive& row, const Array& x, const Array& weight, const Array& bias,
           double eps) {
  const char* op = row.name.c_str();
  if (x.ndim() < 1) throw ShapeError(std::string(op) + ": needs at least one axis, got a scalar");
  if (!is_floating(x.dtype()))
    throw DtypeError(std::string(op) + ": needs a floating dtype, got " + name_of(x.dtype()));
  check_last_axis(op, "weight", x, weight);
  check_last_axis(op, "bias", x, bias);
  Arrays in{x};
  Dtype d = x.dtype();
  if (weight || bias) {
    in.push_back(weight ? weight : ones({x.shape(-1)}, d));
    d = weight ? promote(d, weight.dtype()) : d;
  }
  if (bias) {
    in.push_back(bias);
    d = promote(d, bias.dtype());
  }
  return make_node(row, Params().add_real(eps), std::move(in), x.shape(), d);
}

}  // namespace

Array softmax(const Array& x, const Axes& axes, bool precise) {
  Axes over = normalize_axes("softmax", axes, x.ndim());
  Array f = astype(x, at_least_float(x.dtype()));
  static_cast<void>(precise);  // float16 and bfloat16 are always computed in float32
  if (over.empty()) return ones_like(f);
  if (f.size() == 0) return f;
  return make_node(softmax_row, Params().add_ints(over), {f}, f.shape(), f.dtype());
}

Array logsumexp(const Array& x, const Axes& axes, bool keepdims) {
  Axes over = normalize_axes("logsumexp", axes, x.ndim());
  Array f = astype(x, at_least_float(x.dtype()));
  if (over.empty()) return f;
  Shape shape = f.shape();
  for (int64_t a : over) shape[static_cast<size_t>(a)] = 1;
  Array out = make_node(logsumexp_row, Params().add_ints(over), {f}, shape, f.dtype());
  return keepdims ? out : squeeze(out, over);
}

Array rms_norm(const Array& x, const Array& weight, double eps) {
  return norm(rms_norm_row, x, weight, Array(), eps);
}
Array layer_norm(const Array& x, const Array& weight, const Array& bias, double eps) {
  return norm(layer_norm_row, x, weight, bias, eps);
}

}  // namespace lamina

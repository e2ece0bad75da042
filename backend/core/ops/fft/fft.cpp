#include "ops/fft/fft.h"

#include "base/error.h"
#include "ops/fft/fft_cpu.h"
#include "ops/fft/fft_text.h"
#include "ops/rules.h"

namespace lamina {

namespace {

const Params& params_of(const CallArgs& c) { return *static_cast<const Params*>(c.params); }

struct FftParams {
  int64_t axis;
  bool inverse;
  double scale;
  explicit FftParams(const Params& p) {
    Params::Reader r = p.read();
    axis = r.integer();
    inverse = r.integer() != 0;
    scale = r.real();
  }
};
struct RealParams {
  int64_t axis;
  double scale;
  explicit RealParams(const Params& p) {
    Params::Reader r = p.read();
    axis = r.integer();
    scale = r.real();
  }
};

// 5 N log2(N) operations for N complex numbers, by the usual count; half of it for real ones.
int64_t operations(const Node& n, const Shape& points, bool real_numbers) {
  const int64_t size = points[static_cast<size_t>(n.params.read().integer())];
  int64_t bits = 1;
  while (size > int64_t{1} << bits) ++bits;
  return 5 * element_count(points) * bits / (real_numbers ? 2 : 1);
}

// Along the axis of n / 2 + 1 points: `edge` for those that are their own conjugates' places,
// `inner` for the others.
Array weights(int64_t n, int64_t axis, int64_t rank, float edge, float inner) {
  const int64_t m = n / 2 + 1;
  Array at = iota(m, Dtype::int32);
  Array own = equal(at, make_scalar_int(0, Dtype::int32));
  if (n % 2 == 0) own = logical_or(own, equal(at, make_scalar_int(m - 1, Dtype::int32)));
  Shape along(static_cast<size_t>(rank), 1);
  along[static_cast<size_t>(axis)] = m;
  return reshape(select(own, make_scalar(edge, Dtype::float32), make_scalar(inner, Dtype::float32)),
                 along);
}

const Primitive& fft_row = define(
    {.name = "fft",
     .kind = Kind::call,
     .doc = "The discrete Fourier transform of complex numbers along an axis, or its inverse.",
     .fields = {{"axis", FieldKind::integer},
                {"inverse", FieldKind::boolean},
                {"scale", FieldKind::real}},
     .call =
         [](const CallArgs& c) {
           FftParams p(params_of(c));
           cpu::fft(c.in[0], c.out[0], p.axis, p.inverse, p.scale);
         },
     .text = text::fft,
     .flops = [](const Node& n) { return operations(n, n.shape, false); },
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       FftParams p(n.params);
       return {fft(ct, p.axis, !p.inverse, p.scale)};
     },
     .jvp =
         [](const Node& n, const Array&, const Arrays& t) {
           FftParams p(n.params);
           return fft(t[0], p.axis, p.inverse, p.scale);
         },
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>&, int64_t) {
           FftParams p(n.params);
           return fft(in[0], p.axis + 1, p.inverse, p.scale);
         }});

const Primitive& rfft_row = define(
    {.name = "rfft",
     .kind = Kind::call,
     .doc = "The first half of the discrete Fourier transform of real numbers along an axis.",
     .fields = {{"axis", FieldKind::integer}, {"scale", FieldKind::real}},
     .call =
         [](const CallArgs& c) {
           RealParams p(params_of(c));
           cpu::rfft(c.in[0], c.out[0], p.axis, p.scale);
         },
     .text = text::rfft,
     .flops = [](const Node& n) { return operations(n, n.inputs[0].shape(), true); },
     // The points of the other half are conjugates: irfft counts each point of this one twice.
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       RealParams p(n.params);
       const int64_t size = n.inputs[0].shape(p.axis);
       return {irfft(ct * weights(size, p.axis, ct.ndim(), 1, 0.5f), p.axis, size, p.scale)};
     },
     .jvp =
         [](const Node& n, const Array&, const Arrays& t) {
           RealParams p(n.params);
           return rfft(t[0], p.axis, p.scale);
         },
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>&, int64_t) {
           RealParams p(n.params);
           return rfft(in[0], p.axis + 1, p.scale);
         }});

const Primitive& irfft_row = define(
    {.name = "irfft",
     .kind = Kind::call,
     .doc = "The real numbers whose discrete Fourier transform begins with the given points.",
     .fields = {{"axis", FieldKind::integer}, {"scale", FieldKind::real}},
     .call =
         [](const CallArgs& c) {
           RealParams p(params_of(c));
           cpu::irfft(c.in[0], c.out[0], p.axis, p.scale);
         },
     .text = text::irfft,
     .flops = [](const Node& n) { return operations(n, n.shape, true); },
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       RealParams p(n.params);
       const int64_t size = n.shape[static_cast<size_t>(p.axis)];
       return {rfft(ct, p.axis, p.scale) * weights(size, p.axis, ct.ndim(), 1, 2)};
     },
     .jvp =
         [](const Node& n, const Array&, const Arrays& t) {
           RealParams p(n.params);
           return irfft(t[0], p.axis, n.shape[static_cast<size_t>(p.axis)], p.scale);
         },
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>&, int64_t) {
           RealParams p(n.params);
           return irfft(in[0], p.axis + 1, n.shape[static_cast<size_t>(p.axis)], p.scale);
         }});

void check_size(const char* op, int64_t n, const Array& x, int64_t axis) {
  if (n < 1)
    throw ShapeError(std::string(op) + ": axis " + std::to_string(axis) + " of " +
                     to_string(x.shape()) + " is empty: there is no transform of 0 points");
}

}  // namespace

Array fft(const Array& x, int64_t axis, bool inverse, double scale) {
  const char* op = inverse ? "ifft" : "fft";
  const int64_t a = normalize_axis(op, axis, x.ndim());
  check_size(op, x.shape(a), x, axis);
  Array in = astype(x, Dtype::complex64);
  return make_node(fft_row, Params().add(a).add(inverse).add_real(scale), {in}, x.shape(),
                   Dtype::complex64);
}

Array rfft(const Array& x, int64_t axis, double scale) {
  const int64_t a = normalize_axis("rfft", axis, x.ndim());
  check_size("rfft", x.shape(a), x, axis);
  Array in = is_complex(x.dtype()) ? real(x) : astype(x, Dtype::float32);
  Shape shape = x.shape();
  shape[static_cast<size_t>(a)] = x.shape(a) / 2 + 1;
  return make_node(rfft_row, Params().add(a).add_real(scale), {in}, shape, Dtype::complex64);
}

Array irfft(const Array& x, int64_t axis, int64_t n, double scale) {
  const int64_t a = normalize_axis("irfft", axis, x.ndim());
  check_size("irfft", n, x, axis);
  if (x.shape(a) != n / 2 + 1)
    throw ShapeError("irfft: " + std::to_string(n) + " real numbers come from " +
                     std::to_string(n / 2 + 1) + " points, got " + to_string(x.shape()));
  Shape shape = x.shape();
  shape[static_cast<size_t>(a)] = n;
  return make_node(irfft_row, Params().add(a).add_real(scale), {astype(x, Dtype::complex64)}, shape,
                   Dtype::float32);
}

}  // namespace lamina

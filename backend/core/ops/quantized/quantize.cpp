// Rounding to the formats, as compositions that fuse: words and scales are the same bits as MLX's,
// which computes in float32 whatever the dtype of the elements.
#include "base/error.h"
#include "kernels/formulas.h"
#include "ops/ops.h"
#include "ops/quantized/formats.h"

namespace lamina {
namespace {

Array apply(const char* name, Arrays in) { return elementwise(formula_id(name), std::move(in)); }
Array word(uint64_t v) { return make_scalar_uint(v, Dtype::uint32); }
Array real_like(const Array& x, double v) { return make_scalar(v, x.dtype()); }
Array shifted(const char* name, const Array& x, uint64_t by) { return apply(name, {x, word(by)}); }

// (..., n) as (..., n / size, size).
Array grouped(const Array& x, int64_t size) {
  Shape shape = x.shape();
  shape.back() /= size;
  shape.push_back(size);
  return reshape(x, shape);
}

Array last_axis(Array (*f)(const Array&, const Axes&, bool), const Array& x) {
  return f(x, {x.ndim() - 1}, true);
}

// Codes below 2^bits, (..., n), as the words of their stream, (..., n * bits / 32).
Array packed(const Array& codes, int64_t bits) {
  const int64_t run = 32 % bits == 0 ? 32 / bits : 32;  // codes that fill whole words
  const int64_t words = run * bits / 32;
  Array parts = expand_dims(grouped(codes, run), {codes.ndim() + 1});
  // Where the low bit of each code lies in each word; a shift by 32 gives zero.
  Array first = iota(run, Dtype::int32) * static_cast<double>(bits);
  Array place = expand_dims(first, {1}) - iota(words, Dtype::int32) * 32.0;
  Array none = make_scalar_int(32, Dtype::int32), zero = make_scalar_int(0, Dtype::int32);
  Array begins = logical_and(greater_equal(place, zero), less(place, none));
  Array ends = logical_and(less(place, zero), greater(place, make_scalar_int(-bits, Dtype::int32)));
  auto shifts = [&](const Array& where, const Array& by) {
    return astype(select(where, by, none), Dtype::uint32);
  };
  Array bits_of = apply("bitwise_or", {apply("left_shift", {parts, shifts(begins, place)}),
                                       apply("right_shift", {parts, shifts(ends, -place)})});
  Shape shape = codes.shape();
  shape.back() = shape.back() / run * words;
  return reshape(sum(bits_of, {bits_of.ndim() - 2}, false), shape);
}

struct Coded {
  Array codes, scales, biases;  // uint32 in groups; a last axis of size 1
};

Array whole_codes(const Array& x, const Array& bias, const Array& scale, double most) {
  Array codes = apply("round", {(x - bias) / scale});
  codes = minimum(maximum(codes, real_like(x, 0)), real_like(x, most));
  // What is no number has no code either.
  codes = select(isnan(codes), zeros_like(codes), codes);
  return astype(codes, Dtype::uint32);
}

// The end of the range that is farther from zero is a code exactly, and zero is one.
// One bit stands for the two ends.
Coded affine(const Array& x, int64_t bits) {
  const double most = static_cast<double>((1 << bits) - 1);
  Array high = last_axis(max, x), low = last_axis(min, x);
  Array step = maximum((high - low) / most, real_like(x, 1e-7));
  if (bits == 1) return {whole_codes(x, low, step, most), step, low};
  Array down = greater(abs(low), abs(high));
  Array scale = select(down, step, -step);
  Array edge = select(down, low, high);
  Array code = apply("round", {edge / scale});
  Array plain = equal(code, real_like(x, 0));
  scale = select(plain, scale, edge / code);
  Array bias = select(plain, zeros_like(edge), edge);
  return {whole_codes(x, bias, scale, most), scale, bias};
}

// Signed magnitudes 0, 0.5, 1, 1.5, 2, 3, 4, 6; halfway cases go to the smaller one.
Array to_fp4(const Array& x) {
  Array size = abs(x), code = zeros(x.shape(), Dtype::uint32);
  for (double edge : {0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0})
    code = code + astype(greater(size, real_like(x, edge)), Dtype::uint32);
  Array negative = logical_and(less(x, real_like(x, 0)), greater(code, word(0)));
  return code + shifted("left_shift", astype(negative, Dtype::uint32), 3);
}

// 2^(code - 127) for codes up to 254.
Array power_of(const Array& code) {
  // 2^-127 is below the least normal number.
  return bitcast(select(equal(code, word(0)), word(1u << 22), shifted("left_shift", code, 23)),
                 Dtype::float32);
}

Coded microscaled(const Array& x, bool wide) {
  Array ratio = last_axis(max, abs(x)) / (wide ? 448.0 : 6.0);
  // The least power of two under which nothing leaves the format's range; 1 for a group of zeros.
  Array exponent = apply("ceil", {apply("log2", {ratio})});
  exponent = select(greater(ratio, real_like(ratio, 0)), exponent, zeros_like(exponent));
  exponent = minimum(maximum(exponent, real_like(exponent, -127)), real_like(exponent, 127));
  Array code = astype(exponent + 127.0, Dtype::uint32);
  Array scaled = x / power_of(code);
  return {wide ? astype(to_fp8(scaled), Dtype::uint32) : to_fp4(scaled), astype(code, Dtype::uint8),
          Array()};
}

Coded nvidia_scaled(const Array& x, const Array& global_scale) {
  Array largest = last_axis(max, abs(x)) / 6.0;
  Array scales = to_fp8(global_scale ? largest / global_unit(global_scale) : largest);
  Array step = from_fp8(scales, Dtype::float32);
  if (global_scale) step = step * global_unit(global_scale);
  // A group whose scale is zero is zero.
  Array scaled = select(greater(step, real_like(step, 0)), x / step, zeros_like(x));
  return {to_fp4(scaled), scales, Array()};
}

}  // namespace

Quantized quantize(const Array& w, const Quantization& q, const Array& global_scale) {
  check_floating("quantize", "w", w.dtype());
  check_global_scale("quantize", global_scale, q);
  if (w.ndim() < 2)
    throw ShapeError("quantize: w needs 2 axes or more, got " + to_string(w.shape()));
  if (w.shape(-1) % q.group != 0)
    throw ShapeError("quantize: the last axis of " + to_string(w.shape()) +
                     " is not a multiple of group_size=" + std::to_string(q.group) +
                     "\nPad it, or use a smaller group_size");
  Array x = grouped(w.dtype() == Dtype::float64 ? w : astype(w, Dtype::float32), q.group);
  Shape per_group(x.shape().begin(), x.shape().end() - 1);
  Shape words = w.shape();
  words.back() = words.back() * q.bits / 32;
  const Dtype scale_dtype = q.affine() ? w.dtype() : Dtype::uint8;
  if (x.size() == 0) {
    Array none = zeros(per_group, scale_dtype);
    return {zeros(words, Dtype::uint32), none, q.affine() ? none : Array()};
  }
  if (!q.affine()) x = astype(x, Dtype::float32);
  Coded c = q.affine()                   ? affine(x, q.bits)
            : q.mode == QuantMode::nvfp4 ? nvidia_scaled(x, global_scale)
                                         : microscaled(x, q.mode == QuantMode::mxfp8);
  auto per = [&](const Array& v) { return v ? astype(reshape(v, per_group), scale_dtype) : v; };
  return {packed(reshape(c.codes, w.shape()), q.bits), per(c.scales), per(c.biases)};
}

Array to_fp8(const Array& x) {
  check_floating("to_fp8", "x", x.dtype());
  Array f = astype(x, Dtype::float32), size = abs(f);
  // NaN fails the comparison.
  size =
      select(less(size, real_like(size, 448)), size, broadcast_to(real_like(size, 448), x.shape()));
  Array bits = bitcast(size, Dtype::uint32);
  // To the nearest of three bits of fraction, halfway cases to the even one.
  Array even = bitwise_and(shifted("right_shift", bits, 20), word(1));
  Array normal = shifted("right_shift", bits + even + word(0x7ffff), 20) - word(120u << 3);
  Array small = astype(apply("round", {size * 512.0}), Dtype::uint32);
  Array code = select(less(size, real_like(size, 0x1p-6)), small, normal);
  Array sign = shifted("left_shift", shifted("right_shift", bitcast(f, Dtype::uint32), 31), 7);
  return astype(code + sign, Dtype::uint8);
}

Array from_fp8(const Array& x, Dtype dtype) {
  if (x.dtype() != Dtype::uint8)
    throw DtypeError(std::string("from_fp8: x must be uint8, got ") + name_of(x.dtype()));
  check_floating("from_fp8", "the result", dtype);
  Array code = astype(x, Dtype::uint32), size = bitwise_and(code, word(0x7f));
  Array normal = bitcast(shifted("left_shift", size, 20) + word(120u << 23), Dtype::float32);
  Array small = astype(size, Dtype::float32) * 0x1p-9;
  Array value = select(less(size, word(8)), small, normal);
  value = select(equal(size, word(0x7f)), zeros_like(value) / 0.0, value);
  return astype(select(less(code, word(0x80)), value, -value), dtype);
}

}  // namespace lamina

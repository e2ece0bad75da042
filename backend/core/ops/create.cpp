// Arrays made from nothing: constants are broadcast scalars, ranges are iota with arithmetic, so
// both melt into whatever kernel reads them.
#include <cmath>

#include "base/error.h"
#include "ops/ops.h"

namespace lamina {

static void check_shape(const char* op, const Shape& shape) {
  for (int64_t d : shape)
    if (d < 0) throw ShapeError(std::string(op) + ": negative size in shape " + to_string(shape));
  element_count(shape);
}

Array full(const Shape& shape, const Array& value, Dtype dtype) {
  check_shape("full", shape);
  return broadcast_to(astype(value, dtype), shape);
}
Array full(const Shape& shape, double value, Dtype dtype) {
  return full(shape, make_scalar(value, dtype), dtype);
}
Array zeros(const Shape& shape, Dtype dtype) { return full(shape, 0.0, dtype); }
Array ones(const Shape& shape, Dtype dtype) { return full(shape, 1.0, dtype); }
Array zeros_like(const Array& x) { return zeros(x.shape(), x.dtype()); }
Array ones_like(const Array& x) { return ones(x.shape(), x.dtype()); }

Array arange(double start, double stop, double step, Dtype dtype) {
  if (std::isnan(start) || std::isnan(stop) || std::isnan(step) || std::isinf(start) ||
      std::isinf(step))
    throw ValueError("arange: start, stop and step must be finite, got " + std::to_string(start) +
                     ", " + std::to_string(stop) + ", " + std::to_string(step));
  if (step == 0) throw ValueError("arange: step must not be 0");
  if (dtype == Dtype::bool_) throw DtypeError("arange: bool is not supported");
  double count = std::ceil((stop - start) / step);
  if (count > 9.0e18) throw ValueError("arange: too many elements");
  int64_t n = count > 0 ? static_cast<int64_t>(count) : 0;
  // Integer steps count in the result's dtype; fractional ones in the dtype floats are computed in.
  bool whole = step == std::trunc(step) && start == std::trunc(start);
  Dtype d = is_floating(dtype) || whole ? compute_dtype(dtype) : Dtype::float32;
  Array out = iota(n, d);
  if (step != 1) out = out * make_scalar(step, d);
  if (start != 0) out = out + make_scalar(start, d);
  return astype(out, dtype);
}

Array linspace(double start, double stop, int64_t num, bool endpoint, Dtype dtype) {
  if (num < 0) throw ValueError("linspace: num must not be negative, got " + std::to_string(num));
  Dtype d = dtype == Dtype::float64 ? Dtype::float64 : Dtype::float32;
  int64_t last = endpoint ? num - 1 : num;
  if (num <= 1) return astype(full({num}, start, d), dtype);
  // Weighted ends meet both ends exactly, which start + i * step does not.
  Array t = iota(num, d) / make_scalar(static_cast<double>(last), d);
  return astype((1.0 - t) * start + t * stop, dtype);
}

Array eye(int64_t n, int64_t m, int64_t k, Dtype dtype) {
  check_shape("eye", {n, m});
  Array row = reshape(iota(n, Dtype::int64), {n, 1});
  return astype(equal(row + static_cast<double>(k), iota(m, Dtype::int64)), dtype);
}

Array tri(int64_t n, int64_t m, int64_t k, Dtype dtype) {
  check_shape("tri", {n, m});
  Array row = reshape(iota(n, Dtype::int64), {n, 1});
  return astype(greater_equal(row + static_cast<double>(k), iota(m, Dtype::int64)), dtype);
}

}  // namespace lamina

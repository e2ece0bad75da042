// The public builders: each makes lazy nodes, checks its arguments and throws the errors of
// base/error.h. Shapes and broadcasting are NumPy's, dtypes and names are MLX's. Any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "graph/array.h"

namespace lamina {

// --- elementwise -------------------------------------------------------------------------------
// The row with this formula id applied to inputs that broadcast together.
Array elementwise(uint16_t formula, std::vector<Array> inputs);
Array astype(const Array& x, Dtype dtype);

#define LAMINA_UNARY(NAME) Array NAME(const Array& x);
#define LAMINA_BINARY(NAME) Array NAME(const Array& x, const Array& y);
#include "ops/named.def"
#undef LAMINA_UNARY
#undef LAMINA_BINARY
Array select(const Array& condition, const Array& x, const Array& y);

Array operator+(const Array& a, const Array& b);
Array operator-(const Array& a, const Array& b);
Array operator*(const Array& a, const Array& b);
Array operator/(const Array& a, const Array& b);
Array operator-(const Array& a);
// Scalars take the array's dtype if it can hold them, by MLX's weak promotion.
Array operator+(const Array& a, double b);
Array operator-(const Array& a, double b);
Array operator*(const Array& a, double b);
Array operator/(const Array& a, double b);
Array operator+(double a, const Array& b);
Array operator-(double a, const Array& b);
Array operator*(double a, const Array& b);
Array operator/(double a, const Array& b);
Array scalar_like(double value, const Array& like);

// --- creation ----------------------------------------------------------------------------------
Array full(const Shape& shape, const Array& value, Dtype dtype);
Array full(const Shape& shape, double value, Dtype dtype);
Array zeros(const Shape& shape, Dtype dtype);
Array ones(const Shape& shape, Dtype dtype);
Array zeros_like(const Array& x);
Array ones_like(const Array& x);
// 0, 1, ..., n - 1.
Array iota(int64_t n, Dtype dtype);
Array arange(double start, double stop, double step, Dtype dtype);
Array linspace(double start, double stop, int64_t num, bool endpoint, Dtype dtype);
Array eye(int64_t n, int64_t m, int64_t k, Dtype dtype);
Array tri(int64_t n, int64_t m, int64_t k, Dtype dtype);

// --- views -------------------------------------------------------------------------------------
Array reshape(const Array& x, Shape shape);  // one size may be -1
Array flatten(const Array& x, int64_t start_axis = 0, int64_t end_axis = -1);
Array unflatten(const Array& x, int64_t axis, const Shape& shape);
Array squeeze(const Array& x, const Axes& axes);
Array expand_dims(const Array& x, const Axes& axes);
Array transpose(const Array& x, const Axes& axes);
Array transpose(const Array& x);
Array swapaxes(const Array& x, int64_t a, int64_t b);
Array moveaxis(const Array& x, int64_t source, int64_t destination);
Array broadcast_to(const Array& x, const Shape& shape);
// Python's slice per axis, already normalised: start in [-1, size], step != 0.
Array slice(const Array& x, const Shape& start, const Shape& stop, const Shape& step);
Array flip(const Array& x, const Axes& axes);
Array as_strided(const Array& x, const Shape& shape, const Strides& strides, int64_t offset);
Array bitcast(const Array& x, Dtype dtype);
Array diagonal(const Array& x, int64_t offset, int64_t axis1, int64_t axis2);
// Row-major copy; itself if x is known to be.
Array contiguous(const Array& x);
Array copy(const Array& x);
// The same value in memory of its own once it is evaluated; scalars have none to share.
Array duplicate(const Array& x);
Array stop_gradient(const Array& x);
// x, evaluated only after `dependencies`.
Array depends(const Array& x, const std::vector<Array>& dependencies);

Array concatenate(const std::vector<Array>& arrays, int64_t axis);
Array stack(const std::vector<Array>& arrays, int64_t axis);
std::vector<Array> split(const Array& x, const Shape& indices, int64_t axis);
Array slice_update(const Array& x, const Array& update, const Shape& start, const Shape& stop,
                   const Shape& step);
Array pad(const Array& x, const Axes& axes, const Shape& low, const Shape& high,
          const Array& value);
Array repeat(const Array& x, int64_t repeats, int64_t axis);
Array tile(const Array& x, Shape reps);
Array roll(const Array& x, int64_t shift, int64_t axis);

// --- reductions --------------------------------------------------------------------------------
// Empty axes with all_axes: every axis. Result keeps the axes with size 1 if keepdims.
Array reduce(ReduceOp op, const Array& x, const Axes& axes, bool keepdims);
Array sum(const Array& x, const Axes& axes, bool keepdims);
Array max(const Array& x, const Axes& axes, bool keepdims);
Array min(const Array& x, const Axes& axes, bool keepdims);
Array prod(const Array& x, const Axes& axes, bool keepdims);
Array all(const Array& x, const Axes& axes, bool keepdims);
Array any(const Array& x, const Axes& axes, bool keepdims);
Array mean(const Array& x, const Axes& axes, bool keepdims);
Array var(const Array& x, const Axes& axes, bool keepdims, int64_t ddof);
Array logsumexp(const Array& x, const Axes& axes, bool keepdims);
Array softmax(const Array& x, const Axes& axes, bool precise);
Axes all_axes(const Array& x);
// Axes made non-negative, checked and sorted; `op` names the caller in errors.
Axes normalize_axes(const char* op, const Axes& axes, int64_t ndim);
int64_t normalize_axis(const char* op, int64_t axis, int64_t ndim);

// --- row kernels -------------------------------------------------------------------------------
Array rms_norm(const Array& x, const Array& weight, double eps);  // empty weight: none
Array layer_norm(const Array& x, const Array& weight, const Array& bias, double eps);

// --- linear algebra, convolution ---------------------------------------------------------------
Array matmul(const Array& a, const Array& b);
// Q (..., M, K) and R (..., K, N) with K = min(M, N).
std::pair<Array, Array> qr(const Array& x);
struct ConvOptions {
  Shape stride, pad_low, pad_high, kernel_dilation, input_dilation;  // one entry per spatial axis
  int64_t groups = 1;
  bool flip = false;
};
// NHWC input, (C_out, spatial..., C_in / groups) weight.
Array conv_general(const Array& input, const Array& weight, ConvOptions options);

// --- indexing ----------------------------------------------------------------------------------
// MLX's gather: result is broadcast(indices).shape + slice_sizes.
Array gather(const Array& x, const std::vector<Array>& indices, const Axes& axes,
             const Shape& slice_sizes);
enum class ScatterMode : int64_t { set, add, multiply, max, min };
Array scatter(const Array& x, const std::vector<Array>& indices, const Array& updates,
              const Axes& axes, ScatterMode mode);
Array take(const Array& x, const Array& indices, int64_t axis);
Array take_along_axis(const Array& x, const Array& indices, int64_t axis);
Array put_along_axis(const Array& x, const Array& indices, const Array& values, int64_t axis,
                     ScatterMode mode);

// --- sorting, scans ----------------------------------------------------------------------------
Array sort(const Array& x, int64_t axis);
Array argsort(const Array& x, int64_t axis);
Array partition(const Array& x, int64_t kth, int64_t axis);
Array argpartition(const Array& x, int64_t kth, int64_t axis);
Array searchsorted(const Array& sorted, const Array& values, bool right);
enum class ScanOp : int64_t { sum, prod, max, min, logaddexp };
Array scan(ScanOp op, const Array& x, int64_t axis, bool reverse, bool inclusive);

// --- random ------------------------------------------------------------------------------------
// `width` bytes a value, MLX's counter-based generator; key is uint32 (2,).
Array random_bits(const Shape& shape, int64_t width, const Array& key);

}  // namespace lamina

#include "base/error.h"
#include "base/thread_pool.h"
#include "ops/index/index_common.h"
#include "ops/matmul/matmul_cpu.h"
#include "ops/matmul/matmul_text.h"
#include "ops/matmul/variants.h"
#include "ops/rules.h"

namespace lamina {
namespace {

// [begin, end) number i. Throws IndexError unless it lies in [0, depth].
std::pair<int64_t, int64_t> segment_at(const TensorView& segments, int64_t i, int64_t depth) {
  int64_t at = 0, ends[2];
  for (size_t d = segments.shape.size() - 1; d-- > 0; i /= segments.shape[d])
    at += i % segments.shape[d] * segments.strides[d];
  cpu::dispatch_index("segmented_mm", segments.dtype, [&](auto item) {
    using Index = decltype(item);
    for (int64_t k = 0; k < 2; ++k) {
      const Index v = segments.as<Index>()[at + k * segments.strides.back()];
      if (std::cmp_less(v, 0) || std::cmp_greater(v, depth))
        throw IndexError("segmented_mm: a segment ends at " + std::to_string(v) +
                         ", out of bounds for a summed axis of size " + std::to_string(depth));
      ends[k] = static_cast<int64_t>(v);
    }
  });
  return {ends[0], std::max(ends[0], ends[1])};
}

void run(const TensorView& a, const TensorView& b, const TensorView& segments,
         const TensorView& out) {
  const int64_t m = a.shape[0], n = b.shape[1], depth = a.shape[1], size = itemsize(a.dtype);
  const int64_t count = segments.size() / 2;
  for (int64_t i = 0; i < count; ++i) {
    const auto [begin, end] = segment_at(segments, i, depth);
    const TensorView left{
        a.as<char>() + begin * a.strides[1] * size, a.dtype, {m, end - begin}, a.strides};
    const TensorView right{
        b.as<char>() + begin * b.strides[0] * size, b.dtype, {end - begin, n}, b.strides};
    cpu::matmul(left, right, {out.as<char>() + i * m * n * size, out.dtype, {m, n}, {n, 1}});
  }
}

// (..., 1, K): which positions of the summed axis a segment has.
Array inside(const Array& segments, int64_t depth) {
  Arrays ends = split(astype(segments, Dtype::int64), {1}, segments.ndim() - 1);
  Array at = iota(depth, Dtype::int64);
  return expand_dims(logical_and(greater_equal(at, ends[0]), less(at, ends[1])),
                     {segments.ndim() - 1});
}

Array cleared(const Array& x, const Array& keep) { return select(keep, x, zeros_like(x)); }

// A factor in float32 or wider beside every segment.
Array beside_segments(const Array& x, const Array& segments) {
  Axes axes;
  const int64_t lead = x.ndim() - 2;
  for (int64_t d = 0; d + 1 < segments.ndim(); ++d) axes.push_back(lead + d);
  return axes.empty() ? x : expand_dims(x, axes);
}

Array summed(const Array& x, int64_t leading) {
  Axes axes;
  for (int64_t d = 0; d < leading; ++d) axes.push_back(d);
  return axes.empty() ? x : sum(x, axes, false);
}

const Primitive& segmented_mm_row = define(
    {.name = "segmented_mm",
     .kind = Kind::call,
     .doc = "Matrix product over stretches of the summed axis, each by itself.",
     .call = [](const CallArgs& c) { run(c.in[0], c.in[1], c.in[2], c.out[0]); },
     .text = text::segmented_mm,
     .flops =
         [](const Node& n) {
           // Segments are values; they are taken to share the axis evenly.
           return 2 * n.shape[n.shape.size() - 1] * n.inputs[0].size();
         },
     .vjp = [](const Node& n, const Array&, const Array& ct,
               const std::vector<bool>& wanted) -> Arrays {
       Arrays out(3);
       const Array &a = n.inputs[0], &b = n.inputs[1], &segments = n.inputs[2];
       Array keep = inside(segments, a.shape(1));
       const int64_t leading = segments.ndim() - 1;
       if (wanted[0])
         out[0] = summed(cleared(matmul(ct, transpose(adjoint_factor(b))), keep), leading);
       if (wanted[1])
         out[1] = summed(cleared(matmul(transpose(adjoint_factor(a)), ct), swapaxes(keep, -1, -2)),
                         leading);
       return out;
     },
     .jvp =
         [](const Node& n, const Array&, const Arrays& t) {
           Array out;
           if (t[0]) out = segmented_mm(t[0], n.inputs[1], n.inputs[2]);
           if (t[1]) {
             Array by_b = segmented_mm(n.inputs[0], t[1], n.inputs[2]);
             out = out ? out + by_b : by_b;
           }
           return out ? out : zeros(n.shape, n.dtype);
         },
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>& batched, int64_t batch) {
           const Array& segments = n.inputs[2];
           Arrays x;
           for (size_t i = 0; i < 3; ++i) x.push_back(batched_input(in[i], batched[i], batch));
           Array keep = inside(x[2], n.inputs[0].shape(1));
           return matmul(cleared(beside_segments(x[0], segments), keep),
                         beside_segments(x[1], segments));
         }});

}  // namespace

Array segmented_mm(const Array& a, const Array& b, const Array& segments) {
  if (a.ndim() != 2 || b.ndim() != 2)
    throw ShapeError("segmented_mm: a and b must have 2 axes: " + to_string(a.shape()) + " @ " +
                     to_string(b.shape()));
  if (a.shape(1) != b.shape(0))
    throw ShapeError("segmented_mm: inner sizes differ: " + to_string(a.shape()) + " @ " +
                     to_string(b.shape()) + ", " + std::to_string(a.shape(1)) +
                     " != " + std::to_string(b.shape(0)));
  if (segments.ndim() < 1 || segments.shape(-1) != 2)
    throw ShapeError("segmented_mm: segments must be pairs, (..., 2), got " +
                     to_string(segments.shape()));
  if (!is_integer(segments.dtype()))
    throw DtypeError(std::string("segmented_mm: segments must be integers, got ") +
                     name_of(segments.dtype()));
  const Dtype d = promote(a.dtype(), b.dtype());
  if (!is_inexact(d))
    throw DtypeError(std::string("segmented_mm: needs a floating or complex dtype, got ") +
                     name_of(a.dtype()) + " and " + name_of(b.dtype()) +
                     "\nCast one side: x.astype(mx.float32)");
  Shape shape(segments.shape().begin(), segments.shape().end() - 1);
  shape.push_back(a.shape(0));
  shape.push_back(b.shape(1));
  return make_node(segmented_mm_row, {}, {astype(a, d), astype(b, d), segments}, shape, d);
}

}  // namespace lamina

#include "ops/matmul/variants.h"

#include "base/error.h"
#include "base/thread_pool.h"
#include "ops/matmul/gather_rules.h"
#include "ops/matmul/matmul_cpu.h"
#include "ops/matmul/matmul_text.h"
#include "ops/matmul/product_items.h"

namespace lamina {
namespace {

// Multiplications of one product below which several products share a piece of parallel work.
constexpr int64_t kPieceWork = 1'000'000;

Array transposed(const Array& x) { return swapaxes(x, -1, -2); }

void run(const TensorView& a, const TensorView& b, std::span<const TensorView> numbers,
         const TensorView& out) {
  if (out.size() == 0) return;
  const size_t rank = b.shape.size();
  const int64_t n = out.shape.back(), k = a.shape.back(), size = itemsize(out.dtype);
  const auto items =
      cpu::product_items("gather_mm", a, cpu::matrix_count(b), numbers[0], numbers[1]);
  auto one = [&](const cpu::ProductItem& item) {
    TensorView left{
        a.as<char>() + item.a * size, a.dtype, {item.rows, k}, {item.a_row, a.strides.back()}};
    TensorView right{b.as<char>() + cpu::matrix_offset(b, item.b) * size,
                     b.dtype,
                     {k, n},
                     {b.strides[rank - 2], b.strides[rank - 1]}};
    TensorView to{out.as<char>() + item.out * n * size, out.dtype, {item.rows, n}, {n, 1}};
    cpu::matmul(left, right, to);
  };
  const int64_t count = static_cast<int64_t>(items.size());
  const int64_t work = out.size() / count * std::max<int64_t>(1, k);
  if (count < 2 * thread_count() || work >= 4 * kPieceWork) {
    for (const cpu::ProductItem& item : items) one(item);
    return;
  }
  parallel_for(count, std::max<int64_t>(1, kPieceWork / std::max<int64_t>(1, work)),
               [&](int64_t begin, int64_t end, int) {
                 for (int64_t i = begin; i < end; ++i) one(items[static_cast<size_t>(i)]);
               });
}

const Primitive& gather_mm_row = define(
    {.name = "gather_mm",
     .kind = Kind::call,
     .doc = "Products of gathered matrices.",
     .call = [](const CallArgs& c) { run(c.in[0], c.in[1], c.in.subspan(2), c.out[0]); },
     .text = text::gather_mm,
     .flops = [](const Node& n) { return 2 * element_count(n.shape) * n.inputs[0].shape(-1); },
     .reads = gathered_elements,
     .vjp = [](const Node& n, const Array&, const Array& ct,
               const std::vector<bool>& wanted) -> Arrays {
       Arrays out(n.inputs.size());
       const Array &a = n.inputs[0], &b = n.inputs[1];
       Array cts = as_matrices(ct), lhs = reshape(n.inputs[2], {-1}),
             rhs = reshape(n.inputs[3], {-1});
       if (wanted[0])
         out[0] = add_matrices(a.shape(),
                               gather_mm(cts, transposed(adjoint_factor(b)), Array(), rhs), lhs);
       if (wanted[1])
         out[1] = add_matrices(b.shape(),
                               gather_mm(transposed(adjoint_factor(a)), cts, lhs, Array()), rhs);
       return out;
     },
     .jvp =
         [](const Node& n, const Array&, const Arrays& t) {
           Array out;
           auto of = [&](const Array& a, const Array& b) {
             return gather_mm(a, b, n.inputs[2], n.inputs[3]);
           };
           if (t[0]) out = of(t[0], n.inputs[1]);
           if (t[1]) out = out ? out + of(n.inputs[0], t[1]) : of(n.inputs[0], t[1]);
           return out ? out : zeros(n.shape, n.dtype);
         },
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>& batched, int64_t batch) {
           auto numbers = [&](size_t side) {
             const int64_t matrices = as_matrices(n.inputs[side]).shape(0);
             return batch_numbers(in[side + 2], batched[side + 2], matrices, batched[side], batch);
           };
           return gather_mm(in[0], in[1], numbers(0), numbers(1));
         }});

}  // namespace

Array gather_mm(const Array& a, const Array& b, const Array& lhs, const Array& rhs) {
  if (a.ndim() < 2 || b.ndim() < 2)
    throw ShapeError("gather_mm: needs 2 axes or more on both sides: " + to_string(a.shape()) +
                     " @ " + to_string(b.shape()));
  if (a.shape(-1) != b.shape(-2))
    throw ShapeError("gather_mm: inner sizes differ: " + to_string(a.shape()) + " @ " +
                     to_string(b.shape()) + ", " + std::to_string(a.shape(-1)) +
                     " != " + std::to_string(b.shape(-2)));
  const Dtype d = promote(a.dtype(), b.dtype());
  if (!is_inexact(d))
    throw DtypeError(std::string("gather_mm: needs a floating or complex dtype, got ") +
                     name_of(a.dtype()) + " and " + name_of(b.dtype()) +
                     "\nCast one side: x.astype(mx.float32)");
  const GatherNumbers at = gather_numbers("gather_mm", a, b, lhs, rhs);
  Shape shape = at.lhs.shape();
  shape.push_back(a.shape(-2));
  shape.push_back(b.shape(-1));
  return make_node(gather_mm_row, {}, {astype(a, d), astype(b, d), at.lhs, at.rhs}, shape, d);
}

}  // namespace lamina

#include "base/error.h"
#include "ops/matmul/matmul_cpu.h"
#include "ops/matmul/matmul_text.h"
#include "ops/rules.h"

namespace lamina {

namespace {

Array transposed(const Array& x) { return swapaxes(x, -1, -2); }

const Primitive& matmul_row = define(
    {.name = "matmul",
     .kind = Kind::call,
     .doc = "Matrix product over the last two axes.",
     .call = [](const CallArgs& c) { cpu::matmul(c.in[0], c.in[1], c.out[0]); },
     .text = text::matmul,
     .takes_epilogue = text::matmul_takes_epilogue,
     .flops = [](const Node& n) { return 2 * element_count(n.shape) * n.inputs[0].shape(-1); },
     .splits_rows = 1,
     .splits_batch = 3,
     .vjp = [](const Node& n, const Array&, const Array& ct,
               const std::vector<bool>& wanted) -> Arrays {
       Arrays out(2);
       const Array &a = n.inputs[0], &b = n.inputs[1];
       if (wanted[0]) out[0] = unbroadcast(matmul(ct, transposed(adjoint_factor(b))), a.shape());
       if (wanted[1]) out[1] = unbroadcast(matmul(transposed(adjoint_factor(a)), ct), b.shape());
       return out;
     },
     .jvp =
         [](const Node& n, const Array&, const Arrays& t) {
           Array out;
           if (t[0]) out = matmul(t[0], n.inputs[1]);
           if (t[1]) out = out ? out + matmul(n.inputs[0], t[1]) : matmul(n.inputs[0], t[1]);
           return out;
         },
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>& batched, int64_t) {
           Arrays x;
           int64_t rank = static_cast<int64_t>(n.shape.size());
           for (size_t i = 0; i < 2; ++i) x.push_back(batched[i] ? align_rank(in[i], rank) : in[i]);
           return matmul(x[0], x[1]);
         }});

[[noreturn]] void refuse(const Array& a, const Array& b) {
  int64_t k1 = a.shape(-1), k2 = b.ndim() == 1 ? b.shape(0) : b.shape(-2);
  throw ShapeError("matmul: inner sizes differ: " + to_string(a.shape()) + " @ " +
                   to_string(b.shape()) + ", " + std::to_string(k1) + " != " + std::to_string(k2));
}

}  // namespace

Array matmul(const Array& a_in, const Array& b_in) {
  Array a = a_in, b = b_in;
  if (a.ndim() == 0 || b.ndim() == 0)
    throw ShapeError("matmul: needs at least one axis on both sides: " + to_string(a.shape()) +
                     " @ " + to_string(b.shape()));
  if (a.shape(-1) != (b.ndim() == 1 ? b.shape(0) : b.shape(-2))) refuse(a, b);
  Dtype d = promote(a.dtype(), b.dtype());
  if (!is_inexact(d))
    throw DtypeError(std::string("matmul: needs a floating or complex dtype, got ") +
                     name_of(a.dtype()) + " and " + name_of(b.dtype()) +
                     "\nCast one side: x.astype(mx.float32)");
  bool vector_a = a.ndim() == 1, vector_b = b.ndim() == 1;
  if (vector_a) a = expand_dims(a, {0});
  if (vector_b) b = expand_dims(b, {1});
  a = astype(a, d);
  b = astype(b, d);
  Shape batch_a(a.shape().begin(), a.shape().end() - 2),
      batch_b(b.shape().begin(), b.shape().end() - 2);
  auto batch = broadcast_shapes(batch_a, batch_b);
  if (!batch)
    throw ShapeError("matmul: batch axes do not broadcast: " + to_string(a.shape()) + " @ " +
                     to_string(b.shape()));
  int64_t m = a.shape(-2), k = a.shape(-1), n = b.shape(-1);
  Array out;
  if (b.ndim() == 2 && a.ndim() > 2) {
    // One matrix on the right: the batch is only more rows.
    Shape shape = a.shape();
    shape.back() = 1;
    Array flat = matmul(reshape(a, {element_count(shape), k}), b);
    shape.back() = n;
    out = k == 0 || element_count(shape) == 0 ? zeros(shape, d) : reshape(flat, shape);
  } else {
    Shape sa = *batch, sb = *batch, shape = *batch;
    for (int64_t v : {m, k}) sa.push_back(v);
    for (int64_t v : {k, n}) sb.push_back(v);
    for (int64_t v : {m, n}) shape.push_back(v);
    out = make_node(matmul_row, {}, {broadcast_to(a, sa), broadcast_to(b, sb)}, shape, d);
  }
  if (vector_a) out = squeeze(out, {out.ndim() - 2});
  if (vector_b) out = squeeze(out, {out.ndim() - 1});
  return out;
}

}  // namespace lamina

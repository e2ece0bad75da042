// Products with quantized matrices: of every matrix in turn, and of gathered ones.
#include "base/error.h"
#include "ops/matmul/gather_rules.h"
#include "ops/matmul/variants.h"
#include "ops/quantized/coded_rules.h"
#include "ops/quantized/coded_text.h"
#include "ops/rules.h"

namespace lamina {
namespace {

// What a node of either row holds, read back. Inputs: x, words, scales, biases if affine, and of
// the gathered row the numbers on both sides.
struct Call {
  Quantization q;
  bool transpose;
  Array x;
  Quantized w;
  Array lhs, rhs;
  size_t codes_end;  // inputs before the numbers
};

Call read(const Node& n, const Arrays& in) {
  Params::Reader r = n.params.read();
  Call c{read_quantization(r), r.integer() != 0, in[0], {in[1], in[2], {}}, {}, {}, 3};
  if (c.q.affine()) c.w.biases = in[c.codes_end++];
  if (in.size() > c.codes_end) {
    c.lhs = in[c.codes_end];
    c.rhs = in[c.codes_end + 1];
  }
  return c;
}
Call read(const Node& n) { return read(n, n.inputs); }

Array product(const Array& x, const Quantized& w, const Call& c, bool transpose) {
  return c.lhs ? gather_qmm(x, w, c.lhs, c.rhs, transpose, c.q, Array())
               : quantized_matmul(x, w, transpose, c.q);
}

Array swapped(const Array& x) { return swapaxes(x, -1, -2); }

// Cotangents of the elements of w, for each product by itself.
Array element_cotangents(const Array& x, const Array& ct, bool transpose) {
  Array a = astype(x, Dtype::float32), g = astype(ct, Dtype::float32);
  return transpose ? matmul(swapped(g), a) : matmul(swapped(a), g);
}

Arrays product_vjp(const Node& n, const Array&, const Array& ct, const std::vector<bool>& wanted) {
  const Call c = read(n);
  Arrays out(n.inputs.size());
  if (wanted[0]) out[0] = quantized_matmul(ct, c.w, !c.transpose, c.q);
  if (c.q.affine() && (wanted[2] || wanted[3])) {
    Array elements = in_groups(element_cotangents(c.x, ct, c.transpose), c.q);
    std::tie(out[2], out[3]) = group_sums(elements, c.w.words, c.q, wanted[2], wanted[3]);
  }
  return out;
}

Arrays gathered_vjp(const Node& n, const Array&, const Array& ct, const std::vector<bool>& wanted) {
  const Call c = read(n);
  Arrays out(n.inputs.size());
  Array cts = as_matrices(ct), lhs = reshape(c.lhs, {-1}), rhs = reshape(c.rhs, {-1});
  if (wanted[0])
    out[0] =
        add_matrices(c.x.shape(), gather_qmm(cts, c.w, Array(), rhs, !c.transpose, c.q, {}), lhs);
  if (c.q.affine() && (wanted[2] || wanted[3])) {
    Array x = take(as_matrices(c.x), lhs, 0), words = take(as_matrices(c.w.words), rhs, 0);
    Array elements = in_groups(element_cotangents(x, cts, c.transpose), c.q);
    auto [scales, biases] = group_sums(elements, words, c.q, wanted[2], wanted[3]);
    if (scales) out[2] = add_matrices(c.w.scales.shape(), scales, rhs);
    if (biases) out[3] = add_matrices(c.w.biases.shape(), biases, rhs);
  }
  return out;
}

// Linear in x and, together, in scales and biases.
Array product_jvp(const Node& n, const Array&, const Arrays& t) {
  const Call c = read(n);
  Array out;
  if (t[0]) out = product(astype(t[0], c.x.dtype()), c.w, c, c.transpose);
  if (c.q.affine() && (t[2] || t[3])) {
    Array by_w = product(c.x, {c.w.words, tangent_or_zero(t, n, 2), tangent_or_zero(t, n, 3)}, c,
                         c.transpose);
    out = out ? out + by_w : by_w;
  }
  return out ? out : zeros(n.shape, n.dtype);
}

Array product_vmap(const Node& n, const Arrays& in, const std::vector<bool>& batched,
                   int64_t batch) {
  const int64_t rank = static_cast<int64_t>(n.shape.size());
  bool codes = false;
  for (size_t i = 1; i < in.size(); ++i) codes |= batched[i];
  Arrays x = in;
  for (size_t i = 0; i < in.size(); ++i) {
    if (i > 0 && codes) x[i] = batched_input(in[i], batched[i], batch);
    if (i == 0 && batched[0]) x[0] = align_rank(in[0], rank);
  }
  const Call c = read(n, x);
  return quantized_matmul(c.x, c.w, c.transpose, c.q);
}

Array gathered_vmap(const Node& n, const Arrays& in, const std::vector<bool>& batched,
                    int64_t batch) {
  const Call before = read(n);
  Arrays x = in;
  bool codes = false;
  for (size_t i = 1; i < before.codes_end; ++i) codes |= batched[i];
  for (size_t i = 1; i < before.codes_end; ++i)
    if (codes) x[i] = batched_input(in[i], batched[i], batch);
  const size_t at = before.codes_end;
  const int64_t left = as_matrices(before.x).shape(0), right = as_matrices(before.w.words).shape(0);
  x[at] = batch_numbers(in[at], batched[at], left, batched[0], batch);
  x[at + 1] = batch_numbers(in[at + 1], batched[at + 1], right, codes, batch);
  const Call c = read(n, x);
  return gather_qmm(c.x, c.w, c.lhs, c.rhs, c.transpose, c.q, Array());
}

std::vector<Field> fields() {
  std::vector<Field> out = kQuantizationFields;
  out.push_back({"transpose", FieldKind::boolean});
  return out;
}

int64_t flops(const Node& n) { return 2 * element_count(n.shape) * n.inputs[0].shape(-1); }

void run(const CallArgs& c, bool gathered) {
  Params::Reader r = static_cast<const Params*>(c.params)->read();
  const Quantization q = read_quantization(r);
  const bool transpose = r.integer() != 0;
  const cpu::CodedMatrices w = coded_matrices(c.in.subspan(1), q);
  const size_t numbers = c.in.size() - 2;
  const auto items = gathered
                         ? cpu::product_items("gather_qmm", c.in[0], cpu::matrix_count(w.words),
                                              c.in[numbers], c.in[numbers + 1])
                         : cpu::product_items(c.in[0]);
  cpu::coded_product(c.in[0], w, transpose, items, c.out[0]);
}

const Primitive& product_row =
    define({.name = "quantized_matmul",
            .kind = Kind::call,
            .doc = "Matrix product with a quantized matrix on the right.",
            .fields = fields(),
            .call = [](const CallArgs& c) { run(c, false); },
            .text = text::quantized_matmul,
            .flops = flops,
            .vjp = product_vjp,
            .jvp = product_jvp,
            .vmap = product_vmap});
const Primitive& gathered_row =
    define({.name = "gather_qmm",
            .kind = Kind::call,
            .doc = "Products of gathered matrices with gathered quantized matrices.",
            .fields = fields(),
            .call = [](const CallArgs& c) { run(c, true); },
            .text = text::gather_qmm,
            .flops = flops,
            .reads = gathered_elements,
            .vjp = gathered_vjp,
            .jvp = product_jvp,
            .vmap = gathered_vmap});

// The dtype of a product. Throws where there is none.
Dtype result_dtype(const char* op, const Array& x, const Quantized& w, const Quantization& q) {
  const Dtype d = q.affine() ? promote(x.dtype(), w.scales.dtype()) : x.dtype();
  if (!is_floating(d))
    throw DtypeError(std::string(op) + ": x must be floating, got " + name_of(x.dtype()) +
                     "\nCast it: x.astype(mx.float32)");
  return d;
}

void check_inner(const char* op, const Array& x, const Quantized& w, bool transpose,
                 const Quantization& q) {
  const int64_t inner = transpose ? columns_of(w.words, q) : w.words.shape(-2);
  if (x.shape(-1) == inner) return;
  Shape shape = w.words.shape();
  shape.back() = columns_of(w.words, q);
  throw ShapeError(std::string(op) + ": inner sizes differ: x " + to_string(x.shape()) + " and w " +
                   to_string(shape) + " with transpose=" + (transpose ? "True" : "False") + ", " +
                   std::to_string(x.shape(-1)) + " != " + std::to_string(inner));
}

int64_t result_columns(const Quantized& w, bool transpose, const Quantization& q) {
  return transpose ? w.words.shape(-2) : columns_of(w.words, q);
}

Params product_params(const Quantization& q, bool transpose) { return params_of(q).add(transpose); }

Array broadcast_matrices(const Array& x, const Shape& batch) {
  Shape shape = batch;
  for (int64_t axis : {-2, -1}) shape.push_back(x.shape(axis));
  return broadcast_to(x, shape);
}

Array dense(const Quantized& w, bool transpose, const Quantization& q) {
  Array elements = dequantize(w, q, Array(), Dtype::float64);
  return transpose ? swapped(elements) : elements;
}

}  // namespace

Array quantized_matmul(const Array& given, const Quantized& codes, bool transpose,
                       const Quantization& q) {
  const char* op = "quantized_matmul";
  const Quantized w = checked(op, codes, q);
  if (given.ndim() == 0) throw ShapeError("quantized_matmul: x needs an axis, got shape ()");
  const Dtype d = result_dtype(op, given, w, q);
  check_inner(op, given, w, transpose, q);
  Array x = astype(given, d);
  if (d == Dtype::float64) return matmul(x, dense(w, transpose, q));
  if (x.ndim() == 1) {
    Array y = quantized_matmul(expand_dims(x, {0}), w, transpose, q);
    return squeeze(y, {y.ndim() - 2});
  }
  const int64_t n = result_columns(w, transpose, q), k = x.shape(-1);
  if (w.words.ndim() == 2) {
    Shape shape = x.shape();
    shape.back() = n;
    if (element_count(shape) == 0 || k == 0) return zeros(shape, d);
    Array rows = reshape(x, {-1, k});
    Arrays in{rows};
    for (const Array& a : inputs_of(w)) in.push_back(a);
    Array y = make_node(product_row, product_params(q, transpose), in, {rows.shape(0), n}, d);
    return reshape(y, shape);
  }
  Shape left(x.shape().begin(), x.shape().end() - 2),
      right(w.words.shape().begin(), w.words.shape().end() - 2);
  auto batch = broadcast_shapes(left, right);
  if (!batch)
    throw ShapeError("quantized_matmul: batch axes do not broadcast: x " + to_string(x.shape()) +
                     " and w " + to_string(w.words.shape()));
  Arrays in{broadcast_matrices(x, *batch)};
  for (const Array& a : inputs_of(w)) in.push_back(broadcast_matrices(a, *batch));
  Shape shape = *batch;
  shape.push_back(x.shape(-2));
  shape.push_back(n);
  return make_node(product_row, product_params(q, transpose), in, shape, d);
}

Array gather_qmm(const Array& given, const Quantized& codes, const Array& lhs, const Array& rhs,
                 bool transpose, const Quantization& q, const Array& global_scale) {
  const char* op = "gather_qmm";
  const Quantized w = checked(op, codes, q);
  check_global_scale(op, global_scale, q);
  if (given.ndim() < 2)
    throw ShapeError("gather_qmm: x needs 2 axes or more, got " + to_string(given.shape()));
  const Dtype d = result_dtype(op, given, w, q);
  check_inner(op, given, w, transpose, q);
  Array x = astype(given, d);
  const GatherNumbers at = gather_numbers(op, x, w.words, lhs, rhs);
  Array out;
  if (d == Dtype::float64) {
    out = gather_mm(x, dense(w, transpose, q), at.lhs, at.rhs);
  } else {
    Arrays in{x};
    for (const Array& a : inputs_of(w)) in.push_back(a);
    in.push_back(at.lhs);
    in.push_back(at.rhs);
    Shape shape = at.lhs.shape();
    shape.push_back(x.shape(-2));
    shape.push_back(result_columns(w, transpose, q));
    out = make_node(gathered_row, product_params(q, transpose), in, shape, d);
  }
  return global_scale ? astype(astype(out, Dtype::float32) * global_unit(global_scale), d) : out;
}

}  // namespace lamina

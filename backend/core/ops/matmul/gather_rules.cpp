#include "ops/matmul/gather_rules.h"

#include "base/error.h"

namespace lamina {
namespace {

Shape leading(const Array& x) { return Shape(x.shape().begin(), x.shape().end() - 2); }

Array numbers_or_all(const char* op, const char* name, const Array& given, const Array& x) {
  if (!given) return reshape(iota(element_count(leading(x)), Dtype::int64), leading(x));
  if (!is_integer(given.dtype()))
    throw DtypeError(std::string(op) + ": " + name + " must be integers, got " +
                     name_of(given.dtype()));
  return given;
}

}  // namespace

GatherNumbers gather_numbers(const char* op, const Array& a, const Array& b, const Array& lhs,
                             const Array& rhs) {
  Array left = numbers_or_all(op, "lhs_indices", lhs, a);
  Array right = numbers_or_all(op, "rhs_indices", rhs, b);
  auto shape = broadcast_shapes(left.shape(), right.shape());
  if (!shape)
    throw ShapeError(std::string(op) + ": lhs_indices " + to_string(left.shape()) +
                     " and rhs_indices " + to_string(right.shape()) + " do not broadcast" +
                     (lhs && rhs ? "" : "\nIndices that are left out count every matrix in turn"));
  return {broadcast_to(left, *shape), broadcast_to(right, *shape)};
}

int64_t gathered_elements(const Node& n, size_t k) {
  const Array& x = n.inputs[k];
  const int64_t rows = n.shape.end()[-2], cols = n.shape.end()[-1];
  if (k + 2 >= n.inputs.size() || rows * cols == 0) return x.size();
  return element_count(n.shape) / (rows * cols) * x.shape(-1) * x.shape(-2);
}

Array as_matrices(const Array& x) {
  return reshape(x, {element_count(leading(x)), x.shape(-2), x.shape(-1)});
}

Array add_matrices(const Shape& shape, const Array& values, const Array& numbers) {
  Shape flat{1, shape[shape.size() - 2], shape[shape.size() - 1]};
  for (size_t d = 0; d + 2 < shape.size(); ++d) flat[0] *= shape[d];
  Array sums = scatter(zeros(flat, values.dtype()), {reshape(numbers, {-1})},
                       expand_dims(as_matrices(values), {1}), {0}, ScatterMode::add);
  return reshape(sums, shape);
}

Array batch_numbers(const Array& numbers, bool batched_numbers, int64_t matrices,
                    bool batched_matrices, int64_t batch) {
  if (!batched_matrices) return numbers;
  Array own = astype(numbers, Dtype::int64);
  auto constant = [](int64_t v) { return make_scalar_int(v, Dtype::int64); };
  own = select(less(own, constant(0)), own + constant(matrices), own);
  Shape column(static_cast<size_t>(own.ndim() + (batched_numbers ? 0 : 1)), 1);
  column[0] = batch;
  Array first = reshape(iota(batch, Dtype::int64) * constant(matrices), column);
  Array valid = logical_and(greater_equal(own, constant(0)), less(own, constant(matrices)));
  // One that was out of range stays out of range.
  return select(valid, own + first, constant(matrices * batch));
}

}  // namespace lamina

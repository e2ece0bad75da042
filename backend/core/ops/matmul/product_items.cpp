#include "ops/matmul/product_items.h"

#include "ops/index/index_common.h"

namespace lamina::cpu {
namespace {

std::vector<int64_t> numbers_at(const char* op, const TensorView& indices, int64_t count) {
  const int64_t size = indices.size();
  std::vector<int64_t> out(static_cast<size_t>(size));
  dispatch_index(op, indices.dtype, [&](auto item) {
    using Index = decltype(item);
    for (int64_t i = 0; i < size; ++i) {
      int64_t rest = i, at = 0;
      for (size_t d = indices.shape.size(); d-- > 0; rest /= indices.shape[d])
        at += rest % indices.shape[d] * indices.strides[d];
      out[static_cast<size_t>(i)] = resolve(op, indices.as<Index>()[at], 0, count, 1);
    }
  });
  return out;
}

// Adds `next` to the last item if that stays one product of evenly spaced rows.
void append(std::vector<ProductItem>& items, const ProductItem& next) {
  if (!items.empty()) {
    ProductItem& last = items.back();
    const int64_t step = next.a - last.a;
    const bool follows = last.rows == 1 || step == last.rows * last.a_row;
    if (last.b == next.b && follows && (next.rows == 1 || next.a_row * last.rows == step)) {
      if (last.rows == 1) last.a_row = step;
      last.rows += next.rows;
      return;
    }
  }
  items.push_back(next);
}

}  // namespace

int64_t matrix_count(const TensorView& v) {
  return element_count(Shape(v.shape.begin(), v.shape.end() - 2));
}

int64_t matrix_offset(const TensorView& v, int64_t number) {
  int64_t at = 0;
  for (size_t d = v.shape.size() - 2; d-- > 0; number /= v.shape[d])
    at += number % v.shape[d] * v.strides[d];
  return at;
}

std::vector<ProductItem> product_items(const char* op, const TensorView& a, int64_t b_count,
                                       const TensorView& lhs, const TensorView& rhs) {
  const std::vector<int64_t> left = numbers_at(op, lhs, matrix_count(a));
  const std::vector<int64_t> right = numbers_at(op, rhs, b_count);
  const int64_t rows = a.shape[a.shape.size() - 2], stride = a.strides[a.shape.size() - 2];
  std::vector<ProductItem> items;
  for (size_t i = 0; i < left.size(); ++i)
    append(items,
           {matrix_offset(a, left[i]), stride, rows, right[i], static_cast<int64_t>(i) * rows});
  return items;
}

std::vector<ProductItem> product_items(const TensorView& a) {
  const int64_t rows = a.shape[a.shape.size() - 2], stride = a.strides[a.shape.size() - 2];
  std::vector<ProductItem> items;
  for (int64_t i = 0; i < matrix_count(a); ++i)
    items.push_back({matrix_offset(a, i), stride, rows, i, i * rows});
  return items;
}

}  // namespace lamina::cpu

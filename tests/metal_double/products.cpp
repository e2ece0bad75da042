#include "products.h"

#include "base/half.h"

namespace metal_double {

namespace {

class ProductExecutable : public Executable {
 public:
  explicit ProductExecutable(const ProductShape& shape) : shape_(shape) {
    name = "MPSMatrixMultiplication";
  }

  std::string run(const Invocation& call, std::vector<Touched>& touched) override {
    const MatrixShape* shapes[] = {&shape_.left, &shape_.right, &shape_.result};
    for (size_t i = 0; i < 3; ++i) {
      const Bound& b = call.buffers[i];
      const MatrixShape& m = *shapes[i];
      for (int64_t z = shape_.batch_start; z < shape_.batch_start + shape_.batch; ++z)
        for (int64_t r = 0; r < m.rows; ++r) {
          const int64_t begin = b.offset + z * m.matrix_bytes + r * m.row_bytes;
          touched.push_back(
              {b.storage.get(), begin, begin + m.columns * m.element_bytes(), i == 2});
        }
    }
    for (int64_t z = 0; z < shape_.batch; ++z) multiply(call, shape_.batch_start + z);
    return "";
  }

 private:
  static char* place(const Bound& b, const MatrixShape& m, int64_t z, int64_t row, int64_t column) {
    return b.storage->data + b.offset + z * m.matrix_bytes + row * m.row_bytes +
           column * m.element_bytes();
  }
  static float value(const Bound& b, const MatrixShape& m, int64_t z, int64_t row, int64_t column) {
    const char* at = place(b, m, z, row, column);
    if (!m.half) return *reinterpret_cast<const float*>(at);
    return static_cast<float>(*reinterpret_cast<const lamina::float16_t*>(at));
  }
  void multiply(const Invocation& call, int64_t z) const {
    const ProductShape& s = shape_;
    for (int64_t i = 0; i < s.rows; ++i)
      for (int64_t j = 0; j < s.columns; ++j) {
        float sum = 0;
        for (int64_t k = 0; k < s.depth; ++k)
          sum += (s.transpose_left ? value(call.buffers[0], s.left, z, k, i)
                                   : value(call.buffers[0], s.left, z, i, k)) *
                 (s.transpose_right ? value(call.buffers[1], s.right, z, j, k)
                                    : value(call.buffers[1], s.right, z, k, j));
        if (s.wrong && (i + j) % 5 == 0) sum = sum * 1.25f + 1;
        char* at = place(call.buffers[2], s.result, z, i, j);
        if (s.result.half)
          *reinterpret_cast<lamina::float16_t*>(at) = static_cast<lamina::float16_t>(sum);
        else
          *reinterpret_cast<float*>(at) = sum;
      }
  }

  const ProductShape shape_;
};

}  // namespace

std::string refusal(const MatrixShape& m, const Bound& b, const char* which) {
  const std::string head = std::string("MPS: the ") + which + " matrix ";
  if (m.rows <= 0 || m.columns <= 0 || m.matrices <= 0) return head + "is empty";
  if (m.row_bytes % m.element_bytes() || m.row_bytes < m.columns * m.element_bytes())
    return head + "has rows of " + std::to_string(m.row_bytes) + " bytes";
  if (m.matrices > 1 && (m.matrix_bytes % m.row_bytes || m.matrix_bytes < m.rows * m.row_bytes))
    return head + "has matrices of " + std::to_string(m.matrix_bytes) + " bytes";
  if (!b.storage) return head + "has no buffer";
  if (b.offset % m.element_bytes()) return head + "has offset " + std::to_string(b.offset);
  const int64_t last = (m.matrices - 1) * m.matrix_bytes + (m.rows - 1) * m.row_bytes +
                       m.columns * m.element_bytes();
  if (b.offset + last > b.storage->bytes) return head + "reaches past its buffer";
  return "";
}

std::string refusal(const ProductShape& p) {
  auto sizes = [](const MatrixShape& m, bool transposed, int64_t rows, int64_t columns) {
    return (transposed ? m.columns : m.rows) >= rows &&
           (transposed ? m.rows : m.columns) >= columns;
  };
  if (!sizes(p.left, p.transpose_left, p.rows, p.depth) ||
      !sizes(p.right, p.transpose_right, p.depth, p.columns) ||
      !sizes(p.result, false, p.rows, p.columns))
    return "MPS: the matrices are smaller than the product";
  if (p.left.half != p.right.half || p.left.half != p.result.half)
    return "MPS: the matrices have several types";
  for (const MatrixShape* m : {&p.left, &p.right, &p.result})
    if (m->matrices < p.batch_start + p.batch) return "MPS: fewer matrices than the batch has";
  return "";
}

std::shared_ptr<Executable> make_product(const ProductShape& product) {
  return std::make_shared<ProductExecutable>(product);
}

}  // namespace metal_double

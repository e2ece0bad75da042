// The Hadamard transform as products with small matrices: the matrix of size m * 2^k is the
// Kronecker product of one of size m with k of size 2.
#include <bit>
#include <cmath>
#include <functional>
#include <string_view>

#include "base/error.h"
#include "kernels/formulas.h"
#include "ops/matmul/variants.h"
#include "ops/ops.h"

namespace lamina {
namespace {

// Powers of two are taken this many bits at a time.
constexpr int kBits = 6;

Array square_of(int64_t n, Dtype dtype, const std::function<int(int64_t, int64_t)>& sign) {
  BufferRef buffer = Buffer::allocate(n * n * int64_t{sizeof(float)}, Category::temporary, -1);
  float* to = static_cast<float*>(buffer->data());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) to[i * n + j] = static_cast<float>(sign(i, j));
  Shape shape{n, n};
  return astype(make_leaf({buffer, row_major_strides(shape), 0}, shape, Dtype::float32), dtype);
}

// Paley's second construction over the residues of 5.
int paley_12(int64_t i, int64_t j) {
  const int64_t row = i / 2, column = j / 2, odd = i % 2 + j % 2;
  if (row == column) return odd == 0 ? 1 : -1;
  const int64_t difference = (column - row + 5) % 5;
  const bool residue = difference == 1 || difference == 4;
  const int sign = row == 0 || column == 0 || residue ? 1 : -1;
  return odd == 2 ? -sign : sign;
}

// Williamson's construction: four circulant matrices, given by their first rows, as a quaternion.
int williamson(int64_t i, int64_t j, const std::string_view (&rows)[4]) {
  constexpr int kPart[4][4] = {{0, 1, 2, 3}, {1, 0, 3, 2}, {2, 3, 0, 1}, {3, 2, 1, 0}};
  constexpr int kSign[4][4] = {{1, 1, 1, 1}, {-1, 1, -1, 1}, {-1, 1, 1, -1}, {-1, -1, 1, 1}};
  const int64_t n = static_cast<int64_t>(rows[0].size());
  const int64_t row = i / n, column = j / n;
  const char c = rows[kPart[row][column]][static_cast<size_t>((j % n - i % n + n) % n)];
  return c == '+' ? kSign[row][column] : -kSign[row][column];
}

Array odd_factor(int64_t m, Dtype dtype) {
  static constexpr std::string_view kRows20[4] = {"+----", "+----", "++--+", "+-++-"};
  static constexpr std::string_view kRows28[4] = {"+------", "++----+", "+-+--+-", "+--++--"};
  if (m == 12) return square_of(m, dtype, paley_12);
  return square_of(m, dtype, [&](int64_t i, int64_t j) {
    return m == 20 ? williamson(i, j, kRows20) : williamson(i, j, kRows28);
  });
}

// -1 where i & j has an odd number of bits. Computed where it is needed: no memory goes to a
// device.
Array power_of_two(int64_t n, Dtype dtype) {
  auto word = [](uint64_t v) { return make_scalar_uint(v, Dtype::uint32); };
  Array at = iota(n, Dtype::uint32), bits = bitwise_and(expand_dims(at, {1}), at);
  for (uint64_t by : {4, 2, 1}) {
    Array shifted = elementwise(formula_id("right_shift"), {bits, word(by)});
    bits = elementwise(formula_id("bitwise_xor"), {bits, shifted});
  }
  return 1.0 - astype(bitwise_and(bits, word(1)), dtype) * 2.0;
}

// x (..., n) with the matrix applied along an axis of n seen as (before, size, after).
Array along(const Array& x, const Array& matrix, int64_t before, int64_t after) {
  const int64_t size = matrix.shape(0);
  Array y = after == 1 ? matmul(reshape(x, {-1, size}), transpose(matrix))
                       : matmul(matrix, reshape(x, {-1, before, size, after}));
  return reshape(y, x.shape());
}

}  // namespace

Array hadamard_transform(const Array& x, std::optional<double> scale) {
  if (is_complex(x.dtype())) throw DtypeError("hadamard_transform: x must be real, got complex64");
  if (x.ndim() == 0) return hadamard_transform(reshape(x, {1}), scale);
  const int64_t n = x.shape(-1);
  const int64_t odd = n > 0 ? n >> std::countr_zero(static_cast<uint64_t>(n)) : 0;
  // 12, 20 and 28 are four times an odd number.
  const int64_t m = odd == 1 ? 1 : 4 * odd;
  if (n == 0 || !(odd == 1 || odd == 3 || odd == 5 || odd == 7) || n % m != 0)
    throw ShapeError("hadamard_transform: the last axis of " + to_string(x.shape()) +
                     " is not m * 2^k for m = 1, 12, 20 or 28\nPad it to such a size");
  const Dtype dtype = at_least_float(x.dtype());
  const Dtype wide = compute_dtype(dtype);
  if (x.size() == 0) return astype(x, dtype);
  Array y = astype(x, wide);
  int64_t after = 1;
  for (int64_t rest = n / m; rest > 1;) {
    const int64_t size = std::min<int64_t>(rest, int64_t{1} << kBits);
    rest /= size;
    y = along(y, power_of_two(size, wide), m * rest, after);
    after *= size;
  }
  if (m > 1) y = along(y, odd_factor(m, wide), 1, after);
  y = y * scale.value_or(1 / std::sqrt(static_cast<double>(n)));
  return astype(y, dtype);
}

}  // namespace lamina

// Q and R by reflections.
#include "ops/linalg/linalg_text.h"
#include "ops/linalg/matrix_launch.h"
#include "ops/linalg/reflection_text.h"

namespace lamina::text {
namespace {

// a is column-major: a SIMD-group's lanes go along a column, and no two share one.
constexpr const char* kQr = R"(
  for (uint i = row; i < m; i += ROWS)
    for (uint j = column; j < n; j += COLUMNS) a[j * m + i] = A(i, j);
  BARRIERS();
  for (uint k = 0; k < n; ++k) {
    if (simd == 0) REFLECT(a + k * m, k, m, factors[k])
    BARRIERS();
    const Number factor = conjugate_of(factors[k]);
    for (uint j = k + 1 + simd; j < n; j += SIMDS)
      REFLECTED(a + j * m, a[j * m + k], a + k * m, k, m, factor)
    BARRIERS();
  }
  for (uint i = row; i < n; i += ROWS)
    for (uint j = column; j < n; j += COLUMNS)
      out[m * n + i * n + j] = j < i ? number(0) : a[j * m + i];
  BARRIERS();
  for (uint step = 0; step < n; ++step) {
    const uint k = n - 1 - step;
    const Number factor = factors[k];
    for (uint j = k + 1 + simd; j < n; j += SIMDS)
      REFLECTED(a + j * m, number(0), a + k * m, k, m, factor)
    BARRIERS();
    for (uint i = thread_id; i < m; i += THREADS)
      a[k * m + i] = i < k ? number(0)
                   : i == k ? minus(number(1), factor)
                            : minus(number(0), times(factor, a[k * m + i]));
    BARRIERS();
  }
  for (uint i = row; i < m; i += ROWS)
    for (uint j = column; j < n; j += COLUMNS) out[i * n + j] = a[j * m + i];
)";

}  // namespace

TextProgram qr(const TextCall& call, const TextTraits& traits) {
  const TensorView& a = call.in[0];
  const int64_t m = a.shape[a.shape.size() - 2], n = a.shape.back(), bytes = itemsize(a.dtype);
  if (call.out[0].size() == 0) return {};
  MatrixLaunch launch(traits, "qr", a, m * n, n);
  launch.view("A", a, 0);
  launch.result("out", "Number", bytes, 1, m * n + n * n);
  launch.memory("factors", "Number", bytes, n);
  launch.memory("a", "Number", bytes, m * n);
  return launch.finish(launch.size("m", m) + launch.size("n", n) + kReflection + kQr, {});
}

}  // namespace lamina::text

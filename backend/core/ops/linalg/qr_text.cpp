// Householder reflections, as LAPACK signs them: H = 1 - factor v v^H with v_k = 1 turns column k
// into a real number, whose sign is not that of the column's k-th element.
#include "ops/linalg/linalg_text.h"
#include "ops/linalg/matrix_launch.h"

namespace lamina::text {
namespace {

// a is column-major: a SIMD-group's lanes go along a column, and no two share one. High and rest
// keep the squares of a column from overflowing.
constexpr const char* kQr = R"(
  for (uint i = row; i < m; i += ROWS)
    for (uint j = column; j < n; j += COLUMNS) a[j * m + i] = A(i, j);
  BARRIERS();
  for (uint k = 0; k < n; ++k) {
    if (simd == 0) {
      const Number alpha = a[k * m + k];
      Real high = 0;
      for (uint i = k + 1 + lane; i < m; i += 32) high = fmax(high, extent_of(a[k * m + i]));
      high = lane_high(high);
      const int by = high > 0 && high < INFINITY ? -ilogb(high) : 0;
      Real sum = 0;
      for (uint i = k + 1 + lane; i < m; i += 32) sum += size2_of(shifted(a[k * m + i], by));
      const Real rest = real_of(shifted(number(precise::sqrt(lane_total(sum))), -by));
      Number factor = number(0), scale = number(0);
      Real beta = real_of(alpha);
      if (rest != 0 || imaginary_of(alpha) != 0) {
        const Real one = size_of(alpha), most = fmax(one, rest), least = fmin(one, rest);
        const Real ratio = least / most, norm = most * precise::sqrt(1 + ratio * ratio);
        beta = real_of(alpha) >= 0 ? -norm : norm;
        factor = scaled(minus(number(beta), alpha), 1 / beta);
        scale = over(number(1), minus(alpha, number(beta)));
      }
      SIMD_BARRIER();
      for (uint i = k + 1 + lane; i < m; i += 32) a[k * m + i] = times(a[k * m + i], scale);
      if (lane == 0) {
        a[k * m + k] = number(beta);
        factors[k] = factor;
      }
    }
    BARRIERS();
    const Number factor = conjugate_of(factors[k]);
    for (uint j = k + 1 + simd; j < n; j += SIMDS) {
      Number sum = lane == 0 ? a[j * m + k] : number(0);
      for (uint i = k + 1 + lane; i < m; i += 32)
        sum = with_product(sum, conjugate_of(a[k * m + i]), a[j * m + i]);
      sum = times(factor, lane_total(sum));
      if (lane == 0) a[j * m + k] = minus(a[j * m + k], sum);
      for (uint i = k + 1 + lane; i < m; i += 32)
        a[j * m + i] = less_product(a[j * m + i], a[k * m + i], sum);
    }
    BARRIERS();
  }
  for (uint i = row; i < n; i += ROWS)
    for (uint j = column; j < n; j += COLUMNS)
      out[m * n + i * n + j] = j < i ? number(0) : a[j * m + i];
  BARRIERS();
  for (uint step = 0; step < n; ++step) {
    const uint k = n - 1 - step;
    const Number factor = factors[k];
    for (uint j = k + 1 + simd; j < n; j += SIMDS) {
      Number sum = number(0);
      for (uint i = k + 1 + lane; i < m; i += 32)
        sum = with_product(sum, conjugate_of(a[k * m + i]), a[j * m + i]);
      sum = times(factor, lane_total(sum));
      if (lane == 0) a[j * m + k] = minus(number(0), sum);
      for (uint i = k + 1 + lane; i < m; i += 32)
        a[j * m + i] = less_product(a[j * m + i], a[k * m + i], sum);
    }
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
  return launch.finish(launch.size("m", m) + launch.size("n", n) + kQr, {});
}

}  // namespace lamina::text

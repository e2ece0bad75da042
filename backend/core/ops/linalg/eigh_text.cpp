// Eigenvalues of Hermitian matrices: made tridiagonal by reflections, then diagonal by QR sweeps
// with Wilkinson's shift (G. H. Golub and C. F. Van Loan, Matrix Computations, 8.3). A sweep's
// rotations depend on the tridiagonal matrix alone, so one SIMD-group computes a sweep while the
// others turn the vectors by the one before.
#include "ops/linalg/iteration_text.h"
#include "ops/linalg/linalg_text.h"
#include "ops/linalg/matrix_launch.h"
#include "ops/linalg/reflection_text.h"

namespace lamina::text {
namespace {

constexpr const char* kHelpers = R"(
#define TRIES 60u
#define DONE 0u
#define SWEPT 1u
#define LOST 2u
// The eigenvalue of [one off; off two] that is next to `two`.
inline Real shift_of(Real one, Real off, Real two) {
  const int by = -ilogb(off);
  const Real p = ldexp(one - two, by - 1), b = ldexp(off, by);
  const Real root = precise::sqrt(p * p + b * b);
  return two - off * (b / (p < 0 ? p - root : p + root));
}
)";

// Column k keeps its reflection below the diagonal. With y = factor A v, the adjoint's and the
// reflection's effect on the rest of A is A - v w^H - w v^H for w = y - (factor y^H v / 2) v.
constexpr const char* kTridiagonal = R"(
  for (uint k = 0; k + 1 < n; ++k) {
    if (simd == 0) {
      REFLECT(a + k * n, k + 1, n, factors[k])
      SIMD_BARRIER();
      for (uint i = k + 1 + lane; i < n; i += 32) v[i] = i == k + 1 ? number(1) : a[k * n + i];
    }
    BARRIERS();
    const Number factor = factors[k];
    for (uint j = k + 1 + simd; j < n; j += SIMDS) {
      Number sum = number(0);
      for (uint i = k + 1 + lane; i < n; i += 32)
        sum = with_product(sum, conjugate_of(a[j * n + i]), v[i]);
      sum = times(factor, lane_total(sum));
      if (lane == 0) y[j] = sum;
    }
    BARRIERS();
    Number share = number(0);
    for (uint i = k + 1 + lane; i < n; i += 32)
      share = with_product(share, conjugate_of(y[i]), v[i]);
    share = scaled(times(factor, lane_total(share)), Real(1) / 2);
    for (uint j = k + 1 + simd; j < n; j += SIMDS) {
      const Number vj = conjugate_of(v[j]), wj = conjugate_of(less_product(y[j], share, v[j]));
      for (uint i = k + 1 + lane; i < n; i += 32) {
        const Number w = less_product(y[i], share, v[i]);
        a[j * n + i] = less_product(less_product(a[j * n + i], v[i], wj), w, vj);
      }
    }
    BARRIERS();
  }
  for (uint i = thread_id; i < n; i += THREADS) {
    diagonal[i] = real_of(a[i * n + i]);
    beside[i] = i + 1 < n ? real_of(a[i * n + i + 1]) : Real(0);
  }
  BARRIERS();
)";

// The product of all reflections, from the last to the first, each moved on by a column.
constexpr const char* kAccumulate = R"(
  for (uint step = 1; step < n; ++step) {
    const uint k = n - 1 - step;
    const Number factor = factors[k];
    for (uint j = k + 2 + simd; j < n; j += SIMDS)
      REFLECTED(a + j * n, number(0), a + k * n, k + 1, n, factor)
    BARRIERS();
    for (uint i = thread_id; i < n; i += THREADS)
      a[(k + 1) * n + i] = i <= k ? number(0)
                         : i == k + 1 ? minus(number(1), factor)
                                      : minus(number(0), times(factor, a[k * n + i]));
    BARRIERS();
  }
  for (uint i = thread_id; i < n; i += THREADS) a[i] = number(i == 0 ? 1 : 0);
  BARRIERS();
)";

// `left` rows are left; those from `begin` on hang together. `turn & 1` says which of two places a
// sweep's rotations are put in.
constexpr const char* kSweeps = R"(
  uint left = n, tries = 0;
  for (uint turn = 0;; ++turn) {
    WITH_VECTORS(const uint put = (turn & 1) * n, taken = n - put;)
    if (simd == 0) {
      uint begin = 0;
      while (left > 1) {
        begin = 0;
        for (uint i = 1 + lane; i < left; i += 32) {
          const Real near = fabs(diagonal[i - 1]) + fabs(diagonal[i]);
          if (fabs(beside[i - 1]) <= fmax(EPSILON * near, TINY)) begin = max(begin, i);
        }
        begin = lane_last(begin);
        if (begin + 1 < left) break;
        left = begin;
        tries = 0;
      }
      const uint end = left > 1 ? left - 1 : 0;
      const uint state = left <= 1 ? DONE : ++tries > TRIES ? LOST : SWEPT;
      SIMD_BARRIER();
      if (state == SWEPT && lane == 0) {
        Real here = diagonal[begin], off = beside[begin];
        Real x = here - shift_of(diagonal[end - 1], beside[end - 1], diagonal[end]), bulge = off;
        for (uint k = begin; k < end; ++k) {
          const Real next = diagonal[k + 1], after = beside[k + 1];
          const Real size = fmax(fabs(x), fabs(bulge));
          Real cosine = 1, sine = 0, length = x;
          if (size > TINY) {
            const Real up = size < LEAST ? 1 / LEAST : Real(1);
            const Real sx = x * up, sb = bulge * up;
            const Real root = precise::sqrt(sx * sx + sb * sb), inverse = 1 / root;
            cosine = sx * inverse;
            sine = sb * inverse;
            length = root / up;
          }
          const Real change = (next - here) * sine + 2 * cosine * off;
          if (k > begin) beside[k - 1] = length;
          diagonal[k] = here + sine * change;
          WITH_VECTORS(cosines[put + k] = cosine; sines[put + k] = sine;)
          here = next - sine * change;
          x = cosine * change - off;
          bulge = sine * after;
          off = cosine * after;
        }
        diagonal[end] = here;
        beside[end - 1] = x;
      }
      if (lane == 0) {
        states[turn & 1] = state;
        begins[turn & 1] = begin;
        ends[turn & 1] = end;
      }
      SIMD_BARRIER();
    }
    WITH_VECTORS(if (turn > 0 && (SIMDS == 1 || simd > 0)) {
      const uint from = begins[1 - (turn & 1)], to = ends[1 - (turn & 1)];
      for (uint i = thread_id - WORKERS_FROM; i < n; i += THREADS - WORKERS_FROM) {
        Number one = a[from * n + i];
        for (uint k = from; k < to; ++k) {
          const Number other = a[(k + 1) * n + i];
          const Real cosine = cosines[taken + k], sine = sines[taken + k];
          a[k * n + i] = plus(scaled(one, cosine), scaled(other, sine));
          one = minus(scaled(other, cosine), scaled(one, sine));
        }
        a[to * n + i] = one;
      }
    })
    BARRIERS();
    const uint state = states[turn & 1];
    if (state == LOST && thread_id == 0) note(1, 0);
    if (state == LOST) return;
    if (state == DONE) break;
  }
)";

constexpr const char* kAscending = R"(
  for (uint j = thread_id; j < n; j += THREADS) {
    const Real w = diagonal[j];
    uint place = 0;
    for (uint k = 0; k < n; ++k)
      place += diagonal[k] < w || (diagonal[k] == w && k < j) ? 1 : 0;
    out[place] = number_of(ldexp(w, -by));
    places[j] = place;
  }
  BARRIERS();
)";

TextProgram eigenvalues(const TextCall& call, const TextTraits& traits, bool vectors) {
  const char* op = vectors ? "eigh" : "eigvalsh";
  const TensorView &a = call.in[0], &out = call.out[0];
  const int64_t n = a.shape.back(), bytes = itemsize(a.dtype);
  const int64_t real = a.dtype == Dtype::float64 ? 8 : 4;
  if (out.size() == 0) return {};
  MatrixLaunch launch(traits, op, a, n * n, n);
  launch.view("A", a, 0);
  launch.result("out", vectors ? "Number" : "Real", vectors ? bytes : real, 1,
                vectors ? n + n * n : n);
  launch.memory("highest", "Real", real, 2 * launch.simds());
  for (const char* name : {"states", "begins", "ends"}) launch.memory(name, "uint", 4, 2);
  launch.memory("places", "uint", 4, n);
  launch.memory("diagonal", "Real", real, n);
  launch.memory("beside", "Real", real, n);
  if (vectors)
    for (const char* name : {"cosines", "sines"}) launch.memory(name, "Real", real, 2 * n);
  for (const char* name : {"factors", "v", "y"}) launch.memory(name, "Number", bytes, n);
  launch.memory("a", "Number", bytes, n * n);
  launch.declare(precision_of(a.dtype));
  launch.declare(with_vectors(vectors) + kHelpers +
                 "#define WORKERS_FROM (SIMDS == 1 ? 0u : 32u)\n"
                 "#define ELEMENT(i, j) (j <= i ? A(i, j) : number(0))\n");
  std::string body = launch.size("n", n) + "  const uint m = n;\n" + kScale + R"(
  for (uint i = row; i < n; i += ROWS)
    for (uint j = column; j < n; j += COLUMNS) {
      const Number x = shifted(i >= j ? A(i, j) : conjugate_of(A(j, i)), by);
      a[j * n + i] = i == j ? number(real_of(x)) : x;
    }
  BARRIERS();
)" + std::string(kReflection) +
                     kTridiagonal;
  if (vectors) body += kAccumulate;
  body += kSweeps;
  body += kAscending;
  if (vectors)
    body += R"(
  for (uint j = row; j < n; j += ROWS)
    for (uint i = column; i < n; i += COLUMNS) out[n + i * n + places[j]] = a[j * n + i];
)";
  return launch.finish(body, iteration_faults(op, a));
}

}  // namespace

TextProgram eigh(const TextCall& call, const TextTraits& traits) {
  return eigenvalues(call, traits, true);
}
TextProgram eigvalsh(const TextCall& call, const TextTraits& traits) {
  return eigenvalues(call, traits, false);
}

}  // namespace lamina::text

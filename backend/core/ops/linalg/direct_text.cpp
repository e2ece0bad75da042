// Triangular factors by elimination, and systems that are solved by way of them.
#include "ops/linalg/common.h"
#include "ops/linalg/linalg_text.h"
#include "ops/linalg/matrix_launch.h"

namespace lamina::text {
namespace {

using linear::is_singular;
using linear::not_positive;

bool is_upper(const TextCall& c) {
  return static_cast<const Params*>(c.params)->read().integer() != 0;
}
int64_t rows_of(const TensorView& v) { return v.shape[v.shape.size() - 2]; }
int64_t columns_of(const TensorView& v) { return v.shape.back(); }

// What `note(0, at)` says of a matrix of this shape.
FaultFn singular(const char* op, const TensorView& a) {
  return [op, shape = a.shape](uint64_t noted) {
    is_singular(op, shape, static_cast<int64_t>(noted >> 32),
                static_cast<int64_t>(noted & 0xffffffff));
  };
}

// Row k of U at a time, so that neighbours in memory are neighbours in a group; L is its adjoint.
constexpr const char* kCholesky = R"(
  for (uint i = row; i < n; i += ROWS)
    for (uint j = column; j < n; j += COLUMNS)
      if (i <= j) u[i * n + j] = conjugate_of(A(j, i));
  BARRIERS();
  for (uint k = 0; k < n; ++k) {
    const Real pivot = real_of(u[k * n + k]);
    BARRIERS();
    if (pivot <= 0) {
      if (thread_id == 0) note(0, k + 1);
      return;
    }
    const Real root = precise::sqrt(pivot);
    for (uint j = k + thread_id; j < n; j += THREADS)
      u[k * n + j] = j == k ? number(root) : over(u[k * n + j], number(root));
    BARRIERS();
    for (uint i = k + 1 + row; i < n; i += ROWS) {
      const Number factor = conjugate_of(u[k * n + i]);
      for (uint j = k + 1 + column; j < n; j += COLUMNS)
        if (j >= i) u[i * n + j] = less_product(u[i * n + j], factor, u[k * n + j]);
    }
    BARRIERS();
  }
  for (uint i = row; i < n; i += ROWS)
    for (uint j = column; j < n; j += COLUMNS)
      out[i * n + j] = j <= i ? conjugate_of(u[j * n + i]) : number(0);
)";

// x has the right side, `wide` columns; FACTOR is the triangle, an upper one from the last row up.
constexpr const char* kTriangular = R"(
  uint singular = n;
  for (uint step = 0; step < n; ++step) {
    const uint k = upper ? n - 1 - step : step;
    const Number pivot = FACTOR(k, k);
    if (extent_of(pivot) == 0) singular = min(singular, k);
    for (uint j = thread_id; j < wide; j += THREADS) x[k * wide + j] = over(x[k * wide + j], pivot);
    BARRIERS();
    for (uint i = (upper ? 0 : k + 1) + row; i < (upper ? k : n); i += ROWS) {
      const Number factor = FACTOR(i, k);
      for (uint j = column; j < wide; j += COLUMNS)
        x[i * wide + j] = less_product(x[i * wide + j], factor, x[k * wide + j]);
    }
    BARRIERS();
  }
  if (singular < n && thread_id == 0) note(0, singular);
)";

constexpr const char* kRightSide = R"(
  for (uint i = row; i < n; i += ROWS)
    for (uint j = column; j < wide; j += COLUMNS) x[i * wide + j] = B(i, j);
  BARRIERS();
)";
constexpr const char* kIdentity = R"(
  for (uint i = row; i < n; i += ROWS)
    for (uint j = column; j < wide; j += COLUMNS) x[i * wide + j] = number(i == j ? 1 : 0);
  BARRIERS();
)";

// Elimination with the largest pivot of each column; what ON_SWAP and ON_ROW do beside it differs.
constexpr const char* kEliminate = R"(
  for (uint i = row; i < m; i += ROWS)
    for (uint j = column; j < n; j += COLUMNS) a[i * n + j] = A(i, j);
  BARRIERS();
  for (uint k = 0; k < min(m, n); ++k) {
    if (simd == 0) {
      Real best = -1;
      uint at = k;
      for (uint i = k + lane; i < m; i += 32) {
        const Real size = spread_of(a[i * n + k]);
        if (takes_max(size, i, best, at)) {
          best = size;
          at = i;
        }
      }
      BEST_OF_LANES(best, at);
      if (lane == 0) chosen[0] = at;
    }
    BARRIERS();
    const uint pivot_row = chosen[0];
    if (pivot_row != k)
      for (uint j = thread_id; j < n; j += THREADS) {
        const Number other = a[pivot_row * n + j];
        a[pivot_row * n + j] = a[k * n + j];
        a[k * n + j] = other;
      }
    ON_SWAP();
    BARRIERS();
    const Number pivot = a[k * n + k];
    const bool none = extent_of(pivot) == 0;
    ON_PIVOT();
    if (!none)
      for (uint i = k + 1 + thread_id; i < m; i += THREADS) a[i * n + k] = over(a[i * n + k], pivot);
    BARRIERS();
    for (uint i = k + 1 + row; i < m; i += ROWS) {
      const Number factor = a[i * n + k];
      for (uint j = k + 1 + column; j < n; j += COLUMNS)
        a[i * n + j] = less_product(a[i * n + j], factor, a[k * n + j]);
      ON_ROW();
    }
    BARRIERS();
  }
)";

// Pivots and rows are numbers of the matrix's dtype, behind the factors.
constexpr const char* kPermute = R"(
#define ON_SWAP() \
  if (thread_id == 0) { \
    const uint other = order[pivot_row]; \
    order[pivot_row] = order[k]; \
    order[k] = other; \
    out[m * n + k] = number(Real(pivot_row)); \
  }
#define ON_PIVOT()
#define ON_ROW()
)";
constexpr const char* kPermuted = R"(
  for (uint i = row; i < m; i += ROWS)
    for (uint j = column; j < n; j += COLUMNS) out[i * n + j] = a[i * n + j];
  for (uint i = thread_id; i < m; i += THREADS)
    out[m * n + min(m, n) + order[i]] = number(Real(i));
)";

// The right side is eliminated along with the matrix.
constexpr const char* kBeside = R"(
#define ON_SWAP() \
  if (pivot_row != k) \
    for (uint j = thread_id; j < wide; j += THREADS) { \
      const Number other = x[pivot_row * wide + j]; \
      x[pivot_row * wide + j] = x[k * wide + j]; \
      x[k * wide + j] = other; \
    }
#define ON_PIVOT() \
  if (none) { \
    if (thread_id == 0) note(0, k); \
    return; \
  }
#define ON_ROW() \
  for (uint j = column; j < wide; j += COLUMNS) \
    x[i * wide + j] = less_product(x[i * wide + j], factor, x[k * wide + j])
)";

// a x = b, or the inverse where there is no b.
TextProgram solve_general(const char* op, const TextCall& call, const TextTraits& traits) {
  const TensorView &a = call.in[0], &out = call.out[0];
  const bool given = call.in.size() > 1;
  const int64_t n = columns_of(a), wide = columns_of(out), bytes = itemsize(a.dtype);
  if (out.size() == 0) return {};
  MatrixLaunch launch(traits, op, a, n * (n + wide), std::max(n, wide));
  launch.view("A", a, 0);
  if (given) launch.view("B", call.in[1], 1);
  launch.result("x", "Number", bytes, given ? 2 : 1, n * wide);
  launch.memory("chosen", "uint", 4, 1);
  launch.memory("a", "Number", bytes, n * n);
  launch.declare(std::string(kBeside) + "#define FACTOR(i, j) a[(i) * n + (j)]\n");
  return launch.finish(launch.size("n", n) + "  const uint m = n;\n" + launch.size("wide", wide) +
                           (given ? kRightSide : kIdentity) + kEliminate +
                           "  const bool upper = true;\n" + kTriangular,
                       {singular(op, a)});
}

TextProgram solve_upper_or_lower(const char* op, const TextCall& call, const TextTraits& traits) {
  const TensorView &a = call.in[0], &out = call.out[0];
  const bool given = call.in.size() > 1;
  const int64_t n = columns_of(a), wide = columns_of(out);
  if (out.size() == 0) return {};
  MatrixLaunch launch(traits, op, a, n * wide, wide);
  launch.view("A", a, 0);
  if (given) launch.view("B", call.in[1], 1);
  launch.result("x", "Number", itemsize(a.dtype), given ? 2 : 1, n * wide);
  launch.declare("#define FACTOR(i, j) A(i, j)\n");
  return launch.finish(launch.size("n", n) + launch.size("wide", wide) +
                           "  const bool upper = " + launch.flag("upper", is_upper(call)) + ";\n" +
                           (given ? kRightSide : kIdentity) + kTriangular,
                       {singular(op, a)});
}

}  // namespace

TextProgram cholesky(const TextCall& call, const TextTraits& traits) {
  const TensorView& a = call.in[0];
  const int64_t n = columns_of(a), bytes = itemsize(a.dtype);
  if (a.size() == 0) return {};
  MatrixLaunch launch(traits, "cholesky", a, n * n / 2, n);
  launch.view("A", a, 0);
  launch.result("out", "Number", bytes, 1, n * n);
  launch.memory("u", "Number", bytes, n * n);
  FaultFn fault = [shape = a.shape](uint64_t noted) {
    not_positive(shape, static_cast<int64_t>(noted >> 32),
                 static_cast<int64_t>(noted & 0xffffffff));
  };
  return launch.finish(launch.size("n", n) + kCholesky, {fault});
}

TextProgram solve_triangular(const TextCall& call, const TextTraits& traits) {
  return solve_upper_or_lower("solve_triangular", call, traits);
}
TextProgram tri_inv(const TextCall& call, const TextTraits& traits) {
  return solve_upper_or_lower("tri_inv", call, traits);
}

TextProgram lu_factor(const TextCall& call, const TextTraits& traits) {
  const TensorView& a = call.in[0];
  const int64_t m = rows_of(a), n = columns_of(a), bytes = itemsize(a.dtype);
  const int64_t width = m * n + std::min(m, n) + m;
  if (call.out[0].size() == 0) return {};
  MatrixLaunch launch(traits, "lu_factor", a, m * n, n);
  launch.view("A", a, 0);
  launch.result("out", "Number", bytes, 1, width);
  launch.memory("chosen", "uint", 4, 1);
  launch.memory("order", "uint", 4, m);
  launch.memory("a", "Number", bytes, m * n);
  launch.declare(kPermute);
  return launch.finish(launch.size("m", m) + launch.size("n", n) +
                           "  for (uint i = thread_id; i < m; i += THREADS) order[i] = i;\n" +
                           kEliminate + kPermuted,
                       {});
}

TextProgram solve(const TextCall& call, const TextTraits& traits) {
  return solve_general("solve", call, traits);
}
TextProgram inv(const TextCall& call, const TextTraits& traits) {
  return solve_general("inv", call, traits);
}

}  // namespace lamina::text

// Singular values by Jacobi's rotations of one side: columns meet in pairs that have none in
// common, all pairs of a round at once, until a sweep over all rounds turns nothing.
#include "ops/linalg/iteration_text.h"
#include "ops/linalg/linalg_text.h"
#include "ops/linalg/matrix_launch.h"

namespace lamina::text {
namespace {

// Of each round-robin of `players`, an even number: pair p of round r. The last player stays.
constexpr const char* kPairs = R"(
#define SWEEPS 60
// A SIMD-group turns columns x and y of m, each of so many elements.
#define TURN(m, length) \
  for (uint i = lane; i < length; i += 32) { \
    const Number one = m[x * length + i], other = times(m[y * length + i], phase); \
    m[x * length + i] = minus(scaled(one, cosine), scaled(other, sine)); \
    m[y * length + i] = plus(scaled(one, sine), scaled(other, cosine)); \
  }
inline uint first_of(uint pair, uint round, uint players) {
  return pair == 0 ? players - 1 : (round + pair) % (players - 1);
}
inline uint second_of(uint pair, uint round, uint players) {
  return (round + players - 1 - pair) % (players - 1);
}
// The rotation that makes columns x, y of squared lengths a and b orthogonal, whose product x^H y
// has the size d: x' = c x - s y, y' = s x + c y once y is turned by the product's phase.
inline void rotation(Real a, Real b, Real d, thread Real& c, thread Real& s) {
  const Real zeta = (b - a) / (2 * d), far = fabs(zeta);
  Real t = far > 1e8f ? 1 / (2 * far) : 1 / (far + precise::sqrt(1 + far * far));
  if (zeta < 0) t = -t;
  c = 1 / precise::sqrt(1 + t * t);
  s = c * t;
}
)";

// One-sided: g, column-major r x c with r >= c, becomes U S while v gathers the rotations. Each
// column belongs to one SIMD-group for a round.
constexpr const char* kOneSided = R"(
  const uint players = c + (c & 1);
  for (int sweep = 0; sweep < SWEEPS; ++sweep) {
    uint turns = 0;
    for (uint round = 0; round + 1 < players; ++round) {
      for (uint pair = simd; pair < players / 2; pair += SIMDS) {
        const uint x = first_of(pair, round, players), y = second_of(pair, round, players);
        if (x >= c || y >= c) continue;
        Real aa = 0, bb = 0;
        Number ab = number(0);
        for (uint i = lane; i < r; i += 32) {
          const Number a = g[x * r + i], b = g[y * r + i];
          aa += size2_of(a);
          bb += size2_of(b);
          ab = with_product(ab, conjugate_of(a), b);
        }
        aa = lane_total(aa);
        bb = lane_total(bb);
        ab = lane_total(ab);
        const Real size = size_of(ab);
        if (!(size > limit * precise::sqrt(aa) * precise::sqrt(bb))) continue;
        ++turns;
        Real cosine, sine;
        rotation(aa, bb, size, cosine, sine);
        const Number phase = conjugate_of(scaled(ab, 1 / size));
        TURN(g, r)
        WITH_VECTORS(TURN(v, c))
      }
      BARRIERS();
    }
    if (lane == 0) turned[simd] = turns;
    BARRIERS();
    turns = 0;
    for (uint k = 0; k < SIMDS; ++k) turns += turned[k];
    BARRIERS();
    if (turns == 0) break;
    if (sweep == SWEEPS - 1) {
      if (thread_id == 0) note(1, 0);
      return;
    }
  }
)";

// Lengths of g's columns, and each one's place when they descend.
constexpr const char* kLengths = R"(
  for (uint j = simd; j < c; j += SIMDS) {
    Real sum = 0;
    for (uint i = lane; i < r; i += 32) sum += size2_of(g[j * r + i]);
    sum = precise::sqrt(lane_total(sum));
    if (lane == 0) lengths[j] = sum > least ? sum : Real(0);
  }
  BARRIERS();
  for (uint j = thread_id; j < c; j += THREADS) {
    uint place = 0;
    for (uint k = 0; k < c; ++k)
      place += lengths[k] > lengths[j] || (lengths[k] == lengths[j] && k < j) ? 1 : 0;
    places[j] = place;
    VALUES[place] = number_of(real_of(shifted(number(lengths[j]), -by)));
  }
)";

// U's columns, in order; those that have no length, and a full U's others, are made: the unit
// vector that is farthest from the columns before, less what it shares with them, twice.
constexpr const char* kLeftVectors = R"(
  BARRIERS();
  uint known = 0;
  for (uint k = 0; k < c; ++k) known += lengths[k] > 0 ? 1 : 0;
  for (uint j = simd; j < c; j += SIMDS)
    if (lengths[j] > 0)
      for (uint i = lane; i < r; i += 32)
        u[places[j] * r + i] = scaled(g[j * r + i], 1 / lengths[j]);
  BARRIERS();
  for (uint at = known; at < left; ++at) {
    if (simd == 0) {
      Real best = -1;
      uint chosen = 0;
      for (uint i = lane; i < r; i += 32) {
        Real rest = 1;
        for (uint k = 0; k < at; ++k) rest -= size2_of(u[k * r + i]);
        if (takes_max(rest, i, best, chosen)) {
          best = rest;
          chosen = i;
        }
      }
      BEST_OF_LANES(best, chosen);
      for (uint i = lane; i < r; i += 32) u[at * r + i] = number(i == chosen ? 1 : 0);
    }
    BARRIERS();
    for (uint pass = 0; pass < 2; ++pass) {
      for (uint k = simd; k < at; k += SIMDS) {
        Number sum = number(0);
        for (uint i = lane; i < r; i += 32)
          sum = with_product(sum, conjugate_of(u[k * r + i]), u[at * r + i]);
        sum = lane_total(sum);
        if (lane == 0) shares[k] = sum;
      }
      BARRIERS();
      for (uint i = thread_id; i < r; i += THREADS) {
        Number x = u[at * r + i];
        for (uint k = 0; k < at; ++k) x = less_product(x, u[k * r + i], shares[k]);
        u[at * r + i] = x;
      }
      BARRIERS();
    }
    Real sum = 0;
    for (uint i = lane; i < r; i += 32) sum += size2_of(u[at * r + i]);
    sum = 1 / precise::sqrt(lane_total(sum));
    BARRIERS();
    for (uint i = thread_id; i < r; i += THREADS) u[at * r + i] = scaled(u[at * r + i], sum);
    BARRIERS();
  }
  // U, S, V^H of the matrix itself: of a wide one its adjoint was taken apart.
  device Number* values = out + m * (wide ? c : left);
  device Number* right = values + c;
  for (uint i = row; i < r; i += ROWS)
    for (uint j = column; j < left; j += COLUMNS) {
      if (wide) right[j * r + i] = conjugate_of(u[j * r + i]);
      else out[i * left + j] = u[j * r + i];
    }
  for (uint j = row; j < c; j += ROWS)
    for (uint i = column; i < c; i += COLUMNS) {
      if (wide) out[i * c + places[j]] = v[j * c + i];
      else right[places[j] * c + i] = conjugate_of(v[j * c + i]);
    }
)";

TextProgram singular_values(const TextCall& call, const TextTraits& traits, bool vectors,
                            bool full) {
  const TensorView &a = call.in[0], &out = call.out[0];
  const int64_t m = a.shape[a.shape.size() - 2], n = a.shape.back();
  const int64_t r = std::max(m, n), c = std::min(m, n), bytes = itemsize(a.dtype);
  const int64_t real = a.dtype == Dtype::float64 ? 8 : 4;
  const int64_t left = full ? r : c, width = vectors ? r * left + c + c * c : c;
  if (out.size() == 0) return {};
  MatrixLaunch launch(traits, vectors ? "svd" : "svdvals", a, r * c, n);
  launch.view("A", a, 0);
  launch.result("out", vectors ? "Number" : "Real", vectors ? bytes : real, 1, width);
  launch.memory("highest", "Real", real, 2 * launch.simds());
  launch.memory("turned", "uint", 4, launch.simds());
  launch.memory("lengths", "Real", real, c);
  launch.memory("places", "uint", 4, c);
  launch.memory("g", "Number", bytes, r * c);
  if (vectors) {
    launch.memory("v", "Number", bytes, c * c);
    launch.memory("u", "Number", bytes, r * left);
    launch.memory("shares", "Number", bytes, left);
  }
  launch.declare(kPairs);
  launch.declare(precision_of(a.dtype));
  launch.declare(
      with_vectors(vectors) + "#define ELEMENT(i, j) A(i, j)\n" +
      (vectors ? "#define VALUES (out + m * (wide ? c : left))\n" : "#define VALUES out\n"));
  std::string body = launch.size("m", m) + launch.size("n", n) + launch.size("left", left) +
                     "  const uint r = max(m, n), c = min(m, n);\n  const bool wide = m < n;\n" +
                     kScale;
  body += R"(
  const Real limit = EPSILON * precise::sqrt(Real(r)), least = LEAST;
  for (uint i = row; i < m; i += ROWS)
    for (uint j = column; j < n; j += COLUMNS) {
      const Number x = shifted(A(i, j), by);
      if (wide) g[i * r + j] = conjugate_of(x);
      else g[j * r + i] = x;
    }
  WITH_VECTORS(for (uint i = row; i < c; i += ROWS) for (uint j = column; j < c; j += COLUMNS)
                   v[j * c + i] = number(i == j ? 1 : 0);)
  BARRIERS();
)" + std::string(kOneSided) +
          kLengths;
  if (vectors) body += kLeftVectors;
  return launch.finish(body, iteration_faults("svd", a));
}

}  // namespace

TextProgram svd(const TextCall& call, const TextTraits& traits) {
  const bool full = static_cast<const Params*>(call.params)->read().integer() != 0;
  return singular_values(call, traits, true, full);
}
TextProgram svdvals(const TextCall& call, const TextTraits& traits) {
  return singular_values(call, traits, false, false);
}

}  // namespace lamina::text

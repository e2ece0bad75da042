// Eigenvalues of any square matrix by QR iteration with two shifts at once (J. G. F. Francis, The
// QR transformation, 1961/62): balanced, made a Hessenberg matrix by reflections, then a triangular
// one by reflections of three rows, in the numbers of the matrix: a real one keeps 2 x 2 blocks
// where two eigenvalues are conjugates, which so are conjugates exactly. Vectors by substitution in
// the triangle, each by a SIMD-group of its own.
#include "ops/linalg/iteration_text.h"
#include "ops/linalg/linalg_text.h"
#include "ops/linalg/matrix_launch.h"
#include "ops/linalg/reflection_text.h"

namespace lamina::text {
namespace {

// What numbers with and without an imaginary part differ in.
constexpr const char* kRealOnes = R"(
#define ARE_CONJUGATES(square) (square < 0)
#define HAS_PHASE(imaginary) (imaginary != 0)
inline Number root_of(Number a) { return precise::sqrt(a); }
)";
constexpr const char* kComplexOnes = R"(
#define ARE_CONJUGATES(square) false
#define HAS_PHASE(imaginary) true
inline Number root_of(Number a) { return complex_sqrt(a); }
)";

constexpr const char* kHelpers = R"(
// Columns lie an odd number apart, so that rows spread over the banks too.
#define H(i, j) h[(j) * apart + (i)]
#define Z(i, j) z[(j) * apart + (i)]
#define TRIES 60u
inline Real quotient_real(Real a, Real b, Real c, Real d) {
  const bool first = fabs(c) >= fabs(d);
  const Real ratio = first ? d / c : c / d;
  return first ? (a + b * ratio) / (c + d * ratio) : (a * ratio + b) / (c * ratio + d);
}
inline Real quotient_imaginary(Real a, Real b, Real c, Real d) {
  const bool first = fabs(c) >= fabs(d);
  const Real ratio = first ? d / c : c / d;
  return first ? (b - a * ratio) / (c + d * ratio) : (b * ratio - a) / (c * ratio + d);
}
// The eigenvalues of the last 2 x 2 block are the shifts: its diagonal x, y, the others w and v.
struct Shifts { Number x, y, w, v; };
struct Triple { Number p, q, r; };
// To a size of about 1, exactly.
inline Triple levelled(Triple t) {
  const Real sum = spread_of(t.p) + spread_of(t.q) + spread_of(t.r);
  const int by = sum > 0 ? -ilogb(sum) : 0;
  t.p = shifted(t.p, by);
  t.q = shifted(t.q, by);
  t.r = shifted(t.r, by);
  return t;
}
// The direction of the first column of (H - shift)(H - other shift), for an H that begins with
// [here above; below next], and `after` below next.
inline Triple first_column(Number here, Number below, Number above, Number next, Number after,
                           Shifts s) {
  const Number to_x = minus(s.x, here), to_y = minus(s.y, here);
  const int by = -ilogb(fmax(fmax(extent_of(to_x), extent_of(s.w)), extent_of(below)));
  const Number scaled_below = shifted(below, by);
  Triple t;
  t.p = less_product(times(shifted(to_x, by), to_y), shifted(s.w, by), s.v);
  t.p = with_product(t.p, scaled_below, above);
  t.q = times(scaled_below, minus(minus(minus(next, here), to_x), to_y));
  t.r = times(scaled_below, after);
  return levelled(t);
}
)";

// Where a row has nothing beside its diagonal its element is an eigenvalue, and the exact one of a
// triangle whichever way it lies: such rows are put last, of those that remain again such rows.
constexpr const char* kIsolate = R"(
  for (uint i = thread_id; i < n; i += THREADS) {
    exponents[i] = 0;
    places[i] = n;
  }
  BARRIERS();
  uint remain = n;
  for (uint found = 1; found > 0 && remain > 0;) {
    for (uint i = thread_id; i < n; i += THREADS) {
      bool alone = places[i] == n;
      for (uint j = 0; j < n && alone; ++j)
        alone = j == i || places[j] != n || extent_of(A(i, j)) == 0;
      kinds[i] = alone ? 1 : 0;
    }
    BARRIERS();
    found = 0;
    for (uint i = 0; i < n; ++i)
      if (kinds[i] == 1) {
        ++found;
        if (thread_id == 0) places[i] = remain - found;
      }
    remain -= found;
    BARRIERS();
  }
  if (thread_id == 0) {
    uint next = 0;
    for (uint i = 0; i < n; ++i)
      if (places[i] == n) places[i] = next++;
  }
  BARRIERS();
)";

// H = D^-1 A D with powers of two, until rows are about as long as their columns.
constexpr const char* kBalance = R"(
  bool again = true;
  for (uint sweep = 0; sweep < 16 && again; ++sweep) {
    again = false;
    for (uint k = 0; k < n; ++k) {
      Real down = 0, across = 0;
      for (uint i = lane; i < n; i += 32)
        if (i != k) {
          down += spread_of(H(i, k));
          across += spread_of(H(k, i));
        }
      down = lane_total(down);
      across = lane_total(across);
      if (down == 0 || across == 0) continue;
      const int turn = (ilogb(across) - ilogb(down)) / 2;
      const Real after = ldexp(down, turn) + ldexp(across, -turn);
      if (turn == 0 || after >= (down + across) * 15 / 16) continue;
      again = true;
      BARRIERS();
      for (uint i = thread_id; i < n; i += THREADS)
        if (i != k) {
          H(i, k) = shifted(H(i, k), turn);
          H(k, i) = shifted(H(k, i), -turn);
        }
      if (thread_id == 0) exponents[k] += turn;
      BARRIERS();
    }
  }
)";

constexpr const char* kHessenberg = R"(
#define FROM_RIGHT(a) \
  for (uint i = thread_id; i < n; i += THREADS) { \
    Number sum = a[(k + 1) * apart + i]; \
    for (uint j = k + 2; j < n; ++j) sum = with_product(sum, a[j * apart + i], H(j, k)); \
    sum = times(sum, factor); \
    a[(k + 1) * apart + i] = minus(a[(k + 1) * apart + i], sum); \
    for (uint j = k + 2; j < n; ++j) \
      a[j * apart + i] = less_product(a[j * apart + i], sum, conjugate_of(H(j, k))); \
  }
  for (uint k = 0; k + 2 < n; ++k) {
    if (simd == 0) REFLECT(h + k * apart, k + 1, n, factors[0])
    BARRIERS();
    const Number factor = factors[0], adjoint = conjugate_of(factor);
    for (uint j = k + 1 + simd; j < n; j += SIMDS)
      REFLECTED(h + j * apart, H(k + 1, j), h + k * apart, k + 1, n, adjoint)
    BARRIERS();
    FROM_RIGHT(h)
    WITH_VECTORS(FROM_RIGHT(z))
    BARRIERS();
    for (uint i = k + 2 + thread_id; i < n; i += THREADS) H(i, k) = number(0);
  }
  BARRIERS();
)";

// `left` rows are left, of which those from `begin` are to be split: behind an element below the
// diagonal that is as good as 0. One or two of them are eigenvalues; on more another reflection is
// chased along the diagonal.
constexpr const char* kIterate = R"(
#define FOUND(k, at_real, at_imaginary, of_kind) \
  { \
    reals[k] = at_real; \
    imaginaries[k] = at_imaginary; \
    kinds[k] = of_kind; \
  }
#define TURN_ROWS(a, rows) \
  for (uint i = thread_id; i < rows; i += THREADS) { \
    const Number one = a[begin * apart + i], other = a[end * apart + i]; \
    a[begin * apart + i] = with_product(times(cosine, one), sine, other); \
    a[end * apart + i] = \
        less_product(times(conjugate_of(cosine), other), conjugate_of(sine), one); \
  }
#define CHASE_ROWS(a, from, rows) \
  for (uint i = from + thread_id; i < rows; i += THREADS) { \
    Number sum = with_product(a[k * apart + i], a[(k + 1) * apart + i], second); \
    if (three) sum = with_product(sum, a[(k + 2) * apart + i], third); \
    sum = times(sum, factor); \
    a[k * apart + i] = minus(a[k * apart + i], sum); \
    a[(k + 1) * apart + i] = less_product(a[(k + 1) * apart + i], sum, conjugate_of(second)); \
    if (three) \
      a[(k + 2) * apart + i] = less_product(a[(k + 2) * apart + i], sum, conjugate_of(third)); \
  }
  Real largest = 0;
  for (uint j = 0; j < n; ++j)
    for (uint i = lane; i < n && i <= j + 1; i += 32) largest = fmax(largest, spread_of(H(i, j)));
  largest = lane_high(largest);
  uint left = n, tries = 0;
  while (left > 0) {
    const uint end = left - 1;
    uint begin = 0;
    for (uint i = 1 + lane; i <= end; i += 32) {
      Real near = spread_of(H(i - 1, i - 1)) + spread_of(H(i, i));
      if (near == 0) near = largest;
      if (spread_of(H(i, i - 1)) <= fmax(EPSILON * near, TINY)) begin = max(begin, i);
    }
    begin = lane_last(begin);
    if (begin == end) {
      if (thread_id == 0) FOUND(end, real_of(H(end, end)), imaginary_of(H(end, end)), SINGLE)
      left = end;
      tries = 0;
      continue;
    }
    if (begin + 1 == end) {
      const Number a = H(begin, begin), b = H(begin, end), c = H(end, begin), d = H(end, end);
      const Number half_gap = shifted(minus(a, d), -1);
      const int up = -ilogb(fmax(extent_of(half_gap), fmax(extent_of(b), extent_of(c))));
      const Number p = shifted(half_gap, up), low = shifted(c, up);
      const Number product = times(shifted(b, up), low), square = with_product(product, p, p);
      if (ARE_CONJUGATES(square)) {
        if (thread_id == 0) {
          const Real mean = real_of(d) + real_of(half_gap);
          const Real apart_by = ldexp(precise::sqrt(-real_of(square)), -up);
          FOUND(begin, mean, apart_by, UPPER)
          FOUND(end, mean, -apart_by, LOWER)
        }
      } else {
        Number root = root_of(square);
        if (real_of(times(conjugate_of(p), root)) < 0) root = minus(number(0), root);
        const Number far = plus(p, root), one = plus(d, shifted(far, -up));
        const Number two = extent_of(far) > 0 ? minus(d, shifted(over(product, far), -up)) : d;
        if (thread_id == 0) {
          FOUND(begin, real_of(one), imaginary_of(one), SINGLE)
          FOUND(end, real_of(two), imaginary_of(two), SINGLE)
        }
        WITH_VECTORS({
          const Real length = 1 / precise::sqrt(size2_of(far) + size2_of(low));
          const Number cosine = scaled(far, length), sine = scaled(low, length);
          BARRIERS();
          for (uint j = begin + thread_id; j < n; j += THREADS) {
            const Number over_it = H(begin, j), under_it = H(end, j);
            H(begin, j) =
                with_product(times(conjugate_of(cosine), over_it), conjugate_of(sine), under_it);
            H(end, j) = less_product(times(cosine, under_it), sine, over_it);
          }
          BARRIERS();
          TURN_ROWS(h, left)
          TURN_ROWS(z, n)
          BARRIERS();
          if (thread_id == 0) {
            H(begin, begin) = one;
            H(end, end) = two;
          }
        })
      }
      left = begin;
      tries = 0;
      continue;
    }
    if (++tries > TRIES) {
      if (thread_id == 0) note(1, 0);
      return;
    }
    Shifts shifts;
    shifts.x = H(end, end);
    shifts.y = H(end - 1, end - 1);
    shifts.w = H(end, end - 1);
    shifts.v = H(end - 1, end);
    if (tries % 10 == 0) {
      // Others than these, which have led nowhere: as EISPACK's hqr has them.
      const Real s = spread_of(shifts.w) + spread_of(H(end - 1, end - 2));
      shifts.x = plus(shifts.x, number(s * 3 / 4));
      shifts.y = shifts.x;
      shifts.w = number(s * -7 / 16);
      shifts.v = number(s);
    }
    // The reflections may begin behind two small elements in a row.
    uint start = begin;
    for (uint i = begin + 1 + lane; i + 2 <= end; i += 32) {
      const Triple t = first_column(H(i, i), H(i + 1, i), H(i, i + 1), H(i + 1, i + 1),
                                    H(i + 2, i + 1), shifts);
      const Real around =
          spread_of(H(i - 1, i - 1)) + spread_of(H(i, i)) + spread_of(H(i + 1, i + 1));
      if (spread_of(H(i, i - 1)) * (spread_of(t.q) + spread_of(t.r)) <
          EPSILON * spread_of(t.p) * around)
        start = max(start, i);
    }
    start = lane_last(start);
    Triple t = first_column(H(start, start), H(start + 1, start), H(start, start + 1),
                            H(start + 1, start + 1), H(start + 2, start + 1), shifts);
    BARRIERS();
    for (uint k = start; k < end; ++k) {
      const bool three = k + 2 <= end;
      if (k > start) {
        t.p = H(k, k - 1);
        t.q = H(k + 1, k - 1);
        t.r = number(0);
        if (three) t.r = H(k + 2, k - 1);
      }
      const Real sum = spread_of(t.p) + spread_of(t.q) + spread_of(t.r);
      if (sum == 0) continue;
      t = levelled(t);
      const Real norm = precise::sqrt(size2_of(t.p) + size2_of(t.q) + size2_of(t.r));
      const Real beta = real_of(t.p) >= 0 ? -norm : norm;
      const Number factor = scaled(minus(number(beta), t.p), 1 / beta);
      const Number scale = over(number(1), minus(t.p, number(beta)));
      const Number second = times(t.q, scale), third = times(t.r, scale);
      for (uint j = k + thread_id; j < FAR_COLUMN; j += THREADS) {
        Number sum = with_product(H(k, j), conjugate_of(second), H(k + 1, j));
        if (three) sum = with_product(sum, conjugate_of(third), H(k + 2, j));
        sum = times(conjugate_of(factor), sum);
        H(k, j) = minus(H(k, j), sum);
        H(k + 1, j) = less_product(H(k + 1, j), second, sum);
        if (three) H(k + 2, j) = less_product(H(k + 2, j), third, sum);
      }
      BARRIERS();
      const uint below = min(k + 4, left);
      CHASE_ROWS(h, NEAR_ROW, below)
      WITH_VECTORS(CHASE_ROWS(z, 0, n))
      if (thread_id == 0) {
        if (k > start) {
          H(k, k - 1) = shifted(number(beta), ilogb(sum));
          H(k + 1, k - 1) = number(0);
          if (three) H(k + 2, k - 1) = number(0);
        } else if (start > begin) {
          H(k, k - 1) = times(minus(number(1), conjugate_of(factor)), H(k, k - 1));
        }
      }
      BARRIERS();
    }
  }
  BARRIERS();
  for (uint i = thread_id; i < n; i += THREADS)
    out[i] = COMPLEX(float(ldexp(reals[i], -by)), float(ldexp(imaginaries[i], -by)));
)";

// Of T x = w x from the last row of w's block up; what grows is made smaller with all the rest.
constexpr const char* kVectors = R"(
  const Real least = fmax(EPSILON * largest, TINY);
  Real highest_turn = -INFINITY;
  for (uint i = lane; i < n; i += 32) highest_turn = fmax(highest_turn, Real(exponents[i]));
  highest_turn = lane_high(highest_turn);
  const uint at = simd * n;
  for (uint k = simd; k < n; k += SIMDS) {
    if (kinds[k] == LOWER) continue;
    const bool twin = kinds[k] == UPPER;
    const uint last = twin ? k + 1 : k;
    const Real wr = reals[k], wi = imaginaries[k];
    for (uint i = lane; i <= last; i += 32) {
      xr[at + i] = 0;
      xi[at + i] = 0;
    }
    SIMD_BARRIER();
    for (uint rest = last + 1; rest > 0;) {
      const uint b = rest - 1, a = kinds[b] == LOWER ? b - 1 : b;
      Real ar = 0, ai = 0, br = 1, bi = 0;
      if (b == last) {
        if (twin) {
          const Real up = real_of(H(a, b)), low = real_of(H(b, a));
          if (fabs(low) > fabs(up)) {
            ar = (wr - real_of(H(b, b))) / low;
            ai = wi / low;
          } else {
            ar = 1;
            br = (wr - real_of(H(a, a))) / up;
            bi = wi / up;
          }
        }
      } else if (a == b) {
        Real dr = real_of(H(b, b)) - wr, di = imaginary_of(H(b, b)) - wi;
        if (fmax(fabs(dr), fabs(di)) < least) {
          dr = least;
          di = 0;
        }
        br = quotient_real(xr[at + b], xi[at + b], dr, di);
        bi = quotient_imaginary(xr[at + b], xi[at + b], dr, di);
      } else {
        // [p q; r s] of a real matrix, less w on its diagonal, by Cramer's rule.
        Real p = real_of(H(a, a)) - wr, q = real_of(H(a, b));
        Real r = real_of(H(b, a)), s = real_of(H(b, b)) - wr;
        const Real most = fmax(fmax(fabs(p), fabs(q)), fmax(fabs(r), fmax(fabs(s), fabs(wi))));
        const Real level = 1 / fmax(most, least), w = wi * level;
        p *= level;
        q *= level;
        r *= level;
        s *= level;
        Real dr = p * s - w * w - q * r, di = -w * (p + s);
        if (fmax(fabs(dr), fabs(di)) < EPSILON) {
          dr = EPSILON;
          di = 0;
        }
        const Real er = xr[at + a], ei = xi[at + a], fr = xr[at + b], fi = xi[at + b];
        const Real ur = er * s + ei * w - q * fr, ui = ei * s - er * w - q * fi;
        const Real vr = fr * p + fi * w - r * er, vi = fi * p - fr * w - r * ei;
        ar = quotient_real(ur, ui, dr, di) * level;
        ai = quotient_imaginary(ur, ui, dr, di) * level;
        br = quotient_real(vr, vi, dr, di) * level;
        bi = quotient_imaginary(vr, vi, dr, di) * level;
      }
      const Real size = fmax(fmax(fabs(ar), fabs(ai)), fmax(fabs(br), fabs(bi)));
      const Real back = size > 1e10f ? 1 / size : Real(1);
      ar *= back;
      ai *= back;
      br *= back;
      bi *= back;
      SIMD_BARRIER();
      for (uint i = lane; i <= (back < 1 ? last : b); i += 32) {
        Real re = xr[at + i] * back, im = xi[at + i] * back;
        if (i == b) {
          re = br;
          im = bi;
        } else if (i == a) {
          re = ar;
          im = ai;
        } else if (i < a) {
          const Number e = H(i, b);
          re -= real_of(e) * br - imaginary_of(e) * bi;
          im -= real_of(e) * bi + imaginary_of(e) * br;
          if (a < b) {
            re -= real_of(H(i, a)) * ar;
            im -= real_of(H(i, a)) * ai;
          }
        }
        xr[at + i] = re;
        xi[at + i] = im;
      }
      SIMD_BARRIER();
      rest = a;
    }
    Real longest = 0;
    for (uint i = lane; i < n; i += 32) {
      Real re = 0, im = 0;
      for (uint j = 0; j <= last; ++j) {
        const Number e = Z(i, j);
        re += real_of(e) * xr[at + j] - imaginary_of(e) * xi[at + j];
        im += real_of(e) * xi[at + j] + imaginary_of(e) * xr[at + j];
      }
      const int turn = exponents[i] - int(highest_turn);
      re = ldexp(re, turn);
      im = ldexp(im, turn);
      yr[at + i] = re;
      yi[at + i] = im;
      longest = fmax(longest, fmax(fabs(re), fabs(im)));
    }
    longest = lane_high(longest);
    const int up = -ilogb(longest);
    Real sum = 0, best = -1;
    uint chosen = 0;
    for (uint i = lane; i < n; i += 32) {
      const Real re = ldexp(yr[at + i], up), im = ldexp(yi[at + i], up);
      const Real size = re * re + im * im;
      sum += size;
      if (takes_max(size, i, best, chosen)) {
        best = size;
        chosen = i;
      }
      yr[at + i] = re;
      yi[at + i] = im;
    }
    sum = 1 / precise::sqrt(lane_total(sum));
    BEST_OF_LANES(best, chosen);
    SIMD_BARRIER();
    // The largest element is made a real number, where the vector is not real as a whole.
    const bool turned = HAS_PHASE(wi);
    Real cr = 1, ci = 0;
    if (turned) {
      best = precise::sqrt(best);
      cr = yr[at + chosen] / best;
      ci = -yi[at + chosen] / best;
    }
    for (uint i = lane; i < n; i += 32) {
      const uint place = places[i];
      const Real from_r = yr[at + place], from_i = yi[at + place];
      const Real re = (from_r * cr - from_i * ci) * sum;
      Real im = (from_r * ci + from_i * cr) * sum;
      if (turned && place == chosen) im = 0;
      out[n + i * n + k] = COMPLEX(float(re), float(im));
      if (twin) out[n + i * n + k + 1] = COMPLEX(float(re), float(-im));
    }
    SIMD_BARRIER();
  }
)";

TextProgram eigenvalues(const TextCall& call, const TextTraits& traits, bool vectors) {
  const char* op = vectors ? "eig" : "eigvals";
  const TensorView &a = call.in[0], &out = call.out[0];
  const int64_t n = a.shape.back(), apart = n | 1, bytes = itemsize(a.dtype);
  const int64_t real = a.dtype == Dtype::float64 ? 8 : 4;
  if (out.size() == 0) return {};
  MatrixLaunch launch(traits, op, a, n * (n < 48 ? 4 : 8), n);
  launch.view("A", a, 0);
  launch.result("out", text_type(out.dtype), itemsize(out.dtype), 1, vectors ? n + n * n : n);
  launch.memory("highest", "Real", real, 2 * launch.simds());
  launch.memory("factors", "Number", bytes, 1);
  launch.memory("exponents", "int", 4, n);
  launch.memory("kinds", "uint", 4, n);
  launch.memory("places", "uint", 4, n);
  launch.memory("reals", "Real", real, n);
  launch.memory("imaginaries", "Real", real, n);
  if (vectors)
    for (const char* part : {"xr", "xi", "yr", "yi"})
      launch.memory(part, "Real", real, launch.simds() * n);
  launch.memory("h", "Number", bytes, n * apart);
  if (vectors) launch.memory("z", "Number", bytes, n * apart);
  launch.declare(precision_of(a.dtype));
  launch.declare(with_vectors(vectors) +
                 (vectors ? "#define FAR_COLUMN n\n#define NEAR_ROW 0\n"
                          : "#define FAR_COLUMN left\n#define NEAR_ROW begin\n") +
                 "#define ELEMENT(i, j) A(i, j)\n#define SINGLE 0u\n#define UPPER 1u\n"
                 "#define LOWER 2u\n");
  launch.declare(kHelpers);
  launch.declare(a.dtype == Dtype::complex64 ? kComplexOnes : kRealOnes);
  std::string body =
      launch.size("n", n) + "  const uint m = n, apart = n | 1;\n" + kScale + kIsolate;
  body += R"(
  for (uint i = row; i < n; i += ROWS)
    for (uint j = column; j < n; j += COLUMNS) {
      H(places[i], places[j]) = shifted(A(i, j), by);
      WITH_VECTORS(Z(i, j) = number(i == j ? 1 : 0);)
    }
  BARRIERS();
)" + std::string(kBalance) +
          kReflection + kHessenberg + kIterate;
  if (vectors) body += kVectors;
  return launch.finish(body, iteration_faults(op, a));
}

}  // namespace

TextProgram eig(const TextCall& call, const TextTraits& traits) {
  return eigenvalues(call, traits, true);
}
TextProgram eigvals(const TextCall& call, const TextTraits& traits) {
  return eigenvalues(call, traits, false);
}

}  // namespace lamina::text

// Householder's reflection, as LAPACK signs it: 1 - factor v v^H with v_p = 1, which turns a column
// into a real number at p, whose sign is not that of what stood there, and zeros behind.
#pragma once

namespace lamina::text {

// Part of a kernel's body, for one SIMD-group. REFLECT leaves v, from p + 1 on, in the column (of
// so many elements), the number at p, and `factor` at its place. REFLECTED takes 1 - by v v^H to
// another column: `by` is the factor, or its conjugate for the adjoint. A power of two makes the
// largest element one of [1, 2), so that neither squares nor quotients leave the range.
inline constexpr const char* kReflection = R"(
#define REFLECT(column, p, length, factor_at) \
  { \
    const Number head = (column)[p]; \
    Real high = extent_of(head); \
    for (uint i = p + 1 + lane; i < length; i += 32) high = fmax(high, extent_of((column)[i])); \
    high = lane_high(high); \
    const int by = high > 0 && high < INFINITY ? -ilogb(high) : 0; \
    const Number alpha = shifted(head, by); \
    Real sum = 0; \
    for (uint i = p + 1 + lane; i < length; i += 32) sum += size2_of(shifted((column)[i], by)); \
    sum = lane_total(sum); \
    Number factor = number(0), scale = number(0); \
    Real beta = real_of(alpha); \
    if (sum != 0 || imaginary_of(alpha) != 0) { \
      const Real norm = precise::sqrt(size2_of(alpha) + sum); \
      beta = real_of(alpha) >= 0 ? -norm : norm; \
      factor = scaled(minus(number(beta), alpha), 1 / beta); \
      scale = over(number(1), minus(alpha, number(beta))); \
    } \
    SIMD_BARRIER(); \
    for (uint i = p + 1 + lane; i < length; i += 32) \
      (column)[i] = times(shifted((column)[i], by), scale); \
    if (lane == 0) { \
      (column)[p] = shifted(number(beta), -by); \
      factor_at = factor; \
    } \
  }
#define REFLECTED(other, first, column, p, length, by) \
  { \
    Number sum = lane == 0 ? first : number(0); \
    for (uint i = p + 1 + lane; i < length; i += 32) \
      sum = with_product(sum, conjugate_of((column)[i]), (other)[i]); \
    sum = times(by, lane_total(sum)); \
    if (lane == 0) (other)[p] = minus(first, sum); \
    for (uint i = p + 1 + lane; i < length; i += 32) \
      (other)[i] = less_product((other)[i], (column)[i], sum); \
  }
)";

}  // namespace lamina::text

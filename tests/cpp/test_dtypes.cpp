// base/: element types, promotion, half precision.
#include <cmath>
#include <limits>
#include <vector>

#include "base/dtype.h"
#include "check.h"
#include "random.h"

namespace lamina::test {

static std::vector<Dtype> dtypes() {
  std::vector<Dtype> out;
  for (int d = 0; d < kDtypeCount; ++d) out.push_back(static_cast<Dtype>(d));
  return out;
}

static std::string names(Dtype a, Dtype b) { return std::string(name_of(a)) + ", " + name_of(b); }

TEST(dtypes_and_their_types_agree) {
  for (Dtype d : dtypes()) {
    NOTE(name_of(d));
    dispatch(d, [&](auto value) {
      using T = decltype(value);
      CHECK(dtype_of<T> == d);
      CHECK_EQ(itemsize(d), static_cast<int64_t>(sizeof(T)));
      CHECK_EQ(is_integer(d), std::is_integral_v<T> && !std::is_same_v<T, bool>);
      CHECK_EQ(is_unsigned(d), is_integer(d) && std::is_unsigned_v<T>);
      constexpr bool half = std::is_same_v<T, float16_t> || std::is_same_v<T, bfloat16_t>;
      CHECK_EQ(is_floating(d), std::is_floating_point_v<T> || half);
      CHECK(is_complex(d) == std::is_same_v<T, complex64_t>);
    });
    CHECK_EQ(is_inexact(d), is_floating(d) || is_complex(d));
    CHECK_EQ(is_integer(d), is_signed(d) != is_unsigned(d));
    CHECK(compute_dtype(d) == d || itemsize(compute_dtype(d)) == 2 * itemsize(d));
    CHECK(is_inexact(at_least_float(d)));
  }
}

// Whether every value of a is one of b. Floating types hold an integer type if they have its bits.
static bool holds(Dtype a, Dtype b) {
  return dispatch(a, [&](auto x) {
    return dispatch(b, [&](auto y) {
      using A = std::numeric_limits<decltype(x)>;
      using B = std::numeric_limits<decltype(y)>;
      return A::digits <= B::digits && A::is_signed <= B::is_signed;
    });
  });
}

TEST(promotion_is_a_join) {
  for (Dtype a : dtypes()) {
    CHECK(promote(a, a) == a);
    CHECK(promote(Dtype::bool_, a) == a);
    CHECK(promote(a, Dtype::complex64) == Dtype::complex64);
    for (Dtype b : dtypes()) {
      NOTE(names(a, b));
      Dtype both = promote(a, b);
      CHECK(both == promote(b, a));
      CHECK(promote(both, a) == both);
      CHECK(promote(both, b) == both);
      if (is_inexact(a) || is_inexact(b)) {
        CHECK(is_inexact(both));
      } else if (a != Dtype::uint64 && b != Dtype::uint64) {
        CHECK(holds(a, both) && holds(b, both));
        CHECK(!is_inexact(both));
      }
    }
  }
}

// Between integers and floats MLX's table joins pairwise: only inside a class is it associative.
TEST(promotion_is_associative_inside_a_class) {
  auto same_class = [](Dtype a, Dtype b) {
    return a != Dtype::uint64 && b != Dtype::uint64 && is_inexact(a) == is_inexact(b);
  };
  for (Dtype a : dtypes())
    for (Dtype b : dtypes())
      for (Dtype c : dtypes()) {
        if (!same_class(a, b) || !same_class(b, c)) continue;
        NOTE(names(a, b) + ", " + name_of(c));
        CHECK(promote(promote(a, b), c) == promote(a, promote(b, c)));
      }
}

// The nearest value of a 16-bit type to f, ties to even bits: by looking at both neighbours.
template <class T>
static uint16_t nearest(float f) {
  auto value = [](uint16_t bits) {
    T t;
    t.bits = bits;
    return static_cast<double>(static_cast<float>(t));
  };
  // Magnitudes grow with their bits.
  double wanted = std::fabs(static_cast<double>(f));
  uint16_t low = 0, high = 0x7fff;
  while (value(high) != value(high) || std::isinf(value(high))) --high;
  uint16_t largest = high;
  while (high - low > 1) {
    uint16_t middle = static_cast<uint16_t>((low + high) / 2);
    (value(middle) <= wanted ? low : high) = middle;
  }
  double below = value(low), above = value(high);
  uint16_t bits = wanted - below < above - wanted   ? low
                  : wanted - below > above - wanted ? high
                                                    : (low & 1 ? high : low);
  // Half a step beyond the largest value rounds to infinity.
  double step = value(largest) - value(static_cast<uint16_t>(largest - 1));
  if (wanted >= value(largest) + step / 2) bits = static_cast<uint16_t>(largest + 1);
  return std::signbit(f) ? static_cast<uint16_t>(bits | 0x8000) : bits;
}

template <class T>
static void check_half() {
  using Limits = std::numeric_limits<float>;
  auto check = [](float f) {
    NOTE(std::to_string(std::bit_cast<uint32_t>(f)));
    CHECK_EQ(T(f).bits, nearest<T>(f));
  };
  std::vector<float> floats = {
      0.0f, -0.0f, 1.0f, Limits::denorm_min(), Limits::min(), Limits::max(), Limits::infinity()};
  for (int bits = 0; bits < 0x10000; ++bits) {
    T t;
    t.bits = static_cast<uint16_t>(bits);
    float f = t;
    if (f != f) {
      CHECK(static_cast<float>(T(f)) != static_cast<float>(T(f)));
      continue;
    }
    CHECK_EQ(T(f).bits, t.bits);
    if (bits % 7 == 0) floats.push_back(f);
    // Exactly between two values, and a hair to either side.
    T next;
    next.bits = static_cast<uint16_t>(bits + 1);
    float g = next;
    if (!std::isfinite(f) || !std::isfinite(g) || bits % 5) continue;
    float tie = static_cast<float>((static_cast<double>(f) + static_cast<double>(g)) / 2);
    for (float x : {tie, std::nextafter(tie, f), std::nextafter(tie, g)}) floats.push_back(x);
  }
  Random random(1);
  for (int i = 0; i < 20000; ++i) {
    float f = std::bit_cast<float>(static_cast<uint32_t>(random.bits()));
    if (f == f) floats.push_back(f);
  }
  for (float f : floats) check(f), check(-f);
  for (uint32_t payload : {0x7f800001u, 0x7fc00000u, 0xff800001u, 0x7fffffffu}) {
    float back = T(std::bit_cast<float>(payload));
    CHECK(back != back);
  }
}

TEST(float16_rounds_to_nearest_even) { check_half<float16_t>(); }
TEST(bfloat16_rounds_to_nearest_even) { check_half<bfloat16_t>(); }

}  // namespace lamina::test

// base/: vector, shapes, hash.
#include <limits>
#include <set>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "base/shape.h"
#include "check.h"
#include "random.h"

namespace lamina::test {

using Vector = SmallVector<int64_t, 4>;

static void check_same(const Vector& v, const std::vector<int64_t>& want) {
  CHECK_EQ(v.size(), want.size());
  CHECK(std::equal(v.begin(), v.end(), want.begin()));
  CHECK_EQ(v.empty(), want.empty());
}

TEST(small_vector_does_what_vector_does) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    NOTE("seed " + std::to_string(seed));
    Random random(seed);
    Vector v, other{7, 8, 9, 10, 11, 12};
    std::vector<int64_t> want, other_want{7, 8, 9, 10, 11, 12};
    for (int step = 0; step < 60; ++step) {
      int64_t value = random.below(1000), at = random.below(static_cast<int64_t>(want.size()) + 1);
      switch (random.below(9)) {
        case 0:
          v.push_back(value), want.push_back(value);
          break;
        case 1:
          v.insert(v.begin() + at, value), want.insert(want.begin() + at, value);
          break;
        case 2:
          if (at == static_cast<int64_t>(want.size())) break;
          v.erase(v.begin() + at), want.erase(want.begin() + at);
          break;
        case 3:
          v.resize(static_cast<size_t>(at + 3), value);
          want.resize(static_cast<size_t>(at + 3), value);
          break;
        case 4:
          std::swap(v, other), std::swap(want, other_want);
          break;
        case 5:
          v = other, want = other_want;
          break;
        case 6: {
          Vector& self = v;
          v = self;
          v = std::move(self);
          break;
        }
        case 7: {
          // An element of the vector itself, which growing moves.
          if (want.empty()) break;
          v.push_back(v.front()), want.push_back(int64_t{want.front()});
          break;
        }
        default: {
          Vector moved(std::move(v));
          check_same(v, {});
          v = std::move(moved);
        }
      }
      check_same(v, want);
      check_same(other, other_want);
      CHECK_EQ(v == other, want == other_want);
    }
  }
}

TEST(counts_are_exact_up_to_63_bits) {
  const int64_t top = std::numeric_limits<int64_t>::max();
  CHECK_EQ(element_count({}), 1);
  CHECK_EQ(element_count({top}), top);
  CHECK_EQ(element_count({int64_t{1} << 31, int64_t{1} << 31}), int64_t{1} << 62);
  CHECK_EQ(element_count({0, top}), 0);
  CHECK_THROWS(ValueError, element_count({int64_t{1} << 32, int64_t{1} << 31}), "more than 2^63");
  CHECK_THROWS(ValueError, element_count({top, 0, 2}), "more than 2^63");
}

TEST(broadcasting_against_its_definition) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    Random random(seed);
    Shape a = random.shape(4, 3), b = random.shape(4, 3);
    NOTE(to_string(a) + " and " + to_string(b));
    size_t rank = std::max(a.size(), b.size());
    auto size = [&](const Shape& s, size_t axis) {
      return axis + s.size() < rank ? 1 : s[axis + s.size() - rank];
    };
    Shape want;
    bool fits = true;
    for (size_t axis = 0; axis < rank; ++axis) {
      int64_t x = size(a, axis), y = size(b, axis);
      fits &= x == y || x == 1 || y == 1;
      want.push_back(x == 1 ? y : x);
    }
    auto got = broadcast_shapes(a, b);
    CHECK_EQ(got.has_value(), fits);
    CHECK(broadcast_shapes(b, a) == got);
    if (!fits) continue;
    CHECK(*got == want);
    Layout spread = broadcast_layout(Layout::row_major(a), want);
    each_index(want, [&](const Shape& index) {
      Shape inner;
      for (size_t k = 0; k < a.size(); ++k)
        inner.push_back(a[k] == 1 ? 0 : index[k + rank - a.size()]);
      CHECK_EQ(place(index, spread), place(inner, row_major_strides(a), 0));
    });
  }
}

// Sizes of the same product, cut elsewhere.
static Shape recut(Random& random, int64_t count) {
  Shape out;
  for (int64_t left = count; left > 1;) {
    int64_t size = random.within(1, left);
    while (left % size) --size;
    out.insert(out.begin() + random.below(static_cast<int64_t>(out.size()) + 1), size);
    left /= size;
  }
  if (random.once_in(3)) out.push_back(1);
  return out;
}

TEST(reshaping_keeps_every_element) {
  int without_copy = 0;
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    NOTE("seed " + std::to_string(seed));
    Random random(seed);
    Layout from = Layout::row_major(random.shape(4, 4));
    if (random.once_in(2) && !from.shape.empty()) {
      size_t axis = static_cast<size_t>(random.below(static_cast<int64_t>(from.shape.size())));
      from.strides[axis] *= random.once_in(2) ? -1 : 2;
      from.offset = random.below(5);
    }
    if (random.once_in(3) && from.shape.size() > 1) {
      std::swap(from.shape[0], from.shape[1]);
      std::swap(from.strides[0], from.strides[1]);
    }
    Shape shape = recut(random, element_count(from.shape));
    auto got = reshape_layout(from, shape);
    if (from.contiguous()) CHECK(got.has_value());
    if (!got) continue;
    ++without_copy;
    CHECK(got->shape == shape);
    std::vector<int64_t> before, after;
    each_index(from.shape, [&](const Shape& index) { before.push_back(place(index, from)); });
    each_index(shape, [&](const Shape& index) { after.push_back(place(index, *got)); });
    CHECK(before == after);
  }
  CHECK(without_copy > 1000);
}

TEST(row_major_is_recognised) {
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    Random random(seed);
    Shape shape = random.shape(4, 3);
    Strides strides = row_major_strides(shape);
    CHECK(is_row_major(shape, strides));
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      Strides other = strides;
      other[axis] += 1;
      CHECK_EQ(is_row_major(shape, other), shape[axis] == 1);
    }
  }
  CHECK_EQ(to_string(Shape{}) + to_string(Shape{4}) + to_string(Shape{2, 3}), "()(4,)(2, 3)");
}

TEST(hash_tells_sequences_apart) {
  std::set<std::string> seen;
  auto add = [&](const std::vector<uint64_t>& words) {
    Hash128 h;
    for (uint64_t w : words) h.add(w);
    CHECK(seen.insert(h.hex()).second);
    CHECK_EQ(h.hex().size(), size_t{32});
  };
  add({});
  for (uint64_t a = 0; a < 60; ++a) {
    add({a}), add({a, 0}), add({uint64_t{1} << a, 1, 2});
    for (uint64_t b = 1; b < 60; ++b) add({a, b});
  }
  Hash128 text, split;
  text.add(std::string("ab"));
  split.add(std::string("a")), split.add(std::string("b"));
  CHECK(!(text == split));
}

}  // namespace lamina::test

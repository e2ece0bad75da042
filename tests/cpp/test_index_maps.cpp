// schedule/: composing index maps, and resolving chains of views, against enumeration.
#include "check.h"
#include "execute/evaluate.h"
#include "ops/ops.h"
#include "random.h"
#include "schedule/ir.h"

namespace lamina::test {

using schedule::compose;
using schedule::Ir;

namespace {

Shape unravel(int64_t flat, const Shape& shape) {
  Shape index(shape.size(), 0);
  for (size_t d = shape.size(); d-- > 0;) {
    index[d] = flat % shape[d];
    flat /= shape[d];
  }
  return index;
}

// Where the outer map leads through the inner one, point by point.
std::vector<int64_t> composed(const Layout& inner, const Layout& outer) {
  std::vector<int64_t> out;
  each_index(outer.shape, [&](const Shape& at) {
    out.push_back(place(unravel(place(at, outer), inner.shape), inner));
  });
  return out;
}

std::vector<int64_t> places(const Layout& layout) {
  std::vector<int64_t> out;
  each_index(layout.shape, [&](const Shape& at) { out.push_back(place(at, layout)); });
  return out;
}

// Strides that say the same, if there are any: an affine map is known by its first steps.
bool is_affine(const Shape& shape, const std::vector<int64_t>& points) {
  Strides steps = row_major_strides(shape), strides(shape.size(), 0);
  for (size_t d = 0; d < shape.size(); ++d)
    if (shape[d] > 1) strides[d] = points[static_cast<size_t>(steps[d])] - points[0];
  return places({shape, strides, points[0]}) == points;
}

Layout some_inner(Random& random) {
  Layout inner = Layout::row_major(random.shape(4, 4));
  for (size_t d = 0; d < inner.shape.size(); ++d) {
    if (random.once_in(5)) inner.strides[d] = 0;
    if (random.once_in(5)) inner.strides[d] *= -2;
    if (random.once_in(4)) std::swap(inner.strides[d], inner.strides[0]);
  }
  inner.offset = random.within(-9, 9);
  return inner;
}

// A map whose values are all below count: of its own strides, or by way of a reshape and a slice.
Layout some_outer(Random& random, int64_t count) {
  Layout outer{random.shape(4, 4), {}, 0};
  outer.strides = Strides(outer.shape.size(), 0);
  int64_t room = count - 1;
  for (size_t d : random.permutation(static_cast<int>(outer.shape.size()))) {
    if (outer.shape[d] == 1 || room < outer.shape[d] - 1) {
      outer.shape[d] = 1;
      continue;
    }
    int64_t most = room / (outer.shape[d] - 1);
    int64_t stride = random.once_in(3) ? most : random.within(0, most);
    room -= stride * (outer.shape[d] - 1);
    outer.strides[d] = random.once_in(3) ? -stride : stride;
    if (outer.strides[d] < 0) outer.offset += stride * (outer.shape[d] - 1);
  }
  outer.offset += random.within(0, room);
  return outer;
}

}  // namespace

TEST(composition_agrees_with_enumeration) {
  int expressed = 0, missed = 0;
  for (uint64_t seed = 0; seed < 30000; ++seed) {
    NOTE("seed " + std::to_string(seed));
    Random random(seed);
    Layout inner = some_inner(random), outer = some_outer(random, element_count(inner.shape));
    std::vector<int64_t> want = composed(inner, outer);
    auto got = compose(inner, outer);
    if (got) {
      CHECK(got->shape == outer.shape);
      CHECK(places(*got) == want);
      ++expressed;
    } else if (is_affine(outer.shape, want)) {
      ++missed;
    }
  }
  CHECK(expressed > 10000);
  // Maps that are affine by coincidence, such as through a stride of 0, may be copied instead.
  CHECK(missed < expressed / 10);
}

TEST(composition_with_the_identity) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    NOTE("seed " + std::to_string(seed));
    Random random(seed);
    Layout inner = some_inner(random);
    auto got = compose(inner, Layout::row_major(inner.shape));
    CHECK(got && places(*got) == places(inner));
    Layout outer = some_outer(random, element_count(inner.shape));
    got = compose(Layout::row_major(inner.shape), outer);
    CHECK(got && places(*got) == places(outer));
  }
}

TEST(composition_is_64_bit) {
  const int64_t wide = int64_t{1} << 40;
  Layout inner{{4, wide}, {wide * 8, 1}, 5};
  auto got = compose(inner, {{2, 3}, {2 * wide, -(int64_t{1} << 38)}, wide - 1});
  CHECK(got.has_value());
  CHECK_EQ(got->strides[0], 16 * wide);
  CHECK_EQ(got->strides[1], -(int64_t{1} << 38));
  CHECK_EQ(got->offset, 5 + wide - 1);
}

namespace {

// An array beside what each of its elements is in the leaf.
struct Viewed {
  Array array;
  std::vector<int64_t> elements;

  // The same view of both: the model picks elements, index by index.
  template <class F>
  void become(const Array& next, F&& from) {
    std::vector<int64_t> picked;
    Strides strides = row_major_strides(array.shape());
    each_index(next.shape(), [&](const Shape& at) {
      picked.push_back(elements[static_cast<size_t>(place(from(at), strides, 0))]);
    });
    array = next;
    elements = std::move(picked);
  }

  void view(Random& random) {
    const Shape shape = array.shape();
    size_t rank = shape.size();
    switch (random.below(5)) {
      case 0: {
        Axes order;
        for (int axis : random.permutation(static_cast<int>(rank))) order.push_back(axis);
        return become(transpose(array, order), [&](const Shape& at) {
          Shape from(rank, 0);
          for (size_t d = 0; d < rank; ++d) from[static_cast<size_t>(order[d])] = at[d];
          return from;
        });
      }
      case 1: {
        Shape start, stop, step;
        for (int64_t size : shape) {
          bool back = random.once_in(3);
          int64_t from = random.below(size), by = random.within(1, 2);
          start.push_back(from);
          stop.push_back(back ? -1 : size);
          step.push_back(back ? -by : by);
        }
        return become(slice(array, start, stop, step), [&](const Shape& at) {
          Shape from(rank, 0);
          for (size_t d = 0; d < rank; ++d) from[d] = start[d] + at[d] * step[d];
          return from;
        });
      }
      case 2: {
        Shape wide = shape;
        for (int64_t& size : wide)
          if (size == 1) size = random.within(1, 3);
        if (random.once_in(2)) wide.insert(wide.begin(), random.within(1, 3));
        size_t skip = wide.size() - rank;
        return become(broadcast_to(array, wide), [&](const Shape& at) {
          Shape from(rank, 0);
          for (size_t d = 0; d < rank; ++d) from[d] = shape[d] == 1 ? 0 : at[d + skip];
          return from;
        });
      }
      default: {
        Shape other;
        int64_t left = array.size();
        while (left > 1) {
          int64_t size = random.within(2, left);
          while (left % size) --size;
          if (size == 1) size = left;
          other.push_back(size);
          left /= size;
        }
        if (random.once_in(3)) other.insert(other.begin(), 1);
        array = reshape(array, other);
      }
    }
  }
};

}  // namespace

TEST(chains_of_views_resolve_to_the_elements_they_show) {
  int resolved = 0, copied = 0;
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    NOTE("seed " + std::to_string(seed));
    Random random(seed);
    Array leaf = iota(random.within(1, 60), Dtype::int32);
    evaluate(leaf);
    Viewed v{leaf, {}};
    for (int64_t i = 0; i < leaf.size(); ++i) v.elements.push_back(i);
    for (int64_t views = random.within(1, 5); views > 0 && v.array.size() < 500; --views)
      v.view(random);
    CHECK_EQ(v.array.size(), static_cast<int64_t>(v.elements.size()));

    std::vector<schedule::OrderedNode> order{{leaf.node(), false, false}};
    leaf.node()->position = 0;
    std::vector<Node*> chain;
    for (Node* n = v.array.node(); n != leaf.node(); n = n->inputs[0].node()) chain.push_back(n);
    if (chain.empty()) continue;
    for (size_t i = chain.size(); i-- > 0;) {
      chain[i]->position = static_cast<int32_t>(order.size());
      order.push_back({chain[i], i == 0, false});
    }
    Ir ir = schedule::import_order(order);
    copied += schedule::insert_copies(ir);
    schedule::drop_dead(ir);
    schedule::verify(ir);
    auto at = schedule::access(ir, ir.of_position.back());
    CHECK(at.has_value());
    if (ir.nodes[static_cast<size_t>(at->base)].role == schedule::Role::data) {
      CHECK(places(at->layout) == v.elements);
      ++resolved;
    }
    evaluate(v.array);
    TensorView view = tensor_view(v.array);
    std::vector<int64_t> seen;
    each_index(view.shape, [&](const Shape& index) {
      seen.push_back(view.as<int32_t>()[place(index, view.strides, 0)]);
    });
    CHECK(seen == v.elements);
  }
  CHECK(resolved > 1000);
  CHECK(copied > 100);
}

}  // namespace lamina::test

// graph/: nodes, their references, and graphs deeper than any stack.
#include <cmath>
#include <thread>

#include "base/error.h"
#include "check.h"
#include "execute/evaluate.h"
#include "graph/primitive.h"
#include "ops/ops.h"

namespace lamina::test {

static uint32_t references(const Array& x) { return x.node()->refs.load(); }

static Array leaf(const Shape& shape, Dtype d, bool* released = nullptr) {
  static float memory[1024] = {};
  Layout layout = Layout::row_major(shape);
  auto buffer = Buffer::adopt(
      memory, element_count(shape) * itemsize(d), Category::input,
      [released] {
        if (released) *released = true;
      },
      Buffer::Writers::owner);
  return make_leaf({buffer, layout.strides, 0}, shape, d);
}

TEST(references_are_counted) {
  bool released = false;
  {
    Array x = leaf({4}, Dtype::float32, &released);
    CHECK_EQ(references(x), 1u);
    Array copy = x, moved = std::move(copy);
    CHECK(!copy);
    CHECK_EQ(references(x), 2u);
    copy = moved;
    copy = *&copy;
    CHECK_EQ(references(x), 3u);
    Array sum = x + x;
    CHECK_EQ(references(x), 5u);
    moved = Array();
    copy = sum;
    CHECK_EQ(references(x), 3u);
    CHECK_EQ(references(sum), 2u);
    x = Array();
    CHECK(!released);
  }
  CHECK(released);
}

TEST(a_graph_of_a_million_nodes_dies_without_a_stack) {
  bool released = false;
  {
    Array x = leaf({4}, Dtype::float32, &released);
    for (int i = 0; i < 1'000'000; ++i) x = negative(x);
  }
  CHECK(released);
  // Every node twice, so that a walk over paths would never end.
  {
    Array x = leaf({4}, Dtype::float32, &(released = false));
    for (int i = 0; i < 10'000; ++i) x = x * x;
  }
  CHECK(released);
}

TEST(a_deep_graph_is_evaluated) {
  Array x = make_scalar(0, Dtype::float32);
  x = broadcast_to(x, {3});
  for (int i = 0; i < 20'000; ++i) x = x + 1.0;
  evaluate(x);
  TensorView v = tensor_view(x);
  for (int i = 0; i < 3; ++i) CHECK_EQ(v.as<float>()[i * v.strides[0]], 20'000.0f);
  CHECK(x.node()->inputs.empty());
}

TEST(handles_are_shared_by_threads) {
  bool released = false;
  {
    Array x = leaf({4}, Dtype::float32, &released);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([x] {
        for (int i = 0; i < 5000; ++i) {
          Array y = x;
          Array z = negative(y) + x;
        }
      });
    for (auto& t : threads) t.join();
    CHECK_EQ(references(x), 1u);
  }
  CHECK(released);
}

TEST(equal_operations_have_equal_hashes) {
  Array x = leaf({4, 2}, Dtype::float32);
  auto hash = [](const Array& a) { return a.node()->local_hash; };
  CHECK_EQ(hash(sum(x, {0}, false)), hash(sum(x, {0}, false)));
  CHECK(hash(sum(x, {0}, true)) != hash(sum(x, {1}, true)));
  CHECK(hash(exp(x)) != hash(log(x)));
  CHECK(hash(astype(x, Dtype::int32)) != hash(astype(x, Dtype::int16)));
  CHECK(hash(reshape(x, {8})) != hash(reshape(x, {2, 4})));
}

TEST(scalars_hold_their_value_in_every_dtype) {
  for (int d = 0; d < kDtypeCount; ++d) {
    Dtype dtype = static_cast<Dtype>(d);
    NOTE(name_of(dtype));
    for (const Array& x :
         {make_scalar(3, dtype), make_scalar_int(3, dtype), make_scalar_uint(3, dtype)}) {
      CHECK_EQ(x.size(), 1);
      CHECK(x.node()->scalar && x.node()->ready() && x.dtype() == dtype);
      double value = dispatch(dtype, [&](auto t) {
        using T = decltype(t);
        T v = *tensor_view(x).as<T>();
        if constexpr (std::is_same_v<T, complex64_t>)
          return static_cast<double>(v.real());
        else
          return static_cast<double>(v);
      });
      CHECK_EQ(value, dtype == Dtype::bool_ ? 1.0 : 3.0);
    }
  }
}

TEST(a_failed_array_stays_failed) {
  Array x = iota(3, Dtype::int32);
  Array bad = take(x, reshape(make_scalar_int(10, Dtype::int32), {1}), 0);
  Array after = bad + 1.0;
  for (int i = 0; i < 3; ++i) {
    CHECK_THROWS(IndexError, evaluate(after), "index 10");
    CHECK_THROWS(IndexError, evaluate(bad), "index 10");
    CHECK_THROWS(IndexError, evaluate(after * 2.0), "index 10");
  }
  evaluate(x);
  CHECK_EQ(tensor_view(x).as<int32_t>()[2], 2);
}

TEST(the_registry_is_whole) {
  for (const std::string& missing : registry_verify()) CHECK_EQ(missing, "");
  for (size_t id = 0; id < registry().size(); ++id) {
    const Primitive& row = *registry()[id];
    CHECK_EQ(row.id, id);
    CHECK(find_primitive(row.name) == &row);
  }
  CHECK(find_primitive("no such row") == nullptr);
  CHECK_THROWS(InternalError, define({.name = registry()[0]->name, .kind = Kind::view, .doc = ""}),
               "defined twice");
}

}  // namespace lamina::test

// Random expressions over arrays, and their order as an evaluation collects it.
#pragma once

#include <set>
#include <vector>

#include "execute/evaluate.h"
#include "graph/primitive.h"
#include "ops/ops.h"
#include "random.h"
#include "schedule/ir.h"

namespace lamina::test {

class RandomGraph {
 public:
  explicit RandomGraph(uint64_t seed) : random_(seed) {
    size_ = random_.of<int64_t>({2, 8, 32});
    for (int64_t i = random_.within(1, 4); i > 0; --i) {
      Array x = astype(iota(size_ * size_, Dtype::int32), Dtype::float32);
      evaluate(x);
      arrays_.push_back(reshape(x, {size_, size_}));
    }
    for (int64_t i = random_.within(3, 24); i > 0; --i) arrays_.push_back(next());
    for (const Array& x : arrays_)
      if (random_.once_in(6)) roots.push_back(x);
    roots.push_back(arrays_.back());
  }

  // Inputs first; the roots are outputs, some leaves may be overwritten.
  std::vector<schedule::OrderedNode> order() {
    std::vector<schedule::OrderedNode> out;
    std::set<Node*> seen, wanted;
    for (const Array& x : roots) wanted.insert(x.node());
    std::vector<std::pair<Node*, size_t>> stack;
    auto enter = [&](Node* n) {
      if (seen.insert(n).second) stack.push_back({n, 0});
    };
    for (const Array& x : roots) {
      enter(x.node());
      while (!stack.empty()) {
        auto& [n, at] = stack.back();
        if (!n->ready() && at < n->inputs.size()) {
          enter(n->inputs[at++].node());
          continue;
        }
        n->position = static_cast<int32_t>(out.size());
        bool data = n->ready();
        out.push_back({n, !data && wanted.count(n) > 0, data && !n->scalar && random_.once_in(2)});
        stack.pop_back();
      }
    }
    return out;
  }

  std::vector<Array> roots;

 private:
  Array any() { return random_.of(arrays_); }

  // Every array is (size, size).
  Array next() {
    Array x = any(), y = any();
    Axes axis{random_.below(2)};
    switch (random_.below(13)) {
      case 0:
        return x + y;
      case 1:
        return x * y;
      case 12:
        return x * 0.5 + 1.0;
      case 2:
        return exp(negative(abs(x)));
      case 3:
        return transpose(x);
      case 4:
        return broadcast_to(sum(x, axis, true), x.shape());
      case 5:
        return softmax(x, axis, false);
      case 6:
        return matmul(x, y);
      case 7:
        return flip(x, axis);
      case 8: {
        Array low = slice(x, {0, 0}, {size_ / 2, size_}, {1, 1});
        return concatenate({low, slice(y, {0, 0}, {size_ / 2, size_}, {1, 1})}, 0);
      }
      case 9:
        return slice_update(x, slice(y, {0, 0}, {1, size_}, {1, 1}), {1, 0}, {2, size_}, {1, 1});
      case 10:
        return sort(x, axis[0]);
      default:
        return reshape(reshape(x, {size_ * size_}), {size_, size_}) - max(y, {0, 1}, true);
    }
  }

  Random random_;
  int64_t size_;
  std::vector<Array> arrays_;
};

}  // namespace lamina::test

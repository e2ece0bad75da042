// Batching: the function is traced on stand-ins without the batch axis, then every node is replaced
// by its batched form. Inside, the batch is always axis 0.
#include "base/error.h"
#include "ops/rules.h"
#include "transforms/walk.h"

namespace lamina {

namespace {

struct Batched {
  Array array;
  bool batched;
};

Array batched_node(Node* n, const Arrays& in, const std::vector<bool>& batched, int64_t batch) {
  if (n->primitive->kind == Kind::elementwise) {
    Arrays aligned;
    for (size_t i = 0; i < in.size(); ++i)
      aligned.push_back(batched[i] ? align_rank(in[i], static_cast<int64_t>(n->shape.size()))
                                   : in[i]);
    return elementwise(static_cast<uint16_t>(n->primitive->formula), aligned);
  }
  if (!n->primitive->vmap)
    throw TraceError("vmap: " + n->primitive->name + " has no batching rule");
  return n->primitive->vmap(*n, in, batched, batch);
}

class Batcher {
 public:
  explicit Batcher(int64_t batch) : batch_(batch) {}

  void set(const Array& stand_in, const Array& value) { known_[stand_in.node()] = {value, true}; }
  Batched get(const Array& x) {
    auto it = known_.find(x.node());
    return it == known_.end() ? Batched{x, false} : it->second;
  }

  void add(Node* n) {
    if (known_.count(n) || n->leaf()) return;
    if (n->primitive->kind == Kind::custom) {
      bundle(n);
      return;
    }
    if (is_projection(*n)) {
      Node* b = n->inputs[0].node();
      size_t at = static_cast<size_t>(n->params.read().integer()) - rules_of(*b).primals;
      known_[n] = bundles_.at(b)[at];
      return;
    }
    Arrays in;
    std::vector<bool> batched;
    for (const Array& x : n->inputs) {
      Batched b = get(x);
      in.push_back(b.array);
      batched.push_back(b.batched);
    }
    OriginScope at(n->origin);
    DeviceScope on(n->device);
    known_[n] = {batched_node(n, in, batched, batch_), true};
  }

 private:
  void bundle(Node* n) {
    const CustomRules& rules = rules_of(*n);
    auto& out = bundles_[n];
    if (!rules.vmap) {
      for (size_t i = 0; i < rules.outputs; ++i) out.push_back(get(n->inputs[rules.primals + i]));
      return;
    }
    Arrays in;
    std::vector<bool> batched;
    for (size_t i = 0; i < rules.primals; ++i) {
      Batched b = get(n->inputs[i]);
      in.push_back(b.array);
      batched.push_back(b.batched);
    }
    for (const Array& o : rules.vmap(in, batched, batch_)) out.push_back({o, true});
  }

  int64_t batch_;
  std::unordered_map<Node*, Batched> known_;
  std::unordered_map<Node*, std::vector<Batched>> bundles_;
};

int64_t batch_size(const Arrays& inputs, const OptionalAxes& in_axes) {
  int64_t batch = -1;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!in_axes[i]) continue;
    int64_t n = inputs[i].shape(normalize_axis("vmap", *in_axes[i], inputs[i].ndim()));
    if (batch >= 0 && n != batch)
      throw ShapeError("vmap: batch sizes differ: " + std::to_string(batch) + " and " +
                       std::to_string(n));
    batch = n;
  }
  if (batch < 0) throw ValueError("vmap: in_axes slices none of the inputs");
  return batch;
}

}  // namespace

Arrays vmap(const Function& f, const Arrays& inputs, const OptionalAxes& in_axes,
            const std::function<OptionalAxes(size_t)>& out_axes) {
  if (in_axes.size() != inputs.size())
    throw ValueError("vmap: " + std::to_string(inputs.size()) + " inputs but " +
                     std::to_string(in_axes.size()) + " in_axes");
  const int64_t batch = batch_size(inputs, in_axes);
  TraceScope scope;
  Batcher batcher(batch);
  Arrays arguments, stand_ins;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!in_axes[i]) {
      arguments.push_back(inputs[i]);
      continue;
    }
    Array moved = moveaxis(inputs[i], *in_axes[i], 0);
    Shape shape(moved.shape().begin() + 1, moved.shape().end());
    stand_ins.push_back(make_node(placeholder_primitive(), {}, {}, shape, moved.dtype()));
    stand_ins.back().node()->tracer = true;
    batcher.set(stand_ins.back(), moved);
    arguments.push_back(stand_ins.back());
  }
  Arrays outputs = f(arguments);
  OptionalAxes to = out_axes(outputs.size());
  for (Node* n : nodes_between(stand_ins, outputs, Cut::none)) batcher.add(n);
  Arrays results;
  for (size_t i = 0; i < outputs.size(); ++i) {
    Batched b = batcher.get(outputs[i]);
    if (!to[i]) {
      if (b.batched)
        throw ValueError("vmap: out_axes is None for an output that varies along the batch");
      results.push_back(b.array);
      continue;
    }
    results.push_back(moveaxis(batched_input(b.array, b.batched, batch), 0, *to[i]));
  }
  return results;
}

}  // namespace lamina

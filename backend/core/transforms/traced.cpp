#include "transforms/traced.h"

#include <unordered_map>

#include "base/error.h"
#include "graph/clone.h"
#include "graph/primitive.h"

namespace lamina {

namespace {

// What is known of a node of the traced graph.
struct Known {
  bool depends = false;  // on an input
  uint32_t uses = 0;     // references that nodes and outputs of the graph hold
};

class Survey {
 public:
  Survey(const Arrays& inputs, const Arrays& outputs) {
    for (const Array& x : inputs) known_[x.node()].depends = true;
    for (const Array& x : outputs) walk(x.node());
    for (const Array& x : outputs) asked_[x.node()] = true;
  }

  // Nodes of the graph, inputs of a node before the node; the open inputs are not among them.
  const std::vector<Node*>& order() const { return order_; }
  bool depends(Node* n) const { return known_.at(n).depends; }

  // Whether n is built again. What does not depend on an input is a constant if it has a value, or
  // if the program holds it: then it was there before, or will be read by others too.
  bool rebuilt(Node* n) const {
    const Known& k = known_.at(n);
    if (k.depends) return true;
    // An input of a trace around this one, or of a batch, is a constant here.
    if (n->leaf() || n->ready() || n->primitive == &placeholder_primitive()) return false;
    return asked_.count(n) > 0 || n->refs.load(std::memory_order_relaxed) <= k.uses;
  }

 private:
  void walk(Node* root) {
    std::vector<std::pair<Node*, size_t>> stack;
    auto enter = [&](Node* n) {
      if (known_.emplace(n, Known{}).second) stack.push_back({n, 0});
    };
    enter(root);
    while (!stack.empty()) {
      auto& [n, next] = stack.back();
      if (next < n->inputs.size()) {
        Node* in = n->inputs[next++].node();
        enter(in);
        ++known_.at(in).uses;
        continue;
      }
      Node* done = n;
      stack.pop_back();
      order_.push_back(done);
      for (const Array& in : done->inputs)
        if (known_.at(in.node()).depends) known_.at(done).depends = true;
    }
  }

  std::unordered_map<Node*, Known> known_;
  std::unordered_map<Node*, bool> asked_;
  std::vector<Node*> order_;
};

}  // namespace

Array open_input(const Array& like) {
  Array x = make_node(placeholder_primitive(), {}, {}, like.shape(), like.dtype());
  x.node()->tracer = true;
  return x;
}

Traced::Traced(const Arrays& inputs, const Arrays& outputs) : inputs_(inputs.size()) {
  Survey survey(inputs, outputs);
  // From the outputs down: what lies only behind a constant is not part of the function.
  std::unordered_map<Node*, bool> needed;
  for (const Array& x : outputs) needed[x.node()] = true;
  const std::vector<Node*>& order = survey.order();
  for (size_t i = order.size(); i-- > 0;) {
    Node* n = order[i];
    if (!needed.count(n) || !survey.rebuilt(n)) continue;
    for (const Array& in : n->inputs) needed[in.node()] = true;
  }
  std::unordered_map<Node*, int32_t> slot;
  for (const Array& x : inputs) slot.emplace(x.node(), static_cast<int32_t>(slot.size()));
  if (slot.size() != inputs.size()) throw InternalError("traced: an input stands twice");
  for (Node* n : order) {
    if (!needed.count(n) || survey.rebuilt(n)) continue;
    slot.emplace(n, static_cast<int32_t>(inputs_ + constants_.size()));
    constants_.push_back(Array(n));
    closed_ &= !n->tracer;
  }
  for (Node* n : order) {
    if (!needed.count(n) || !survey.rebuilt(n)) continue;
    Step step{Array(n), {}};
    for (const Array& in : n->inputs) step.inputs.push_back(slot.at(in.node()));
    slot.emplace(n, static_cast<int32_t>(inputs_ + constants_.size() + steps_.size()));
    steps_.push_back(std::move(step));
  }
  for (const Array& x : outputs) outputs_.push_back(slot.at(x.node()));
}

Arrays Traced::operator()(const Arrays& inputs, const Arrays& constants) const {
  if (inputs.size() != inputs_ || constants.size() != constants_.size())
    throw InternalError("traced: " + std::to_string(inputs.size()) + " inputs for " +
                        std::to_string(inputs_));
  Arrays values;
  values.reserve(inputs_ + constants.size() + steps_.size());
  values.insert(values.end(), inputs.begin(), inputs.end());
  values.insert(values.end(), constants.begin(), constants.end());
  for (const Step& step : steps_) {
    Arrays in;
    in.reserve(step.inputs.size());
    for (int32_t i : step.inputs) in.push_back(values[static_cast<size_t>(i)]);
    values.push_back(clone_on(*step.node.node(), std::move(in)));
  }
  Arrays out;
  out.reserve(outputs_.size());
  for (int32_t i : outputs_) out.push_back(values[static_cast<size_t>(i)]);
  return out;
}

}  // namespace lamina

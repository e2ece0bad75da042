// Reverse mode: cotangents flow from the outputs back along the traced graph.
#include "base/error.h"
#include "ops/rules.h"
#include "transforms/walk.h"

namespace lamina {

namespace {

class Reverse {
 public:
  Reverse(const Arrays& sources, const Arrays& outputs)
      : order_(nodes_between(sources, outputs, Cut::reverse)) {
    for (Node* n : order_) wanted_[n] = true;
  }

  void seed(const Array& output, const Array& cotangent) { add(output, cotangent); }

  void run() {
    for (size_t i = order_.size(); i-- > 0;) {
      Node* n = order_[i];
      if (n->leaf()) continue;
      if (n->primitive->kind == Kind::custom) {
        custom(n);
        continue;
      }
      auto it = cotangents_.find(n);
      if (it == cotangents_.end()) continue;
      Array ct = it->second;
      if (!is_source(n)) cotangents_.erase(it);
      OriginScope at(n->origin ? n->origin | kBackward : 0);
      DeviceScope on(n->device);
      step(n, ct);
    }
  }

  void mark_sources(const Arrays& sources) {
    for (const Array& s : sources) sources_[s.node()] = true;
  }

  Array result(const Array& source) {
    auto it = cotangents_.find(source.node());
    return it == cotangents_.end() ? zeros_like(source) : it->second;
  }

 private:
  bool is_source(Node* n) const { return sources_.count(n) > 0; }

  void add(const Array& x, const Array& ct) {
    if (!ct || !wanted_.count(x.node())) return;
    Array c = astype(ct, x.dtype());
    if (!(c.shape() == x.shape()))
      throw ShapeError("vjp: a cotangent of shape " + to_string(c.shape()) +
                       " does not fit an array of shape " + to_string(x.shape()));
    auto [it, fresh] = cotangents_.emplace(x.node(), c);
    if (!fresh) it->second = it->second + c;
  }

  void step(Node* n, const Array& ct) {
    if (is_source(n)) return;
    if (is_projection(*n)) {
      Node* bundle = n->inputs[0].node();
      Arrays& list = bundles_[bundle];
      list.resize(rules_of(*bundle).outputs);
      size_t at = static_cast<size_t>(n->params.read().integer()) - rules_of(*bundle).primals;
      list[at] = list[at] ? list[at] + ct : ct;
      return;
    }
    const Primitive& p = *n->primitive;
    std::vector<bool> wanted;
    for (const Array& in : n->inputs) wanted.push_back(wanted_.count(in.node()) > 0);
    if (by_partials(*n)) {
      for (size_t i = 0; i < n->inputs.size(); ++i) {
        if (!wanted[i] || !p.partials[i]) continue;
        Array partial = p.partials[i](n->inputs, Array(n));
        Array c = scaled(ct, partial);
        const Array& in = n->inputs[i];
        if (c && is_complex(c.dtype()) && !is_complex(in.dtype())) c = real(c);
        if (c) add(in, unbroadcast(broadcast_to(c, n->shape), in.shape()));
      }
      return;
    }
    if (!p.vjp)
      throw TraceError("vjp: " + p.name + " has no derivative" +
                       (p.nondifferentiable ? std::string(": ") + p.nondifferentiable : ""));
    Arrays cts = p.vjp(*n, Array(n), ct, wanted);
    for (size_t i = 0; i < cts.size(); ++i)
      if (wanted[i]) add(n->inputs[i], cts[i]);
  }

  void custom(Node* n) {
    auto it = bundles_.find(n);
    if (it == bundles_.end()) return;
    const CustomRules& rules = rules_of(*n);
    Arrays primals(n->inputs.begin(), n->inputs.begin() + static_cast<int64_t>(rules.primals));
    Arrays outputs(n->inputs.begin() + static_cast<int64_t>(rules.primals), n->inputs.end());
    Arrays cts = it->second;
    if (!rules.vjp) {
      for (size_t i = 0; i < cts.size(); ++i) add(outputs[i], cts[i]);
      return;
    }
    for (size_t i = 0; i < cts.size(); ++i)
      if (!cts[i]) cts[i] = zeros_like(outputs[i]);
    // Through them a derivative of the rule meets the rule again, and not what the function did.
    Arrays back = rules.vjp(primals, cts, outputs_of(Array(n)));
    if (back.size() != primals.size())
      throw TraceError("custom_function: its vjp returned " + std::to_string(back.size()) +
                       " cotangents for " + std::to_string(primals.size()) + " inputs");
    for (size_t i = 0; i < back.size(); ++i) add(primals[i], back[i]);
  }

  std::vector<Node*> order_;
  std::unordered_map<Node*, bool> wanted_, sources_;
  std::unordered_map<Node*, Array> cotangents_;
  std::unordered_map<Node*, Arrays> bundles_;
};

}  // namespace

std::pair<Arrays, Arrays> vjp(const Function& f, const Arrays& primals,
                              const std::function<Arrays(const Arrays&)>& cotangents) {
  TraceScope scope;
  Arrays tracers = make_tracers(primals);
  Arrays outputs = f(tracers);
  Arrays cts = cotangents(outputs);
  if (cts.size() != outputs.size())
    throw ValueError("vjp: " + std::to_string(outputs.size()) + " outputs but " +
                     std::to_string(cts.size()) + " cotangents");
  Reverse walk(tracers, outputs);
  walk.mark_sources(tracers);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (cts[i]) walk.seed(outputs[i], cts[i]);
  walk.run();
  Arrays results;
  for (const Array& t : tracers) results.push_back(walk.result(t));
  return {std::move(outputs), std::move(results)};
}

}  // namespace lamina

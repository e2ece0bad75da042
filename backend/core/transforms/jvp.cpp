// Forward mode: tangents flow with the traced graph.
#include "base/error.h"
#include "ops/rules.h"
#include "transforms/walk.h"

namespace lamina {

namespace {

using Tangents = std::unordered_map<Node*, Array>;

Array tangent_of(const Tangents& t, const Array& x) {
  auto it = t.find(x.node());
  return it == t.end() ? Array() : it->second;
}

Array elementwise_tangent(Node* n, const Arrays& in) {
  Array out;
  for (size_t i = 0; i < in.size(); ++i) {
    if (!in[i] || !n->primitive->partials[i]) continue;
    Array partial = n->primitive->partials[i](n->inputs, Array(n));
    // The forward rule multiplies by the derivative itself, not by its conjugate.
    Array term = is_complex(partial.dtype()) ? in[i] * partial : scaled(in[i], partial);
    if (!term) continue;
    term = broadcast_to(astype(term, n->dtype), n->shape);
    out = out ? out + term : term;
  }
  return out;
}

void custom_tangents(Node* n, Tangents& t, std::unordered_map<Node*, Arrays>& bundles) {
  const CustomRules& rules = rules_of(*n);
  Arrays& out = bundles[n];
  if (!rules.jvp) {
    for (size_t i = 0; i < rules.outputs; ++i)
      out.push_back(tangent_of(t, n->inputs[rules.primals + i]));
    return;
  }
  Arrays primals(n->inputs.begin(), n->inputs.begin() + static_cast<int64_t>(rules.primals)),
      tangents;
  for (const Array& p : primals) {
    Array d = tangent_of(t, p);
    tangents.push_back(d ? d : zeros_like(p));
  }
  out = rules.jvp(primals, tangents);
  if (out.size() != rules.outputs)
    throw TraceError("custom_function: its jvp returned " + std::to_string(out.size()) +
                     " tangents for " + std::to_string(rules.outputs) + " outputs");
}

}  // namespace

std::pair<Arrays, Arrays> jvp(const Function& f, const Arrays& primals, const Arrays& tangents) {
  if (primals.size() != tangents.size())
    throw ValueError("jvp: " + std::to_string(primals.size()) + " primals but " +
                     std::to_string(tangents.size()) + " tangents");
  for (size_t i = 0; i < primals.size(); ++i)
    if (!(primals[i].shape() == tangents[i].shape()))
      throw ShapeError("jvp: a tangent of shape " + to_string(tangents[i].shape()) +
                       " does not fit a primal of shape " + to_string(primals[i].shape()));
  TraceScope scope;
  Arrays tracers = make_tracers(primals);
  Arrays outputs = f(tracers);
  Tangents t;
  std::unordered_map<Node*, Arrays> bundles;
  for (size_t i = 0; i < tracers.size(); ++i)
    t[tracers[i].node()] = astype(tangents[i], primals[i].dtype());
  for (Node* n : nodes_between(tracers, outputs, Cut::forward)) {
    if (t.count(n) || n->leaf()) continue;
    OriginScope at(n->origin ? n->origin | kBackward : 0);
    DeviceScope on(n->device);
    if (n->primitive->kind == Kind::custom) {
      custom_tangents(n, t, bundles);
      continue;
    }
    Array out;
    if (is_projection(*n)) {
      Node* b = n->inputs[0].node();
      out = bundles[b][static_cast<size_t>(n->params.read().integer()) - rules_of(*b).primals];
    } else {
      Arrays in;
      bool any = false;
      for (const Array& x : n->inputs) any |= static_cast<bool>(in.emplace_back(tangent_of(t, x)));
      if (!any) continue;
      if (by_partials(*n))
        out = elementwise_tangent(n, in);
      else if (n->primitive->jvp)
        out = n->primitive->jvp(*n, Array(n), in);
      else
        throw TraceError("jvp: " + n->primitive->name + " has no forward derivative");
    }
    if (out) t[n] = astype(out, n->dtype);
  }
  Arrays results;
  for (const Array& o : outputs) {
    Array d = tangent_of(t, o);
    results.push_back(d ? d : zeros_like(o));
  }
  return {std::move(outputs), std::move(results)};
}

}  // namespace lamina

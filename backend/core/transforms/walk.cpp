#include "transforms/walk.h"

#include <unordered_set>

#include "base/error.h"
#include "ops/rules.h"

namespace lamina {

namespace {

bool passes(const Node& n, Cut cut) {
  if (cut == Cut::none) return true;
  const Primitive& p = *n.primitive;
  return p.name != "stop_gradient" && !(p.nondifferentiable && !p.vjp && p.partials.empty());
}

// Inputs a path may go through.
size_t reach(const Node& n, Cut cut) {
  if (n.primitive->kind == Kind::custom && n.extra && n.extra->payload) {
    const CustomRules& rules = rules_of(n);
    if ((cut == Cut::reverse && rules.vjp) || (cut == Cut::forward && rules.jvp) ||
        (cut == Cut::none && rules.vmap))
      return rules.primals;
  }
  return n.inputs.size();
}

// The value of a scalar, or of a scalar repeated over a shape that is not evaluated yet.
std::optional<double> constant_of(const Array& x) {
  const Node* n = x.node();
  while (!n->ready() && n->primitive->name == "broadcast_to") n = n->inputs[0].node();
  if (!n->scalar) return std::nullopt;
  return dispatch(n->dtype, [&](auto t) -> std::optional<double> {
    using T = decltype(t);
    const T v = *reinterpret_cast<const T*>(n->literal.bytes);
    if constexpr (std::is_same_v<T, complex64_t>) {
      if (v.imag() != 0) return std::nullopt;
      return v.real();
    } else {
      return static_cast<double>(v);
    }
  });
}

}  // namespace

bool is_projection(const Node& n) { return !n.leaf() && n.primitive->name == "custom_output"; }
const CustomRules& rules_of(const Node& n) {
  return *static_cast<const CustomRules*>(n.extra->payload.get());
}

std::vector<Node*> nodes_between(const Arrays& sources, const Arrays& targets, Cut cut) {
  std::unordered_map<Node*, bool> depends;
  for (const Array& s : sources) depends[s.node()] = true;
  std::vector<Node*> order;
  for (const Array& s : sources) order.push_back(s.node());
  std::vector<std::pair<Node*, size_t>> stack;
  for (const Array& target : targets) {
    if (!depends.count(target.node())) stack.push_back({target.node(), 0});
    while (!stack.empty()) {
      auto& [n, next] = stack.back();
      // What is no tracer was built outside the trace and cannot depend on its sources.
      size_t width = n->leaf() || !n->tracer || !passes(*n, cut) ? 0 : reach(*n, cut);
      if (next < width) {
        Node* in = n->inputs[next++].node();
        if (!depends.count(in)) stack.push_back({in, 0});
        continue;
      }
      Node* done = n;
      stack.pop_back();
      if (depends.count(done)) continue;
      bool any = false;
      for (size_t i = 0; i < width; ++i) any |= depends.at(done->inputs[i].node());
      depends[done] = any;
      if (any) order.push_back(done);
    }
  }
  return order;
}

Arrays make_tracers(const Arrays& primals) {
  Arrays out;
  for (const Array& p : primals) {
    out.push_back(copy(p));
    out.back().node()->tracer = true;
  }
  return out;
}

bool by_partials(const Node& n) {
  const Primitive& p = *n.primitive;
  return !p.partials.empty() && !(p.vjp && is_complex(n.inputs[0].dtype()));
}

Array scaled(const Array& ct, const Array& partial) {
  if (auto c = constant_of(partial)) {
    if (*c == 0) return Array();
    if (*c == 1) return ct;
    if (*c == -1) return -ct;
  }
  return ct * (is_complex(partial.dtype()) ? conjugate(partial) : partial);
}

}  // namespace lamina

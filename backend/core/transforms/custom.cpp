// Functions with rules of their own, and checkpoint, which is one of them.
#include "base/error.h"
#include "ops/rules.h"
#include "transforms/traced.h"
#include "transforms/walk.h"

namespace lamina {

namespace {

const Primitive& custom_row() {
  static const Primitive& row =
      define({.name = "custom_function",
              .kind = Kind::custom,
              .doc = "A user's function with derivative rules of its own."});
  return row;
}

const Primitive& output_row =
    define({.name = "custom_output",
            .kind = Kind::alias,
            .doc = "One output of a custom function.",
            .fields = {{"index", FieldKind::integer}},
            .vmap = [](const Node&, const Arrays&, const std::vector<bool>&, int64_t) -> Array {
              throw InternalError("a custom function's output was batched on its own");
            },
            .nondifferentiable = nullptr});

}  // namespace

Arrays custom_function(const Function& f, const Arrays& inputs, CustomRules rules) {
  // Tracing keeps the graph inside: a rule may be absent and f then is differentiated as usual.
  Arrays outputs = f(inputs);
  rules.primals = inputs.size();
  rules.outputs = outputs.size();
  Arrays in = inputs;
  in.insert(in.end(), outputs.begin(), outputs.end());
  Array bundle = make_node(custom_row(), {}, in, {}, Dtype::bool_);
  bundle.node()->rare().payload = std::make_shared<CustomRules>(rules);
  return outputs_of(bundle);
}

Arrays outputs_of(const Array& bundle) {
  const Arrays& in = bundle.node()->inputs;
  Arrays results;
  for (size_t i = rules_of(*bundle.node()).primals; i < in.size(); ++i)
    results.push_back(make_node(output_row, Params().add(static_cast<int64_t>(i)), {bundle},
                                in[i].shape(), in[i].dtype()));
  return results;
}

namespace {

// What a function computes, of arrays that wait for the cotangents: the recomputation starts only
// when the backward pass needs it, and it is not merged with the forward pass.
Arrays recomputed(const Function& f, const Arrays& primals, const Arrays& cotangents) {
  Arrays late;
  for (const Array& p : primals) late.push_back(depends(p, cotangents));
  return vjp(f, late, [&](const Arrays&) { return cotangents; }).second;
}

// A function with what it captured of the traces around it as further inputs.
struct Lifted {
  std::shared_ptr<Traced> graph;
  Arrays captured;
};

Lifted lifted(const Traced& traced, const Arrays& inputs) {
  Lifted out;
  Arrays open, constants = traced.constants();
  for (const Array& x : inputs) open.push_back(open_input(x));
  for (Array& c : constants) {
    if (!c.node()->tracer) continue;
    out.captured.push_back(c);
    c = open_input(c);
    open.push_back(c);
  }
  // On stand-ins, so that it holds none of the values between.
  Arrays first(open.begin(), open.begin() + static_cast<int64_t>(inputs.size()));
  out.graph = std::make_shared<Traced>(open, traced(first, constants));
  return out;
}

}  // namespace

Arrays checkpoint(const Function& f, const Arrays& inputs) {
  CustomRules rules;
  rules.vjp = [f](const Arrays& primals, const Arrays& cotangents, const Arrays&) {
    return recomputed(f, primals, cotangents);
  };
  if (!tracing()) return custom_function(f, inputs, std::move(rules));
  Arrays own = make_tracers(inputs);
  const Traced traced(own, f(own));
  Arrays outputs = traced(inputs), all = inputs;
  const auto known = [&outputs](const Arrays&) { return outputs; };
  if (traced.closed()) return custom_function(known, inputs, std::move(rules));
  // Running f again would find the arrays that it captured as they are while it is traced; copies
  // of the graph, which compile and vmap make, have others there.
  Lifted whole = lifted(traced, inputs);
  all.insert(all.end(), whole.captured.begin(), whole.captured.end());
  rules.vjp = [graph = whole.graph, count = inputs.size()](
                  const Arrays& primals, const Arrays& cotangents, const Arrays&) {
    const auto split = primals.begin() + static_cast<int64_t>(count);
    const Arrays captured(split, primals.end());
    const auto run = [&](const Arrays& in) {
      Arrays given = in;
      given.insert(given.end(), captured.begin(), captured.end());
      return (*graph)(given);
    };
    Arrays back = recomputed(run, Arrays(primals.begin(), split), cotangents);
    back.resize(primals.size());  // what a function captures has no gradient through it
    return back;
  };
  return custom_function(known, all, std::move(rules));
}

}  // namespace lamina

// Functions with rules of their own, and checkpoint, which is one of them.
#include "base/error.h"
#include "ops/rules.h"
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
  Arrays results;
  for (size_t i = 0; i < outputs.size(); ++i)
    results.push_back(make_node(output_row, Params().add(static_cast<int64_t>(inputs.size() + i)),
                                {bundle}, outputs[i].shape(), outputs[i].dtype()));
  return results;
}

Arrays checkpoint(const Function& f, const Arrays& inputs) {
  CustomRules rules;
  rules.vjp = [f](const Arrays& primals, const Arrays& cotangents, const Arrays&) {
    // The recomputation waits for the cotangents, so it starts only when the backward pass needs
    // it, and it is not merged with the forward pass.
    Arrays late;
    for (const Array& p : primals) late.push_back(depends(p, cotangents));
    return vjp(f, late, [&](const Arrays&) { return cotangents; }).second;
  };
  return custom_function(f, inputs, std::move(rules));
}

}  // namespace lamina

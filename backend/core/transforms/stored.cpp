#include "transforms/stored.h"

#include <limits>

#include "base/error.h"
#include "transforms/walk.h"

namespace lamina {

namespace {

bool is_bundle(const Node& n) { return n.primitive->kind == Kind::custom; }

// How many words the row's fields take, given the words; -1 if they do not fit.
int64_t words_of(const Primitive& p, const std::vector<int64_t>& words) {
  size_t at = 0;
  for (const Field& field : p.fields) {
    if (at >= words.size()) return -1;
    const int64_t first = words[at++];
    if (field.kind != FieldKind::ints) continue;
    if (first < 0 || static_cast<uint64_t>(first) > words.size() - at) return -1;
    at += static_cast<size_t>(first);
  }
  return static_cast<int64_t>(at);
}

void check_sizes(const std::string& what, const Shape& shape, Dtype dtype) {
  int64_t bytes = itemsize(dtype);
  for (int64_t d : shape) {
    if (d < 0 || (d > 0 && bytes > std::numeric_limits<int64_t>::max() / d))
      throw ValueError("stored function: " + what + " has the shape " + to_string(shape));
    bytes *= d > 0 ? d : 1;
  }
}

const Primitive& primitive_named(const std::string& name) {
  const Primitive* p = find_primitive(name);
  if (!p || p->kind == Kind::custom || p->results != 1)
    throw ValueError("stored function: no operation is called '" + name +
                     "'\nThe file comes from another version of lamina");
  return *p;
}

Params params_from(const std::vector<int64_t>& words) {
  Params out;
  for (int64_t w : words) out.add(w);
  return out;
}

}  // namespace

StoredGraph stored(const Traced& traced, const Arrays& inputs) {
  StoredGraph out;
  for (const Array& x : inputs) out.inputs.push_back({x.shape(), x.dtype()});
  out.constants = traced.constants();
  const size_t first = out.inputs.size() + out.constants.size();
  std::vector<int32_t> slot(first);
  for (size_t i = 0; i < first; ++i) slot[i] = static_cast<int32_t>(i);
  for (const Traced::Step& step : traced.steps()) {
    const Node& n = *step.node.node();
    if (is_bundle(n)) {
      slot.push_back(-1);
      continue;
    }
    if (is_projection(n)) {
      // The bundle's inputs are the primals and then the outputs; the index counts all of them.
      const Traced::Step& bundle = traced.steps()[static_cast<size_t>(step.inputs[0]) - first];
      slot.push_back(
          slot[static_cast<size_t>(bundle.inputs[static_cast<size_t>(n.params.read().integer())])]);
      continue;
    }
    if (find_primitive(n.primitive->name) != n.primitive || n.primitive->results != 1)
      throw TraceError("export_function: " + n.primitive->name +
                       " is registered by this program and cannot be written to a file\nExport the "
                       "function without it");
    StoredStep made{n.primitive->name, {}, n.shape, n.dtype, {}};
    made.params.assign(n.params.words().begin(), n.params.words().end());
    for (int32_t i : step.inputs) made.inputs.push_back(slot[static_cast<size_t>(i)]);
    slot.push_back(static_cast<int32_t>(first + out.steps.size()));
    out.steps.push_back(std::move(made));
  }
  for (int32_t i : traced.outputs()) out.outputs.push_back(slot[static_cast<size_t>(i)]);
  return out;
}

void check(const StoredGraph& graph) {
  size_t known = graph.inputs.size() + graph.constants.size();
  auto slots = [&](const std::string& what, const std::vector<int32_t>& from) {
    for (int32_t i : from)
      if (i < 0 || static_cast<size_t>(i) >= known)
        throw ValueError("stored function: " + what + " reads value " + std::to_string(i) + " of " +
                         std::to_string(known));
  };
  for (const auto& [shape, dtype] : graph.inputs) check_sizes("an input", shape, dtype);
  for (const StoredStep& step : graph.steps) {
    const Primitive& p = primitive_named(step.primitive);
    slots(step.primitive, step.inputs);
    check_sizes(step.primitive, step.shape, step.dtype);
    if (words_of(p, step.params) != static_cast<int64_t>(step.params.size()))
      throw ValueError("stored function: " + step.primitive + " does not have " +
                       std::to_string(step.params.size()) + " parameters");
    ++known;
  }
  slots("the result", graph.outputs);
}

Arrays build(const StoredGraph& graph, const Arrays& inputs) {
  Arrays values = inputs;
  values.insert(values.end(), graph.constants.begin(), graph.constants.end());
  for (const StoredStep& step : graph.steps) {
    Arrays in;
    for (int32_t i : step.inputs) in.push_back(values[static_cast<size_t>(i)]);
    values.push_back(make_node(primitive_named(step.primitive), params_from(step.params),
                               std::move(in), step.shape, step.dtype));
  }
  Arrays out;
  for (int32_t i : graph.outputs) out.push_back(values[static_cast<size_t>(i)]);
  return out;
}

}  // namespace lamina

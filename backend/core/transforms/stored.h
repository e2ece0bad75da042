// A traced graph as plain data: what a file holds of a function, and how it is built from there.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "graph/array.h"
#include "transforms/traced.h"

namespace lamina {

struct StoredStep {
  std::string primitive;
  std::vector<int64_t> params;
  Shape shape;
  Dtype dtype;
  std::vector<int32_t> inputs;
};

// Slots count the inputs, the constants and the steps, in this order; a step reads earlier ones.
struct StoredGraph {
  std::vector<std::pair<Shape, Dtype>> inputs;
  Arrays constants;
  std::vector<StoredStep> steps;
  std::vector<int32_t> outputs;
};

// The graph without what only transforms ask for: of a custom function stay its outputs. Throws
// TraceError for an operation that the program registered.
StoredGraph stored(const Traced& traced, const Arrays& inputs);

// Throws ValueError for a graph that cannot be built: an unknown operation, a slot that is not
// there, parameters of the wrong number, sizes that no array has.
void check(const StoredGraph& graph);

// The outputs for inputs, on the current device. REQUIRES: check() passed, and the inputs have the
// shapes and dtypes of the graph's.
Arrays build(const StoredGraph& graph, const Arrays& inputs);

}  // namespace lamina

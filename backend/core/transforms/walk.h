// What the transforms share: tracing and the order of the traced graph.
#pragma once

#include <unordered_map>
#include <vector>

#include "graph/primitive.h"
#include "transforms/transforms.h"

namespace lamina {

// Nodes between `sources` and `targets`, inputs first, that depend on a source (sources included).
// Rules that cut a path (stop_gradient, a custom function's own rule) are applied if `derivative`.
enum class Cut : uint8_t { none, reverse, forward };
std::vector<Node*> nodes_between(const Arrays& sources, const Arrays& targets, Cut cut);

bool is_projection(const Node& n);  // of a custom function's outputs
const CustomRules& rules_of(const Node& custom);
// What a custom function's node gives, as new nodes that its rules differentiate.
Arrays outputs_of(const Array& custom);

// One tracer per primal: the same value as a new node.
Arrays make_tracers(const Arrays& primals);

// ct * partial, skipping the product where the partial is the constant 0 (empty result), 1 or -1.
Array scaled(const Array& ct, const Array& partial);
// Whether n's derivative is its partials. A row that has rules besides uses those for complex
// numbers, where its derivative is no factor (abs, conjugate).
bool by_partials(const Node& n);

}  // namespace lamina

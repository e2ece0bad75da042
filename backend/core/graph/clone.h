// Copies of nodes on other inputs: how a traced graph is built again.
#pragma once

#include "graph/array.h"

namespace lamina {

// What `n` computes, of `inputs` instead of its own. REQUIRES: they have the shapes and dtypes of
// n's inputs.
Array clone_on(const Node& n, Arrays inputs);

}  // namespace lamina

// A primitive is one row: everything known of an operation stands in it. The registry owns the
// rows.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "devices/device.h"
#include "graph/array.h"
#include "kernels/formulas.h"
#include "kernels/text.h"

namespace lamina {

enum class Kind : uint8_t {
  elementwise,  // one formula per element; inputs broadcast
  cast,         // dtype conversion
  iota,         // 0, 1, 2, ... along one axis
  reduce,       // folds axes to size 1
  view,         // another layout of the same elements
  alias,        // the same value: tracing marks, ordering
  composite,    // decomposes into other primitives when scheduled
  concatenate,  // inputs side by side in one buffer
  update,       // a copy of input 0 with input 1 written into a slice
  call,         // one structured or library operation
  custom,       // a user's function with its own rules; projections pick its outputs
};

// d(cotangent of the output) -> cotangents of the inputs; an empty Array means zero. `wanted[i]`
// tells which are needed.
using VjpFn = Arrays (*)(const Node& node, const Array& self, const Array& cotangent,
                         const std::vector<bool>& wanted);
// Tangent of the output from tangents of the inputs (empty Array: zero; at least one is not).
using JvpFn = Array (*)(const Node& node, const Array& self, const Arrays& tangents);
// The batched operation: inputs whose batched[i] is true carry the batch as axis 0; so does the
// result.
using VmapFn = Array (*)(const Node& node, const Arrays& inputs, const std::vector<bool>& batched,
                         int64_t batch);
using PartialFn = Array (*)(const Arrays& inputs, const Array& output);
using LayoutFn = std::optional<Layout> (*)(const Node& node, const Layout& in);
using DecomposeFn = Array (*)(const Node& node, const Arrays& inputs);
using FlopsFn = int64_t (*)(const Node& node);
// Elements of input k that a call reads at most, each as often as it is asked for.
using ReadsFn = int64_t (*)(const Node& node, size_t k);

struct Primitive {
  std::string name;
  Kind kind;
  std::string doc;
  std::vector<Field> fields{};
  int formula = -1;                          // elementwise
  ReduceOp reduce_op = ReduceOp::sum;        // reduce
  LayoutFn layout = nullptr;                 // view; nullopt: needs a contiguous copy first
  DecomposeFn decompose = nullptr;           // composite
  CallFn call = nullptr;                     // call
  TextFn text = nullptr;                     // call: as kernel text; without it, the CPU runs it
  TextPaysFn text_pays = nullptr;            // call: null where its text always does
  TakesEpilogueFn takes_epilogue = nullptr;  // call: null where its text never takes one
  // call: its only input has the result's shape, and its text can compute an elementwise group at
  // each element that it reads. REQUIRES: takes_epilogue
  bool takes_prologue = false;
  FlopsFn flops = nullptr;   // call; others count by element
  ReadsFn reads = nullptr;   // call: null where it reads its inputs whole
  uint32_t splits_rows = 0;  // call: rows [a, b) of the result (axis 0) need only those rows of
                             // the inputs whose bits are set, and the other inputs whole
  uint32_t splits_batch =
      0;  // the same of results with more than two axes, whose axis 0 is a batch
  std::vector<PartialFn> partials{};  // elementwise; nullptr where zero
  VjpFn vjp = nullptr;
  JvpFn jvp = nullptr;
  VmapFn vmap = nullptr;
  const char* nondifferentiable = nullptr;  // why, where no derivative exists
  int results = 1;  // call: with more than one, the node itself is never read; call_result picks
  uint16_t id = 0;  // position in the registry
};

// Adds a row; called once per row while the program starts. The reference lives for ever.
const Primitive& define(Primitive row);
const std::vector<const Primitive*>& registry();
// A row of a primitive that the program registers while it runs: not in registry(), known by its
// reference alone. Throws ValueError when there are too many. Any thread.
const Primitive& define_late(Primitive row);
const Primitive* find_primitive(const std::string& name);
// The primitive of vmap's stand-ins: they have a shape and a dtype but never a value.
const Primitive& placeholder_primitive();
// Result number `index` (a parameter) of the call that is its only input.
const Primitive& call_result_primitive();
// The payload of a call with several results: what each of them is.
struct CallResults {
  std::vector<Shape> shapes;
  std::vector<Dtype> dtypes;
};
// One line per missing field: "sort: no vmap". Empty when the registry is whole.
std::vector<std::string> registry_verify();

// "multiply float32 (2, 3) axes=(0, 1)".
std::string describe(const Node& node);

}  // namespace lamina

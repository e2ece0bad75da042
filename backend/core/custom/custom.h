// Operations that a program registers while it runs: through the C ABI (capi/), or from Python as
// kernel text. To the scheduler each is a structured call like any other, so it has its place in
// the graph, the plan, the traffic ledger and the recording; its derivative rules are those of a
// custom function.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "graph/primitive.h"
#include "transforms/transforms.h"

namespace lamina {

// The program's own code for a primitive failed. Python: RuntimeError.
class PrimitiveError : public Error {
  using Error::Error;
};

struct ResultType {
  Shape shape;
  Dtype dtype;
};

// A parameter, in the order in which a node keeps them. Without a default it must be given.
struct CustomField {
  std::string name;
  FieldKind kind;
  bool required = true;
  Params value{};  // the default
};

// Any function may be absent, except `results`. They are called by any thread, `cpu` and `text`
// under the evaluation lock, and may throw errors of base/error.h. Params are the fields' values.
struct CustomPrimitive {
  std::string name;  // with a dot: "vendor.operation"
  std::string doc;
  int inputs = 1;  // -1: any number
  int outputs = 1;
  std::vector<CustomField> fields{};
  std::function<std::vector<ResultType>(const Params&, const Arrays& in)> results{};
  std::function<void(const CallArgs&)> cpu{};
  std::function<TextProgram(const TextCall&, const TextTraits&)> text{};
  std::function<int64_t(const Params&, const Arrays& in)> flops{};
  std::function<Arrays(const Params&, const Arrays& primals, const Arrays& outputs,
                       const Arrays& cotangents)>
      vjp{};
  std::function<Arrays(const Params&, const Arrays& primals, const Arrays& tangents)> jvp{};
  // Without it, the operation runs once for each element of the batch.
  std::function<Arrays(const Params&, const Arrays& in, const std::vector<bool>& batched,
                       int64_t batch)>
      vmap{};
  std::string no_cpu{};            // why there is no CPU function, and what to do
  std::string no_rule{};           // what to do about a missing derivative
  const Primitive* row = nullptr;  // made by register_custom or row_of
};

// Registers a primitive for the life of the process. Throws ValueError where the name is taken or
// lacks its namespace.
const CustomPrimitive& register_custom(CustomPrimitive primitive);
const CustomPrimitive* find_custom(const std::string& name);
std::vector<std::string> custom_names();

// A primitive that nobody finds by name, to be kept by the caller for ever. Primitives of one name
// and number of outputs share their row.
const CustomPrimitive& keep_custom(CustomPrimitive primitive);

// The results of the primitive on these inputs, with `fields` in order. `results`, if given, are
// used instead of asking the primitive. Throws what its rule throws.
Arrays apply(const CustomPrimitive& primitive, Params fields, const Arrays& inputs,
             std::vector<ResultType> results = {});

// The primitive of a node of it, by the node's parameters.
const CustomPrimitive& custom_of(const Params& params);

}  // namespace lamina

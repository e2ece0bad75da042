// The graph of a function with its inputs open, which can be put on other inputs without running
// the function again.
#pragma once

#include <vector>

#include "graph/array.h"

namespace lamina {

// A stand-in for an input of the shape and dtype of `like`: it has no value.
Array open_input(const Array& like);

// Immutable; any thread may call it. It shares what the program holds otherwise (captured arrays)
// and owns the rest of the graph between inputs and outputs.
class Traced {
 public:
  // REQUIRES: inputs are from open_input, and no function is being traced that made them.
  Traced(const Arrays& inputs, const Arrays& outputs);

  // The outputs of the function for other inputs. REQUIRES: of the shapes and dtypes it was traced
  // for. What it builds is an ordinary graph, also under a transform.
  Arrays operator()(const Arrays& inputs) const { return (*this)(inputs, constants_); }
  // The same with other arrays in the place of the constants, of their shapes and dtypes.
  Arrays operator()(const Arrays& inputs, const Arrays& constants) const;

  // Whether it uses nothing that belongs to a transform around it. If not, it is worth one call.
  bool closed() const { return closed_; }

  // One node to build: what it computes, and where its inputs are. Slots count the inputs, the
  // constants and the steps, in this order.
  struct Step {
    Array node;
    std::vector<int32_t> inputs;
  };
  size_t inputs() const { return inputs_; }
  const Arrays& constants() const { return constants_; }
  const std::vector<Step>& steps() const { return steps_; }
  const std::vector<int32_t>& outputs() const { return outputs_; }

 private:
  size_t inputs_;
  Arrays constants_;
  std::vector<Step> steps_;
  std::vector<int32_t> outputs_;
  bool closed_ = true;
};

}  // namespace lamina

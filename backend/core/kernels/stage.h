// What the skeletons share: a kernel's geometry in its simplest form, and the instructions of a
// stage written as one function of an element's inputs.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/kernel.h"
#include "kernels/unit.h"

namespace lamina {

// The same kernel without axes of size 1 and with neighbouring axes joined where every index map
// allows; masks follow. An empty domain axis stays.
Kernel simplified(const Kernel& kernel);
// Whether every index, and counting to `points` and a tile beyond, fits into 31 bits.
bool fits_int(const Kernel& kernel, const TextTraits& traits);
// A name for the kernel by its kind and first operations, and a comment that lists them.
std::string entry_name(const Kernel& kernel);
std::string header_comment(const Kernel& kernel);
// Throws DtypeError where the device lacks one of the kernel's dtypes.
void check_dtypes(const Kernel& kernel, const TextTraits& traits);

// A stage is the part of a kernel between two reductions, as a function: its parameters are what it
// reads (loads, scalars, index values and earlier reductions, in that order), then a reference for
// each result.
class Stage {
 public:
  // `wanted`: instructions whose value is a result (sources of reductions) and stores. Reductions
  // are never computed inside: where one is needed, it is an input.
  Stage(const Kernel& kernel, std::string name, std::vector<int> wanted);

  const std::vector<int>& inputs() const { return inputs_; }  // instruction numbers
  const std::vector<int>& results() const { return wanted_; }
  // The function's text.
  const std::string& text() const { return text_; }
  // A call with an expression for every input and every result.
  std::string call(const std::function<std::string(int)>& input,
                   const std::function<std::string(int)>& result) const;

 private:
  void visit(int i);

  const Kernel& kernel_;
  std::string name_;
  std::vector<int> wanted_, inputs_, body_;
  std::vector<bool> seen_;
  std::string text_;
};

// "multiply_3", "x0": what instruction i's value is called.
std::string value_name(const Kernel& kernel, int i);

}  // namespace lamina

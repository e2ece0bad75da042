// An elementwise group at the end of a structured operation's text: its instructions run on each
// element of the result, which itself never reaches memory (kernels/text.h: TextEpilogue).
#pragma once

#include <optional>

#include "kernels/places.h"

namespace lamina {

// The function that takes one element of the result and stores what the group makes of it, and, of
// an operation that takes a prologue, the one that computes an element of the input.
class EpilogueText {
 public:
  // The place of a result's element, outermost first: in how many it is counted there, and an
  // expression of type uint. The sizes' product is the number of the group's points.
  struct Coordinate {
    int64_t size;
    std::string at;
  };
  // REQUIRES: both live as long as this.
  EpilogueText(const TextEpilogue& epilogue, Unit& unit);

  bool fetches() const { return epilogue_.input >= 0; }
  // Declares buffers, from the call's operand number `first` on; the group's own stand behind the
  // call's inputs. A launch that does not finish has only those that it fetches from.
  void buffers(int first, bool finishes = true);
  // Declares `finish`. `value` has the dtype `from`, and is rounded to what the result would have
  // been stored as; the coordinates see `places`, which are parameters of the function ("uint row,
  // uint col").
  void declare(Dtype from, const std::string& places, std::vector<Coordinate> coordinates);
  // Declares `fetch`, which gives an element as the input would have been stored. REQUIRES:
  // fetches()
  void declare_fetch(const std::string& places, std::vector<Coordinate> coordinates);
  // "finish(value, in0, out1, p, row, col)", "fetch(in1, p, row, col)".
  std::string call(const std::string& value, const std::string& places) const;
  std::string fetch(const std::string& places) const;

 private:
  const KernelArg& argument(int a) const { return kernel_.args[static_cast<size_t>(a)]; }
  std::vector<int> stores(bool of_input) const;
  std::vector<int> arguments(const Stage& stage) const;  // buffers that it reads or writes
  std::string parameters(const Stage& stage) const;
  std::string passed(const Stage& stage, const std::string& arguments_behind) const;
  std::string body(const Stage& stage, const std::string& value,
                   std::vector<Coordinate> coordinates);
  std::string lines(std::vector<Coordinate> coordinates);

  const TextEpilogue& epilogue_;
  Kernel kernel_;
  Unit& unit_;
  Places places_;
  Stage finish_, fetch_;
};

// "add_maximum": the group's operations, for a kernel's name.
std::string epilogue_name(const TextEpilogue& epilogue);

// Operand numbers of the group's arguments, for a call with so many inputs; -1: the result.
std::vector<int> epilogue_operands(const TextEpilogue& epilogue, int inputs);

// A sum and the group over its results as one kernel. `sum` ends with its only reduction and the
// store of it; axis d of the group is axis axes[d] of the sum, -1 where its size is 1. Arguments:
// the sum's inputs, then the group's without the result.
Kernel with_epilogue(const Kernel& sum, const TextEpilogue& epilogue, const std::vector<int>& axes);

// Which axis of `shape` each axis of `domain` is: they are the same but for axes of size 1, which
// give -1. Empty optional where they are not.
std::optional<std::vector<int>> matched_axes(const Shape& domain, const Shape& shape);

}  // namespace lamina

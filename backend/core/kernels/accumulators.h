// The accumulators of a kernel's reductions, as text: one variable each, and for arg reductions a
// second one with the position.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/stage.h"

namespace lamina {

struct Accumulator {
  int instr;     // the reduce
  int position;  // arg reductions: load of the position that goes with each value; -1: counted
  ReduceOp op;
  Dtype dtype;    // of the value
  std::string v;  // variable's name; the position is v + "_at"

  bool arg() const { return op == ReduceOp::argmin || op == ReduceOp::argmax; }
};

// The accumulators of the given reduce instructions.
std::vector<Accumulator> accumulators(const Kernel& kernel, const std::vector<int>& reduces);

// "float sum_3 = float(0);"; `count` is "[4]" or nothing.
std::string declare(const Accumulator& a, const std::string& suffix, const std::string& indent);
// Takes in one value; positions count for arg reductions.
std::string take(const Accumulator& a, const std::string& into_suffix, const std::string& value,
                 const std::string& position, const std::string& indent);
// The same for values that come in the order of their positions. What equals the identity is not
// taken: behind a loop that met anything `take_first` gives an accumulator that took nothing the
// first position.
bool takes_later(const Accumulator& a);
std::string take_later(const Accumulator& a, const std::string& into_suffix,
                       const std::string& value, const std::string& position,
                       const std::string& indent);
std::string take_first(const Accumulator& a, const std::string& into_suffix,
                       const std::string& position, const std::string& indent);
// Combines over the lanes whose numbers agree but for the bits below `lanes`.
std::string over_lanes(const Accumulator& a, const std::string& suffix, int lanes,
                       const std::string& indent);
// What the reduce instruction is worth in later stages.
inline std::string result_of(const Accumulator& a, const std::string& suffix) {
  return a.arg() ? a.v + "_at" + suffix : a.v + suffix;
}

}  // namespace lamina

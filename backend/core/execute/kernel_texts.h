// The texts that a device of given traits would run for a plan: for readers and tests, on any
// machine.
#pragma once

#include <string>
#include <vector>

#include "kernels/text.h"

namespace lamina {

struct StepText {
  int step = 0;
  std::string name{};
  TextProgram program{};
  bool on_cpu = false;  // a structured operation without text
};

// In the order of the plan's launches; empty if the plan is forgotten. Throws DtypeError as
// write_text does.
std::vector<StepText> kernel_texts(uint64_t plan, const TextTraits& traits);

}  // namespace lamina

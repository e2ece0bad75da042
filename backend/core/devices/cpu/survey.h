// What the instructions of a kernel depend on, before any of them is emitted.
#pragma once

#include <cstdint>
#include <vector>

#include "devices/cpu/tiled_domain.h"

namespace lamina::cpu {

// In the order they run.
enum Part : int { kOnce, kEnter, kBody, kLeave };

struct Survey {
  // Per instruction.
  std::vector<Part> part;
  std::vector<int> stored_by;     // first store of the value, -1
  std::vector<bool> copied;       // loads that must be taken to a register
  std::vector<bool> only_stored;  // its one use is a store
  std::vector<int> joined_by;     // the instruction that computes this one's value on its way, -1
  std::vector<int> joins;         // operations: the one joined to it as a chain, -1
  // Per argument: the last instruction that reads a load of it.
  std::vector<int> last_read;
  std::vector<int> stores;
};

// looped: axes along which tiles move.
Survey survey(const Kernel& kernel, const Domain& domain, const TiledDomain& tiles,
              uint32_t looped);

// A cast to the dtype the value has already.
bool same_value(const Kernel& kernel, const Instr& cast);

// The step of a chain that an instruction is with its first source as the value so far; none if
// chains lack it.
ChainOp chain_op(const Instr& in);

}  // namespace lamina::cpu

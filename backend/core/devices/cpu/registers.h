// Assignment of scratch memory to the values of a program.
#pragma once

#include <cstdint>
#include <vector>

#include "devices/cpu/compile.h"

namespace lamina::cpu {

// Provisional slot numbers while a program is being built.
inline constexpr uint16_t kFirstConstant = 0x4000;
inline constexpr uint16_t kFirstRegister = 0x8000;

struct RegisterSize {
  int64_t bytes;  // rounded to cache lines
  int64_t width;  // bytes of a lane
  Lanes lanes;
};

// Gives every provisional register a place, sharing places between values that are not alive at the
// same time, renumbers constants and registers, and moves the four parts into the program.
void assign_registers(Program& program, std::vector<Step> (&parts)[4],
                      const std::vector<RegisterSize>& sizes);

}  // namespace lamina::cpu

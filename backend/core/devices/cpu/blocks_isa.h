// The parts of an instruction set's table. Each is its own unit, so that none takes long to
// compile.
#pragma once

#include "devices/cpu/blocks.h"

namespace lamina::cpu {

#define LAMINA_DECLARE_ISA(isa)          \
  namespace isa {                        \
  void fill_float(BlockTable& table);    \
  void fill_integer(BlockTable& table);  \
  void fill_movement(BlockTable& table); \
  void fill_chains(BlockTable& table);   \
  }
LAMINA_DECLARE_ISA(baseline)
LAMINA_DECLARE_ISA(avx2)
LAMINA_DECLARE_ISA(avx512)
LAMINA_DECLARE_ISA(neon)
#undef LAMINA_DECLARE_ISA

}  // namespace lamina::cpu

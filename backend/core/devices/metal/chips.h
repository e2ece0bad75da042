// What is known of each Apple GPU, as data: how much to encode before a command buffer is
// committed, and the rates that estimates start from.
#pragma once

#include <cstdint>
#include <string>

#include "devices/metal/host.h"
#include "kernels/text.h"

namespace lamina::metal {

// When a command buffer is cut. Whatever comes first.
struct Budget {
  int operations;
  int64_t bytes;        // of distinct ranges bound
  double milliseconds;  // estimated; the system kills what keeps the screen from being drawn
  int in_flight;        // committed and not completed, before the CPU waits
};

struct Chip {
  int generation;  // as in applegpu_g14s: 13 is M1, 17 is M5; 0 where unknown
  char size;       // 'p' phone, 'g' base and Pro, 's' Max, 'd' Ultra
  int cores;       // of the smallest of its kind
  double gigabytes_per_second;
  double teraflops;  // float32
  bool bfloat;       // in hardware; the others emulate
  Budget budget;
  GemmTile tile, small_tile;  // as in TextTraits
};

// From the architecture's name, else from the device's ("Apple M2 Max"); a base chip of the oldest
// generation where neither says.
Chip chip_of(const Facts& facts);

// Why lamina does not run on this GPU, or "".
std::string why_not(const Facts& facts);

// Milliseconds a launch should take on this chip.
double estimated_ms(const Chip& chip, int64_t bytes, int64_t flops);

}  // namespace lamina::metal

// A device that runs everything on the CPU and counts, independently of any plan, which bytes of
// device memory each launch reads and writes: the instrument that predicted traffic is checked
// against.
#pragma once

#include <cstdint>
#include <vector>

#include "devices/device.h"

namespace lamina {

// Distinct bytes of device memory that one launch or call touched. On-chip memory (an epilogue's
// panel, a kernel's registers) does not count.
struct CountedLaunch {
  int64_t reads = 0, writes = 0;
};

// Makes the counting device the active one, or the CPU again. Plans compiled for the other device
// must be dropped first; memory allocated before is not counted.
void set_counting(bool on);
// Everything counted since the last call, in launch order.
std::vector<CountedLaunch> take_counts();

}  // namespace lamina

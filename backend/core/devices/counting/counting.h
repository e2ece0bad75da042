// A device that runs everything on the CPU and counts, independently of any plan, which bytes of device
// memory each launch reads and writes: the instrument that predicted traffic is checked against.
#pragma once

#include <cstdint>
#include <vector>

#include "devices/device.h"

namespace lamina {

// Distinct bytes of device memory that one launch or call touched. On-chip memory (an epilogue's panel,
// a kernel's registers) does not count.
struct CountedLaunch {
  int64_t reads = 0, writes = 0;
};

// The device evaluations use: the CPU, or the counting device while counting is on. Switching is done
// under no evaluation; plans compiled for the other device must be dropped first.
Device& active_device();
void set_counting(bool on);
// Marks between which touches are one launch; called by execute/ around each step.
void counting_step_begin();
void counting_step_end();
// Everything counted since the last call, in launch order.
std::vector<CountedLaunch> take_counts();
bool counting();

}  // namespace lamina

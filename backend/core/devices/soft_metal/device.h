// The device `soft_metal`: lamina's kernels as Metal's text, run by the software Metal. It shares
// the CPU's memory.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "devices/soft_metal/counts.h"

namespace lamina::soft_metal {

struct KernelCounts {
  int64_t launches = 0;
  Counts counts;
};

// What the device's kernels cost since the last call, by kernel. Any thread.
std::map<std::string, KernelCounts> take_kernel_counts();

// One launch of a kernel while a recording was on; times are now_ns().
struct KernelLaunch {
  std::string kernel;
  int64_t t0, t1;
  Counts counts;
};

// Those since the last call, the first 65536 of them. Any thread.
std::vector<KernelLaunch> take_launches();

}  // namespace lamina::soft_metal

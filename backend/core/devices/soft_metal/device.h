// The device `soft_metal`: lamina's kernels as Metal's text, run by the software Metal. It shares
// the CPU's memory.
#pragma once

#include <map>
#include <string>

#include "devices/soft_metal/counts.h"

namespace lamina::soft_metal {

struct KernelCounts {
  int64_t launches = 0;
  Counts counts;
};

// What the device's kernels cost since the last call, by kernel. Any thread.
std::map<std::string, KernelCounts> take_kernel_counts();

}  // namespace lamina::soft_metal

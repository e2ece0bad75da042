// Runs a compiled text's grid, block by block. One kernel at a time.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "simt_host.h"

namespace cuda_double {

struct Kernel {
  void (*call)(void** params) = nullptr;
  bool meets = false;         // threads wait for each other
  std::vector<size_t> sizes;  // of the parameters
};

void attach(SimtHost& host);
// Throws std::runtime_error where threads wait for ever.
void run(const Kernel& kernel, Dim grid, Dim threads, void** params);

}  // namespace cuda_double

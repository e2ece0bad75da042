// CUDA text to machine code through NVIDIA's run-time compiler.
#pragma once

#include <string>

#include "kernels/text.h"

namespace lamina::cuda {

// What text is compiled for: machine code of the device's own architecture ("sm_90"), or PTX of the
// newest one the compiler knows ("compute_90") where the device is newer than the compiler.
struct Target {
  std::string architecture;
  bool machine_code = true;
};
Target target_for(int compute_capability);  // 90 for 9.0

// "NVRTC 13.0 sm_90 ...": everything that decides the result beyond the text.
std::string compile_options(const Target& target);

// A loadable image. Throws DeviceError with the compiler's messages and the lines of the text they
// speak of.
std::string compile(const TextKernel& kernel, const Target& target);

}  // namespace lamina::cuda

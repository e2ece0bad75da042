// How the doubles of NVIDIA's libraries send work through the double of the driver.
#pragma once

#include <functional>

namespace cuda_double {

// In the order of the stream; a part of the graph while the stream is captured. `kernel` tells the
// library's kernels apart. The driver's result.
int send(void* stream, size_t kernel, std::function<void()> work);
// Whether the device has these bytes: what a library checks of nobody, and a test wants to know.
bool has_bytes(const void* data, size_t bytes);
// What the library was called with is wrong: the context is lost, as after a kernel's bad access.
void refuse(const char* why);

}  // namespace cuda_double

// What the registry offers to devices beyond device.h.
#pragma once

#include "devices/device.h"

namespace lamina {

// Puts a device that measures the CPU in the CPU's place; nullptr takes it away. Changed only while
// nothing is evaluated.
void replace_cpu(Device* device);

// Folders to look for a device's libraries in before the system's own: LAMINA_CUDA_PATH's, until
// they are set, once, before a device opens.
std::vector<std::string>& library_folders();

}  // namespace lamina

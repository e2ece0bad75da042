// The Metal device, as bindings and tests see it beyond device.h.
#pragma once

#include <cstdint>
#include <string>

#include "devices/metal/chips.h"
#include "devices/metal/queue.h"

namespace lamina {
class Device;
}

namespace lamina::metal {

// For the registry. Throws DeviceError saying why there is none.
Device* open_device();

struct Figures {
  Chip chip;
  Facts facts;
  QueueCounts queue;
  int64_t in_flight = 0;  // command buffers not known to have ended
  int64_t libraries = 0, pipelines = 0;
  int64_t pipelines_found = 0;  // of these, with machine code from disk
  int64_t wired = 0;
};

// All REQUIRE that the device opens (devices/device.h), and throw DeviceError where it does not.
Figures figures();
// Bytes the system is asked to keep resident; returns the limit before.
int64_t set_wired_limit(int64_t bytes);
// Records what runs until stop_capture() into a new .gputrace document.
void start_capture(const std::string& path);
void stop_capture();

}  // namespace lamina::metal

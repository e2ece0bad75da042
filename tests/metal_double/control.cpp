// The double's world for tests in Python, which reach the module by ctypes.
#include <algorithm>
#include <cstring>

#include "world.h"

using metal_double::world;

#define VISIBLE extern "C" __attribute__((visibility("default")))

// Sentences violated since the last call, one a line, as far as they fit; returns how many.
VISIBLE int64_t lamina_double_violations(char* out, int64_t room) {
  std::lock_guard lock(world().mutex);
  std::string all;
  for (const std::string& text : world().violations) all += text + "\n";
  const size_t bytes = std::min(all.size(), static_cast<size_t>(std::max<int64_t>(room - 1, 0)));
  std::memcpy(out, all.data(), bytes);
  if (room > 0) out[bytes] = 0;
  const auto count = static_cast<int64_t>(world().violations.size());
  world().violations.clear();
  return count;
}

// `point` as in metal_double::Point.
VISIBLE void lamina_double_inject(int point, int64_t after, int64_t times, int64_t code) {
  std::lock_guard lock(world().mutex);
  world().injected[static_cast<metal_double::Point>(point)] = {after, times, code};
}

// While held, command buffers are committed and do not begin, but for the next `through`.
VISIBLE void lamina_double_hold(int held, int64_t through) {
  std::lock_guard lock(world().mutex);
  world().held = held != 0;
  world().through = through;
  world().changed.notify_all();
}

VISIBLE void lamina_double_memory(int64_t bytes) {
  std::lock_guard lock(world().mutex);
  world().machine.memory = bytes;
}

// Whether the process was started so that it may write GPU traces.
VISIBLE void lamina_double_may_capture(int may) {
  std::lock_guard lock(world().mutex);
  world().machine.may_capture = may != 0;
}

VISIBLE int64_t lamina_double_seen(const char* name) {
  std::lock_guard lock(world().mutex);
  const metal_double::Seen& seen = world().seen;
  const std::pair<const char*, int64_t> all[] = {
      {"command_buffers", seen.command_buffers},
      {"encoders", seen.encoders},
      {"dispatches", seen.dispatches},
      {"barriers", seen.barriers},
      {"fence_waits", seen.fence_waits},
      {"live_buffers", seen.live_buffers},
      {"buffer_bytes", seen.buffer_bytes},
      {"resident_bytes", seen.resident_bytes},
      {"traces", seen.traces},
      {"products", seen.products},
      {"libraries", seen.libraries},
      {"uncontracted", seen.uncontracted},
      {"pipeline_compilations", seen.pipeline_compilations},
  };
  for (auto& [key, value] : all)
    if (std::strcmp(key, name) == 0) return value;
  return -1;
}

#include "devices/soft_metal/module_code.h"

#include <atomic>

namespace lamina::soft_metal {
namespace {

struct Range {
  std::atomic<uintptr_t> begin{0}, end{0};
};
// A place is free when its end is 0.
constexpr int kRanges = 4096;
Range ranges[kRanges];

}  // namespace

bool in_module_code(uintptr_t at) {
  for (const Range& r : ranges)
    if (at >= r.begin.load(std::memory_order_relaxed) && at < r.end.load(std::memory_order_relaxed))
      return true;
  return false;
}

void add_module_code(const void* begin, const void* end) {
  for (Range& r : ranges) {
    uintptr_t free = 0;
    if (!r.begin.compare_exchange_strong(free, reinterpret_cast<uintptr_t>(begin))) continue;
    r.end.store(reinterpret_cast<uintptr_t>(end));
    return;
  }
}

void remove_module_code(const void* begin) {
  for (Range& r : ranges) {
    if (r.begin.load() != reinterpret_cast<uintptr_t>(begin)) continue;
    r.end.store(0);
    r.begin.store(0);
    return;
  }
}

}  // namespace lamina::soft_metal

// Plans that a device is still working on: what they keep alive, what they wait for, and what
// became of them. Used under the evaluation lock, but for in_flight().
#pragma once

#include <memory>
#include <vector>

#include "devices/device.h"
#include "graph/buffer.h"

namespace lamina {

// What one plan reads, gathered while it is bound.
struct Reads {
  std::vector<std::shared_ptr<Pending>> after;  // plans that write it
  std::vector<BufferRef> memory;  // of other devices: its owners know nothing of this plan
};

// Remembers a plan's work until it has ended. Its results are lost with it, or with any of the
// plans whose results it read: what is returned then throws that failure.
std::shared_ptr<Pending> take_off(std::shared_ptr<Work> work, Reads reads);
// The same plan for what is written before a fence of its device's: waits for no more than that.
std::shared_ptr<Pending> behind(const std::shared_ptr<Pending>& plan, uint64_t fence);
// Lets go of what plans that have ended kept. Waits for nothing.
void retire();
// Waits for every plan. Throws the first failure that no wait() has thrown.
void land_all();
// Whether some plan has not been seen to end, or has failed and nobody knows.
bool in_flight();

// Returns when the CPU may read the buffer; throws why it never may.
void settle(Buffer& buffer);

}  // namespace lamina

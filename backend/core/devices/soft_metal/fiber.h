// Stacks that one thread switches between: the threads of a threadgroup that meet.
#pragma once

#include <cstddef>

namespace lamina::soft_metal {

struct Fiber {
  void* sp = nullptr;
  char* stack = nullptr;  // lowest address
  size_t bytes = 0;
};

// Makes `fiber` begin at `entry` when first switched to. entry never returns.
void prepare(Fiber& fiber, void (*entry)());

// Leaves the running stack in `from` and continues `to`. A fiber may be left for good: what is on
// its stack is never unwound. last: `from` will not be continued.
void switch_fiber(Fiber& from, Fiber& to, bool last = false);
// To be called first on a new fiber.
void entered_fiber();

}  // namespace lamina::soft_metal

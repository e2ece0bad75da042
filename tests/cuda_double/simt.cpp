#include "simt_run.h"

#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "simt_host.h"

namespace cuda_double {

namespace {

constexpr size_t kStack = 64 << 10;

enum class State { ready, at_block, at_warp, done };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  State state = State::ready;
  Dim thread;
};

// The block that runs now.
struct Block {
  Dim thread{}, block{}, grid{}, threads{};
  std::vector<Fiber> fibers;
  std::vector<std::array<unsigned long long, 32>> slots;  // by warp
  size_t now = 0;
  ucontext_t main;
  const Kernel* kernel = nullptr;
  void** params = nullptr;
};

Block& the() {
  static Block b;
  return b;
}

void pause(State s) {
  Fiber& f = the().fibers[the().now];
  f.state = s;
  swapcontext(&f.context, &the().main);
}
void meet_block() { pause(State::at_block); }
void meet_warp(unsigned) { pause(State::at_warp); }
unsigned long long* warp_slots() { return the().slots[the().now / 32].data(); }
unsigned warp_lanes() {
  const Block& b = the();
  const size_t first = b.now / 32 * 32;
  unsigned lanes = 0;
  for (size_t i = first; i < std::min(first + 32, b.fibers.size()); ++i)
    if (b.fibers[i].state != State::done) lanes |= 1u << (i - first);
  return lanes;
}

void enter() {
  Block& b = the();
  b.kernel->call(b.params);
  b.fibers[b.now].state = State::done;
  swapcontext(&b.fibers[b.now].context, &b.main);
}

void resume(size_t i) {
  Block& b = the();
  b.now = i;
  b.thread = b.fibers[i].thread;
  swapcontext(&b.main, &b.fibers[i].context);
}

// Lets those go on that have met all others who still run. False: nobody could.
bool release(size_t first, size_t last, State waiting) {
  Block& b = the();
  bool any = false;
  for (size_t i = first; i < last; ++i) {
    if (b.fibers[i].state == State::done) continue;
    if (b.fibers[i].state != waiting) return false;
    any = true;
  }
  for (size_t i = first; i < last; ++i)
    if (b.fibers[i].state == waiting) b.fibers[i].state = State::ready;
  return any;
}

void run_fibers() {
  Block& b = the();
  const size_t n = b.fibers.size();
  for (size_t i = 0; i < n; ++i) {
    Fiber& f = b.fibers[i];
    if (!f.stack) f.stack = std::make_unique<char[]>(kStack);
    f.state = State::ready;
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.get();
    f.context.uc_stack.ss_size = kStack;
    f.context.uc_link = nullptr;
    makecontext(&f.context, enter, 0);
  }
  for (;;) {
    bool ran = false, left = false;
    for (size_t i = 0; i < n; ++i)
      if (b.fibers[i].state == State::ready) {
        resume(i);
        ran = true;
      }
    for (size_t w = 0; w < n; w += 32) ran |= release(w, std::min(w + 32, n), State::at_warp);
    ran |= release(0, n, State::at_block);
    for (const Fiber& f : b.fibers) left |= f.state != State::done;
    if (!left) return;
    if (!ran) throw std::runtime_error("threads of a block wait for each other for ever");
  }
}

}  // namespace

void attach(SimtHost& host) {
  Block& b = the();
  host = {&b.thread, &b.block, &b.grid, &b.threads, meet_block, meet_warp, warp_slots, warp_lanes};
}

void run(const Kernel& kernel, Dim grid, Dim threads, void** params) {
  Block& b = the();
  b.kernel = &kernel;
  b.params = params;
  b.grid = grid;
  b.threads = threads;
  const size_t n = size_t{threads.x} * threads.y * threads.z;
  if (kernel.meets) {
    b.fibers.resize(n);
    b.slots.resize((n + 31) / 32);
  }
  auto place = [&](size_t i) {
    return Dim{static_cast<unsigned>(i % threads.x),
               static_cast<unsigned>(i / threads.x % threads.y),
               static_cast<unsigned>(i / threads.x / threads.y)};
  };
  for (b.block.z = 0; b.block.z < grid.z; ++b.block.z)
    for (b.block.y = 0; b.block.y < grid.y; ++b.block.y)
      for (b.block.x = 0; b.block.x < grid.x; ++b.block.x) {
        if (kernel.meets) {
          for (size_t i = 0; i < n; ++i) b.fibers[i].thread = place(i);
          run_fibers();
          continue;
        }
        for (size_t i = 0; i < n; ++i) {
          b.thread = place(i);
          kernel.call(params);
        }
      }
}

}  // namespace cuda_double

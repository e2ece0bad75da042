#include "devices/soft_metal/division.h"

#if defined(__x86_64__) && defined(__linux__)

#include <ucontext.h>
#include <csignal>

#include <atomic>
#include <cstdint>
#include <mutex>

namespace lamina::soft_metal {
namespace {

struct Range {
  std::atomic<uintptr_t> begin{0}, end{0};
};
// Read by the handler, which may take no lock. A place is free when its end is 0.
constexpr int kRanges = 4096;
Range ranges[kRanges];
struct sigaction before;

bool in_module(uintptr_t at) {
  for (const Range& r : ranges)
    if (at >= r.begin.load(std::memory_order_relaxed) && at < r.end.load(std::memory_order_relaxed))
      return true;
  return false;
}

// Length of the div or idiv instruction at `code`, 0 if it is another; `bits` is its operand's.
int division_length(const uint8_t* code, int& bits) {
  int n = 0;
  bits = 32;
  for (;; ++n) {
    if (code[n] == 0x66)
      bits = 16;
    else if ((code[n] & 0xf0) == 0x40)
      bits = code[n] & 8 ? 64 : bits;
    else
      break;
  }
  if (code[n] != 0xf6 && code[n] != 0xf7) return 0;
  if (code[n] == 0xf6) bits = 8;
  int mod = code[n + 1] >> 6, reg = code[n + 1] >> 3 & 7, rm = code[n + 1] & 7;
  if (reg < 6) return 0;
  int length = n + 2;
  if (mod != 3 && rm == 4) {
    if (mod == 0 && (code[length] & 7) == 5) length += 4;
    ++length;
  }
  if (mod == 1) length += 1;
  if (mod == 2 || (mod == 0 && rm == 5)) length += 4;
  return length;
}

void handle(int signal, siginfo_t* info, void* context) {
  auto* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  auto at = static_cast<uintptr_t>(registers[REG_RIP]);
  int bits = 0;
  int length = in_module(at) ? division_length(reinterpret_cast<const uint8_t*>(at), bits) : 0;
  if (length > 0) {
    int64_t keep = bits <= 16 ? ~int64_t{0xffff} : 0;
    registers[REG_RAX] &= keep;
    if (bits > 8) registers[REG_RDX] &= keep;
    registers[REG_RIP] += length;
    return;
  }
  if ((before.sa_flags & SA_SIGINFO) && before.sa_sigaction)
    return before.sa_sigaction(signal, info, context);
  if (before.sa_handler == SIG_IGN) return;
  if (before.sa_handler != SIG_DFL) return before.sa_handler(signal);
  // Returning repeats the instruction, now with nobody to catch it.
  ::signal(signal, SIG_DFL);
}

}  // namespace

void catch_divisions() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = handle;
    // Kernels run on stacks of their own; SA_ONSTACK lets the handler have one where there is one.
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(SIGFPE, &action, &before);
  });
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

#else  // this processor gives 0 by itself

namespace lamina::soft_metal {
void catch_divisions() {}
void add_module_code(const void*, const void*) {}
void remove_module_code(const void*) {}
}  // namespace lamina::soft_metal

#endif

#include "devices/soft_metal/division.h"

#if defined(__x86_64__) && defined(__linux__)

#include <ucontext.h>
#include <csignal>

#include <cstdint>
#include <mutex>

#include "devices/soft_metal/module_code.h"

namespace lamina::soft_metal {
namespace {

struct sigaction before;

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
  int length = in_module_code(at) ? division_length(reinterpret_cast<const uint8_t*>(at), bits) : 0;
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

}  // namespace lamina::soft_metal

#else  // this processor gives 0 by itself

namespace lamina::soft_metal {
void catch_divisions() {}
}  // namespace lamina::soft_metal

#endif

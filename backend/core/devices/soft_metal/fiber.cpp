#include "devices/soft_metal/fiber.h"

#include <cstdint>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__APPLE__)
#define LAMINA_ASM_NAME "_lamina_switch_stack"
#else
#define LAMINA_ASM_NAME "lamina_switch_stack"
#endif

extern "C" void lamina_switch_stack(void** save, void* load);

#if defined(__x86_64__)
asm(".text\n.globl " LAMINA_ASM_NAME "\n" LAMINA_ASM_NAME
    ":\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n");
#elif defined(__aarch64__)
asm(".text\n.globl " LAMINA_ASM_NAME "\n.p2align 2\n" LAMINA_ASM_NAME
    ":\n"
    "  sub sp, sp, #160\n"
    "  stp x19, x20, [sp, #0]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n"
    "  stp x25, x26, [sp, #48]\n  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
    "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n  stp d12, d13, [sp, #128]\n"
    "  stp d14, d15, [sp, #144]\n"
    "  mov x9, sp\n  str x9, [x0]\n  mov sp, x1\n"
    "  ldp x19, x20, [sp, #0]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n"
    "  ldp x25, x26, [sp, #48]\n  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
    "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n  ldp d12, d13, [sp, #128]\n"
    "  ldp d14, d15, [sp, #144]\n"
    "  add sp, sp, #160\n  ret\n");
#else
#error "soft_metal knows how to switch stacks on x86-64 and on 64-bit ARM"
#endif

namespace lamina::soft_metal {

#if defined(__SANITIZE_ADDRESS__)
namespace {
// The stack last left, for the sanitizer; the first one is the thread's own, whose bounds it tells.
thread_local Fiber* left = nullptr;
}  // namespace
#endif

void prepare(Fiber& fiber, void (*entry)()) {
#if defined(__SANITIZE_ADDRESS__)
  // What an abandoned call left there is no longer out of bounds.
  __asan_unpoison_memory_region(fiber.stack, fiber.bytes);
#endif
  auto top = (reinterpret_cast<uintptr_t>(fiber.stack) + fiber.bytes) / 16 * 16;
#if defined(__x86_64__)
  auto** slot = reinterpret_cast<void**>(top - 16);
  slot[0] = reinterpret_cast<void*>(entry);
  slot[1] = nullptr;  // where entry would return to
  fiber.sp = slot - 6;
  std::memset(fiber.sp, 0, 6 * sizeof(void*));
#else
  auto** slot = reinterpret_cast<void**>(top - 160);
  std::memset(slot, 0, 160);
  slot[11] = reinterpret_cast<void*>(entry);  // x30
  fiber.sp = slot;
#endif
}

void switch_fiber(Fiber& from, Fiber& to, [[maybe_unused]] bool last) {
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  left = &from;
  __sanitizer_start_switch_fiber(last ? nullptr : &fake, to.stack, to.bytes);
  lamina_switch_stack(&from.sp, to.sp);
  const void* bottom = nullptr;
  size_t size = 0;
  __sanitizer_finish_switch_fiber(fake, &bottom, &size);
#else
  lamina_switch_stack(&from.sp, to.sp);
#endif
}

void entered_fiber() {
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom = nullptr;
  size_t size = 0;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
  if (left && !left->stack) {
    left->stack = static_cast<char*>(const_cast<void*>(bottom));
    left->bytes = size;
  }
#endif
}

}  // namespace lamina::soft_metal

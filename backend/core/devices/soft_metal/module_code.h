// Where the code of loaded modules lies: what a signal interrupts is a kernel or is not.
#pragma once

#include <cstdint>

namespace lamina::soft_metal {

// Code between these addresses is a module's. Any thread.
void add_module_code(const void* begin, const void* end);
void remove_module_code(const void* begin);

// Takes no lock, as handlers of signals may not.
bool in_module_code(uintptr_t at);

}  // namespace lamina::soft_metal

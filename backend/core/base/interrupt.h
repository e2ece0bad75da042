// What asks the program whether to stop: set by the bindings, asked by whatever may take long.
#pragma once

#include <atomic>

namespace lamina {

// Whether to stop; null: nobody asks. Any thread may call it, at most every few milliseconds: it
// waits for the interpreter.
using InterruptHook = bool (*)();
extern std::atomic<InterruptHook> interrupt_hook;

}  // namespace lamina

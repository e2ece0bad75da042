// Integer division by zero: Metal gives some value and goes on, this processor raises a signal.
#pragma once

namespace lamina::soft_metal {

// Once, before the first kernel runs: division by zero (and of the least integer by -1) in a
// module's code gives 0. Signals from elsewhere go to whoever handled them before.
void catch_divisions();

// Code between these addresses is a module's. Any thread.
void add_module_code(const void* begin, const void* end);
void remove_module_code(const void* begin);

}  // namespace lamina::soft_metal

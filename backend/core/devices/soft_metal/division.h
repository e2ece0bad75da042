// Integer division by zero: Metal gives some value and goes on, this processor raises a signal.
#pragma once

namespace lamina::soft_metal {

// Once, before the first kernel runs: division by zero (and of the least integer by -1) in a
// module's code gives 0. Signals from elsewhere go to whoever handled them before.
void catch_divisions();

}  // namespace lamina::soft_metal

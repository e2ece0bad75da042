// How arrays are shown.
#pragma once

#include <atomic>

namespace lamina::python {

// Decimals of floating numbers in an array's repr; -1: up to six significant digits.
extern std::atomic<int> print_precision;

}  // namespace lamina::python

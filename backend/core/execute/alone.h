// For calls to devices that are no part of an evaluation.
#pragma once

#include <functional>

namespace lamina {

// Runs the call while nothing is evaluated: devices want one caller at a time.
void alone(const std::function<void()>& call);

}  // namespace lamina

// Shared libraries of primitives.
#pragma once

#include <string>
#include <vector>

namespace lamina::capi {

// Opens the library, once, and lets it define its primitives; returns their names. Throws
// ValueError where it is none, and what its lamina_register answered.
std::vector<std::string> load_plugin(const std::string& path);

}  // namespace lamina::capi

// What a program should be told although nothing failed: the bindings make warnings of it. Thread
// safe.
#pragma once

#include <string>
#include <vector>

namespace lamina {

void notice(std::string text);
// One load where there is none.
bool any_notices();
std::vector<std::string> take_notices();

}  // namespace lamina

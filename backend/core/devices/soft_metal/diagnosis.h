// What is wrong with a program's text, in Metal's words and at the user's lines.
#pragma once

#include <string>

#include "devices/soft_metal/translate.h"

namespace lamina::soft_metal {

// The compiler's messages: errors, and of the warnings the conversions to bfloat that Metal
// refuses. Empty where there are none.
std::string diagnosis(const std::string& messages, const std::string& original);

// The translator's.
std::string diagnosis(const Refusal& refusal, const std::string& original);

// Throws RuleError(private_memory) if the compiler's messages tell of a function that keeps more
// than limits().private_bytes of a thread's own.
void refuse_private_memory(const std::string& messages, const std::string& original);

// newLibraryWithSource knows Metal's own headers, which are here without being included, and no
// others: throws RuleError(compile).
std::string without_includes(const std::string& source);

}  // namespace lamina::soft_metal

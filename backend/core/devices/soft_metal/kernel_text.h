// One kernel's declaration, read.
#pragma once

#include <string>
#include <vector>

#include "devices/soft_metal/rewrite.h"
#include "devices/soft_metal/translate.h"

namespace lamina::soft_metal {

struct KernelSource {
  const std::vector<Token>& tokens;
  const std::vector<Declaration>& declarations;
  const Declaration& kernel;
  Rewrite& rewrite;
  const std::vector<FunctionConstant>& constants;
};

// Reads attributes, parameters and threadgroup variables, and rewrites the latter to references
// into the memory that the machine gives. Throws RuleError(compile).
KernelText kernel_text(const KernelSource& source);

// `using T = float; constexpr int N = 4;` for the arguments between `<` at open and `>` at close.
std::string template_aliases(const std::vector<Token>& tokens, const Declaration& kernel,
                             size_t open, size_t close);

std::string unquoted(std::string_view text);

// The entry functions of all kernels, to stand after the translated text.
std::string entry_text(const Translation& translation);

}  // namespace lamina::soft_metal

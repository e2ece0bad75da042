// Programs made of others.
#pragma once

#include <span>

#include "kernels/text.h"

namespace lamina {

// Puts the launches of `part` behind those of `program`. Operand i of the part becomes operands[i]:
// an operand or, -1 - k, a temporary of `program`; the part's own temporaries come along.
void append(TextProgram& program, TextProgram part, std::span<const int> operands);
// A further temporary, as a bind names it.
int add_temporary(TextProgram& program, int64_t bytes);

}  // namespace lamina

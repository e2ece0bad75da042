#include "kernels/programs.h"

namespace lamina {

void append(TextProgram& program, TextProgram part, std::span<const int> operands) {
  const int own = static_cast<int>(program.temporaries.size());
  for (int64_t bytes : part.temporaries) program.temporaries.push_back(bytes);
  for (TextKernel& launch : part.launches) {
    for (TextKernel::Bind& b : launch.buffers)
      b.operand = b.operand < 0 ? b.operand - own : operands[static_cast<size_t>(b.operand)];
    program.launches.push_back(std::move(launch));
  }
}

int add_temporary(TextProgram& program, int64_t bytes) {
  program.temporaries.push_back(bytes);
  return -static_cast<int>(program.temporaries.size());
}

}  // namespace lamina

#include "kernels/programs.h"

#include "kernels/library.h"

namespace lamina {

void append(TextProgram& program, TextProgram part, std::span<const int> operands) {
  const int own = static_cast<int>(program.temporaries.size());
  auto placed = [&](int operand) {
    return operand < 0 ? operand - own : operands[static_cast<size_t>(operand)];
  };
  // A library does what comes last.
  program.library = nullptr;
  if (part.library) {
    auto work = std::make_shared<LibraryWork>(*part.library);
    work->first_launch += program.launches.size();
    work->temporaries += program.temporaries.size();
    for (int& operand : work->operands) operand = placed(operand);
    for (int& operand : work->further) operand = placed(operand);
    program.library = std::move(work);
  }
  for (int64_t bytes : part.temporaries) program.temporaries.push_back(bytes);
  for (TextKernel& launch : part.launches) {
    for (TextKernel::Bind& b : launch.buffers) b.operand = placed(b.operand);
    program.launches.push_back(std::move(launch));
  }
}

int add_temporary(TextProgram& program, int64_t bytes) {
  program.temporaries.push_back(bytes);
  return -static_cast<int>(program.temporaries.size());
}

}  // namespace lamina

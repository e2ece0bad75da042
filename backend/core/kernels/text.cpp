#include "kernels/text.h"

#include "kernels/skeletons.h"
#include "kernels/stage.h"

namespace lamina {

TextProgram write_text(const Kernel& kernel, const TextTraits& traits) {
  check_dtypes(kernel, traits);
  const Kernel simple = simplified(kernel);
  switch (simple.kind) {
    case KernelKind::map:
      return write_map(simple, traits);
    case KernelKind::reduce:
      return write_reduce(simple, traits);
    default:
      return write_row(simple, traits);
  }
}

}  // namespace lamina

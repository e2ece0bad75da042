#include "kernels/text.h"

#include "base/error.h"
#include "kernels/skeletons.h"
#include "kernels/stage.h"

namespace lamina {

TextProgram write_text(const Kernel& kernel, const TextTraits& traits) {
  check_dtypes(kernel, traits);
  const Kernel simple = simplified(kernel);
  if (simple.kind != KernelKind::map)
    throw DeviceError(entry_name(simple) + ": only elementwise kernels are written as text");
  return write_map(simple, traits);
}

}  // namespace lamina

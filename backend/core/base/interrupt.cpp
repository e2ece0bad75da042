#include "base/interrupt.h"

namespace lamina {

std::atomic<InterruptHook> interrupt_hook{nullptr};

}  // namespace lamina

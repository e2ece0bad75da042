// An axis that an array does not have. NumPy's users catch it as ValueError, MLX's as IndexError
// or ValueError, by function: in Python it is both.
#pragma once

#include "base/error.h"

namespace lamina {

class AxisError : public ValueError {
  using ValueError::ValueError;
};

}  // namespace lamina

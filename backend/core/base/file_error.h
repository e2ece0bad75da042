// A file that cannot be read or written, or whose content is damaged. MLX raises RuntimeError for
// most of these and ValueError for some: in Python it is both.
#pragma once

#include "base/error.h"

namespace lamina {

class FileError : public ValueError {
  using ValueError::ValueError;
};

}  // namespace lamina

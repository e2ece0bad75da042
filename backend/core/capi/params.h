// Parameters by name on the C side, words in the order of a declaration inside.
#pragma once

#include <string>
#include <vector>

#include "capi/lamina.h"
#include "custom/custom.h"

namespace lamina::capi {

// A declaration, checked.
std::vector<CustomField> fields_from(const std::string& who, const lamina_param* params,
                                     size_t count);
// The values given, in the declaration's order, defaults filled in. Throws ValueError where one is
// unknown, missing or of another kind.
Params params_from(const std::string& who, const std::vector<CustomField>& fields,
                   const lamina_param* params, size_t count);
// The reverse. The list points into `fields` and `ints`.
struct ParamList {
  std::vector<lamina_param> list;
  std::vector<Shape> ints;
};
ParamList param_list(const std::vector<CustomField>& fields, const Params& params);

}  // namespace lamina::capi

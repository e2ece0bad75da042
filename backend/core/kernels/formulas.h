// Formula ids: the position of an elementwise row in the order unary, binary, ternary rows are
// visited. Ids are the same in every translation unit because every one visits the same headers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/elementwise_row.h"

namespace lamina {

struct Formula {
  RowInfo info;
  int arity;
  std::string expr;  // the formula written down, inputs $0 $1 $2
};

// All formulas, by id. Built once, immutable, thread safe.
const std::vector<Formula>& formulas();
// REQUIRES: name is a row's name.
uint16_t formula_id(const std::string& name);

}  // namespace lamina

// Formulas and conversions as expressions of the common text (kernels/dialect.h).
#pragma once

#include <span>
#include <string>

#include "kernels/kernel.h"

namespace lamina {

// An expression and the dtype of its value, which is never float16 or bfloat16.
struct Word {
  std::string text;
  Dtype dtype = Dtype::float32;
};

// Formula `op` (kernels/formulas.h) of the sources.
Word spell_formula(uint16_t op, std::span<const Word> sources);
// The conversion of Code::cast: to float16 and bfloat16 means float32 rounded to one of them.
Word spell_cast(const Word& from, Dtype to);
// A value on its way to memory and back.
std::string spell_store(const Word& value, Dtype to);
inline std::string spell_load(const std::string& element, Dtype from) {
  return compute_dtype(from) == from ? element : "float(" + element + ")";
}
// How accumulators combine, and what they start from. Arg reductions combine elsewhere.
Word spell_combine(ReduceOp op, const Word& a, const Word& b);
std::string spell_identity(ReduceOp op, Dtype d);

}  // namespace lamina

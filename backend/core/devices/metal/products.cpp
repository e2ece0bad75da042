#include "devices/metal/products.h"

#include <algorithm>

namespace lamina::metal {

namespace {

// The library's encoder is its own, and events that order it let the GPU run dry before and after:
// some ten microseconds, and no epilogue can be part of it. It is first where a product takes so
// long that this does not count, and no side is so short that its tiles are mostly edge. By
// published rates, not yet by measurement: docs/devices.md.
struct ChoiceRow {
  int first_generation;
  double least_ms;     // at the chip's rate
  int64_t least_side;  // of rows, columns and depth
};
constexpr ChoiceRow kChoices[] = {
    {13, 0.20, 128},
    {15, 0.15, 128},  // registers given out by need: own tiles lose least on M3 and M4
    {17, 0.10, 256},  // matrix units that only the system's libraries reach
};

const ChoiceRow& choice_row(int generation) {
  const ChoiceRow* best = &kChoices[0];
  for (const ChoiceRow& row : kChoices)
    if (row.first_generation <= generation) best = &row;
  return *best;
}

}  // namespace

bool library_first(const Chip& chip, Dtype dtype, const ProductRequest& s) {
  if (dtype != Dtype::float32 && dtype != Dtype::float16) return false;
  const ChoiceRow& row = choice_row(chip.generation);
  if (std::min({s.rows, s.columns, s.depth}) < row.least_side) return false;
  return estimated_ms(chip, 0, 2 * s.rows * s.columns * s.depth * s.batch) >= row.least_ms;
}

std::shared_ptr<const Product> make_product(Host& host, const ProductRequest& request) {
  Handle handle = host.new_product(request);
  return handle ? std::make_shared<const Product>(host, handle, request) : nullptr;
}

}  // namespace lamina::metal

#include "base/error.h"
#include "ops/matmul/variants.h"
#include "ops/ops.h"

namespace lamina {
namespace {

int64_t blocks(int64_t size, int64_t block) { return (size + block - 1) / block; }

// Each element of the mask over its block, cut to rows x columns.
Array spread(const Array& mask, int64_t block, int64_t rows, int64_t columns) {
  Shape split(mask.shape().begin(), mask.shape().end() - 2), whole = split;
  for (int64_t n : {mask.shape(-2), mask.shape(-1)}) {
    split.push_back(n);
    split.push_back(block);
    whole.push_back(n * block);
  }
  Array wide = expand_dims(expand_dims(mask, {mask.ndim()}), {mask.ndim() - 1});
  wide = reshape(broadcast_to(wide, split), whole);
  Shape start(whole.size(), 0), stop = whole, step(whole.size(), 1);
  stop[whole.size() - 2] = rows;
  stop[whole.size() - 1] = columns;
  return slice(wide, start, stop, step);
}

Array masked(const char* name, const Array& x, const Array& mask, int64_t block) {
  if (!mask) return x;
  const int64_t rows = x.shape(-2), columns = x.shape(-1);
  auto leads = [](const Array& a) { return Shape(a.shape().begin(), a.shape().end() - 2); };
  const bool fits = mask.ndim() >= 2 && mask.shape(-2) == blocks(rows, block) &&
                    mask.shape(-1) == blocks(columns, block) &&
                    broadcast_shapes(leads(mask), leads(x)) == leads(x);
  if (!fits) {
    Shape wanted = leads(x);
    wanted.push_back(blocks(rows, block));
    wanted.push_back(blocks(columns, block));
    throw ShapeError(std::string("block_masked_mm: ") + name + " " + to_string(mask.shape()) +
                     " does not fit " + to_string(x.shape()) + " in blocks of " +
                     std::to_string(block) + "\nGive it the shape " + to_string(wanted));
  }
  if (is_complex(mask.dtype()) && !is_complex(x.dtype()))
    throw DtypeError(std::string("block_masked_mm: ") + name + " is complex and the factors are " +
                     name_of(x.dtype()));
  Array wide = spread(mask, block, rows, columns);
  if (mask.dtype() == Dtype::bool_) return select(wide, x, zeros_like(x));
  return astype(x * astype(wide, x.dtype()), x.dtype());
}

}  // namespace

Array block_masked_mm(const Array& a_in, const Array& b_in, int64_t block, const Array& mask_out,
                      const Array& mask_lhs, const Array& mask_rhs) {
  if (block < 1)
    throw ValueError("block_masked_mm: block_size must be positive, got " + std::to_string(block));
  if (a_in.ndim() == 0 || b_in.ndim() == 0)
    throw ShapeError("block_masked_mm: needs at least one axis on both sides: " +
                     to_string(a_in.shape()) + " @ " + to_string(b_in.shape()));
  Array a = a_in.ndim() == 1 ? expand_dims(a_in, {0}) : a_in;
  Array b = b_in.ndim() == 1 ? expand_dims(b_in, {1}) : b_in;
  Array y = matmul(masked("mask_lhs", a, mask_lhs, block), masked("mask_rhs", b, mask_rhs, block));
  y = masked("mask_out", y, mask_out, block);
  if (a_in.ndim() == 1) y = squeeze(y, {y.ndim() - 2});
  if (b_in.ndim() == 1) y = squeeze(y, {y.ndim() - 1});
  return y;
}

}  // namespace lamina

// Running reductions along an axis.
#pragma once

#include "base/tensor_view.h"

namespace lamina::cpu {

enum class ScanKind : uint8_t { sum, prod, max, min, logaddexp };

// out[.., i, ..] = src[.., 0, ..] op ... op src[.., i, ..] along `axis`; exclusive leaves out
// element i itself and starts with the operation's identity (for max and min: the lowest and
// highest value of the dtype, infinities included); reverse runs from the end. src has any strides;
// out is row-major with src's shape and dtype, and may be src itself. float16 and bfloat16
// accumulate in float32. bool: sum is or, prod is and (cast first to count). NaN, once met, stays.
// logaddexp needs a floating dtype; complex64 has sum and prod only; others raise DtypeError.
// The result does not depend on the number of threads. Splits itself over the pool.
void scan(const TensorView& src, const TensorView& out, int64_t axis, ScanKind kind, bool reverse,
          bool inclusive);

}  // namespace lamina::cpu

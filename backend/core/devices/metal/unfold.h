// Convolutions of several taps as products of the matrix library: the input is unfolded, part by
// part, into memory that each part's product reads.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "devices/metal/products.h"
#include "kernels/unfold_text.h"

namespace lamina::metal {

// Of the memory that parts are unfolded into, in bytes: docs/devices.md.
inline constexpr int64_t kUnfoldedBytes = int64_t{64} << 20;

struct UnfoldedProduct {
  UnfoldedPart part;
  // The unfolded part stands for the input (for the output's gradient, where the input's is asked
  // for), and the weight has its taps outside where Unfolded says so.
  Multiplication how;
};
struct Unfolded {
  std::vector<UnfoldedProduct> products;  // in any order; together they are the convolution
  int64_t part_bytes = 0;                 // that the largest part takes
  int64_t weight_bytes = 0;               // of a weight with its taps outside; 0: it stays as it is
  std::string text;                       // for a reader
};

// Forward and input gradient: parts are rows. Weight gradient: columns, so that no sum is made of
// others that were rounded. Nothing for grouped convolutions, and where parts of at most `most`
// bytes would be too many.
std::optional<Unfolded> unfolded(const LibraryConvolution& convolution, int64_t most);
// Whether the library is the first choice on this chip for the unfolded convolution.
bool library_first(const Chip& chip, const LibraryConvolution& convolution,
                   const Unfolded& unfolded);

}  // namespace lamina::metal

// A convolution's input as a matrix, for libraries that multiply matrices: text that writes a part
// of it.
//
// Rows are positions of the output in all images, columns are taps and, inside of a tap, channels;
// an element is what the position sees there, zero outside of the image. Of an input gradient, rows
// are positions of the input, and columns taps and filters. Taps stand in the weight's order.
#pragma once

#include "kernels/library.h"
#include "kernels/text.h"

namespace lamina {

struct UnfoldedPart {
  int64_t first_row = 0, rows = 0;
  int64_t first_column = 0, columns = 0;
};

// All of it.
UnfoldedPart whole_unfolded(const LibraryConvolution& convolution);
// Elements that one thread moves at once where the device's words are so wide: columns of a part
// should be a multiple.
int64_t unfolded_word(const LibraryConvolution& convolution, int64_t vector_bytes);
// The part, row by row and dense, from operand `source` to operand `matrix`. REQUIRES: an ungrouped
// convolution, no empty side, and indices of 31 bits.
TextKernel unfold_launch(const LibraryConvolution& convolution, const UnfoldedPart& part,
                         int source, int matrix, const TextTraits& traits);
// The weight with its taps outside, then filters, then channels, as the columns of an unfolded
// output's gradient have them.
TextKernel turned_weight_launch(const LibraryConvolution& convolution, int weight, int turned,
                                const TextTraits& traits);

}  // namespace lamina

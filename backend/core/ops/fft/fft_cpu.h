// Discrete Fourier transforms along one axis, by own loops. Sums are not normalised; the result is
// multiplied by `scale`. Views may have any strides; results are written through theirs.
#pragma once

#include "base/tensor_view.h"

namespace lamina::cpu {

// complex64 to complex64.
void fft(const TensorView& in, const TensorView& out, int64_t axis, bool inverse, double scale);
// float32 of size n to the first n / 2 + 1 points, complex64.
void rfft(const TensorView& in, const TensorView& out, int64_t axis, double scale);
// n / 2 + 1 points to float32 of size n: of the points that the symmetry leaves out the conjugates
// are taken, and the imaginary parts of the first (and of the last, if n is even) do not count.
void irfft(const TensorView& in, const TensorView& out, int64_t axis, double scale);

}  // namespace lamina::cpu

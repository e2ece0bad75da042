// Fourier transforms along one axis, not normalised, times `scale`. The numpy-like functions, their
// sizes and their norms are compositions of these.
#pragma once

#include "graph/array.h"

namespace lamina {

// complex64 to complex64; other dtypes are converted.
Array fft(const Array& x, int64_t axis, bool inverse, double scale);
// float32 of size N to complex64 of size N / 2 + 1. Of complex numbers the real part is taken.
Array rfft(const Array& x, int64_t axis, double scale);
// complex64 of size n / 2 + 1 to float32 of size n.
Array irfft(const Array& x, int64_t axis, int64_t n, double scale);

}  // namespace lamina

// Fourier transforms as kernel text: lengths with small prime factors by passes, in one launch or
// in columns and rows; others as the convolution with a chirp.
#pragma once

#include "kernels/text.h"

namespace lamina::text {

TextProgram fft(const TextCall& call, const TextTraits& traits);
TextProgram rfft(const TextCall& call, const TextTraits& traits);
TextProgram irfft(const TextCall& call, const TextTraits& traits);

}  // namespace lamina::text

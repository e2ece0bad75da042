// Inner loops over coded rows, compiled once per instruction set and chosen at run time. Loops
// never allocate and never throw.
//
// A coded row is a stream of codes of `bits` bits, from the low bits of one 32-bit word after the
// other; a code may cross words. Every `group` consecutive codes share a scale, and a bias where
// the code is a whole number: value = scale * number(code) + bias.
#pragma once

#include <cstdint>

namespace lamina::cpu {

// What a code means: a whole number of 1 to 6 or 8 bits, or one of the small floating formats.
enum class Code : int { bits1, bits2, bits3, bits4, bits5, bits6, bits8, e2m1, e4m3 };
inline constexpr int kCodeCount = 9;

// Rows of codes; scales and biases are widened to float. Distances count elements of each array.
struct CodedRows {
  const uint32_t* words;
  int64_t words_row;
  const float* scales;
  const float* biases;  // nullptr for floating codes
  int64_t scales_row;   // of biases too
  int64_t groups;       // of one row
  int64_t group;        // codes that share a scale: a multiple of 32, or of 16 for e2m1
};

inline constexpr int kMaxCodedDotRows = 8;

// out[i * out_row + p] = the value of code p of row i, for i < rows.
using DecodeLoop = void (*)(const CodedRows& w, int64_t rows, float* out, int64_t out_row);
// y[r * y_row + j] = sum_p x[r * x_row + p] * value(j, p) for r < x_rows, j < w_rows.
using CodedDotLoop = void (*)(const CodedRows& w, int64_t w_rows, int64_t x_rows, const float* x,
                              int64_t x_row, float* y, int64_t y_row);

struct CodedLoops {
  DecodeLoop decode[kCodeCount];
  CodedDotLoop dot[kCodeCount];
};

// The loops for the instruction set that gemm_kernels() runs. Thread safe.
const CodedLoops& coded_loops();

}  // namespace lamina::cpu

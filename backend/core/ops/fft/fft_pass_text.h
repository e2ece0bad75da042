// One launch of Fourier transforms as kernel text: lines of a length with small prime factors go
// through threadgroup memory, by Stockham's passes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/unit.h"

namespace lamina::text {

// Where the points of the lines come from, or go to: a function of the text.
//   source: float2 name(<buffers>, p, line, uint k)
//   sink:   void name(<buffers>, p, line, uint k, float2 v)
//   sink that mirrors: v is point k, and a last argument point n - k, of n points in a circle
struct FftSide {
  struct Buffer {
    std::string name;
    Dtype dtype;
    int operand;
    bool written;
  };
  std::string name;
  std::vector<Buffer> buffers{};
  std::function<void(Unit&)> declare{};  // the function and those it calls
  bool across = false;                   // neighbours in memory are neighbouring lines
  bool mirrors = false;
  int64_t points = 0;  // for which a sink is called
};

// The numbers of lines and places are of this type.
inline const char* count_type(bool wide) { return wide ? "ulong" : "uint"; }
// "device const float2* in, device float2* out, " and "in, out, ".
std::string side_parameters(const FftSide& side);
std::string side_arguments(const FftSide& side);
// exp(-2 pi i a / b) for a < b < 2^32, as root_of_unity(a, b).
void declare_root(Unit& unit);

// The radices of a length; empty if it has other prime factors.
std::vector<int> fft_radices(int64_t n);
inline bool is_smooth(int64_t n) { return n == 1 || !fft_radices(n).empty(); }
// The longest line of one launch.
int64_t longest_line(const TextTraits& traits);

struct FftLines {
  std::string name;
  int64_t size, lines;
  FftSide source, sink;
  int roots;  // operand of a table of the size's roots of unity; used if needs_roots()
  bool wide;
};
bool needs_roots(int64_t size);
TextKernel write_roots(int64_t size, int operand, const TextTraits& traits);
// REQUIRES: is_smooth(size), size <= longest_line(traits).
TextKernel write_lines(const FftLines& lines, const TextTraits& traits);

}  // namespace lamina::text

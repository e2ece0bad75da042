// Loops of the Fourier transform over tiles, compiled once per instruction set and chosen at run
// time. A tile holds kTileLanes transforms side by side: of point i the real parts at 2 i and the
// imaginary parts at 2 i + 1, each kTileLanes floats. Loops never allocate and never throw.
#pragma once

#include <cstdint>

namespace lamina::cpu {

inline constexpr int64_t kTileLanes = 16;
inline constexpr int64_t kTilePoint = 2 * kTileLanes;  // floats
inline constexpr int kMaxRadix = 61;

// Strided complex numbers in memory: point i at i * step from the lane's start, in floats. A null
// pointer stands for zeros when read, and is skipped when written.
struct FftLanes {
  int count;  // of kTileLanes; the others are zero
  float* re[kTileLanes];
  float* im[kTileLanes];
  int64_t step;
  bool side_by_side;  // the lanes are kTileLanes neighbouring complex numbers in memory
  bool in_rows;       // each of kTileLanes lanes is a row of neighbouring complex numbers
};

struct FftKernels {
  const char* isa;
  void (*load)(float* tile, int64_t n, const FftLanes& from);
  void (*store)(const float* tile, int64_t n, const FftLanes& to, float scale);
  // One step of Stockham's algorithm: `groups` butterflies of `radix` points, each over `stride`
  // neighbouring points. twiddles: radix - 1 complex numbers a group; roots: the radix' own,
  // cosines then sines.
  void (*pass)(int radix, int64_t groups, int64_t stride, const float* in, float* out,
               const float* twiddles, const float* roots);
  // Point i of all lanes times the complex number i.
  void (*scale)(float* tile, int64_t n, const float* factors);
  // Point i of lane l times factors[i] * lanes[i][l]; `lanes` is a tile.
  void (*turn)(float* tile, int64_t n, const float* factors, const float* lanes);
};

// The loops for this machine, as LAMINA_ISA allows. Thread safe.
const FftKernels& fft_kernels();

}  // namespace lamina::cpu

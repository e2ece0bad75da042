// The domain of a kernel brought to its simplest form, and the tile cut out of it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kernel.h"

namespace lamina::cpu {

// Lanes a value has inside a tile of m x n: bit 0 varies along n, bit 1 varies along m.
enum class Lanes : uint8_t { one = 0, row = 1, column = 2, full = 3 };
inline Lanes operator|(Lanes a, Lanes b) {
  return static_cast<Lanes>(static_cast<uint8_t>(a) | static_cast<uint8_t>(b));
}
inline Lanes operator&(Lanes a, Lanes b) {
  return static_cast<Lanes>(static_cast<uint8_t>(a) & static_cast<uint8_t>(b));
}
inline Lanes without(Lanes a, Lanes b) {
  return static_cast<Lanes>(static_cast<uint8_t>(a) & ~static_cast<uint8_t>(b));
}
inline bool has(Lanes a, Lanes b) { return (a & b) == b; }

// The kernel over fewer axes: those of one element gone, neighbours merged where every argument and
// iota allows it. Masks follow from the strides alone.
struct Domain {
  Shape dims;
  uint32_t reduced = 0;
  std::vector<Strides> arg_strides;
  std::vector<Strides> iota_strides;  // the last one counts the reduced elements if `has_arg`
  std::vector<uint32_t> mask;         // per instruction
  bool has_arg = false;               // an arg reduction is among the instructions
  uint32_t all_axes() const { return (1u << dims.size()) - 1; }
  bool is_reduced(int axis) const { return reduced >> axis & 1; }
};
Domain simplify(const Kernel& kernel);

// A group of axes covered whole by the tile, except the first, which may be cut into pieces.
struct TileSide {
  std::vector<int> axes;  // outermost first; empty: extent 1
  int64_t piece = 1;      // extent of a tile along the first axis
  int64_t inner = 1;      // product of the other axes
  bool cut = false;       // piece < size of the first axis
  bool reduced = false;
  int64_t extent() const { return piece * inner; }
  bool contains(int axis) const {
    for (int a : axes)
      if (a == axis) return true;
    return false;
  }
};
struct Tiling {
  TileSide m, n;
};
// Lanes of a tile to begin with: as many as keep a few registers in the first-level cache. Where no
// register is as wide as the tile, more, down to 32 tiles, so that a tile's own cost is little.
int64_t lanes_of_tile(const Kernel& kernel, const Domain& domain);
// lanes: elements a tile should have about.
Tiling choose_tiling(const Kernel& kernel, const Domain& domain, int64_t lanes);

}  // namespace lamina::cpu

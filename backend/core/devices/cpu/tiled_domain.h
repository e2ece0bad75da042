// Which lanes of a tile a value has, and how those lanes lie in memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "devices/cpu/compile.h"
#include "devices/cpu/tiling.h"

namespace lamina::cpu {

// Rows shorter than this are spread to full blocks first: a loop call costs about as much as it
// saves.
inline constexpr int64_t kRowCall = 64;

// A domain with a tile chosen on it. Keeps a reference to the domain.
class TiledDomain {
 public:
  TiledDomain(const Domain& domain, Tiling tiling)
      : domain_(domain),
        tiling_(std::move(tiling)),
        m_(tiling_.m.extent()),
        n_(tiling_.n.extent()) {}

  Lanes lanes_of(uint32_t mask) const {
    Lanes lanes = Lanes::one;
    for (int a : tiling_.m.axes)
      if (mask >> a & 1) lanes = lanes | Lanes::column;
    for (int a : tiling_.n.axes)
      if (mask >> a & 1) lanes = lanes | Lanes::row;
    return lanes;
  }
  Lanes reduced_lanes() const {
    Lanes lanes = Lanes::one;
    if (!tiling_.m.axes.empty() && tiling_.m.reduced) lanes = lanes | Lanes::column;
    if (!tiling_.n.axes.empty() && tiling_.n.reduced) lanes = lanes | Lanes::row;
    return lanes;
  }
  Lanes all_lanes() const {
    Lanes lanes = tiling_.m.axes.empty() ? Lanes::one : Lanes::column;
    return tiling_.n.axes.empty() ? lanes : lanes | Lanes::row;
  }
  int64_t count(Lanes lanes) const {
    return (has(lanes, Lanes::column) ? m_ : 1) * (has(lanes, Lanes::row) ? n_ : 1);
  }

  // The levels of a tile (of those lanes) in memory with these strides, outermost first.
  std::vector<Level> walk(const Strides& strides, Lanes lanes) const {
    std::vector<Level> levels;
    auto side_levels = [&](const TileSide& side, Lanes which) {
      if (!has(lanes, which)) return;
      int64_t inner = side.inner;
      for (size_t k = 0; k < side.axes.size(); ++k) {
        int axis = side.axes[k];
        bool varies = k == 0 && side.cut;
        int64_t size = domain_.dims[axis], stride = strides[axis];
        Level level{stride, size, 1, Lanes::one};
        if (varies) level = {stride, 1, std::max<int64_t>(inner, 1), which};
        if (k + 1 < side.axes.size()) inner /= std::max<int64_t>(domain_.dims[side.axes[k + 1]], 1);
        if (!levels.empty() && !varies && levels.back().stride == stride * size) {
          Level& outer = levels.back();
          outer.stride = stride;
          outer.times *= size;
          int64_t common = std::gcd(outer.times, outer.over);
          if (common > 1) outer.times /= common, outer.over /= common;
        } else {
          levels.push_back(level);
        }
      }
    };
    side_levels(tiling_.m, Lanes::column);
    side_levels(tiling_.n, Lanes::row);
    return levels;
  }
  // Whether lanes lie elsewhere in a cut tile: its lines are shorter, so each starts sooner. Fewer
  // lines, or one shorter line, are the beginning of what a whole tile holds.
  bool repacked(Lanes lanes) const { return lanes == Lanes::full && tiling_.n.cut; }
  static bool dense(const std::vector<Level>& levels) {
    return levels.empty() || (levels.size() == 1 && levels[0].stride == 1);
  }
  // Rows of n contiguous lanes.
  bool has_rows(const std::vector<Level>& levels, Lanes lanes) const {
    if (lanes != Lanes::full || levels.size() != 2 || levels[1].stride != 1) return false;
    return n_ >= kRowCall && whole(levels[0], m_) && whole(levels[1], n_);
  }
  bool whole(const Level& level, int64_t extent) const {
    if (level.lanes_of == Lanes::one) return level.times == extent;
    return level.times == level.over;
  }

 protected:
  const Domain& domain_;
  const Tiling tiling_;
  const int64_t m_, n_;  // a whole tile
};

}  // namespace lamina::cpu

#include "devices/cpu/tiling.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"

namespace lamina::cpu {
namespace {

// A side of a square tile used where two arguments are contiguous along different axes: its lines
// span whole cache lines both ways and the tile stays in L1.
constexpr int64_t kSquare = 64;

uint32_t mask_of(const Strides& strides) {
  uint32_t mask = 0;
  for (size_t i = 0; i < strides.size(); ++i)
    if (strides[i] != 0) mask |= 1u << i;
  return mask;
}

bool is_arg(ReduceOp op) { return op == ReduceOp::argmin || op == ReduceOp::argmax; }

// Keeps the listed axes of every stride vector; merge[i]: axis i is folded into i + 1.
struct Folding {
  std::vector<int> keep;
  std::vector<bool> merged;
};

void fold(const Kernel& kernel, Domain& domain) {
  int rank = static_cast<int>(kernel.domain.size());
  std::vector<const Strides*> maps;
  for (const auto& a : kernel.args) maps.push_back(&a.strides);
  for (const auto& i : kernel.iotas) maps.push_back(&i.strides);
  std::vector<Strides> out(maps.size());
  for (int axis = 0; axis < rank; ++axis) {
    int64_t size = kernel.domain[axis];
    if (size == 1) continue;
    bool reduced = kernel.reduced >> axis & 1;
    int last = static_cast<int>(domain.dims.size()) - 1;
    bool merge = last >= 0 && domain.is_reduced(last) == reduced;
    for (size_t k = 0; merge && k < maps.size(); ++k)
      merge = out[k][last] == (*maps[k])[axis] * size;
    if (merge) {
      domain.dims[last] *= size;
    } else {
      ++last;
      domain.dims.push_back(size);
      if (reduced) domain.reduced |= 1u << last;
      for (auto& o : out) o.push_back(0);
    }
    for (size_t k = 0; k < maps.size(); ++k) out[k][last] = (*maps[k])[axis];
  }
  size_t args = kernel.args.size();
  domain.arg_strides.assign(out.begin(), out.begin() + static_cast<ptrdiff_t>(args));
  domain.iota_strides.assign(out.begin() + static_cast<ptrdiff_t>(args), out.end());
}

// Reduced rows of at least this length are read along the row even where the result would be
// written along it: what a row costs apart from its elements is then little.
constexpr int64_t kLongRow = 256;

bool reduces_long_rows(const Domain& domain) {
  int last = static_cast<int>(domain.dims.size()) - 1;
  return last >= 0 && domain.is_reduced(last) && domain.dims[last] >= kLongRow;
}

// How much traffic is contiguous along an axis: bytes of the arguments with stride 1, outputs
// twice.
int64_t contiguity(const Kernel& kernel, const Domain& domain, int axis) {
  const bool long_rows = reduces_long_rows(domain);
  int64_t score = 0;
  for (size_t a = 0; a < kernel.args.size(); ++a) {
    const Strides& strides = domain.arg_strides[a];
    if (std::abs(strides[axis]) != 1) continue;
    int64_t weight = itemsize(kernel.args[a].dtype) * (kernel.args[a].output ? 2 : 1);
    // What varies along more axes is read more often.
    if (!long_rows) weight *= 1 + __builtin_popcount(mask_of(strides));
    for (size_t d = 0; long_rows && d < domain.dims.size(); ++d)
      if (strides[d] != 0) weight *= domain.dims[d];
    score += weight;
  }
  return score;
}

void set_side(const Domain& domain, TileSide& side, std::vector<int> axes, int64_t piece) {
  side.axes = std::move(axes);
  side.inner = 1;
  for (size_t i = 1; i < side.axes.size(); ++i) side.inner *= domain.dims[side.axes[i]];
  int64_t size = domain.dims[side.axes[0]];
  side.piece = std::min(piece, size);
  side.cut = side.piece < size;
  side.reduced = domain.is_reduced(side.axes[0]);
}

// Even pieces of at most `most`, in whole vectors.
int64_t even_piece(int64_t size, int64_t most) {
  if (size <= most) return size;
  int64_t pieces = (size + most - 1) / most;
  int64_t piece = (size + pieces - 1) / pieces;
  return std::min(size, (piece + 63) / 64 * 64);
}

// The axes a reduced side may have when lanes must count up along the flattened reduced extent: a
// run that ends with the last reduced axis.
bool counts_up(const Domain& domain, int axis) {
  for (int i = axis + 1; i < static_cast<int>(domain.dims.size()); ++i)
    if (domain.is_reduced(i)) return false;
  return true;
}

// Grows side m outwards from `axis` over axes with the same reduced flag until it has `rows`.
void grow_rows(const Domain& domain, Tiling& tiling, int axis, int64_t rows) {
  std::vector<int> axes;
  int64_t inner = 1;
  bool reduced = domain.is_reduced(axis);
  for (int i = axis; i >= 0; --i) {
    if (tiling.n.contains(i) || domain.is_reduced(i) != reduced) continue;
    axes.insert(axes.begin(), i);
    if (inner * domain.dims[i] >= rows || (reduced && domain.has_arg)) break;
    inner *= domain.dims[i];
  }
  inner = 1;
  for (size_t i = 1; i < axes.size(); ++i) inner *= std::max<int64_t>(domain.dims[axes[i]], 1);
  int64_t piece = even_piece(domain.dims[axes[0]], std::max<int64_t>(rows / inner, 1));
  if (piece * inner > rows * 2) piece = std::max<int64_t>(rows / inner, 1);
  if (piece * inner > 1) set_side(domain, tiling.m, axes, piece);
}

int best_axis(const Kernel& kernel, const Domain& domain) {
  int best = static_cast<int>(domain.dims.size()) - 1;
  int64_t best_score = contiguity(kernel, domain, best);
  for (int axis = best - 1; axis >= 0; --axis) {
    int64_t score = contiguity(kernel, domain, axis);
    if (score > best_score && domain.dims[axis] >= 16 &&
        !(domain.has_arg && domain.is_reduced(axis) && !counts_up(domain, axis))) {
      best = axis;
      best_score = score;
    }
  }
  return best;
}

// An axis other than n along which some argument is contiguous that is not so along n.
int crossing_axis(const Kernel& kernel, const Domain& domain, int n_axis) {
  for (size_t a = 0; a < kernel.args.size(); ++a) {
    const Strides& s = domain.arg_strides[a];
    if (s[n_axis] == 0 || std::abs(s[n_axis]) == 1) continue;
    for (int axis = 0; axis < static_cast<int>(domain.dims.size()); ++axis)
      if (axis != n_axis && std::abs(s[axis]) == 1 && domain.dims[axis] >= 8) return axis;
  }
  return -1;
}

void tile_rows_kernel(const Domain& domain, Tiling& tiling, int64_t lanes) {
  std::vector<int> axes;
  int rank = static_cast<int>(domain.dims.size());
  for (int i = 0; i < rank; ++i)
    if (domain.is_reduced(i)) axes.push_back(i);
  if (axes.empty()) {
    if (rank) set_side(domain, tiling.n, {rank - 1}, even_piece(domain.dims[rank - 1], lanes));
    return;
  }
  set_side(domain, tiling.n, axes, domain.dims[axes[0]]);
  int64_t rows = lanes / std::max<int64_t>(tiling.n.extent(), 1);
  int outer = axes[0] - 1;
  if (rows > 1 && outer >= 0) grow_rows(domain, tiling, outer, rows);
}

// REQUIRES: n is set. Picks the axis that fills the tile: for a reduction along m the accumulators
// stay in registers, so a reduced axis is preferred if it fills the tile about as well.
void pick_rows(const Domain& domain, Tiling& tiling, int64_t rows) {
  int best = -1;
  int64_t best_score = 0;
  for (int axis = static_cast<int>(domain.dims.size()) - 1; axis >= 0; --axis) {
    if (tiling.n.contains(axis)) continue;
    bool reduced = domain.is_reduced(axis);
    if (reduced && domain.has_arg && (tiling.n.reduced || !counts_up(domain, axis))) continue;
    int64_t score = std::min(rows, domain.dims[axis]) * (reduced ? 2 : 1) * 4;
    if (best >= 0 && domain.is_reduced(best) == reduced) continue;  // grows outwards by itself
    if (score > best_score) best = axis, best_score = score;
  }
  if (best >= 0) grow_rows(domain, tiling, best, rows);
}

// A reduction of what is loaded, with nothing in between: its lanes pass through no register.
bool streams(const Kernel& kernel) {
  if (kernel.kind != KernelKind::reduce) return false;
  for (const Instr& in : kernel.instrs) {
    bool plain = in.code == Code::load &&
                 compute_dtype(kernel.args[in.index].dtype) == kernel.args[in.index].dtype;
    if (!plain && in.code != Code::reduce && in.code != Code::store) return false;
  }
  return true;
}

}  // namespace

Domain simplify(const Kernel& kernel) {
  Domain domain;
  for (const Instr& in : kernel.instrs)
    if (in.code == Code::reduce && is_arg(static_cast<ReduceOp>(in.op))) domain.has_arg = true;
  fold(kernel, domain);
  int rank = static_cast<int>(domain.dims.size());
  if (rank > 31) throw InternalError("a kernel over more than 31 axes");
  if (domain.has_arg) {
    Strides count(rank, 0);
    int64_t step = 1;
    for (int i = rank - 1; i >= 0; --i) {
      if (!domain.is_reduced(i)) continue;
      count[i] = step;
      step *= domain.dims[i];
    }
    domain.iota_strides.push_back(count);
  }
  for (const Instr& in : kernel.instrs) {
    uint32_t mask = 0;
    if (in.code == Code::load || in.code == Code::store) {
      mask = mask_of(domain.arg_strides[in.index]);
    } else if (in.code == Code::iota) {
      mask = mask_of(domain.iota_strides[in.index]);
    } else {
      for (int32_t s : in.src)
        if (s >= 0) mask |= domain.mask[s];
    }
    if (in.code == Code::reduce) mask &= ~domain.reduced;
    domain.mask.push_back(mask);
  }
  return domain;
}

Tiling choose_tiling(const Kernel& kernel, const Domain& domain, int64_t lanes) {
  Tiling tiling;
  if (domain.dims.empty()) return tiling;
  if (kernel.kind == KernelKind::row) {
    tile_rows_kernel(domain, tiling, lanes);
    return tiling;
  }
  int n_axis = best_axis(kernel, domain);
  int cross = crossing_axis(kernel, domain, n_axis);
  bool square = cross >= 0 && domain.dims[n_axis] >= kSquare / 2 &&
                !(domain.has_arg && domain.is_reduced(cross) &&
                  (domain.is_reduced(n_axis) || !counts_up(domain, cross)));
  if (square) {
    set_side(domain, tiling.n, {n_axis}, even_piece(domain.dims[n_axis], kSquare));
    set_side(domain, tiling.m, {cross}, std::min<int64_t>(kSquare, domain.dims[cross]));
    return tiling;
  }
  set_side(domain, tiling.n, {n_axis}, even_piece(domain.dims[n_axis], lanes));
  int64_t rows = lanes / std::max<int64_t>(tiling.n.extent(), 1);
  if (rows > 1) pick_rows(domain, tiling, rows);
  return tiling;
}

int64_t lanes_of_tile(const Kernel& kernel, const Domain& domain) {
  constexpr int64_t kLanes = 2048, kStreamed = 16384, kTiles = 32;
  if (!streams(kernel)) return kLanes;
  int64_t all = 1;
  for (int64_t d : domain.dims) all *= d;
  return std::clamp(all / kTiles, kLanes, kStreamed);
}

}  // namespace lamina::cpu

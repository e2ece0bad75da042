// Who reads whom through which views: what fusion and refitting look things up in.
#pragma once

#include <set>

#include "schedule/fuse.h"

namespace lamina::schedule {

// One read of a node by another, through views.
struct Use {
  int reader;
  size_t operand;
  std::vector<int> via;
};

struct Reads {
  std::vector<std::vector<Use>> uses;  // by the node that is read
  std::vector<bool> kept;              // an output needs the node's memory
  // Order without reading (depends): what must be computed before a node, and the reverse.
  std::vector<std::vector<int>> awaited, waiting;
};
Reads find_reads(const Ir& ir);
// The reader's shape -> the base's flat index.
Layout layout_of(const Ir& ir, const Use& use);

// Memory that no group computes as a whole.
inline bool materialised_kind(const IrNode& n) {
  return n.role == Role::data || n.role == Role::assemble || n.role == Role::result;
}
// Values every kernel makes for itself.
inline bool free_value(const IrNode& n) { return n.role == Role::scalar || n.is(Kind::iota); }

// The axes of a reduce node, bit per axis of its source.
uint32_t axes_mask(const IrNode& reduce);
// domain -> flat index of a reduction's result, whose reduced axes have size 1.
Layout reduced_map(const Shape& kept, const Shape& domain, uint32_t reduced);
// Strides of size-1 axes are 0, so that equal maps compare equal.
Layout canonical(Layout map);

// Whether the text of a call takes along a group over `domain`, behind its result or before it.
bool text_takes_epilogue(const Ir& ir, int call, const Shape& domain, const TextTraits& text);

// Puts a group on the sizes the graph has now; false where it would not have been made so. `text`
// as in FuseOptions.
bool refit(const Ir& ir, const Reads& reads, Group& g, const TextTraits* text);

// All maps under which group g reads node i, or why it cannot. REQUIRES: g.maps has i's readers in
// g.
Reason maps_in(const Ir& ir, const Group& g, const std::vector<Use>& uses,
               std::vector<Layout>& out);

// Whether the row that a reduction n over `axes` of `domain` takes in can stay on chip between
// passes, or why not.
Reason row_fits(const Shape& domain, uint32_t axes, const IrNode& n);

// Groups whose results g needs, by `home` of the nodes.
std::set<int> groups_needed(const Ir& ir, const Group& g, const std::vector<int>& home);
// The groups so that each comes after what it needs; renumbers group_of. Throws InternalError on a
// cycle.
std::vector<Group> ordered(const Ir& ir, std::vector<Group> groups, std::vector<int>& group_of);

}  // namespace lamina::schedule

// A plan for other sizes: the fusion decided for one set of sizes is put on a graph of the same
// structure. Only geometry is computed anew; wherever a decision would no longer hold, refitting
// declines and the whole pipeline runs.
#include <algorithm>

#include "schedule/reads.h"

namespace lamina::schedule {

bool same_pattern(const Shape& a, const Shape& b) {
  if (a.size() != b.size()) return false;
  for (size_t d = 0; d < a.size(); ++d)
    if ((a[d] == 1) != (b[d] == 1) || (a[d] == 0) != (b[d] == 0)) return false;
  return true;
}

bool same_class(const Layout& a, const Layout& b) {
  if (a.contiguous() != b.contiguous()) return false;
  for (size_t d = 0; d < a.strides.size(); ++d)
    if ((a.strides[d] == 0) != (b.strides[d] == 0) || (a.strides[d] < 0) != (b.strides[d] < 0))
      return false;
  return true;
}

namespace {

const IrNode& node_at(const Ir& ir, int i) { return ir.nodes[static_cast<size_t>(i)]; }

bool same_structure(const Ir& a, const Ir& b) {
  if (a.nodes.size() != b.nodes.size() || a.of_position != b.of_position) return false;
  for (size_t i = 0; i < a.nodes.size(); ++i) {
    const IrNode &x = a.nodes[i], &y = b.nodes[i];
    if (x.role != y.role || x.primitive != y.primitive || x.inputs != y.inputs ||
        x.dtype != y.dtype || x.output != y.output || x.donatable != y.donatable ||
        x.copied_from != y.copied_from || x.in_place_of != y.in_place_of ||
        x.position != y.position || !same_pattern(x.shape, y.shape))
      return false;
    if (x.role == Role::data && !same_class(x.layout, y.layout)) return false;
    bool sized = x.role == Role::view || x.role == Role::scalar || x.is(Kind::call);
    if (!sized && !(x.params == y.params)) return false;
  }
  return true;
}

// What nobody in the group reads runs along the domain's axes in order, past the reduced ones.
Layout root_map(const Layout& before, const Shape& domain) {
  Layout out{domain, Strides(domain.size(), 0), 0};
  int64_t step = 1;
  for (size_t d = domain.size(); d-- > 0;) {
    if (before.strides[d] == 0) continue;
    out.strides[d] = step;
    step *= domain[d];
  }
  return out;
}

// How many elements one pass over the domain writes under this map.
int64_t written(const Layout& map) {
  int64_t points = 1;
  for (size_t d = 0; d < map.shape.size(); ++d)
    if (map.strides[d] != 0) points *= map.shape[d];
  return points;
}

// The domain is a reduction's source, or else the shape of the last node stored.
Shape domain_of(const Ir& ir, const Group& g) {
  for (int i : g.nodes)
    if (node_at(ir, i).is(Kind::reduce)) return node_at(ir, node_at(ir, i).inputs[0]).shape;
  int root = *std::max_element(g.stored.begin(), g.stored.end());
  return node_at(ir, g.call >= 0 && g.nodes.size() == 1 ? g.call : root).shape;
}

bool place(const Ir& ir, const Reads& reads, int i, Group& g, const Shape& domain_before) {
  const IrNode& n = node_at(ir, i);
  std::vector<Layout>& at = g.maps.at(i);
  static std::vector<Layout> maps;  // used under the evaluation lock
  maps.clear();
  if (maps_in(ir, g, reads.uses[static_cast<size_t>(i)], maps) != Reason::none) return false;
  if (maps.empty()) maps.push_back(root_map(at[0], g.domain));
  if (maps.size() != at.size()) return false;
  if (n.is(Kind::reduce)) {
    // Reductions may have met in one group because they happened to have the same source shape.
    if (!(node_at(ir, n.inputs[0]).shape == g.domain)) return false;
    Layout kept = reduced_map(n.shape, g.domain, g.reduced);
    if (!(canonical(maps[0]) == canonical(kept))) return false;
    maps[0] = std::move(kept);
  }
  for (size_t m = 0; m < maps.size(); ++m) {
    Layout now = canonical(maps[m]), before = canonical(at[m]);
    if (now == before) continue;
    if (!same_class({g.domain, now.strides, 0}, {domain_before, before.strides, 0})) return false;
    at[m] = std::move(maps[m]);
  }
  return true;
}

// Whether an epilogue reads its call's result in order, and on panels writes in that order too.
bool follows_call(const Ir& ir, const Group& g, const TextTraits* text) {
  const IrNode& call = node_at(ir, g.call);
  const Layout rows = canonical(Layout::row_major(g.domain));
  if (!(canonical(g.maps.at(g.call)[0]) == rows) || element_count(g.domain) != call.size())
    return false;
  if (text) return text_takes_epilogue(ir, g.call, g.domain, *text);
  for (int i : g.stored)
    if (!(canonical(g.maps.at(i)[0]) == rows)) return false;
  return g.domain[0] == call.shape[0];
}

}  // namespace

bool refit(const Ir& ir, const Reads& reads, Group& g, const TextTraits* text) {
  Shape before = g.domain;
  g.domain = domain_of(ir, g);
  if (!same_pattern(g.domain, before)) return false;
  for (size_t k = g.nodes.size(); k-- > 0;)
    if (!place(ir, reads, g.nodes[k], g, before)) return false;
  // What is stored may have been as large as what is read of it by chance.
  for (int i : g.stored)
    if (i != g.call && written(canonical(g.maps.at(i)[0])) != node_at(ir, i).size()) return false;
  if (g.call >= 0 && g.nodes.size() > 1 && !follows_call(ir, g, text)) return false;
  if (g.kind != GroupKind::row) return true;
  int64_t row = 1;
  for (size_t d = 0; d < g.domain.size(); ++d)
    if (g.reduced >> d & 1) row *= g.domain[d];
  return row <= kMaxRow;
}

std::optional<Fusion> refit(const Ir& ir, const Ir& old_ir, const Fusion& old,
                            const TextTraits* text) {
  if (!same_structure(ir, old_ir)) return std::nullopt;
  Fusion out = old;
  Reads reads = find_reads(ir);
  for (Group& g : out.groups)
    if (!refit(ir, reads, g, text)) return std::nullopt;
  return out;
}

}  // namespace lamina::schedule

// A plan for other sizes: the fusion decided for one set of sizes is put on a graph of the same
// structure. Only geometry is computed anew; wherever a decision would no longer hold, refitting
// declines and the whole pipeline runs.
#include <algorithm>

#include "schedule/reads.h"

namespace lamina::schedule {

namespace {

// Sizes of 1 decide broadcasting, so they are structure.
bool same_pattern(const Shape& a, const Shape& b) {
  if (a.size() != b.size()) return false;
  for (size_t d = 0; d < a.size(); ++d)
    if ((a[d] == 1) != (b[d] == 1) || (a[d] == 0) != (b[d] == 0)) return false;
  return true;
}

// Which strides are 0, 1 or negative, and which layouts are row-major, decides what kernels do.
bool same_class(const Layout& a, const Layout& b) {
  if (a.contiguous() != b.contiguous()) return false;
  for (size_t d = 0; d < a.strides.size(); ++d)
    if ((a.strides[d] == 0) != (b.strides[d] == 0) || (a.strides[d] < 0) != (b.strides[d] < 0))
      return false;
  return true;
}

bool same_structure(const Ir& a, const Ir& b) {
  if (a.nodes.size() != b.nodes.size() || a.of_position != b.of_position) return false;
  for (size_t i = 0; i < a.nodes.size(); ++i) {
    const IrNode &x = a.nodes[i], &y = b.nodes[i];
    if (x.role != y.role || x.primitive != y.primitive || x.inputs != y.inputs ||
        x.dtype != y.dtype || x.output != y.output || x.donatable != y.donatable ||
        x.in_place_of != y.in_place_of || x.position != y.position ||
        !same_pattern(x.shape, y.shape))
      return false;
    if (x.role == Role::data && !same_class(x.layout, y.layout)) return false;
    bool sized = x.role == Role::view || x.role == Role::scalar;
    if (!sized && !(x.params == y.params)) return false;
    if (x.role == Role::scalar && x.position < 0 && !(x.params == y.params)) return false;
  }
  return true;
}

class Refitter {
 public:
  Refitter(const Ir& ir, const Fusion& old) : ir_(ir), old_(old), reads_(find_reads(ir)) {}

  std::optional<Fusion> run() {
    Fusion out;
    out.group_of = old_.group_of;
    out.edges = old_.edges;
    for (const Group& g : old_.groups) {
      auto fitted = refit(g);
      if (!fitted) return std::nullopt;
      out.groups.push_back(std::move(*fitted));
    }
    return out;
  }

 private:
  const IrNode& node(int i) const { return ir_.nodes[static_cast<size_t>(i)]; }

  std::optional<Group> refit(const Group& old) {
    Group g;
    g.kind = old.kind;
    g.reduced = old.reduced;
    g.nodes = old.nodes;
    g.stored = old.stored;
    g.call = old.call;
    if (!find_domain(old, g)) return std::nullopt;
    for (size_t k = g.nodes.size(); k-- > 0;)
      if (!place(g.nodes[k], old, g)) return std::nullopt;
    if (g.kind == GroupKind::row) {
      int64_t row = 1;
      for (size_t d = 0; d < g.domain.size(); ++d)
        if (g.reduced >> d & 1) row *= g.domain[d];
      if (row > kMaxRow) return std::nullopt;
    }
    return g;
  }

  // The domain is a reduction's source, or else the shape of the last node stored.
  bool find_domain(const Group& old, Group& g) {
    for (int i : g.nodes)
      if (node(i).is(Kind::reduce)) {
        g.domain = node(node(i).inputs[0]).shape;
        return g.domain.size() == old.domain.size();
      }
    int root = *std::max_element(g.stored.begin(), g.stored.end());
    g.domain = node(g.call >= 0 && g.nodes.size() == 1 ? g.call : root).shape;
    return g.domain.size() == old.domain.size() && same_pattern(g.domain, old.domain);
  }

  bool place(int i, const Group& old, Group& g) {
    const std::vector<Layout>& before = old.maps.at(i);
    std::vector<Layout> maps;
    if (maps_in(ir_, g, reads_.uses[static_cast<size_t>(i)], maps) != Reason::none) return false;
    if (maps.empty()) maps.push_back(root_map(i, before[0], g));
    if (maps.size() != before.size()) return false;
    for (size_t m = 0; m < maps.size(); ++m)
      if (!same_class({g.domain, canonical(maps[m]).strides, 0},
                      {old.domain, canonical(before[m]).strides, 0}))
        return false;
    if (node(i).is(Kind::reduce)) maps = {reduced_map(node(i).shape, g.domain, g.reduced)};
    g.maps[i] = std::move(maps);
    return true;
  }

  // What nobody in the group reads runs along the domain's axes in order, past the reduced ones.
  Layout root_map(int i, const Layout& before, const Group& g) const {
    Layout out{g.domain, Strides(g.domain.size(), 0), 0};
    int64_t step = 1;
    for (size_t d = g.domain.size(); d-- > 0;) {
      if (before.strides[d] == 0 || g.domain[d] == 1) continue;
      out.strides[d] = step;
      step *= g.domain[d];
    }
    return step == node(i).size() || node(i).size() == 0 ? out : Layout::row_major(g.domain);
  }

  const Ir& ir_;
  const Fusion& old_;
  Reads reads_;
};

}  // namespace

std::optional<Fusion> refit(const Ir& ir, const Ir& old_ir, const Fusion& old) {
  if (!same_structure(ir, old_ir)) return std::nullopt;
  return Refitter(ir, old).run();
}

}  // namespace lamina::schedule

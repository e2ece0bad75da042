#include "schedule/ir.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/hash.h"

namespace lamina::schedule {

std::vector<std::vector<int>> Ir::users() const {
  std::vector<std::vector<int>> out(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i)
    for (int in : nodes[i].inputs) out[static_cast<size_t>(in)].push_back(static_cast<int>(i));
  return out;
}

namespace {

// Rewrites indices after nodes moved. old_to_new may map several to one.
void renumber(Ir& ir, const std::vector<int>& old_to_new) {
  auto at = [&](int i) { return i < 0 ? -1 : old_to_new[static_cast<size_t>(i)]; };
  for (IrNode& n : ir.nodes) {
    for (int& in : n.inputs) in = at(in);
    n.in_place_of = at(n.in_place_of);
  }
  for (int& p : ir.of_position) p = at(p);
}

bool has_memory(const IrNode& n) { return n.role != Role::scalar && !n.is(Kind::iota); }

}  // namespace

std::vector<int> common_nodes(const Ir& ir) {
  std::unordered_map<Hash128, int> seen;
  std::vector<int> to(ir.nodes.size());
  for (size_t i = 0; i < ir.nodes.size(); ++i) {
    const IrNode& n = ir.nodes[i];
    to[i] = static_cast<int>(i);
    if (!mergeable(n)) continue;
    Hash128 h;
    h.add(static_cast<uint64_t>(n.primitive->id) << 8 | static_cast<uint64_t>(n.dtype) |
          uint64_t{n.role == Role::result} << 32);
    for (int64_t w : n.params.words()) h.add(static_cast<uint64_t>(w));
    h.add(n.shape.size());
    for (int64_t d : n.shape) h.add(static_cast<uint64_t>(d));
    for (int in : n.inputs) h.add(static_cast<uint64_t>(to[static_cast<size_t>(in)]));
    to[i] = seen.emplace(h, static_cast<int>(i)).first->second;
  }
  return to;
}

// Whether two output nodes that compute the same may be one: as views of one thing that is held.
static bool one_memory(const Ir& ir, int a, int b) {
  auto base = [&](int i) {
    while (ir.nodes[static_cast<size_t>(i)].role == Role::view)
      i = ir.nodes[static_cast<size_t>(i)].inputs[0];
    return i;
  };
  const IrNode& held = ir.nodes[static_cast<size_t>(base(a))];
  return base(a) == base(b) && base(a) != a && (held.role == Role::data || held.output);
}

int merge_common(Ir& ir) {
  std::vector<int> to = common_nodes(ir);
  std::vector<int> positions = ir.of_position;
  int merged = 0;
  for (size_t i = 0; i < ir.nodes.size(); ++i) {
    if (to[i] == static_cast<int>(i)) continue;
    IrNode& first = ir.nodes[static_cast<size_t>(to[i])];
    IrNode& n = ir.nodes[i];
    ++merged;
    if (n.output && first.output && !one_memory(ir, to[i], static_cast<int>(i))) {
      // Two values that the program holds: it may be lent the memory of one to write to.
      IrNode copy;
      copy.role = Role::copy;
      copy.inputs = {to[i]};
      copy.shape = n.shape;
      copy.dtype = n.dtype;
      copy.source = n.source;
      copy.output = true;
      n = std::move(copy);
      continue;
    }
    first.output |= n.output;
    n.output = false;
    std::replace(positions.begin(), positions.end(), static_cast<int>(i), to[i]);
  }
  renumber(ir, to);
  ir.of_position = std::move(positions);
  return merged;
}

int insert_copies(Ir& ir, bool scalars) {
  int inserted = 0;
  Ir out;
  std::vector<int> to(ir.nodes.size());
  auto copy_of = [&](int node, const IrNode& like) {
    IrNode c;
    c.role = Role::copy;
    c.inputs = {node};
    c.shape = out.nodes[static_cast<size_t>(node)].shape;
    c.dtype = out.nodes[static_cast<size_t>(node)].dtype;
    c.source = like.source;
    out.nodes.push_back(std::move(c));
    ++inserted;
    return static_cast<int>(out.nodes.size()) - 1;
  };
  for (size_t i = 0; i < ir.nodes.size(); ++i) {
    IrNode n = ir.nodes[i];
    for (int& in : n.inputs) in = to[static_cast<size_t>(in)];
    bool is_call = n.is(Kind::call);
    if (is_call)
      for (int& in : n.inputs) {
        auto a = access(out, in);
        if (!a) continue;
        const IrNode& base = out.nodes[static_cast<size_t>(a->base)];
        if (base.is(Kind::iota) || (scalars && base.role == Role::scalar)) in = copy_of(in, n);
      }
    out.nodes.push_back(n);
    to[i] = static_cast<int>(out.nodes.size()) - 1;
    if (n.role == Role::view && !access(out, to[i])) {
      out.nodes.pop_back();
      n.inputs[0] = copy_of(n.inputs[0], n);
      out.nodes.push_back(n);
      to[i] = static_cast<int>(out.nodes.size()) - 1;
    }
    IrNode& placed = out.nodes.back();
    if (placed.output && placed.role == Role::view) {
      auto a = access(out, to[i]);
      if (!has_memory(out.nodes[static_cast<size_t>(a->base)])) {
        placed.output = false;
        to[i] = copy_of(to[i], n);
        out.nodes.back().output = true;
      }
    }
  }
  out.of_position = ir.of_position;
  for (int& p : out.of_position) p = p < 0 ? -1 : to[static_cast<size_t>(p)];
  ir = std::move(out);
  return inserted;
}

void stand_in(const Ir& ir, const IrNode& n, Node& out) {
  out.primitive = n.primitive;
  out.params = n.params;
  out.shape = n.shape;
  out.dtype = n.dtype;
  for (int in : n.inputs) {
    const IrNode& i = ir.nodes[static_cast<size_t>(in)];
    out.inputs.push_back(make_leaf({}, i.shape, i.dtype));
  }
}

int elide_update_copies(Ir& ir) {
  std::vector<std::vector<int>> users = ir.users();
  int elided = 0;
  for (IrNode& n : ir.nodes) {
    if (n.role != Role::assemble || n.inputs.size() != 2 || n.in_place_of >= 0) continue;
    const IrNode& first = ir.nodes[static_cast<size_t>(n.inputs[0])];
    if (!(first.layout == Layout::row_major(n.shape))) continue;
    int base = first.inputs[0];
    const IrNode& b = ir.nodes[static_cast<size_t>(base)];
    bool own = b.role == Role::data ? b.donatable && b.layout.contiguous()
                                    : b.role == Role::assemble || b.is(Kind::call);
    if (!own || b.output || users[static_cast<size_t>(base)].size() != 1 || b.dtype != n.dtype)
      continue;
    n.in_place_of = base;
    n.inputs.erase(n.inputs.begin());
    ++elided;
  }
  return elided;
}

void finalise(Ir& ir) {
  for (size_t i = 0; i < ir.nodes.size(); ++i)
    if (ir.nodes[i].role == Role::assemble)
      for (int in : ir.nodes[i].inputs)
        ir.nodes[static_cast<size_t>(in)].into = static_cast<int>(i);
  std::vector<std::optional<Access>> resolved;
  for (size_t i = 0; i < ir.nodes.size(); ++i) resolved.push_back(access(ir, static_cast<int>(i)));
  ir.resolved = std::move(resolved);
}

int drop_dead(Ir& ir) {
  std::vector<bool> live(ir.nodes.size(), false);
  for (size_t i = ir.nodes.size(); i-- > 0;) {
    const IrNode& n = ir.nodes[i];
    if (n.output) live[i] = true;
    if (!live[i]) continue;
    for (int in : n.inputs) live[static_cast<size_t>(in)] = true;
    if (n.in_place_of >= 0) live[static_cast<size_t>(n.in_place_of)] = true;
  }
  // A call writes all of its results, wanted or not.
  for (size_t i = 0; i < ir.nodes.size(); ++i)
    if (ir.nodes[i].role == Role::result)
      live[i] = live[static_cast<size_t>(ir.nodes[i].inputs[0])];
  std::vector<int> to(ir.nodes.size(), -1);
  std::vector<IrNode> kept;
  for (size_t i = 0; i < ir.nodes.size(); ++i) {
    if (!live[i]) continue;
    to[i] = static_cast<int>(kept.size());
    kept.push_back(std::move(ir.nodes[i]));
  }
  int dropped = static_cast<int>(ir.nodes.size() - kept.size());
  ir.nodes = std::move(kept);
  renumber(ir, to);
  return dropped;
}

void verify(const Ir& ir) {
  auto fail = [](size_t i, const std::string& what) {
    throw InternalError("scheduler graph: node " + std::to_string(i) + " " + what);
  };
  for (size_t i = 0; i < ir.nodes.size(); ++i) {
    const IrNode& n = ir.nodes[i];
    for (int in : n.inputs)
      if (in < 0 || static_cast<size_t>(in) >= i) fail(i, "reads a node that is not before it");
    if (n.role == Role::compute) {
      Kind k = n.primitive->kind;
      if (k == Kind::alias || k == Kind::composite || k == Kind::custom || k == Kind::concatenate ||
          k == Kind::update || k == Kind::view)
        fail(i, "is a " + n.primitive->name + ", which import should have resolved");
    }
    if (n.role == Role::assemble)
      for (int in : n.inputs)
        if (ir.nodes[static_cast<size_t>(in)].role != Role::piece)
          fail(i, "is assembled from a non-piece");
    if (n.role == Role::result && !ir.nodes[static_cast<size_t>(n.inputs[0])].is(Kind::call))
      fail(i, "is the result of what is no call");
    if (n.role == Role::view && !access(ir, static_cast<int>(i)))
      fail(i, "is a view that strides cannot express");
    if (n.output && !has_memory(n)) fail(i, "is an output without memory");
  }
}

}  // namespace lamina::schedule

#include "schedule/reads.h"

#include <algorithm>
#include <map>
#include <span>

#include "base/error.h"

namespace lamina::schedule {

// Whether later pieces overwrite earlier ones: an update's do, a concatenation's do not.
static bool overlapping(const Ir& ir, int assemble) {
  auto node = [&](int i) -> const IrNode& { return ir.nodes[static_cast<size_t>(i)]; };
  const IrNode& a = node(assemble);
  return a.inputs.size() == 2 && node(a.inputs[0]).size() == a.size() &&
         node(a.inputs[1]).size() > 0;
}

Reads find_reads(const Ir& ir) {
  Reads out;
  out.uses.resize(ir.nodes.size());
  out.kept.resize(ir.nodes.size());
  out.awaited.resize(ir.nodes.size());
  out.waiting.resize(ir.nodes.size());
  for (int i = 0; i < static_cast<int>(ir.nodes.size()); ++i) {
    const IrNode& n = ir.nodes[static_cast<size_t>(i)];
    if (n.role == Role::view) {
      if (n.output) out.kept[static_cast<size_t>(access(ir, i)->base)] = true;
      continue;
    }
    if (n.output) out.kept[static_cast<size_t>(i)] = true;
    if (n.role == Role::assemble && overlapping(ir, i)) {
      out.awaited[static_cast<size_t>(n.inputs[1])].push_back(n.inputs[0]);
      out.waiting[static_cast<size_t>(n.inputs[0])].push_back(n.inputs[1]);
    }
    for (size_t k = 0; k < n.inputs.size(); ++k) {
      Use use{i, k, {}};
      auto a = access(ir, n.inputs[k]);
      auto at = [&](int v) -> const IrNode& { return ir.nodes[static_cast<size_t>(v)]; };
      for (int v = n.inputs[k]; at(v).role == Role::view; v = at(v).inputs[0]) {
        use.via.push_back(v);
        for (size_t extra = 1; extra < at(v).inputs.size(); ++extra) {
          int base = access(ir, at(v).inputs[extra])->base;
          out.awaited[static_cast<size_t>(i)].push_back(base);
          out.waiting[static_cast<size_t>(base)].push_back(i);
        }
      }
      out.uses[static_cast<size_t>(a->base)].push_back(std::move(use));
    }
  }
  return out;
}

Layout layout_of(const Ir& ir, const Use& use) {
  const IrNode& reader = ir.nodes[static_cast<size_t>(use.reader)];
  size_t input = static_cast<size_t>(reader.inputs[use.operand]);
  // Elementwise inputs broadcast to the node's shape; everything else reads them as they are.
  return broadcast_layout(ir.resolved[input]->layout,
                          reader.is(Kind::elementwise) ? reader.shape : ir.nodes[input].shape);
}

uint32_t axes_mask(const IrNode& reduce) {
  uint32_t mask = 0;
  for (int64_t a : reduce.params.read().ints()) mask |= 1u << a;
  return mask;
}

Layout reduced_map(const Shape& kept, const Shape& domain, uint32_t reduced) {
  Layout out{domain, row_major_strides(kept), 0};
  for (size_t d = 0; d < domain.size(); ++d)
    if (reduced >> d & 1 || domain[d] == 1) out.strides[d] = 0;
  return out;
}

Layout canonical(Layout m) {
  for (size_t d = 0; d < m.shape.size(); ++d)
    if (m.shape[d] == 1) m.strides[d] = 0;
  return m;
}

Reason maps_in(const Ir& ir, const Group& g, const std::vector<Use>& uses,
               std::vector<Layout>& out) {
  for (const Use& use : uses) {
    auto found = g.maps.find(use.reader);
    if (found == g.maps.end()) continue;
    if (use.reader == g.call && !g.prologue) return Reason::input_of_call;
    bool whole = ir.nodes[static_cast<size_t>(use.reader)].is(Kind::reduce);
    const Layout layout = layout_of(ir, use);
    const Layout domain = whole ? Layout::row_major(g.domain) : Layout{};
    for (const Layout& at : whole ? std::span(&domain, 1) : std::span(found->second)) {
      auto m = compose(layout, at);
      if (!m) return Reason::layout_not_expressible;
      Layout c = canonical(std::move(*m));
      if (std::find(out.begin(), out.end(), c) == out.end()) out.push_back(c);
    }
  }
  return Reason::none;
}

Reason row_fits(const Shape& domain, uint32_t axes, const IrNode& n) {
  int64_t row = 1;
  bool inner = true, seen_kept = false;
  for (size_t d = domain.size(); d-- > 0;) {
    if (axes >> d & 1) {
      inner &= !seen_kept || domain[d] == 1;
      row *= domain[d];
    } else if (domain[d] != 1) {
      seen_kept = true;
    }
  }
  if (!inner) return Reason::reduction_barrier;
  if (n.primitive->reduce_op >= ReduceOp::argmin) return Reason::reduction_barrier;
  return row > kMaxRow ? Reason::row_too_long : Reason::none;
}

std::set<int> groups_needed(const Ir& ir, const Group& g, const std::vector<int>& homes) {
  auto node = [&](int i) -> const IrNode& { return ir.nodes[static_cast<size_t>(i)]; };
  auto home = [&](int i) { return homes[static_cast<size_t>(i)]; };
  std::set<int> out;
  auto add_base = [&](int base) {
    for (; node(base).role == Role::assemble; base = node(base).in_place_of) {
      for (int piece : node(base).inputs) out.insert(home(piece));
      if (node(base).in_place_of < 0) return;
    }
    if (home(base) >= 0) out.insert(home(base));
  };
  for (int member : g.nodes)
    if (int a = node(member).role == Role::piece ? node(member).into : -1; a >= 0) {
      // The pieces of one update are written in order, after the memory they go into.
      if (node(a).in_place_of >= 0) add_base(node(a).in_place_of);
      if (overlapping(ir, a) && node(a).inputs[0] != member) out.insert(home(node(a).inputs[0]));
    }
  for (int member : g.nodes)
    for (int in : node(member).inputs) {
      for (int v = in; node(v).role == Role::view; v = node(v).inputs[0])
        for (size_t k = 1; k < node(v).inputs.size(); ++k)
          add_base(access(ir, node(v).inputs[k])->base);
      if (int base = access(ir, in)->base; !g.maps.count(base)) add_base(base);
    }
  return out;
}

namespace {

// Which of the groups that may run goes next. Program order, except that a group which sets memory
// free, or makes much less of it than it reads, goes first: the product that gives a weight's
// gradient, say, which is the last but one to need two activations.
class Queue {
 public:
  Queue(const Ir& ir, const std::vector<Group>& groups)
      : ir_(ir),
        made_(groups.size()),
        read_(groups.size()),
        freed_(groups.size()),
        bases_(groups.size()),
        rank_(groups.size()),
        state_(groups.size(), State::waiting) {
    for (size_t g = 0; g < groups.size(); ++g) {
      for (int s : groups[g].stored) made_[g] += temporary_bytes(s);
      for (int member : groups[g].nodes) {
        rank_[g] = std::max(rank_[g], member);
        for (int in : node(member).inputs)
          if (int base = access(ir_, in)->base;
              !groups[g].maps.count(base) && temporary_bytes(base) > 0)
            bases_[g].insert(base);
      }
      for (int base : bases_[g]) {
        read_[g] += temporary_bytes(base);
        readers_[base].insert(g);
      }
    }
    for (const auto& [base, readers] : readers_) last_reader(base);
  }

  void add(size_t g) {
    state_[g] = State::ready;
    (eager(g) ? eager_ : later_).insert({rank_[g], g});
  }

  bool empty() const { return eager_.empty() && later_.empty(); }

  size_t take() {
    auto& from = eager_.empty() ? later_ : eager_;
    size_t g = from.begin()->second;
    from.erase(from.begin());
    state_[g] = State::done;
    for (int base : bases_[g]) {
      readers_[base].erase(g);
      last_reader(base);
    }
    return g;
  }

 private:
  enum class State : uint8_t { waiting, ready, done };

  const IrNode& node(int i) const { return ir_.nodes[static_cast<size_t>(i)]; }

  int64_t temporary_bytes(int i) const {
    const IrNode& n = node(i);
    return n.output || n.role == Role::data || free_value(n) ? 0 : n.bytes();
  }

  bool eager(size_t g) const { return made_[g] <= freed_[g] || made_[g] <= read_[g] / 4; }

  void last_reader(int base) {
    const std::set<size_t>& readers = readers_[base];
    if (readers.size() != 1) return;
    size_t g = *readers.begin();
    freed_[g] += temporary_bytes(base);
    if (state_[g] == State::ready && eager(g) && later_.erase({rank_[g], g}))
      eager_.insert({rank_[g], g});
  }

  const Ir& ir_;
  std::vector<int64_t> made_, read_, freed_;  // bytes
  std::vector<std::set<int>> bases_;
  std::vector<int> rank_;
  std::vector<State> state_;
  std::map<int, std::set<size_t>> readers_;
  std::set<std::pair<int, size_t>> eager_, later_;
};

}  // namespace

std::vector<Group> ordered(const Ir& ir, std::vector<Group> groups, std::vector<int>& group_of) {
  size_t count = groups.size();
  std::vector<std::set<int>> waiting(count);
  std::vector<std::vector<int>> followers(count);
  Queue ready(ir, groups);
  size_t total = 0;
  for (size_t g = 0; g < count; ++g) {
    if (groups[g].nodes.empty()) continue;
    ++total;
    waiting[g] = groups_needed(ir, groups[g], group_of);
    waiting[g].erase(static_cast<int>(g));
    for (int n : waiting[g]) followers[static_cast<size_t>(n)].push_back(static_cast<int>(g));
    if (waiting[g].empty()) ready.add(g);
  }
  std::vector<Group> out;
  std::vector<int> to(count, -1);
  while (!ready.empty()) {
    size_t g = ready.take();
    to[g] = static_cast<int>(out.size());
    std::sort(groups[g].nodes.begin(), groups[g].nodes.end());
    out.push_back(std::move(groups[g]));
    for (int f : followers[g]) {
      waiting[static_cast<size_t>(f)].erase(static_cast<int>(g));
      if (waiting[static_cast<size_t>(f)].empty()) ready.add(static_cast<size_t>(f));
    }
  }
  if (out.size() != total) throw InternalError("fusion made kernels that wait for each other");
  for (int& g : group_of)
    if (g >= 0) g = to[static_cast<size_t>(g)];
  return out;
}

bool text_takes_epilogue(const Ir& ir, int call, const Shape& domain, const TextTraits& text) {
  const IrNode& n = ir.nodes[static_cast<size_t>(call)];
  if (!n.primitive->takes_epilogue) return false;
  std::vector<TensorView> in;
  for (int i : n.inputs) {
    const Layout& at = ir.resolved[static_cast<size_t>(i)]->layout;
    in.push_back({nullptr, ir.nodes[static_cast<size_t>(i)].dtype, at.shape, at.strides});
  }
  const TensorView out{nullptr, n.dtype, n.shape, row_major_strides(n.shape)};
  return n.primitive->takes_epilogue({&n.params, in, {&out, 1}}, domain, text);
}

void verify(const Ir& ir, const Fusion& fusion) {
  std::set<std::pair<int, int>> seen;
  for (const Edge& e : fusion.edges)
    if (!seen.insert({e.from, e.to}).second)
      throw InternalError("edge " + std::to_string(e.from) + " -> " + std::to_string(e.to) +
                          " stands twice");
  for (const Edge& e : fusion.edges) {
    if (e.reason != Reason::none || free_value(ir.nodes[static_cast<size_t>(e.from)]) ||
        ir.nodes[static_cast<size_t>(e.to)].role == Role::assemble)
      continue;
    for (const Group& g : fusion.groups)
      if (g.maps.count(e.to) && !g.maps.count(e.from))
        throw InternalError("edge " + std::to_string(e.from) + " -> " + std::to_string(e.to) +
                            " is fused across kernels");
  }
  for (size_t i = 0; i < ir.nodes.size(); ++i) {
    if (ir.nodes[i].role == Role::view) continue;
    for (int in : ir.nodes[i].inputs) {
      int base = access(ir, in)->base;
      if (ir.nodes[static_cast<size_t>(base)].role != Role::scalar &&
          !seen.count({base, static_cast<int>(i)}))
        throw InternalError("edge " + std::to_string(base) + " -> " + std::to_string(i) +
                            " has no decision");
    }
  }
}

}  // namespace lamina::schedule

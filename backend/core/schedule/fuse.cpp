#include "schedule/reads.h"

#include <algorithm>
#include <set>

namespace lamina::schedule {

namespace {

int flops_of(const IrNode& n) {
  return n.is(Kind::elementwise) ? formulas()[static_cast<size_t>(n.primitive->formula)].info.flops
                                 : 0;
}

class Fuser {
 public:
  Fuser(const Ir& ir, const FuseOptions& options)
      : ir_(ir),
        options_(options),
        reads_(find_reads(ir)),
        why_(ir.nodes.size(), Reason::none),
        home_(ir.nodes.size(), -1),
        members_of_(ir.nodes.size()) {}

  Fusion run() {
    for (int i = static_cast<int>(ir_.nodes.size()); i-- > 0;) place(i);
    for (size_t i = 0; i < ir_.nodes.size(); ++i)
      if (ir_.nodes[i].role == Role::result) home_[i] = home(ir_.nodes[i].inputs[0]);
    if (options_.enabled && options_.text) take_prologues();
    if (options_.enabled) merge_siblings();
    Fusion out;
    out.group_of = home_;
    out.edges = edges();
    out.groups = ordered(ir_, std::move(groups_), out.group_of);
    return out;
  }

 private:
  const IrNode& node(int i) const { return ir_.nodes[static_cast<size_t>(i)]; }
  const std::vector<Use>& uses(int i) const { return reads_.uses[static_cast<size_t>(i)]; }
  bool kept(int i) const { return reads_.kept[static_cast<size_t>(i)]; }
  const std::vector<int>& waiting(int i) const { return reads_.waiting[static_cast<size_t>(i)]; }
  Group& group(int g) { return groups_[static_cast<size_t>(g)]; }
  int home(int i) const { return home_[static_cast<size_t>(i)]; }

  void place(int i) {
    const IrNode& n = node(i);
    if (n.role == Role::view || materialised_kind(n) || free_value(n)) return;
    bool joined = options_.enabled && !uses(i).empty() && !n.is(Kind::call) && join(i);
    if (joined) return;
    if (options_.enabled && n.is(Kind::call) && take_epilogue(i)) return;
    start_group(i);
  }

  void start_group(int i) {
    const IrNode& n = node(i);
    Group g;
    if (n.is(Kind::call)) {
      g.kind = GroupKind::call;
      g.call = i;
      g.domain = n.shape;
    } else if (n.is(Kind::reduce)) {
      g.kind = GroupKind::reduce;
      g.domain = node(n.inputs[0]).shape;
      g.reduced = axes_mask(n);
    } else {
      g.domain = n.shape;
    }
    g.nodes = {i};
    g.stored = {i};
    g.maps[i] = {n.is(Kind::reduce) ? reduced_map(n.shape, g.domain, g.reduced)
                                    : Layout::row_major(n.shape)};
    home_[static_cast<size_t>(i)] = static_cast<int>(groups_.size());
    members_of_[static_cast<size_t>(i)].push_back(static_cast<int>(groups_.size()));
    groups_.push_back(std::move(g));
  }

  Reason maps_in(int g, int i, std::vector<Layout>& out) {
    return schedule::maps_in(ir_, group(g), uses(i), out);
  }

  std::set<int> reader_groups(int i) {
    std::set<int> out;
    for (const Use& use : uses(i)) {
      if (node(use.reader).role == Role::assemble) continue;
      for (int g : members_of_[static_cast<size_t>(use.reader)]) out.insert(g);
    }
    return out;
  }

  bool join(int i) {
    std::set<int> readers = reader_groups(i);
    bool must_store = kept(i);
    if (readers.size() > 1 && !must_store && node(i).elementwise() && cheap_to_repeat(i) &&
        readers.size() <= 4 && waiting(i).empty()) {
      bool all = true;
      std::vector<std::vector<Layout>> maps(readers.size());
      size_t k = 0;
      for (int g : readers) all &= can_inline(g, i, maps[k++]) == Reason::none;
      if (all) {
        k = 0;
        for (int g : readers) add(g, i, maps[k++], false);
        return true;
      }
    }
    Reason first = Reason::none;
    for (int g : readers) {
      bool store = must_store || readers.size() > 1;
      Reason r = try_join(g, i, store);
      if (r == Reason::none) return true;
      if (first == Reason::none) first = r;
    }
    if (readers.size() > 1) first = must_store ? Reason::kept_for_user : Reason::several_consumers;
    why_[static_cast<size_t>(i)] = first;
    return false;
  }

  // One big operand and little arithmetic: reading the operand again costs what reading the result
  // would, and the write is saved.
  bool cheap_to_repeat(int i) const {
    int big = 0;
    for (int in : node(i).inputs) {
      auto a = access(ir_, in);
      if (!free_value(node(a->base)) && node(a->base).size() > 1) ++big;
    }
    return flops_of(node(i)) <= 2 && big <= 1;
  }

  Reason try_join(int g, int i, bool store) {
    const IrNode& n = node(i);
    // A kernel over nothing computes nothing that others read.
    if (element_count(group(g).domain) == 0 && n.size() > 0 && (store || n.is(Kind::reduce)))
      return Reason::shape_barrier;
    std::vector<Layout> maps;
    if (n.is(Kind::reduce)) return join_reduce(g, i, store);
    if (Reason r = can_inline(g, i, maps); r != Reason::none) return r;
    if (store) {
      if (maps.size() != 1 || !storable(group(g), i, maps[0]))
        return kept(i) ? Reason::kept_for_user : Reason::several_consumers;
    }
    if ((store || !waiting(i).empty()) && reaches(i, g)) return Reason::cycle;
    add(g, i, maps, store);
    return Reason::none;
  }

  Reason can_inline(int g, int i, std::vector<Layout>& maps) {
    const IrNode& n = node(i);
    Group& gr = group(g);
    if (Reason r = maps_in(g, i, maps); r != Reason::none) return r;
    if (maps.empty()) return Reason::shape_barrier;
    for (const Layout& m : maps)
      if (!inputs_compose(n, m)) return Reason::layout_not_expressible;
    int flops = flops_of(n);
    if (maps.size() > 2 || (maps.size() > 1 && flops > 2)) return Reason::recompute_too_dear;
    for (const Layout& m : maps) {
      int64_t points = element_count(m.shape);
      int axes = 0;
      for (size_t d = 0; d < m.shape.size(); ++d) axes += m.strides[d] != 0;
      // A vector along one axis is computed once a tile; a repeated matrix once a repetition.
      if (points > n.size() && axes > 1 && flops >= 4 && n.size() > 16384)
        return Reason::recompute_too_dear;
    }
    if (static_cast<int>(gr.nodes.size()) >= options_.max_instructions)
      return Reason::register_pressure;
    if (arguments(gr, i) > options_.max_arguments) return Reason::argument_limit;
    return Reason::none;
  }

  // Whether every input of n can be read under map m.
  bool inputs_compose(const IrNode& n, const Layout& m) const {
    for (int in : n.inputs) {
      Layout at = broadcast_layout(access(ir_, in)->layout,
                                   n.is(Kind::elementwise) ? n.shape : node(in).shape);
      if (!compose(at, m)) return false;
    }
    return true;
  }

  // Memory the group reads or writes once i is a member.
  int arguments(Group& g, int i) {
    std::set<int> bases;
    auto count = [&](int member) {
      for (int in : node(member).inputs) {
        int base = access(ir_, in)->base;
        if (!free_value(node(base)) && !g.maps.count(base) && base != i) bases.insert(base);
      }
    };
    for (int member : g.nodes) count(member);
    count(i);
    return static_cast<int>(bases.size() + g.stored.size());
  }

  // Whether one pass over the domain writes every element of node i exactly once.
  bool storable(const Group& g, int i, const Layout& m) const {
    int64_t points = 1;
    for (size_t d = 0; d < m.shape.size(); ++d) {
      if (m.strides[d] != 0)
        points *= m.shape[d];
      else if (m.shape[d] > 1 && !(g.reduced >> d & 1 && depends_on_reduce(g, i)))
        return false;
    }
    return points == node(i).size();
  }

  bool depends_on_reduce(const Group& g, int i) const {
    if (node(i).is(Kind::reduce)) return g.maps.count(i) > 0;
    // Producers are placed after their consumers: what i will read is not in the group yet, so the
    // answer for a candidate is taken from its shape.
    return node(i).size() < element_count(g.domain) && g.kind != GroupKind::map;
  }

  Reason join_reduce(int g, int i, bool store) {
    const IrNode& n = node(i);
    Group& gr = group(g);
    const Shape& domain = node(n.inputs[0]).shape;
    uint32_t axes = axes_mask(n);
    std::vector<Layout> maps;
    if (Reason r = maps_in(g, i, maps); r != Reason::none) return r;
    if (maps.size() != 1) return Reason::reduction_barrier;
    if (gr.call >= 0) return Reason::reduction_barrier;
    if (arguments(gr, i) > options_.max_arguments) return Reason::argument_limit;
    if ((store || !waiting(i).empty()) && reaches(i, g)) return Reason::cycle;
    if (gr.kind == GroupKind::map && !(gr.domain == domain && element_count(domain) > n.size()))
      return absorb_epilogue(g, i, maps[0], domain, axes, store);
    if (!(gr.domain == domain) || (gr.reduced && gr.reduced != axes)) return Reason::shape_barrier;
    if (!(maps[0] == canonical(reduced_map(n.shape, domain, axes))))
      return Reason::reduction_barrier;
    bool becomes_row = gr.kind == GroupKind::row || full_reader(gr, i, axes);
    if (becomes_row) {
      if (Reason r = row_fits(domain, axes, n); r != Reason::none) return r;
    }
    gr.kind = becomes_row ? GroupKind::row : GroupKind::reduce;
    gr.reduced = axes;
    add(g, i, {reduced_map(n.shape, domain, axes)}, store);
    return Reason::none;
  }

  // Whether something that varies along the reduced axes waits for i, directly or through others.
  bool full_reader(Group& gr, int i, uint32_t axes) {
    for (const Use& use : uses(i)) {
      if (!gr.maps.count(use.reader)) continue;
      if (node(use.reader).is(Kind::reduce)) return true;
      for (const Layout& m : gr.maps[use.reader])
        for (size_t d = 0; d < m.shape.size(); ++d)
          if (axes >> d & 1 && m.strides[d] != 0) return true;
      if (full_reader(gr, use.reader, axes)) return true;
    }
    return false;
  }

  // The group is elementwise over the reduction's result: it becomes the reduction's last step, and
  // its domain the reduction's.
  Reason absorb_epilogue(int g, int i, const Layout& m, const Shape& domain, uint32_t axes,
                         bool store) {
    const IrNode& n = node(i);
    Group& gr = group(g);
    if (element_count(gr.domain) != n.size()) return Reason::shape_barrier;
    // Pair the old domain's axes with the kept axes of the new one, both without size-1 axes.
    std::vector<size_t> old_axes, new_axes;
    for (size_t d = 0; d < gr.domain.size(); ++d)
      if (gr.domain[d] != 1) old_axes.push_back(d);
    for (size_t d = 0; d < domain.size(); ++d)
      if (!(axes >> d & 1) && domain[d] != 1) new_axes.push_back(d);
    if (old_axes.size() != new_axes.size()) return Reason::shape_barrier;
    Strides kept = row_major_strides(n.shape);
    for (size_t k = 0; k < old_axes.size(); ++k)
      if (gr.domain[old_axes[k]] != domain[new_axes[k]] ||
          m.strides[old_axes[k]] != kept[new_axes[k]])
        return Reason::shape_barrier;
    for (auto& [member, maps] : gr.maps)
      for (Layout& old : maps) {
        Layout now{domain, Strides(domain.size(), 0), old.offset};
        for (size_t k = 0; k < old_axes.size(); ++k)
          now.strides[new_axes[k]] = old.strides[old_axes[k]];
        old = now;
      }
    gr.domain = domain;
    gr.reduced = axes;
    gr.kind = GroupKind::reduce;
    add(g, i, {reduced_map(n.shape, domain, axes)}, store);
    return Reason::none;
  }

  // A call takes an elementwise group over its result as epilogue, where the device can run it so.
  bool take_epilogue(int i) {
    const Primitive& p = *node(i).primitive;
    std::set<int> readers = reader_groups(i);
    Reason& why = why_[static_cast<size_t>(i)];
    why = Reason::opaque_call;
    const uint32_t splits = node(i).shape.size() > 2 ? p.splits_batch : p.splits_rows;
    const bool able = options_.text ? p.takes_epilogue != nullptr : options_.panels && splits;
    if (!able) return false;
    if (readers.size() > 1) why = Reason::several_consumers;
    if (kept(i)) why = Reason::kept_for_user;
    if (readers.size() != 1 || kept(i) || !waiting(i).empty()) return false;
    int g = *readers.begin();
    Group& gr = group(g);
    std::vector<Layout> maps;
    if (gr.kind != GroupKind::map || maps_in(g, i, maps) != Reason::none || maps.size() != 1)
      return false;
    const IrNode& n = node(i);
    if (n.shape.size() < (options_.text ? 1 : 2) || element_count(gr.domain) != n.size() ||
        !(canonical(maps[0]) == canonical(Layout::row_major(gr.domain))))
      return false;
    if (options_.text ? !takes_in_text(gr, i) : !takes_by_rows(gr, n)) return false;
    for (int member : gr.nodes) {
      for (int in : node(member).inputs)
        if (int base = access(ir_, in)->base; !gr.maps.count(base) && depends_on(base, i))
          return false;
      for (int before : reads_.awaited[static_cast<size_t>(member)])
        if (depends_on(before, i)) return false;
    }
    gr.kind = GroupKind::call;
    gr.call = i;
    why = Reason::none;
    gr.maps[i] = {Layout::row_major(gr.domain)};
    gr.nodes.push_back(i);
    members_of_[static_cast<size_t>(i)].push_back(g);
    home_[static_cast<size_t>(i)] = g;
    return true;
  }

  // An elementwise group that computes nothing but what a call reads becomes part of its text.
  void take_prologues() {
    for (int g = 0; g < static_cast<int>(groups_.size()); ++g) {
      const int call = group(g).call;
      if (call < 0 || !node(call).primitive->takes_prologue) continue;
      const int input = access(ir_, node(call).inputs[0])->base;
      if (!computes_only(input, g) ||
          !text_takes_epilogue(ir_, call, group(g).domain, *options_.text))
        continue;
      Group before = group(g);
      group(g).prologue = true;
      const Reason r = take_members(g, home(input));
      if (r == Reason::none) continue;
      why_[static_cast<size_t>(input)] = r;
      group(g) = std::move(before);
    }
  }

  // Whether the group that computes node i gives nothing else, and to nobody but group g. Where the
  // call is not its only reader it is computed more than once, so it has to be cheap.
  bool computes_only(int i, int g) {
    const int from = home(i);
    if (from < 0 || from == g || kept(i) || !waiting(i).empty()) return false;
    const Group& made = group(from);
    if (made.kind != GroupKind::map || made.stored != std::vector<int>{i}) return false;
    if (node(i).role == Role::piece || reader_groups(i) != std::set<int>{g}) return false;
    int flops = 0;
    for (int member : made.nodes) flops += flops_of(node(member));
    return uses(i).size() == 1 || flops <= 4;
  }

  // Group `from` dissolves into g, from its result upwards. REQUIRES: on failure g is put back.
  Reason take_members(int g, int from) {
    Group& gr = group(g);
    std::vector<int> members = group(from).nodes;
    std::sort(members.rbegin(), members.rend());
    for (int member : members) {
      std::vector<Layout> maps;
      if (Reason r = can_inline(g, member, maps); r != Reason::none) return r;
      if (!gr.maps.count(member)) gr.nodes.push_back(member);
      gr.maps[member] = std::move(maps);
    }
    for (int member : members) {
      auto& of = members_of_[static_cast<size_t>(member)];
      std::erase(of, from);
      if (std::find(of.begin(), of.end(), g) == of.end()) of.push_back(g);
      if (home(member) == from) home_[static_cast<size_t>(member)] = g;
    }
    group(from) = Group{};
    return Reason::none;
  }

  // Panels of rows: everything that is stored lies as the call's result would.
  bool takes_by_rows(Group& g, const IrNode& call) {
    for (int s : g.stored)
      if (!(canonical(g.maps[s][0]) == canonical(Layout::row_major(g.domain))) ||
          node(s).role == Role::piece)
        return false;
    return !g.domain.empty() && g.domain[0] == call.shape[0];
  }

  bool takes_in_text(Group& g, int call) {
    const auto inputs = static_cast<int>(node(call).inputs.size());
    if (arguments(g, call) + inputs > options_.max_arguments) {
      why_[static_cast<size_t>(call)] = Reason::argument_limit;
      return false;
    }
    return text_takes_epilogue(ir_, call, g.domain, *options_.text);
  }

  // A member's other input that itself waits for the call through another group would be a cycle.
  bool depends_on(int base, int call) {
    if (base == call || base < call) return false;
    if (home(base) >= 0 && group(home(base)).maps.count(call)) return false;
    std::vector<int> stack{base};
    std::set<int> seen;
    while (!stack.empty()) {
      int at = stack.back();
      stack.pop_back();
      if (at == call) return true;
      if (at < call || !seen.insert(at).second) continue;
      for (int in : node(at).inputs) stack.push_back(in);
    }
    return false;
  }

  void add(int g, int i, const std::vector<Layout>& maps, bool store) {
    Group& gr = group(g);
    gr.nodes.push_back(i);
    members_of_[static_cast<size_t>(i)].push_back(g);
    gr.maps[i] = maps;
    if (store) gr.stored.push_back(i);
    if (home(i) < 0 || store) home_[static_cast<size_t>(i)] = g;
  }

  // Whether a reader of i outside group g leads back into g. A reader may be computed in several
  // groups.
  bool reaches(int i, int g) {
    std::vector<int> stack;
    std::set<int> seen{g};
    auto follow = [&](int read, bool first) {
      for (int w : waiting(read))
        for (int h : members_of_[static_cast<size_t>(w)]) {
          if (h == g) return true;
          if (seen.insert(h).second) stack.push_back(h);
        }
      for (const Use& use : uses(read)) {
        if (materialised_kind(node(use.reader))) {
          stack.push_back(-1 - use.reader);
          continue;
        }
        for (int h : members_of_[static_cast<size_t>(use.reader)]) {
          if (h == g && !first) return true;
          if (seen.insert(h).second) stack.push_back(h);
        }
      }
      return false;
    };
    if (follow(i, true)) return true;
    while (!stack.empty()) {
      int at = stack.back();
      stack.pop_back();
      if (at < 0) {
        if (follow(-1 - at, false)) return true;
        continue;
      }
      for (int s : group(at).stored)
        if (follow(s, false)) return true;
    }
    return false;
  }

  // Memory bases group g reads.
  std::set<int> reads_of(const Group& g) const {
    std::set<int> out;
    for (int member : g.nodes)
      for (int in : node(member).inputs) {
        int base = access(ir_, in)->base;
        if (!free_value(node(base)) && (!g.maps.count(base))) out.insert(base);
      }
    return out;
  }

  // Kernels over the same index space that share an input become one with several outputs, if
  // neither waits for the other.
  void merge_siblings() {
    std::map<int, std::vector<int>> readers;
    for (int g = 0; g < static_cast<int>(groups_.size()); ++g)
      if (group(g).call < 0)
        for (int base : reads_of(group(g))) readers[base].push_back(g);
    std::vector<int> into(groups_.size());
    for (size_t g = 0; g < into.size(); ++g) into[g] = static_cast<int>(g);
    for (auto& [base, list] : readers)
      for (size_t a = 0; a < list.size() && list.size() <= 64; ++a)
        for (size_t b = a + 1; b < list.size(); ++b) {
          int ga = into[static_cast<size_t>(list[a])], gb = into[static_cast<size_t>(list[b])];
          if (ga != gb && mergeable(ga, gb)) {
            absorb(ga, gb);
            for (int& to : into)
              if (to == gb) to = ga;
          }
        }
  }

  bool mergeable(int a, int b) {
    Group &ga = group(a), &gb = group(b);
    if (ga.nodes.empty() || gb.nodes.empty() || ga.kind != gb.kind || ga.reduced != gb.reduced ||
        !(ga.domain == gb.domain) || element_count(ga.domain) < 2)
      return false;
    if (static_cast<int>(ga.nodes.size() + gb.nodes.size()) > options_.max_instructions)
      return false;
    std::set<int> reads = reads_of(ga), other = reads_of(gb);
    reads.insert(other.begin(), other.end());
    if (static_cast<int>(reads.size() + ga.stored.size() + gb.stored.size()) >
        options_.max_arguments)
      return false;
    for (int member : gb.nodes)
      if (ga.maps.count(member)) return false;
    return !waits_for(a, b) && !waits_for(b, a);
  }

  bool waits_for(int g, int other) {
    std::vector<int> stack{g};
    std::set<int> seen;
    while (!stack.empty()) {
      int at = stack.back();
      stack.pop_back();
      if (!seen.insert(at).second) continue;
      for (int n : groups_needed(ir_, group(at), home_)) {
        if (n == other) return true;
        stack.push_back(n);
      }
    }
    return false;
  }

  void absorb(int a, int b) {
    Group &ga = group(a), &gb = group(b);
    for (int member : gb.nodes) {
      ga.nodes.push_back(member);
      ga.maps[member] = gb.maps[member];
      auto& of = members_of_[static_cast<size_t>(member)];
      std::replace(of.begin(), of.end(), b, a);
      if (home(member) == b) home_[static_cast<size_t>(member)] = a;
    }
    ga.stored.insert(ga.stored.end(), gb.stored.begin(), gb.stored.end());
    gb = Group{};
  }

  Reason reason_of(int from, int to) const {
    const IrNode &p = node(from), &c = node(to);
    if (p.role == Role::data) return p.copied_from ? Reason::device_boundary : Reason::leaf_input;
    if (p.role == Role::assemble) return Reason::shape_barrier;
    if (c.is(Kind::call)) return reason_before(from, to);
    if (p.role == Role::result) return Reason::opaque_call;
    Reason why = why_[static_cast<size_t>(from)];
    if (why == Reason::input_of_call) why = Reason::several_consumers;
    if (why != Reason::none) return why;
    if (!options_.enabled) return Reason::shape_barrier;
    if (kept(from)) return Reason::kept_for_user;
    return p.is(Kind::call)     ? Reason::opaque_call
           : p.is(Kind::reduce) ? Reason::reduction_barrier
                                : Reason::several_consumers;
  }

  // Why a call reads its input from memory.
  Reason reason_before(int from, int call) const {
    if (!options_.text || !node(call).primitive->takes_prologue || !options_.enabled ||
        home(from) < 0)
      return Reason::input_of_call;
    if (kept(from)) return Reason::kept_for_user;
    const Group& made = groups_[static_cast<size_t>(home(from))];
    if (node(from).is(Kind::call) || made.kind == GroupKind::call) return Reason::opaque_call;
    if (made.kind != GroupKind::map) return Reason::reduction_barrier;
    if (uses(from).size() > 1 || made.stored.size() > 1) return Reason::several_consumers;
    const Reason why = why_[static_cast<size_t>(from)];
    return why == Reason::none ? Reason::input_of_call : why;
  }

  std::vector<Edge> edges() {
    std::vector<Edge> out;
    for (int from = 0; from < static_cast<int>(ir_.nodes.size()); ++from) {
      if (node(from).role == Role::scalar) continue;
      std::set<int> done;
      for (const Use& use : uses(from)) {
        if (!done.insert(use.reader).second) continue;
        bool fused = materialised_kind(node(use.reader)) || free_value(node(from));
        if (!fused) {
          fused = !members_of_[static_cast<size_t>(use.reader)].empty();
          for (int g : members_of_[static_cast<size_t>(use.reader)])
            fused &=
                group(g).maps.count(from) > 0 && (use.reader != group(g).call || group(g).prologue);
        }
        out.push_back(
            {from, use.reader, fused ? Reason::none : reason_of(from, use.reader), use.via});
      }
    }
    return out;
  }

  const Ir& ir_;
  const FuseOptions& options_;
  Reads reads_;
  std::vector<Reason> why_;
  std::vector<int> home_;
  std::vector<std::vector<int>> members_of_;
  std::vector<Group> groups_;
};

}  // namespace

Fusion fuse(const Ir& ir, const FuseOptions& options) { return Fuser(ir, options).run(); }

}  // namespace lamina::schedule

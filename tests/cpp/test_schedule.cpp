// schedule/: the grammars catch what they should, and no memory is taken while it is needed.
#include <map>
#include <set>

#include "base/error.h"
#include "check.h"
#include "random_graph.h"
#include "schedule/plan.h"

namespace lamina::test {

using namespace schedule;

namespace {

constexpr uint64_t kGraphs = 150;

// The graph as it is when verify runs.
Ir prepared(RandomGraph& graph) {
  Ir ir = import_order(graph.order());
  merge_common(ir);
  drop_dead(ir);
  insert_copies(ir);
  drop_dead(ir);
  return ir;
}

const Primitive& row_of(Kind kind) {
  for (const Primitive* row : registry())
    if (row->kind == kind) return *row;
  fail(__FILE__, __LINE__, "no row of a kind");
}

int first(const Ir& ir, Role role, size_t inputs = 0) {
  for (size_t i = 0; i < ir.nodes.size(); ++i)
    if (ir.nodes[i].role == role && ir.nodes[i].inputs.size() >= inputs) return static_cast<int>(i);
  return -1;
}

}  // namespace

TEST(the_graph_grammar_catches_every_broken_rule) {
  std::map<std::string, int> caught;
  auto breaks = [&](const Ir& whole, const char* rule, int at, auto&& damage) {
    if (at < 0) return;
    Ir ir = whole;
    damage(ir, ir.nodes[static_cast<size_t>(at)]);
    NOTE(rule);
    CHECK_THROWS(InternalError, verify(ir), rule);
    ++caught[rule];
  };
  for (uint64_t seed = 0; seed < kGraphs; ++seed) {
    NOTE("seed " + std::to_string(seed));
    RandomGraph graph(seed);
    Ir ir = prepared(graph);
    verify(ir);
    int compute = first(ir, Role::compute, 1);
    breaks(ir, "is not before it", compute, [](Ir& all, IrNode& n) {
      n.inputs[0] = static_cast<int>(all.nodes.size()) - 1;
      n.inputs[0] = std::max(n.inputs[0], static_cast<int>(&n - all.nodes.data()));
    });
    breaks(ir, "is not before it", compute, [](Ir&, IrNode& n) { n.inputs[0] = -1; });
    for (Kind kind :
         {Kind::alias, Kind::composite, Kind::custom, Kind::concatenate, Kind::update, Kind::view})
      breaks(ir, "which import should have resolved", compute,
             [kind](Ir&, IrNode& n) { n.primitive = &row_of(kind); });
    breaks(ir, "assembled from a non-piece", first(ir, Role::assemble), [](Ir& all, IrNode& n) {
      all.nodes[static_cast<size_t>(n.inputs[0])].role = Role::copy;
    });
    breaks(ir, "is an output without memory", first(ir, Role::scalar),
           [](Ir&, IrNode& n) { n.output = true; });
  }
  CHECK_EQ(caught.size(), size_t{4});
  for (auto& [rule, times] : caught) CHECK(times > 0);
}

TEST(views_that_strides_cannot_express_are_caught) {
  Array x = astype(iota(6, Dtype::int32), Dtype::float32);
  evaluate(x);
  Array y = reshape(transpose(reshape(x, {2, 3})), {6});
  std::vector<OrderedNode> order;
  std::vector<Node*> chain;
  for (Node* n = y.node(); n != x.node(); n = n->inputs[0].node()) chain.push_back(n);
  chain.push_back(x.node());
  for (size_t i = chain.size(); i-- > 0;) {
    chain[i]->position = static_cast<int32_t>(order.size());
    order.push_back({chain[i], i == 0, false});
  }
  Ir ir = import_order(order);
  CHECK_THROWS(InternalError, verify(ir), "view that strides cannot express");
  CHECK_EQ(insert_copies(ir), 1);
  verify(ir);
}

TEST(the_fusion_grammar_catches_lost_doubled_and_false_edges) {
  int lost = 0, doubled = 0, crossed = 0;
  for (uint64_t seed = 0; seed < kGraphs; ++seed) {
    NOTE("seed " + std::to_string(seed));
    RandomGraph graph(seed);
    Ir ir = prepared(graph);
    finalise(ir);
    FuseOptions choices;
    choices.enabled = seed % 5 != 0;
    Fusion whole = fuse(ir, choices);
    verify(ir, whole);
    for (size_t e = 0; e < whole.edges.size(); e += 3) {
      const Edge& edge = whole.edges[e];
      Fusion broken = whole;
      broken.edges.erase(broken.edges.begin() + static_cast<std::ptrdiff_t>(e));
      CHECK_THROWS(InternalError, verify(ir, broken), "has no decision");
      ++lost;
      broken = whole;
      broken.edges.push_back(edge);
      CHECK_THROWS(InternalError, verify(ir, broken), "stands twice");
      ++doubled;
      if (edge.reason != Reason::leaf_input) continue;
      if (ir.nodes[static_cast<size_t>(edge.to)].is(Kind::call)) continue;
      broken = whole;
      broken.edges[e].reason = Reason::none;
      CHECK_THROWS(InternalError, verify(ir, broken), "fused across kernels");
      ++crossed;
    }
  }
  CHECK(lost > 100 && doubled > 100 && crossed > 50);
}

namespace {

// Follows a plan step by step and knows nothing of lifetimes: whose value is in which bytes.
class MemoryWalk {
 public:
  explicit MemoryWalk(const Plan& plan) : plan_(plan), holds_(plan.slots.size(), false) {
    for (size_t s = 0; s < plan.slots.size(); ++s)
      holds_[s] = plan.slots[s].storage == Storage::leaf;
  }

  void run() {
    for (const Step& step : plan_.steps) {
      for (const KernelRun& run : step.runs) read(run);
      if (step.call) {
        for (const Operand& o : step.call->inputs)
          if (o.slot >= 0) expect(o.slot);
        if (step.call->output.slot >= 0) write(step.call->output.slot);
        if (step.call->epilogue) {
          read(*step.call->epilogue);
          write(*step.call->epilogue, {});
        }
      }
      for (const KernelRun& run : step.runs) write(run, others(step, run));
    }
    for (const Binding& b : plan_.bindings) expect(b.slot);
  }

 private:
  const Slot& slot(int s) const { return plan_.slots[static_cast<size_t>(s)]; }
  int root(int s) const {
    while (slot(s).storage == Storage::shared) s = slot(s).donor;
    return s;
  }
  // What a slot's value lies in: a buffer of its own, or bytes of the arena.
  bool overlap(int a, int b) const {
    int x = root(a), y = root(b);
    if (x == y) return true;
    if (slot(x).storage != Storage::arena || slot(y).storage != Storage::arena) return false;
    return slot(x).offset < slot(y).offset + slot(y).bytes &&
           slot(y).offset < slot(x).offset + slot(x).bytes;
  }
  void expect(int s) const {
    NOTE("slot " + std::to_string(s));
    CHECK(slot(s).bytes == 0 || holds_[static_cast<size_t>(s)]);
  }
  void write(int s) {
    const Slot& home = slot(root(s));
    CHECK(home.storage != Storage::arena || home.offset + home.bytes <= plan_.arena_bytes);
    CHECK(slot(s).bytes <= home.bytes);
    // An update in place keeps what it does not write.
    bool again = made_.count(s) > 0;
    if (!again && slot(s).node >= 0 &&
        plan_.ir.nodes[static_cast<size_t>(slot(s).node)].in_place_of >= 0)
      expect(slot(s).donor);
    for (size_t other = 0; other < holds_.size(); ++other)
      if (static_cast<int>(other) != s && overlap(s, static_cast<int>(other)))
        holds_[other] = false;
    // A later piece of an assembly finds the others still there.
    if (again) expect(s);
    made_.insert(s);
    holds_[static_cast<size_t>(s)] = true;
  }
  void read(const KernelRun& run) const {
    for (size_t a = 0; a < run.slots.size(); ++a)
      if (run.slots[a] >= 0 && !run.kernel.args[a].output) expect(run.slots[a]);
  }
  // Slots that runs of the same launch read: they may run at the same time.
  std::set<int> others(const Step& step, const KernelRun& mine) const {
    std::set<int> out;
    for (const KernelRun& run : step.runs)
      for (size_t a = 0; &run != &mine && a < run.slots.size(); ++a)
        if (run.slots[a] >= 0) out.insert(run.slots[a]);
    return out;
  }
  void write(const KernelRun& run, const std::set<int>& beside) {
    for (size_t a = 0; a < run.slots.size(); ++a) {
      if (!run.kernel.args[a].output) continue;
      for (int other : beside)
        if (slot(other).bytes > 0 && slot(run.slots[a]).bytes > 0 && other != run.slots[a])
          CHECK(!overlap(run.slots[a], other));
      write(run.slots[a]);
    }
  }

  const Plan& plan_;
  std::vector<bool> holds_;
  std::set<int> made_;
};

}  // namespace

TEST(no_value_is_overwritten_while_it_is_needed) {
  int shared = 0, reused = 0;
  options().verify = true;
  for (uint64_t seed = 0; seed < 2 * kGraphs; ++seed) {
    NOTE("seed " + std::to_string(seed));
    RandomGraph graph(seed);
    std::unique_ptr<Plan> plan = make_plan(graph.order(), {}, kCpu);
    NOTE(describe(*plan));
    MemoryWalk(*plan).run();
    int64_t arena = 0;
    for (const Slot& s : plan->slots) {
      shared += s.storage == Storage::shared;
      if (s.storage == Storage::arena && s.last >= 0) arena += s.bytes;
    }
    reused += arena > plan->arena_bytes;
    CHECK_EQ(plan->peak_bytes, plan->arena_bytes + plan->input_bytes + plan->output_bytes);
  }
  options().verify = false;
  CHECK(shared > 50);
  CHECK(reused > 20);
}

TEST(every_reason_has_a_code_and_a_sentence) {
  const auto& texts = reason_texts();
  CHECK_EQ(texts.size(), static_cast<size_t>(Reason::register_pressure) + 1);
  std::set<std::string> codes;
  for (const ReasonText& text : texts) {
    CHECK(codes.insert(text.code).second);
    CHECK(std::string(text.sentence).ends_with("."));
  }
}

}  // namespace lamina::test

// A plan is polymorphic in its sizes: put on an order of the same structure, it keeps its graph,
// its groups, its steps and its slots, and computes anew only what follows from sizes that changed.
//
// What a pass decided must hold again, so each is asked again where a size has changed under it:
// what was imported (reimport), what is the same as something else, where a view needs a copy, what
// the device runs, the maps of a group (refit). Lifetimes, donation and launches are cheap and
// found anew.
#include <algorithm>
#include <unordered_map>

#include "base/clock.h"
#include "base/hash.h"
#include "schedule/plan.h"
#include "schedule/reads.h"

namespace lamina::schedule {

struct Recipe {
  ImportRecord import;
  // Imported nodes of one operation on the same inputs: sizes and parameters alone tell them apart.
  std::vector<std::vector<int>> alike;
  std::vector<int> common;  // by imported node: the first that computes the same
  Reads reads;
  std::vector<std::string> names;  // of steps, by group
};

namespace {

std::vector<std::vector<int>> alike(const Ir& imported, const std::vector<int>& common) {
  std::unordered_map<Hash128, std::vector<int>> classes;
  for (size_t i = 0; i < imported.nodes.size(); ++i) {
    const IrNode& n = imported.nodes[i];
    if (!mergeable(n)) continue;
    Hash128 h;
    h.add(static_cast<uint64_t>(n.primitive->id) << 8 | static_cast<uint64_t>(n.dtype));
    for (int in : n.inputs) h.add(static_cast<uint64_t>(common[static_cast<size_t>(in)]));
    classes[h].push_back(static_cast<int>(i));
  }
  std::vector<std::vector<int>> out;
  for (auto& [h, members] : classes)
    if (members.size() > 1) out.push_back(std::move(members));
  return out;
}

std::shared_ptr<const Recipe> make_recipe(const std::vector<OrderedNode>& order, const Plan& plan) {
  auto out = std::make_shared<Recipe>();
  const Ir& imported = plan.source.imported;
  out->import = record_import(order, imported);
  out->common = common_nodes(imported);
  out->alike = alike(imported, out->common);
  out->reads = find_reads(plan.ir);
  out->names.resize(plan.fusion.groups.size());
  for (size_t g = 0; g < out->names.size(); ++g) out->names[g] = group_name(plan, g);
  return out;
}

class Resizer {
 public:
  Resizer(Plan& plan, const std::vector<OrderedNode>& order, Device& device)
      : plan_(plan),
        ir_(plan.ir),
        source_(plan.source),
        recipe_(*plan.source.recipe),
        order_(order),
        device_(device) {}

  // Returns how many groups changed; -1: the plan cannot be put on these sizes.
  int run() {
    if (!reimport(order_, recipe_.import, source_.imported, source_.stamps, imported_)) return -1;
    if (!merges_hold() || !carry_over() || !refit_groups()) return -1;
    split_launches(plan_, recipe_.names);
    try {
      lower_again(plan_, changes_, groups_, device_);
    } catch (const DoesNotCompose&) {
      return -1;
    }
    plan_memory(plan_);
    join_launches(plan_);
    find_transfers(plan_);
    return static_cast<int>(groups_.size());
  }

 private:
  bool merges_hold() const {
    const std::vector<IrNode>& nodes = source_.imported.nodes;
    auto changed = [&](int i) { return imported_[static_cast<size_t>(i)] != kUnchanged; };
    for (const std::vector<int>& members : recipe_.alike) {
      if (std::none_of(members.begin(), members.end(), changed)) continue;
      for (size_t b = 1; b < members.size(); ++b)
        for (size_t a = 0; a < b; ++a) {
          const IrNode &x = nodes[static_cast<size_t>(members[a])],
                       &y = nodes[static_cast<size_t>(members[b])];
          bool merged = recipe_.common[static_cast<size_t>(members[a])] ==
                        recipe_.common[static_cast<size_t>(members[b])];
          if ((x.shape == y.shape && x.params == y.params) != merged) return false;
        }
    }
    return true;
  }

  // From the imported graph to the one the passes made of it.
  bool carry_over() {
    changes_.assign(ir_.nodes.size(), kUnchanged);
    for (size_t i = 0; i < ir_.nodes.size(); ++i) {
      IrNode& n = ir_.nodes[i];
      uint8_t& change = changes_[i];
      if (n.imported >= 0) {
        size_t from = static_cast<size_t>(n.imported);
        change = imported_[from];
        if (change) take(n, source_.imported.nodes[from]);
      } else if (change_of(n.inputs[0])) {
        const Shape& shape = ir_.nodes[static_cast<size_t>(n.inputs[0])].shape;
        if (!(n.shape == shape)) change = kSized;
        n.shape = shape;
      }
      if (!resolve(i, n, change)) return false;
      if (change && n.role == Role::compute && !n.inputs.empty() &&
          !runs_on(device_, *n.primitive, &ir_.nodes[static_cast<size_t>(n.inputs[0])].shape))
        return false;
    }
    return true;
  }

  static void take(IrNode& n, const IrNode& from) {
    n.shape = from.shape;
    n.params = from.params;
    if (n.role == Role::data || n.role == Role::piece) n.layout = from.layout;
  }

  uint8_t change_of(int i) const { return changes_[static_cast<size_t>(i)]; }

  bool resolve(size_t i, const IrNode& n, uint8_t& change) {
    Access& access = *ir_.resolved[i];
    if (n.role != Role::view) {
      if (change == kUnchanged) return true;
      access.layout = n.role == Role::data ? n.layout : Layout::row_major(n.shape);
      change |= kMoved;
      return true;
    }
    if (change == kUnchanged && change_of(n.inputs[0]) == kUnchanged) return true;
    const size_t in = static_cast<size_t>(n.inputs[0]);
    auto layout = view_layout(ir_, n, ir_.resolved[in]->layout);
    if (!layout) return false;
    access.layout = std::move(*layout);
    change |= kMoved;
    return !needless_copy(n, ir_.nodes[in]);
  }

  // Whether a copy that a pass put before a view could go now.
  bool needless_copy(const IrNode& view, const IrNode& copy) const {
    if (copy.role != Role::copy || copy.imported >= 0 || copy.output) return false;
    const Access& beyond = *ir_.resolved[static_cast<size_t>(copy.inputs[0])];
    return view_layout(ir_, view, beyond.layout).has_value();
  }

  bool refit_groups() {
    for (size_t g = 0; g < plan_.fusion.groups.size(); ++g) {
      Group& group = plan_.fusion.groups[g];
      if (!touched(group)) continue;
      if (!refit(ir_, recipe_.reads, group, device_.text_traits())) return false;
      groups_.push_back(static_cast<int>(g));
    }
    return true;
  }

  bool touched(const Group& group) const {
    auto changed = [&](int i) { return change_of(i) != kUnchanged; };
    for (int i : group.nodes) {
      const std::vector<int>& inputs = ir_.nodes[static_cast<size_t>(i)].inputs;
      if (changed(i) || std::any_of(inputs.begin(), inputs.end(), changed)) return true;
    }
    return false;
  }

  Plan& plan_;
  Ir& ir_;
  Source& source_;
  const Recipe& recipe_;
  const std::vector<OrderedNode>& order_;
  Device& device_;
  std::vector<uint8_t> imported_, changes_;  // by node of either graph
  std::vector<int> groups_;
};

}  // namespace

bool resize(Plan& plan, const std::vector<OrderedNode>& order, const Hash128& key, Device& device) {
  int64_t t0 = now_ns();
  if (!plan.source.recipe) plan.source.recipe = make_recipe(order, plan);
  int changed = Resizer(plan, order, device).run();
  if (changed < 0) return false;
  plan.id = next_plan_id();
  plan.key = key;
  plan.resized = true;
  plan.passes = {{"resize", static_cast<double>(now_ns() - t0) * 1e-3, changed}};
  return true;
}

}  // namespace lamina::schedule

#include "execute/plan_cache.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "base/error.h"
#include "devices/device.h"
#include "execute/evaluate.h"
#include "trace/trace.h"

namespace lamina {

using schedule::OrderedNode;
using schedule::Plan;

namespace {

constexpr size_t kMaxPlans = 1024;
// Plans of one structure in different sizes; beyond that the one longest unused is put on the next
// sizes, so a loop of ten thousand lengths keeps this many.
constexpr size_t kMaxSizes = 8;

struct Entry {
  std::shared_ptr<Plan> plan;
  uint64_t used;
};

// The structure without sizes: equal for a graph whose arrays only grew or shrank. Which sizes are
// 0 or 1, and which leaves are row-major, belongs to it.
Hash128 structure_of(const std::vector<OrderedNode>& order, DeviceId device) {
  Hash128 h;
  for (const OrderedNode& o : order) {
    const Node& n = *o.node;
    uint64_t pattern = 0;
    for (int64_t d : n.shape) pattern = pattern * 3 + (d > 1 ? 2 : static_cast<uint64_t>(d));
    const bool ready = n.ready(), data = ready && !n.scalar;
    h.add(static_cast<uint64_t>(n.dtype) | uint64_t{n.shape.size()} << 8 |
          uint64_t{o.output} << 16 | uint64_t{o.donatable} << 17 | uint64_t{n.scalar} << 18 |
          uint64_t{ready} << 19 | uint64_t{data && is_row_major(n.shape, n.value.strides)} << 20 |
          pattern << 22);
    if (o.copied_from) h.add(uint64_t{*o.copied_from} << 1 | 1);
    if (ready) continue;
    uint64_t inputs = n.primitive->id;
    for (const Array& in : n.inputs)
      inputs = inputs * 0xd6e8feb86659fd93ULL + static_cast<uint64_t>(in.node()->position) + 1;
    h.add(inputs);
    h.add(n.inputs.size());
  }
  const auto& opt = schedule::options();
  h.add(uint64_t{opt.fuse} | uint64_t{opt.donate} << 1 | uint64_t{device} << 8 |
        order.size() << 16);
  return h;
}

// A plan that ran in the recording, with its scalars: (plan node, position in the order).
struct Held {
  std::shared_ptr<Plan> plan;
  schedule::Seen seen;
  std::vector<std::pair<size_t, size_t>> scalars;
};

struct Cache {
  std::mutex mutex;  // the recorder reads while evaluations go on
  std::unordered_map<Hash128, Entry> by_key;
  std::unordered_map<uint64_t, std::weak_ptr<Plan>> by_id;
  PlanCacheStats stats;
  uint64_t tick = 0;
  // By structure: keys of the plans of one family, which differ in sizes alone.
  std::unordered_map<Hash128, std::vector<Hash128>> families;
  std::unordered_map<Hash128, uint64_t> origin_ids;
  std::vector<std::vector<uint32_t>> origins{{}};
  std::unordered_map<uint64_t, Held> held;
};

Cache& cache() {
  static auto* c = new Cache;
  return *c;
}

Category category_of(const Node& n) {
  return n.leaf() && n.value.buffer ? n.value.buffer->category() : n.category;
}

Held first_sight(const std::shared_ptr<Plan>& plan, const std::vector<OrderedNode>& order) {
  const size_t count = plan->ir.nodes.size();
  Held out{plan,
           {std::vector(count, Category::temporary), std::vector<ScalarValue>(count),
            std::vector(count, false)},
           {}};
  for (size_t i = 0; i < count; ++i) {
    const schedule::IrNode& n = plan->ir.nodes[i];
    if (n.source >= 0)
      out.seen.categories[i] = category_of(*order[static_cast<size_t>(n.source)].node);
    if (n.role != schedule::Role::scalar || n.position < 0) continue;
    const auto position = static_cast<size_t>(n.position);
    out.seen.values[i] = order[position].node->literal;
    out.scalars.push_back({i, position});
  }
  return out;
}

void drop_evicted(const Cache& c, std::vector<Hash128>& family) {
  std::erase_if(family, [&](const Hash128& key) { return !c.by_key.count(key); });
}

// The least recently used half goes at once, so that eviction costs little per plan.
void evict(Cache& c) {
  std::vector<uint64_t> ages;
  for (auto& [key, e] : c.by_key) ages.push_back(e.used);
  std::nth_element(ages.begin(), ages.begin() + static_cast<int64_t>(ages.size() / 2), ages.end());
  uint64_t cut = ages[ages.size() / 2];
  std::erase_if(c.by_key, [&](auto& item) { return item.second.used < cut; });
  std::erase_if(c.by_id, [](auto& item) { return item.second.expired(); });
  for (auto& [structure, family] : c.families) drop_evicted(c, family);
  std::erase_if(c.families, [](auto& item) { return item.second.empty(); });
}

// A plan of the family to be put on other sizes, nobody else's. With few of them it is a copy of
// the latest, else the one longest unused itself, which the family then loses.
std::shared_ptr<Plan> take_from(Cache& c, std::vector<Hash128>& family) {
  drop_evicted(c, family);
  if (family.empty()) return nullptr;
  auto age = [&](const Hash128& a, const Hash128& b) {
    return c.by_key[a].used < c.by_key[b].used;
  };
  auto [oldest, latest] = std::minmax_element(family.begin(), family.end(), age);
  if (family.size() < kMaxSizes) return std::make_shared<Plan>(*c.by_key[*latest].plan);
  auto entry = c.by_key.find(*oldest);
  family.erase(oldest);
  // What runs, or what a recording holds, keeps its sizes.
  std::shared_ptr<Plan> plan = entry->second.plan;
  if (plan.use_count() > 2) return std::make_shared<Plan>(*plan);
  c.by_id.erase(plan->id);
  c.by_key.erase(entry);
  return plan;
}

void verify_resized(const Plan& plan, const std::vector<OrderedNode>& order) {
  std::unique_ptr<Plan> fresh = make_plan(order, plan.key, plan.device, &plan);
  if (!fresh) throw InternalError("resized plan: its fusion does not hold for these sizes");
  require_same(plan, *fresh);
}

}  // namespace

std::shared_ptr<Plan> plan_for(const Hash128& key, DeviceId device,
                               const std::vector<OrderedNode>& order, Run& run) {
  Cache& c = cache();
  {
    std::lock_guard lock(c.mutex);
    auto it = c.by_key.find(key);
    if (it != c.by_key.end()) {
      it->second.used = ++c.tick;
      ++c.stats.hits;
      run.outcome = 0;
      return it->second.plan;
    }
  }
  int64_t t0 = now_ns();
  Hash128 structure = structure_of(order, device);
  std::shared_ptr<Plan> plan;
  {
    std::lock_guard lock(c.mutex);
    if (auto it = c.families.find(structure); it != c.families.end())
      plan = take_from(c, it->second);
  }
  const bool resized = plan && resize(*plan, order, key, device_of(device));
  if (resized && schedule::options().verify) verify_resized(*plan, order);
  if (!resized) plan = make_plan(order, key, device);
  run.outcome = resized ? 1 : 2;
  if (trace::enabled())
    trace::span(trace::EventKind::plan, run.id, t0, now_ns(), static_cast<int64_t>(plan->id),
                static_cast<int64_t>(order.size()));
  std::lock_guard lock(c.mutex);
  ++(resized ? c.stats.resized : c.stats.misses);
  std::vector<Hash128>& family = c.families[structure];
  if (!resized) family.clear();
  family.push_back(key);
  c.by_key[key] = {plan, ++c.tick};
  c.by_id[plan->id] = plan;
  if (c.by_key.size() > kMaxPlans) evict(c);
  return plan;
}

uint64_t intern_origins(const Plan& plan, const std::vector<uint32_t>& by_position) {
  Hash128 h;
  h.add(plan.id);
  for (uint32_t o : by_position) h.add(o);
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  auto [it, fresh] = c.origin_ids.emplace(h, c.origins.size());
  if (fresh) {
    std::vector<uint32_t> by_node;
    for (const schedule::IrNode& n : plan.ir.nodes)
      by_node.push_back(n.source < 0 ? 0 : by_position[static_cast<size_t>(n.source)]);
    c.origins.push_back(std::move(by_node));
  }
  return it->second;
}

std::vector<uint32_t> described_origins(uint64_t id) {
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  return id < c.origins.size() ? c.origins[id] : std::vector<uint32_t>{};
}

void hold_plan(const std::shared_ptr<Plan>& plan, const std::vector<OrderedNode>& order) {
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  auto it = c.held.find(plan->id);
  if (it == c.held.end()) {
    c.held.emplace(plan->id, first_sight(plan, order));
    return;
  }
  Held& held = it->second;
  for (auto [node, position] : held.scalars)
    if (std::memcmp(held.seen.values[node].bytes, order[position].node->literal.bytes,
                    sizeof(ScalarValue)) != 0)
      held.seen.varies[node] = true;
}

void release_held_plans() {
  std::unordered_map<uint64_t, Held> gone;
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  gone.swap(c.held);
}

std::shared_ptr<Plan> plan_by_id(uint64_t id) {
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  auto it = c.by_id.find(id);
  return it == c.by_id.end() ? nullptr : it->second.lock();
}

std::string describe_plan(uint64_t id) {
  Cache& c = cache();
  std::shared_ptr<Plan> plan;
  std::optional<schedule::Seen> seen;
  {
    std::lock_guard lock(c.mutex);
    if (auto held = c.held.find(id); held != c.held.end()) {
      plan = held->second.plan;
      seen = held->second.seen;
    } else if (auto it = c.by_id.find(id); it != c.by_id.end()) {
      plan = it->second.lock();
    }
  }
  return plan ? describe(*plan, seen ? &*seen : nullptr) : "";
}

PlanCacheStats plan_cache_stats() {
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  PlanCacheStats s = c.stats;
  s.plans = static_cast<int64_t>(c.by_key.size());
  return s;
}

void clear_plan_cache() {
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  c.by_key.clear();
  c.families.clear();
}

}  // namespace lamina

#include "world.h"

#include <algorithm>
#include <cstdlib>

namespace metal_double {

Storage::~Storage() {
  if (owned) std::free(data);
}

// Never destroyed: threads of the double may still look at it while the process ends.
World& world() {
  static auto* w = new World;
  return *w;
}

void World::restart(const Machine& m) {
  std::lock_guard lock(mutex);
  machine = m;
  seen = {};
  order = {};
  random.seed(m.seed);
  held = capturing = false;
  injected.clear();
  violations.clear();
}

bool World::fails(Point point, int64_t* code) {
  auto found = injected.find(point);
  if (found == injected.end()) return false;
  Injected& i = found->second;
  if (i.after > 0) {
    --i.after;
    return false;
  }
  if (code) *code = i.code;
  if (--i.times <= 0) injected.erase(found);
  return true;
}

void World::destroyed(const TrackedRef& object) {
  object->destroyed = true;
  if (object->users > 0)
    violation("lifetime: " + object->label + " destroyed while " + std::to_string(object->users) +
              " command buffers need it");
}

// --- order -------------------------------------------------------------------------------------

Order::Stretch Order::fresh(const Set& after, uint64_t birth) {
  Stretch s = next_++;
  before_[s] = after;
  birth_[s] = birth;
  return s;
}

Order::Set Order::closure(const Set& stretches) const {
  Set out = stretches;
  for (Stretch s : stretches)
    if (auto found = before_.find(s); found != before_.end())
      out.insert(found->second.begin(), found->second.end());
  return out;
}

bool Order::ordered(Stretch earlier, Stretch later) const {
  if (before_.at(later).contains(earlier)) return true;
  auto seen = seen_at_.find(earlier);
  return seen != seen_at_.end() && seen->second <= birth_.at(later);
}

std::string Order::access(Stretch stretch, const std::string& kernel, const Touched& t) {
  auto& uses = uses_[t.storage];
  std::string out;
  for (const Use& u : uses) {
    if (t.begin >= u.end || u.begin >= t.end || !(t.written || u.written)) continue;
    // One dispatch may read and write the same bytes; within a stretch nothing else may.
    if (u.stretch == stretch ? u.kernel == kernel : ordered(u.stretch, stretch)) continue;
    out = "order: nothing orders " + kernel + (t.written ? " (writes)" : " (reads)") + " after " +
          u.kernel + (u.written ? " (writes)" : " (reads)") + ": bytes " +
          std::to_string(std::max(t.begin, u.begin)) + " to " +
          std::to_string(std::min(t.end, u.end)) + " of " + t.storage->label;
    break;
  }
  uses.push_back({stretch, kernel, t.begin, t.end, t.written});
  if (uses.size() > 256) {
    const uint64_t now = epoch_;
    std::erase_if(uses, [&](const Use& u) {
      auto seen = seen_at_.find(u.stretch);
      return seen != seen_at_.end() && seen->second + 64 < now;
    });
  }
  return out;
}

void Order::seen(const Set& stretches) {
  ++epoch_;
  for (Stretch s : stretches) seen_at_.emplace(s, epoch_);
  // Long ago: no stretch that is still to come was born before these were seen.
  std::erase_if(before_, [&](const auto& entry) {
    auto seen = seen_at_.find(entry.first);
    return seen != seen_at_.end() && seen->second + 1024 < epoch_;
  });
}

}  // namespace metal_double

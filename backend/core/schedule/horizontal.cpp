// Neighbouring kernels that do not wait for each other become one launch: the updates of hundreds
// of parameters are a handful of launches.
#include <algorithm>
#include <set>

#include "schedule/plan.h"

namespace lamina::schedule {

namespace {

struct Touched {
  std::set<int> reads, writes;
};

int root(const Plan& plan, int s) {
  while (plan.slots[static_cast<size_t>(s)].storage == Storage::shared)
    s = plan.slots[static_cast<size_t>(s)].donor;
  return s;
}

Touched touched(const Plan& plan, const Step& step) {
  Touched t;
  for (const KernelRun& run : step.runs)
    for (size_t i = 0; i < run.slots.size(); ++i)
      if (run.slots[i] >= 0)
        (run.kernel.args[i].output ? t.writes : t.reads).insert(root(plan, run.slots[i]));
  return t;
}

// Arena slots of different lifetimes may share bytes; moving a kernel next to another must not make
// those lifetimes meet.
bool share_bytes(const Plan& plan, int a, int b) {
  const Slot &x = plan.slots[static_cast<size_t>(a)], &y = plan.slots[static_cast<size_t>(b)];
  if (a == b) return true;
  if (x.storage != Storage::arena || y.storage != Storage::arena) return false;
  return x.offset < y.offset + y.bytes && y.offset < x.offset + x.bytes;
}

bool conflict(const Plan& plan, const Touched& a, const Touched& b) {
  auto meet = [&](const std::set<int>& s, const std::set<int>& t) {
    for (int i : s)
      for (int j : t)
        if (share_bytes(plan, i, j)) return true;
    return false;
  };
  return meet(a.writes, b.reads) || meet(a.reads, b.writes) || meet(a.writes, b.writes);
}

}  // namespace

void split_launches(Plan& plan, const std::vector<std::string>& names) {
  if (plan.steps.size() == names.size()) return;
  std::vector<Step> out;
  out.reserve(names.size());
  for (Step& step : plan.steps) {
    if (step.groups.size() == 1) {
      out.push_back(std::move(step));
      continue;
    }
    for (size_t k = 0; k < step.groups.size(); ++k) {
      Step& single = out.emplace_back();
      const GroupCost& cost = step.runs[k].cost;
      single.groups = {step.groups[k]};
      single.name = names[static_cast<size_t>(step.groups[k])];
      single.reads = cost.reads;
      single.writes = cost.writes;
      single.flops = cost.flops;
      single.runs.push_back(std::move(step.runs[k]));
    }
  }
  plan.steps = std::move(out);
}

int join_launches(Plan& plan) {
  std::vector<Step> out;
  Touched all;
  int joined = 0;
  std::vector<int> to(plan.steps.size());
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    Step& step = plan.steps[i];
    Touched t = touched(plan, step);
    bool fits = !out.empty() && !step.call && !out.back().call && out.back().runs.size() < 256 &&
                !conflict(plan, all, t);
    if (!fits) {
      out.push_back(std::move(step));
      all = std::move(t);
    } else {
      Step& last = out.back();
      for (KernelRun& run : step.runs) last.runs.push_back(std::move(run));
      last.groups.insert(last.groups.end(), step.groups.begin(), step.groups.end());
      last.reads += step.reads;
      last.writes += step.writes;
      last.flops += step.flops;
      all.reads.insert(t.reads.begin(), t.reads.end());
      all.writes.insert(t.writes.begin(), t.writes.end());
      ++joined;
    }
    to[i] = static_cast<int>(out.size()) - 1;
  }
  for (Step& s : out)
    if (s.runs.size() > 1) s.name = std::to_string(s.runs.size()) + " x " + s.name;
  for (Slot& s : plan.slots) {
    if (s.last < 0 || to.empty()) continue;
    s.first = to[static_cast<size_t>(std::min<int>(s.first, static_cast<int>(to.size()) - 1))];
    s.last = to[static_cast<size_t>(s.last)];
  }
  plan.steps = std::move(out);
  return joined;
}

}  // namespace lamina::schedule

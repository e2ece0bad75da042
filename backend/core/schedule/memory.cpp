// Where every value lives: lifetimes over the steps, memory handed from a dying input to an output
// of the same shape, and offsets in one arena. Nothing else assigns buffers.
#include <algorithm>

#include "schedule/plan.h"

namespace lamina::schedule {

namespace {

constexpr int64_t kAlign = 64;
int64_t aligned(int64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

class MemoryPlanner {
 public:
  explicit MemoryPlanner(Plan& plan) : plan_(plan) {}

  void run() {
    forget();
    mark_outputs();
    find_lifetimes();
    if (options().donate) donate();
    place();
    measure();
  }

 private:
  Slot& slot(int s) { return plan_.slots[static_cast<size_t>(s)]; }
  const IrNode& node(const Slot& s) { return plan_.ir.nodes[static_cast<size_t>(s.node)]; }

  int root(int s) {
    while (slot(s).storage == Storage::shared) s = slot(s).donor;
    return s;
  }

  // A plan in other sizes is placed anew.
  void forget() {
    for (Slot& s : plan_.slots) {
      if (node(s).in_place_of >= 0) continue;
      s.storage = node(s).role == Role::data ? Storage::leaf : Storage::arena;
      s.donor = -1;
      s.offset = 0;
    }
    plan_.arena_bytes = plan_.output_bytes = plan_.input_bytes = plan_.peak_bytes = 0;
    plan_.overwrites_leaves = false;
  }

  void mark_outputs() {
    for (const Binding& b : plan_.bindings) {
      Slot& s = slot(b.slot);
      if (s.storage == Storage::arena) s.storage = Storage::output;
      Slot& r = slot(root(b.slot));
      if (r.storage == Storage::arena) r.storage = Storage::output;
      escapes_.resize(plan_.slots.size());
      escapes_[static_cast<size_t>(root(b.slot))] = true;
      escapes_[static_cast<size_t>(b.slot)] = true;
    }
    escapes_.resize(plan_.slots.size());
  }

  void find_lifetimes() {
    int last = static_cast<int>(plan_.steps.size()) - 1;
    for (Slot& s : plan_.slots) {
      s.first = s.storage == Storage::leaf ? 0 : last + 1;
      s.last = -1;
    }
    for (int i = 0; i <= last; ++i)
      each_operand(plan_.steps[static_cast<size_t>(i)], [&](int s, bool) {
        for (int at = s;; at = slot(at).donor) {
          slot(at).first = std::min(slot(at).first, i);
          slot(at).last = std::max(slot(at).last, i);
          if (slot(at).storage != Storage::shared) break;
        }
      });
    for (size_t s = 0; s < plan_.slots.size(); ++s)
      if (escapes_[s] && slot(static_cast<int>(s)).storage != Storage::leaf)
        slot(static_cast<int>(s)).last = last;
  }

  void donate() {
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      for (KernelRun& run : plan_.steps[i].runs)
        for (size_t a = 0; a < run.kernel.args.size(); ++a)
          if (run.kernel.args[a].output) donate_to(static_cast<int>(i), run, a);
    }
  }

  // Gives output argument `a` the memory of an input that nobody reads afterwards.
  void donate_to(int step, KernelRun& run, size_t a) {
    Slot& out = slot(run.slots[a]);
    if (out.storage == Storage::shared || out.first != step ||
        run.kernel.kind == KernelKind::reduce)
      return;
    const KernelArg& target = run.kernel.args[a];
    if (out.bytes == 0 || !stored_once(run.kernel, target)) return;
    for (size_t b = 0; b < run.kernel.args.size(); ++b) {
      const KernelArg& source = run.kernel.args[b];
      int from = run.slots[b];
      if (source.output || from < 0 || from == run.slots[a]) continue;
      if (itemsize(source.dtype) != itemsize(target.dtype) || !(source.strides == target.strides) ||
          source.offset != target.offset || !dies(from, step, out))
        continue;
      if (!read_once_before(run, b, a)) continue;
      bool output = out.storage == Storage::output;
      out.storage = Storage::shared;
      out.donor = from;
      int r = root(from);
      taken_.resize(plan_.slots.size());
      taken_[static_cast<size_t>(from)] = taken_[static_cast<size_t>(r)] = true;
      slot(r).last = std::max(slot(r).last, out.last);
      if (slot(r).storage == Storage::leaf)
        plan_.overwrites_leaves = true;
      else if (output)
        slot(r).storage = Storage::output;
      return;
    }
  }

  // Whether the points that share an element of a result are one, or one row: else some of them may
  // read the input after the first has written.
  static bool stored_once(const Kernel& kernel, const KernelArg& target) {
    bool along_row = false, again_in_row = false;
    for (size_t d = 0; d < kernel.domain.size(); ++d) {
      if (kernel.domain[d] == 1) continue;
      const bool row = kernel.reduced >> d & 1;
      if (target.strides[d] == 0 && !row) return false;
      (target.strides[d] == 0 ? again_in_row : along_row) |= row;
    }
    return !(along_row && again_in_row);
  }

  bool dies(int s, int step, const Slot& out) {
    int r = root(s);
    taken_.resize(plan_.slots.size());
    if (taken_[static_cast<size_t>(r)] || escapes_[static_cast<size_t>(r)]) return false;
    if (slot(r).last != step || slot(s).bytes != out.bytes || slot(r).bytes != out.bytes)
      return false;
    if (slot(r).storage == Storage::leaf)
      return node(slot(r)).donatable && node(slot(r)).layout.contiguous();
    return true;
  }

  // No instruction reads the input after the value that overwrites it is made, and no other
  // argument is the same memory.
  bool read_once_before(const KernelRun& run, size_t input, size_t output) {
    const auto& instrs = run.kernel.instrs;
    for (size_t i = 0; i < run.slots.size(); ++i)
      if (i != input && i != output && run.slots[i] >= 0 &&
          root(run.slots[i]) == root(run.slots[input]))
        return false;
    int made = -1, load = -1;
    for (size_t i = 0; i < instrs.size(); ++i) {
      if (instrs[i].code == Code::store && instrs[i].index == output) made = instrs[i].src[0];
      if (instrs[i].code == Code::load && instrs[i].index == input) load = static_cast<int>(i);
    }
    for (size_t i = static_cast<size_t>(made) + 1; i < instrs.size(); ++i)
      for (int s : instrs[i].src)
        if (s == load && made != load) return false;
    return true;
  }

  // Largest first into the lowest gap that is free over its lifetime.
  void place() {
    std::vector<int> order;
    for (size_t s = 0; s < plan_.slots.size(); ++s)
      if (slot(static_cast<int>(s)).storage == Storage::arena &&
          slot(static_cast<int>(s)).last >= 0)
        order.push_back(static_cast<int>(s));
    std::sort(order.begin(), order.end(), [&](int a, int b) {
      return slot(a).bytes != slot(b).bytes ? slot(a).bytes > slot(b).bytes : a < b;
    });
    std::vector<int> placed;
    for (int s : order) {
      std::vector<std::pair<int64_t, int64_t>> busy;
      for (int p : placed)
        if (slot(p).first <= slot(s).last && slot(s).first <= slot(p).last)
          busy.push_back({slot(p).offset, slot(p).offset + aligned(slot(p).bytes)});
      std::sort(busy.begin(), busy.end());
      int64_t at = 0;
      for (auto [from, to] : busy) {
        if (from - at >= aligned(slot(s).bytes)) break;
        at = std::max(at, to);
      }
      slot(s).offset = at;
      plan_.arena_bytes = std::max(plan_.arena_bytes, at + aligned(slot(s).bytes));
      placed.push_back(s);
    }
  }

  void measure() {
    for (const Slot& s : plan_.slots) {
      if (s.storage == Storage::leaf) plan_.input_bytes += s.bytes;
      if (s.storage == Storage::output) plan_.output_bytes += s.bytes;
    }
    plan_.peak_bytes = plan_.arena_bytes + plan_.input_bytes + plan_.output_bytes;
  }

  Plan& plan_;
  std::vector<bool> escapes_, taken_;
};

}  // namespace

void plan_memory(Plan& plan) { MemoryPlanner(plan).run(); }

int find_transfers(Plan& plan) {
  plan.transfers.clear();
  const auto steps = static_cast<int>(plan.steps.size());
  for (size_t s = 0; s < plan.slots.size(); ++s) {
    const Slot& slot = plan.slots[s];
    if (slot.storage != Storage::leaf) continue;
    if (const auto& from = plan.ir.nodes[static_cast<size_t>(slot.node)].copied_from)
      plan.transfers.push_back({static_cast<int>(s), *from, slot.bytes, steps});
  }
  if (plan.transfers.empty()) return 0;
  std::vector<int> before(plan.slots.size(), steps);
  for (int i = steps; i-- > 0;)
    each_operand(plan.steps[static_cast<size_t>(i)],
                 [&](int s, bool) { before[static_cast<size_t>(s)] = i; });
  for (Transfer& t : plan.transfers) t.before = before[static_cast<size_t>(t.slot)];
  std::stable_sort(plan.transfers.begin(), plan.transfers.end(),
                   [](const Transfer& a, const Transfer& b) { return a.before < b.before; });
  return static_cast<int>(plan.transfers.size());
}

}  // namespace lamina::schedule

// Loads and stores, looked at: bounds, races, uninitialised memory, counts.
#include <algorithm>

#include "devices/soft_metal/machine.h"

namespace lamina::soft_metal {
namespace {

// Flags of a Cell's words. Writer: by an atomic operation. Reader: besides the last one, others of
// the same SIMD-group, of other SIMD-groups, of other threadgroups have read.
constexpr uint64_t kAtomic = 1, kLanes = 1, kSimds = 2, kGroups = 4, kFlags = 15;
constexpr int64_t kLocalWindow = int64_t{96}
                                 << 10;  // how far off an index of threadgroup memory is seen

constexpr uintptr_t kNull = 4096;  // no memory lies there: a null pointer and an index

uint64_t thread_of(uint64_t cell) { return (cell >> 32) - 1; }
uint64_t group_phase(uint64_t cell) { return cell >> 16 & 0xffff; }
uint64_t simd_phase(uint64_t cell) { return cell >> 4 & 0xfff; }

uint64_t load(uint64_t& word) { return std::atomic_ref(word).load(std::memory_order_relaxed); }
void store(uint64_t& word, uint64_t value) {
  std::atomic_ref(word).store(value, std::memory_order_relaxed);
}

const char* verb(bool write) { return write ? "writes" : "reads"; }

}  // namespace

uint64_t Machine::stamp(const Phase& phase) const {
  return (first_thread_ + running_ + 1) << 32 | (phase.group & 0xffff) << 16 |
         (phase.simd[running_ / 32] & 0xfff) << 4;
}

// Whether the access a cell tells of comes before this thread's next one.
bool Machine::ordered(uint64_t cell, const Phase& phase) const {
  uint64_t me = first_thread_ + running_;
  if (cell == 0 || thread_of(cell) == me) return true;
  uint64_t other = thread_of(cell);
  if (other < first_thread_ || other >= first_thread_ + size_)
    return launch_->fenced.load(std::memory_order_relaxed);
  if (group_phase(cell) != (phase.group & 0xffff)) return true;
  uint64_t simd = (other - first_thread_) / 32;
  return simd == running_ / 32 && simd_phase(cell) != (phase.simd[simd] & 0xfff);
}

Machine::Verdict Machine::mark(Cell* cells, int64_t granule, int64_t from, uint64_t bytes,
                               bool write, bool atomic, const Phase& phase, bool local,
                               uint64_t& other) {
  int64_t first = (from + granule - 1) / granule;
  int64_t last = (from + static_cast<int64_t>(bytes)) / granule;  // exclusive: whole ones only
  const uint64_t mine = stamp(phase);
  const uint64_t group_end = first_thread_ + size_;
  auto foreign = [&](uint64_t cell) {
    return cell != 0 && (thread_of(cell) < first_thread_ || thread_of(cell) >= group_end);
  };
  for (int64_t i = first; i < last; ++i) {
    uint64_t writer = load(cells[i].writer), reader = load(cells[i].reader);
    // Threadgroup memory of an earlier threadgroup is no more.
    if (local && foreign(writer)) writer = 0;
    if (local && foreign(reader)) reader = 0;
    if (local && writer == 0 && !write) return Verdict::unwritten;
    other = thread_of(writer);
    if (!ordered(writer, phase) && !(atomic && (writer & kAtomic))) return Verdict::race;
    if (write) {
      other = thread_of(reader);
      if (!ordered(reader, phase)) return Verdict::race;
      bool fenced = launch_->fenced.load(std::memory_order_relaxed);
      if ((reader & kGroups) && !fenced) return Verdict::race;
      bool same_phase = reader && !foreign(reader) && group_phase(reader) == (phase.group & 0xffff);
      if (same_phase && (reader & kSimds)) return Verdict::race;
      if (same_phase && (reader & kLanes) &&
          simd_phase(reader) == (phase.simd[running_ / 32] & 0xfff))
        return Verdict::race;
      store(cells[i].writer, mine | (atomic ? kAtomic : 0));
    } else if (!atomic) {
      uint64_t flags = reader & kGroups;
      if (foreign(reader)) {
        flags = kGroups;
      } else if (reader && group_phase(reader) == (phase.group & 0xffff)) {
        flags |= reader & kSimds;
        uint64_t simd = (thread_of(reader) - first_thread_) / 32;
        if (simd != running_ / 32)
          flags |= kSimds;
        else if (simd_phase(reader) == (phase.simd[simd] & 0xfff))
          flags |= (reader & kLanes) | (thread_of(reader) != first_thread_ + running_ ? kLanes : 0);
      }
      store(cells[i].reader, (mine & ~kFlags) | flags);
    }
  }
  return Verdict::fine;
}

void Machine::access(const void* address, uint64_t bytes, bool write, bool atomic,
                     const void* site) {
  if (asked_.load(std::memory_order_relaxed)) preempt();
  const char* at = static_cast<const char*>(address);
  if (at >= local_base_ - kLocalWindow && at < local_base_ + kLocalWindow)
    return threadgroup_access(at, bytes, write, atomic, site);
  if (at >= fiber_->stack && at < fiber_->stack + fiber_->bytes) {
    ++counts_->thread_accesses;
    return;
  }
  if (Region* region = launch_->memory->near(at))
    return buffer_access(region, at, bytes, write, atomic, site);
  auto number = reinterpret_cast<uintptr_t>(at);
  if (number >= launch_->module->begin && number < launch_->module->end && !write) {
    ++counts_->constant_loads;
    counts_->constant_load_bytes += static_cast<int64_t>(bytes);
    return;
  }
  const std::string what = std::string(verb(write)) + " " + std::to_string(bytes) + " bytes ";
  if (at >= stacks_.data() && at < stacks_.data() + stacks_.bytes())
    fail(Rule::out_of_bounds, what + "outside of the thread's own arrays\n  check the index");
  if (number < kNull)
    fail(Rule::out_of_bounds,
         what + "through a null pointer\n  give the pointer an argument's address before");
  fail(Rule::out_of_bounds, what +
                                "at an address that belongs to no argument\n  check the "
                                "index, and that the pointer was made from an argument");
}

void Machine::buffer_access(Region* r, const char* at, uint64_t bytes, bool write, bool atomic,
                            const void* site) {
  int64_t offset = at - r->at;
  auto n = static_cast<int64_t>(bytes);
  if (offset < 0 || offset + n > r->bytes)
    fail_bounds(at, bytes, write, "", offset, r->bytes, r->binding);
  if (write && !r->writable)
    fail(Rule::write_to_constant,
         "writes to a buffer that is bound as const or in the constant space\n  drop the const, or "
         "write elsewhere",
         r->binding);
  if (r->constant) {
    ++counts_->constant_loads;
    counts_->constant_load_bytes += n;
    return;
  }
  if (write) r->written.store(true, std::memory_order_relaxed);
  if (atomic) ++counts_->atomics;
  ++(write ? counts_->device_stores : counts_->device_loads);
  (write ? counts_->device_store_bytes : counts_->device_load_bytes) += n;
  if (launch_->count && !atomic)
    observer_.access(site, static_cast<uint64_t>(offset), static_cast<uint32_t>(bytes), write,
                     false, static_cast<int>(lane()));
  if (!r->cells) return;
  uint64_t other = 0;
  if (mark(r->cells, r->granule, offset, bytes, write, atomic, device_, false, other) !=
      Verdict::fine)
    fail_race("", offset, other, write, r->binding);
}

void Machine::threadgroup_access(const char* at, uint64_t bytes, bool write, bool atomic,
                                 const void* site) {
  int64_t offset = at - local_base_;
  auto n = static_cast<int64_t>(bytes);
  const Launch::Stretch* in = nullptr;
  for (const Launch::Stretch& s : launch_->stretches)
    // The nearest from below, or the first.
    if (!in || offset >= s.at) in = &s;
  std::string what = in ? "threadgroup memory `" + in->name + "`" : "threadgroup memory";
  if (!in || offset < in->at || offset + n > in->at + in->bytes)
    fail_bounds(at, bytes, write, what, in ? offset - in->at : offset, in ? in->bytes : 0, -1);
  if (atomic) ++counts_->atomics;
  ++(write ? counts_->threadgroup_stores : counts_->threadgroup_loads);
  (write ? counts_->threadgroup_store_bytes : counts_->threadgroup_load_bytes) += n;
  if (launch_->count && !atomic)
    observer_.access(site, static_cast<uint64_t>(offset), static_cast<uint32_t>(bytes), write, true,
                     static_cast<int>(lane()));
  uint64_t other = 0;
  auto* cells = reinterpret_cast<Cell*>(threadgroup_cells_.data());
  Verdict v =
      mark(cells, launch_->threadgroup_granule, offset, bytes, write, atomic, local_, true, other);
  if (v == Verdict::unwritten)
    fail(Rule::uninitialised, "reads " + what + " at byte " + std::to_string(offset - in->at) +
                                  ", which no thread of its threadgroup has written\n  write it "
                                  "first, with a barrier between");
  if (v == Verdict::race) fail_race(what, offset - in->at, other, write, -1);
}

// --- errors ---

std::string Machine::position_text(uint64_t thread) const {
  auto per_group = static_cast<uint64_t>(launch_->group_size());
  uint64_t number = thread / per_group, index = thread % per_group, out[3];
  for (int d = 0; d < 3; ++d) {
    auto groups = static_cast<uint64_t>(launch_->groups[d]);
    uint64_t at = number % groups;
    number /= groups;
    auto width = static_cast<uint64_t>(std::min(
        launch_->group[d], launch_->threads[d] - static_cast<int64_t>(at) * launch_->group[d]));
    out[d] = at * static_cast<uint64_t>(launch_->group[d]) + index % width;
    index /= width;
  }
  return "(" + std::to_string(out[0]) + ", " + std::to_string(out[1]) + ", " +
         std::to_string(out[2]) + ")";
}

std::string Machine::where() const {
  return "kernel `" + launch_->name + "`: thread " + position_text(first_thread_ + running_);
}

void Machine::set_error(Rule rule, const std::string& what, int buffer) {
  broken_ = true;
  launch_->stop.store(true, std::memory_order_relaxed);
  std::lock_guard lock(launch_->error_mutex);
  if (launch_->error) return;
  std::string argument;
  if (buffer >= 0)
    for (const Argument& a : launch_->kernel->arguments)
      if (a.space != Space::threadgroup && a.index == buffer)
        argument = ": buffer " + std::to_string(buffer) + " `" + a.name + "`";
  launch_->error =
      std::make_unique<RuleError>(rule, "soft_metal: " + where() + argument + ": " + what);
  launch_->error->kernel = launch_->name;
  launch_->error->buffer = buffer;
  for (size_t d = 0; d < 3; ++d) {
    uint32_t in_group =
        launch_->kernel->communicates ? threads_[running_].position[d] : group_.thread_at[d];
    launch_->error->thread[d] = int64_t{group_.group_at[d]} * launch_->group[d] + in_group;
  }
}

void Machine::fail(Rule rule, const std::string& what, int buffer) {
  set_error(rule, what, buffer);
  switch_fiber(*fiber_, main_, true);
  std::terminate();  // an abandoned fiber is not continued
}

void Machine::fail_bounds(const char*, uint64_t bytes, bool write, const std::string& what,
                          int64_t offset, int64_t length, int buffer) {
  std::string n = std::to_string(bytes), end = std::to_string(length);
  fail(Rule::out_of_bounds,
       std::string(verb(write)) + " " + n + " bytes at byte " + std::to_string(offset) +
           (what.empty() ? " of " : " of " + what + " with ") + end +
           "\n  check the index against the size, or bind a longer buffer",
       buffer);
}

void Machine::fail_race(const std::string& what, int64_t offset, uint64_t other, bool write,
                        int buffer) {
  fail(Rule::data_race,
       std::string(verb(write)) + " byte " + std::to_string(offset) +
           (what.empty() ? "" : " of " + what) + ", which thread " + position_text(other) +
           " touches in the same dispatch without a barrier between\n  use an atomic operation, a "
           "barrier (within one threadgroup), or two dispatches",
       buffer);
}

}  // namespace lamina::soft_metal
